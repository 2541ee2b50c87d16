// Against HuggingFace's tokenizers (tests/golden/make_tokenizers.py).
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <catch2/catch.hpp>
#include <map>
#include <nlohmann/json.hpp>

#include "monarch/core/provenance.hpp"
#include "monarch/data/text/tokenizer.hpp"
#include "monarch/data/text/unicode.hpp"
#include "monarch/data/text/words.hpp"
#include "support/support.hpp"
#include "text_files.hpp"

using namespace monarch;
using namespace monarch::test;

namespace {

const nlohmann::json& golden() {
  static const auto json = nlohmann::json::parse(file_text(golden_tokenizers / "vectors.json"));
  return json;
}

std::string sha1_of(const data::TokenIds& ids) {
  return text_hash(std::string(reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(ids[0])));
}

/// All golden texts and files under the name that the vectors have for this tokenizer.
void check_cases(const data::Tokenizer& tokenizer, const std::string& key) {
  size_t recognised = 0;
  for (const auto& entry : golden()["cases"]) {
    INFO(entry["name"].get<std::string>());
    const auto text = entry["text"].get<std::string>();
    const auto expected = entry[key].get<data::TokenIds>();
    REQUIRE(tokenizer.encode(text) == expected);
    REQUIRE(tokenizer.encode(text) == expected);  // once more, from the cache
    const std::string special = key + "_recognised";
    recognised += entry.contains(special);
    REQUIRE(tokenizer.encode(text, data::SpecialTokens::recognised) ==
            (entry.contains(special) ? entry[special].get<data::TokenIds>() : expected));
    if (tokenizer.kind() == "gpt2") REQUIRE(tokenizer.decode(expected) == text);
  }
  REQUIRE(recognised > 0);
}

void check_files(const data::Tokenizer& tokenizer, const std::string& key) {
  for (const auto& entry : golden()["files"]) {
    const auto name = entry["file"].get<std::string>();
    INFO(name);
    const std::string text = file_text(data_file("text/" + name));
    const auto ids = tokenizer.encode(text);
    REQUIRE(static_cast<int64_t>(ids.size()) == entry[key]["tokens"].get<int64_t>());
    REQUIRE(sha1_of(ids) == entry[key]["sha1"].get<std::string>());
    if (tokenizer.kind() == "gpt2") REQUIRE(tokenizer.decode(ids) == text);
  }
}

bool in_ranges(const nlohmann::json& ranges, uint32_t code) {
  for (const auto& range : ranges)
    if (code >= range[0].get<uint32_t>() && code <= range[1].get<uint32_t>()) return true;
  return false;
}

std::string around(uint32_t code) {
  std::string c;
  data::append_utf8(code, c);
  return fmt::format("a{0}b 1{0}2 -{0}- {0}{0}x  {0}", c);
}

}  // namespace

TEST_CASE("small vocabularies give the golden tokens of texts and files") {
  const auto gpt2 = data::load_tokenizer("gpt2", golden_tokenizers / "gpt2");
  const auto bert = data::load_tokenizer("bert", golden_tokenizers / "bert");
  check_cases(*gpt2, "small_gpt2");
  check_cases(*bert, "small_bert");
  check_files(*gpt2, "small_gpt2");
  check_files(*bert, "small_bert");
}

TEST_CASE("tokenizer.json gives the golden tokens, too") {
  const auto load = [](const std::string& name) {
    const std::string text = file_text(golden_tokenizers / name);
    return data::parse_tokenizer_json({text, name});
  };
  check_cases(*load("gpt2_tokenizer.json"), "small_gpt2");
  check_cases(*load("bert_tokenizer.json"), "small_bert");
}

TEST_CASE("GPT-2's vocabulary gives the golden tokens of texts, WikiText and books") {
  const auto tokenizer = data::load_tokenizer("gpt2", data_file("tokenizers/gpt2/vocab.bpe").parent_path());
  REQUIRE(tokenizer->size() == 50257);
  REQUIRE(tokenizer->separator() == 50256);
  check_cases(*tokenizer, "gpt2");
  check_files(*tokenizer, "gpt2");
}

TEST_CASE("BERT's vocabulary gives the golden tokens of texts, WikiText and books") {
  const auto tokenizer =
      data::load_tokenizer("bert", data_file("tokenizers/bert-base-uncased/vocab.txt").parent_path());
  REQUIRE(tokenizer->size() == 30522);
  REQUIRE(tokenizer->special() == std::vector<int32_t>{0, 100, 101, 102, 103});
  REQUIRE(tokenizer->separator() == 102);
  check_cases(*tokenizer, "bert");
  check_files(*tokenizer, "bert");
}

TEST_CASE("words around every assigned code point lie where the golden ones do") {
  const auto block_size = golden()["block"].get<uint32_t>();
  const auto& skipped = golden()["bert_skipped"];
  std::map<uint32_t, std::pair<std::string, std::string>> blocks;
  for (const auto& range : golden()["assigned"]) {
    for (auto code = range[0].get<uint32_t>(); code <= range[1].get<uint32_t>(); ++code) {
      auto& [gpt2, bert] = blocks[code / block_size];
      const std::string text = around(code);
      std::vector<size_t> lengths;
      for (const auto word : data::gpt2_words(text)) lengths.push_back(word.size());
      gpt2 += fmt::format("{}\n", fmt::join(lengths, " "));
      if (!in_ranges(skipped, code)) bert += fmt::format("{}\n", fmt::join(data::bert_words(text), "\x1f"));
    }
  }
  REQUIRE(blocks.size() == golden()["code_points"].size());
  for (const auto& [block, words] : blocks) {
    INFO("block " << block);
    const auto& expected = golden()["code_points"][std::to_string(block)];
    CHECK(text_hash(words.first) == expected[0].get<std::string>());
    CHECK(text_hash(words.second) == expected[1].get<std::string>());
  }
}
