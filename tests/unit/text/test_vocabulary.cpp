// Vocabularies that are malformed end in a message that names the place.
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "monarch/core/error.hpp"
#include "monarch/data/text/small_vocabulary.hpp"
#include "monarch/data/text/tokenizer.hpp"
#include "support/support.hpp"
#include "text_files.hpp"

using namespace monarch;
using namespace monarch::test;
using Catch::Matchers::Contains;

namespace {

nlohmann::json vocabulary() {
  return nlohmann::json::parse(file_text(golden_tokenizers / "gpt2/encoder.json"));
}

/// The message of parse_gpt2, or "" where it accepts.
std::string gpt2_error(const std::string& json, const std::string& merges = "#version: 0.2\n") {
  try {
    data::parse_gpt2({json, "v.json"}, {merges, "m.bpe"});
  } catch (const DataError& error) {
    return error.message();
  }
  return "";
}

std::string bert_error(const std::string& text) {
  try {
    data::parse_bert({text, "vocab.txt"});
  } catch (const DataError& error) {
    return error.message();
  }
  return "";
}

std::string json_error(const nlohmann::json& json) {
  try {
    const std::string text = json.dump();
    data::parse_tokenizer_json({text, "tokenizer.json"});
  } catch (const DataError& error) {
    return error.message();
  }
  return "";
}

}  // namespace

TEST_CASE("malformed BPE vocabularies") {
  const auto good = vocabulary();
  const std::string text = good.dump();
  REQUIRE(gpt2_error(text).empty());
  REQUIRE(gpt2_error(text, "").empty());  // no merges: bytes
  REQUIRE_THAT(gpt2_error("{}"), Contains("v.json: holds no token"));
  REQUIRE_THAT(gpt2_error(""), Contains("malformed JSON"));
  REQUIRE_THAT(gpt2_error(text.substr(0, 500)), Contains("malformed JSON"));
  REQUIRE_THAT(gpt2_error("[1, 2]"), Contains("expected one object"));
  REQUIRE_THAT(gpt2_error("17"), Contains("expected one object"));
  REQUIRE_THAT(gpt2_error(R"({"a": {"b": 1}})"), Contains("expected one object"));
  REQUIRE_THAT(gpt2_error(R"({"a": 0, "a": 1})"), Contains("token 'a' is there twice"));
  REQUIRE_THAT(gpt2_error(R"({"a": 0, "b": 0})"), Contains("have the same id 0"));
  REQUIRE_THAT(gpt2_error(R"({"a": 0, "b": 2})"), Contains("no token has id 1"));
  REQUIRE_THAT(gpt2_error(R"({"a": 0, "b": -1})"), Contains("the id of 'b' is -1"));
  REQUIRE_THAT(gpt2_error(R"({"a": 0, "b": 18446744073709551615})"), Contains("18446744073709551615"));
  REQUIRE_THAT(gpt2_error(R"({"a": 1.5})"), Contains("expected a whole number"));
  REQUIRE_THAT(gpt2_error(R"({"a": "x"})"), Contains("expected a whole number"));
  REQUIRE_THAT(gpt2_error(R"({"": 0})"), Contains("token 0 is empty"));
  REQUIRE_THAT(gpt2_error(R"({"a b": 0})"), Contains("U+0020, which stands for no byte"));
  REQUIRE_THAT(gpt2_error(R"({"a": 0, "b": 1})"), Contains("no token for the byte"));
}

TEST_CASE("malformed merges") {
  const std::string text = vocabulary().dump(), head = "#version: 0.2\n";
  REQUIRE(gpt2_error(text, head + "t h\r\n").empty());
  REQUIRE_THAT(gpt2_error(text, head + "t h\nt\n"), Contains("m.bpe:3: 't', expected two tokens"));
  REQUIRE_THAT(gpt2_error(text, head + "t h e\n"), Contains("expected two tokens"));
  REQUIRE_THAT(gpt2_error(text, head + " h\n"), Contains("expected two tokens"));
  REQUIRE_THAT(gpt2_error(text, head + "t h\nt h\n"), Contains("m.bpe:3") && Contains("there twice"));
  REQUIRE_THAT(gpt2_error(text, head + "zzz h\n"), Contains("m.bpe:2: left half 'zzz' is no token of v.json"));
  REQUIRE_THAT(gpt2_error(text, head + "t zzz\n"), Contains("right half 'zzz'"));
  REQUIRE_THAT(gpt2_error(text, head + "q q\n"), Contains("merge 'qq' is no token"));
  REQUIRE_THAT(gpt2_error(text, head + "t \xff\n"), Contains("not valid UTF-8 at byte 16"));
}

TEST_CASE("malformed WordPiece vocabularies") {
  REQUIRE(bert_error("[UNK]\na\n##b").empty());
  REQUIRE(bert_error("[UNK]\r\na\r\n").empty());
  REQUIRE_THAT(bert_error(""), Contains("no token [UNK]"));
  REQUIRE_THAT(bert_error("a\nb\n"), Contains("no token [UNK]"));
  REQUIRE_THAT(bert_error("[UNK]\na\nb\na\n"), Contains("vocab.txt:4: token 'a' is there already, in line 2"));
  REQUIRE_THAT(bert_error("[UNK]\n\na\n"), Contains("vocab.txt:2: is empty"));
  REQUIRE_THAT(bert_error("[UNK]\n\xff\n"), Contains("not valid UTF-8 at byte 6"));
}

TEST_CASE("tokenizer.json that describes something else") {
  const auto good = nlohmann::json::parse(file_text(golden_tokenizers / "gpt2_tokenizer.json"));
  const auto bert = nlohmann::json::parse(file_text(golden_tokenizers / "bert_tokenizer.json"));
  REQUIRE(json_error(good).empty());
  REQUIRE(json_error(bert).empty());
  const auto changed = [](nlohmann::json json, const std::string& pointer, const nlohmann::json& value) {
    json[nlohmann::json::json_pointer(pointer)] = value;
    return json_error(json);
  };
  REQUIRE_THAT(changed(good, "/pre_tokenizer/add_prefix_space", true), Contains("add_prefix_space is true"));
  REQUIRE_THAT(changed(good, "/pre_tokenizer", nullptr), Contains("pre_tokenizer"));
  REQUIRE_THAT(changed(good, "/normalizer", {{"type", "NFC"}}), Contains("normalizer"));
  REQUIRE_THAT(changed(good, "/model/type", "Unigram"), Contains("type"));
  REQUIRE_THAT(changed(good, "/model/vocab", 3), Contains("has no model.vocab"));
  REQUIRE_THAT(changed(good, "/model/merges", {1}), Contains("tokenizer.json"));
  REQUIRE_THAT(changed(bert, "/normalizer/lowercase", false), Contains("lowercase is false"));
  REQUIRE_THAT(changed(bert, "/normalizer/strip_accents", false), Contains("strip_accents"));
  REQUIRE_THAT(changed(bert, "/model/max_input_chars_per_word", 50), Contains("max_input_chars_per_word is 50"));
  REQUIRE_THAT(changed(bert, "/added_tokens/0/special", false), Contains("special is false"));
  REQUIRE_THAT(changed(bert, "/added_tokens/0/content", "new"), Contains("same id"));
  REQUIRE_THAT(json_error(nlohmann::json::array()), Contains("has no model.vocab"));
}

TEST_CASE("folders without a vocabulary") {
  const TemporaryFolder folder;
  REQUIRE_THROWS_WITH(data::load_tokenizer("gpt2", folder.path()), Contains("holds no vocabulary of gpt2"));
  REQUIRE_THROWS_WITH(data::load_tokenizer("bert", folder.path()), Contains("holds no vocabulary of bert"));
  REQUIRE_THROWS_WITH(data::load_tokenizer("bert", folder / "none"), Contains("no such folder"));
  REQUIRE_THROWS_AS(data::load_tokenizer("llama", folder.path()), ConfigError);
  write_text(folder / "vocab.txt", "");
  REQUIRE_THROWS_WITH(data::load_tokenizer("bert", folder.path()), Contains("is empty"));
  std::filesystem::copy_file(golden_tokenizers / "gpt2/encoder.json", folder / "vocab.json");
  REQUIRE_THROWS_WITH(data::load_tokenizer("gpt2", folder.path()), Contains("holds no vocabulary of gpt2"));
  std::filesystem::copy_file(golden_tokenizers / "gpt2/vocab.bpe", folder / "merges.txt");
  REQUIRE(data::load_tokenizer("gpt2", folder.path())->kind() == "gpt2");
  std::filesystem::remove(folder / "vocab.txt");
  std::filesystem::copy_file(golden_tokenizers / "gpt2_tokenizer.json", folder / "tokenizer.json");
  REQUIRE_THROWS_WITH(data::load_tokenizer("bert", folder.path()), Contains("is a vocabulary of gpt2, expected bert"));
}

TEST_CASE("the beginning of BERT's vocabulary keeps ids, and what it cannot spell is [UNK]") {
  const std::string text = file_text(golden_tokenizers / "bert/vocab.txt");
  const auto whole = data::parse_bert({text, "vocab.txt"});
  const auto smaller = data::parse_bert({data::smaller_vocabulary({text, "vocab.txt"}, 200), "smaller"});
  REQUIRE(smaller->size() == 200);
  for (int64_t id = 0; id < 200; ++id) REQUIRE(smaller->token(id) == whole->token(id));
  REQUIRE(smaller->special() == whole->special());
  const std::string last(whole->token(whole->size() - 1));
  REQUIRE_FALSE(smaller->find(last).has_value());
  REQUIRE_THROWS_WITH(data::smaller_vocabulary({text, "vocab.txt"}, 2), Contains("a vocabulary of 2 tokens"));
  REQUIRE_THROWS_WITH(data::smaller_vocabulary({text, "vocab.txt"}, 501), Contains("to 500"));
}
