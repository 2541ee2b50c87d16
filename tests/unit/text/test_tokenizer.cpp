#include "monarch/data/text/tokenizer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <limits>
#include <map>
#include <sstream>

#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/data/text/unicode.hpp"
#include "monarch/data/text/words.hpp"
#include "support/support.hpp"
#include "text_files.hpp"

using namespace monarch;
using namespace monarch::test;
using Catch::Matchers::Contains;

namespace {

/// Valid UTF-8 of characters of every length, white space and ASCII.
std::string random_text(Rng& rng, int64_t characters) {
  static const std::vector<std::string> parts = {" ", "  ", "\n", "\t", "\r\n", "\u00a0", "\u3000", "'s", "'ll", "'"};
  std::string text;
  for (int64_t i = 0; i < characters; ++i) {
    switch (rng.below(4)) {
      case 0:
        text += parts[static_cast<size_t>(rng.below(static_cast<int64_t>(parts.size())))];
        break;
      case 1:
        data::append_utf8(static_cast<char32_t>(rng.below(0x80)), text);
        break;
      case 2:
        text += static_cast<char>('a' + rng.below(26));
        break;
      default: {
        const auto code = static_cast<char32_t>(rng.below(0x110000));
        if (code < 0xd800 || code > 0xdfff) data::append_utf8(code, text);
      }
    }
  }
  return text;
}

std::shared_ptr<const data::Tokenizer> small(const std::string& kind) {
  return data::load_tokenizer(kind, golden_tokenizers / kind);
}

/// BPE by its definition: all bytes, then the leftmost pair of least rank, again and again.
data::TokenIds merged_by_definition(const data::Tokenizer& tokenizer, std::string_view word,
                                    const std::map<std::pair<std::string, std::string>, int>& ranks) {
  std::vector<std::string> parts;
  for (const char c : word) parts.emplace_back(1, c);
  while (true) {
    size_t best = parts.size();
    int rank = std::numeric_limits<int>::max();
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto found = ranks.find({parts[i], parts[i + 1]});
      if (found != ranks.end() && found->second < rank) {
        best = i;
        rank = found->second;
      }
    }
    if (best == parts.size()) break;
    parts[best] += parts[best + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
  data::TokenIds ids;
  for (const auto& part : parts) ids.push_back(*tokenizer.find(part));
  return ids;
}

}  // namespace

TEST_CASE("decode(encode(x)) = x for byte-level BPE, of any valid text") {
  const auto tokenizer = small("gpt2");
  for (uint64_t i = 0; i < 300; ++i) {
    Rng rng(i, "round trip");
    const std::string text = random_text(rng, 1 + rng.below(80));
    INFO("text " << i);
    REQUIRE(tokenizer->decode(tokenizer->encode(text)) == text);
    size_t bytes = 0;
    for (const auto word : data::gpt2_words(text)) bytes += word.size();
    REQUIRE(bytes == text.size());
  }
  REQUIRE(tokenizer->decode({}).empty());
}

TEST_CASE("BPE of words of every length is that by definition") {
  const auto tokenizer = small("gpt2");
  std::map<std::pair<std::string, std::string>, int> ranks;
  std::istringstream lines(file_text(golden_tokenizers / "gpt2/vocab.bpe"));
  std::string line;
  std::getline(lines, line);
  while (std::getline(lines, line)) {
    const size_t space = line.find(' ');
    const std::string left = line.substr(0, space), right = line.substr(space + 1);
    ranks.emplace(std::pair(left, right), static_cast<int>(ranks.size()));
  }
  for (uint64_t i = 0; i < 200; ++i) {
    Rng rng(i, "words");
    std::string word;  // one word for GPT-2's pattern: letters only
    static constexpr std::string_view letters = "theaonrisdlu";
    for (int64_t n = 1 + rng.below(90); n > 0; --n) word += letters[static_cast<size_t>(rng.below(12))];
    INFO(word);
    REQUIRE(tokenizer->encode(word) == merged_by_definition(*tokenizer, word, ranks));
  }
}

TEST_CASE("a text encodes as its parts do where safe_cut cuts it") {
  for (const std::string kind : {"gpt2", "bert"}) {
    const auto tokenizer = small(kind);
    for (uint64_t i = 0; i < 300; ++i) {
      Rng rng(i, "cut");
      const std::string text = random_text(rng, 60);
      data::TokenIds parts;
      for (size_t at = 0; at < text.size();) {
        const size_t end = data::safe_cut(text, at + 1);
        tokenizer->encode(std::string_view(text).substr(at, end - at), parts);
        at = end;
      }
      INFO(kind << " " << i);
      REQUIRE(parts == tokenizer->encode(text));
    }
  }
  REQUIRE(data::safe_cut("ab cd", 1) == 2);
  REQUIRE(data::safe_cut("ab  cd", 1) == 6);  // the second of two spaces belongs to the word behind it
}

TEST_CASE("a batch is its texts, on any number of threads") {
  const auto tokenizer = small("bert");
  std::vector<std::string> texts;
  for (uint64_t i = 0; i < 200; ++i) {
    Rng rng(i, "batch");
    texts.push_back(random_text(rng, rng.below(50)));
  }
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  const auto batch = tokenizer->encode_batch(views);
  REQUIRE(batch.size() == texts.size());
  for (size_t i = 0; i < texts.size(); ++i) REQUIRE(batch[i] == tokenizer->encode(texts[i]));
}

TEST_CASE("a text cannot make a special token unless it is asked for") {
  const auto gpt2 = small("gpt2");
  const auto plain = gpt2->encode("a<|endoftext|>");
  REQUIRE(std::find(plain.begin(), plain.end(), *gpt2->separator()) == plain.end());
  const auto special = gpt2->encode("a<|endoftext|>", data::SpecialTokens::recognised);
  REQUIRE(special.back() == *gpt2->separator());
  REQUIRE(gpt2->decode(plain) == gpt2->decode(special));
}

TEST_CASE("BERT decodes to its words, continuations joined") {
  const auto bert = small("bert");
  REQUIRE(bert->decode(bert->encode("The KING, and the Queen!")) == "the king , and the queen !");
  REQUIRE(bert->decode(bert->encode("\u4e2d")) == "[UNK]");
}

TEST_CASE("invalid UTF-8 is an error with its offset, and replaced as Unicode says where that is asked for") {
  const auto tokenizer = small("gpt2");
  struct Case {
    std::string text;
    size_t offset;
    std::string replaced;
    int64_t parts;
  };
  const std::string r = "\ufffd";
  const std::vector<Case> cases = {{"abc\xff"
                                    "d",
                                    3, "abc" + r + "d", 1},
                                   {"\x80", 0, r, 1},
                                   {"a long text of ascii \xc3", 21, "a long text of ascii " + r, 1},
                                   {"\xc0\xaf", 0, r + r, 2},                             // overlong
                                   {"\xed\xa0\x80", 0, r + r + r, 3},                     // a surrogate
                                   {"\xf4\x90\x80\x80", 0, r + r + r + r, 4},             // beyond U+10FFFF
                                   {"x\xf0\x9f\x98y\xe2\x82", 1, "x" + r + "y" + r, 2}};  // cut characters
  for (const auto& [text, offset, replaced, parts] : cases) {
    INFO(offset);
    REQUIRE(data::find_invalid_utf8(text) == offset);
    REQUIRE_THROWS_WITH(tokenizer->encode(text), Contains(fmt::format("at offset {}", offset)));
    int64_t count = 0;
    REQUIRE(data::replace_invalid_utf8(text, count) == replaced);
    REQUIRE(count == parts);
    REQUIRE(data::find_invalid_utf8(replaced) == std::string::npos);
  }
  for (const std::string kind : {"gpt2", "bert"}) REQUIRE_THROWS_AS(small(kind)->encode("\xff"), DataError);
}

TEST_CASE("ids outside of the vocabulary are an error that names the place") {
  for (const std::string kind : {"gpt2", "bert"}) {
    const auto tokenizer = small(kind);
    const auto size = static_cast<int32_t>(tokenizer->size());
    REQUIRE_THROWS_WITH(tokenizer->decode(data::TokenIds{1, 2, size}), Contains("at place 2"));
    REQUIRE_THROWS_AS(tokenizer->decode(data::TokenIds{-1}), DataError);
    REQUIRE_THROWS_AS(tokenizer->token(size), DataError);
    for (int32_t id = 0; id < size; ++id) REQUIRE(tokenizer->find(tokenizer->token(id)) == id);
  }
}

TEST_CASE("a word of a million letters takes no more than its share of time") {
  const auto tokenizer = small("gpt2");
  const std::string text(1000000, 'e');
  const auto start = std::chrono::steady_clock::now();
  REQUIRE(tokenizer->decode(tokenizer->encode(text)) == text);
  REQUIRE(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() <= 20);
  REQUIRE(small("bert")->encode(text).size() == 1);
}
