#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "monarch/core/error.hpp"
#include "monarch/data/npy.hpp"
#include "monarch/data/text/documents.hpp"
#include "monarch/data/text/token_set.hpp"
#include "support/support.hpp"
#include "text_files.hpp"

using namespace monarch;
using namespace monarch::test;
using Catch::Matchers::Contains;

namespace {

uint32_t write_tokens(const std::filesystem::path& path, const data::TokenIds& ids, int64_t vocabulary) {
  data::TokenWriter writer(path, vocabulary);
  writer.append(std::span(ids).first(ids.size() / 2));
  writer.append(std::span(ids).subspan(ids.size() / 2));
  writer.finish();
  REQUIRE(writer.tokens() == static_cast<int64_t>(ids.size()));
  return writer.checksum();
}

std::vector<std::string> documents(const std::string& text, data::DocumentKind kind) {
  std::vector<std::string> all;
  for (size_t at = 0; at < text.size();) all.emplace_back(data::next_document(text, at, kind));
  return all;
}

}  // namespace

TEST_CASE("token files hold what was written, and are NumPy arrays") {
  const TemporaryFolder folder;
  const int64_t vocabulary = GENERATE(50257, 65536, 65537);
  const auto last = static_cast<int32_t>(vocabulary - 1);
  const data::TokenIds ids{0, last, 17, 40000, last, 3, 1};
  const uint32_t checksum = write_tokens(folder / "a.npy", ids, vocabulary);
  const data::TokenFile file(folder / "a.npy", vocabulary);
  REQUIRE(file.dtype() == (vocabulary > 65536 ? "uint32" : "uint16"));
  REQUIRE(file.size() == 7);
  REQUIRE(file.checksum() == checksum);
  const at::Tensor expected = at::tensor(std::vector<int64_t>(ids.begin(), ids.end()));
  REQUIRE(at::equal(file.read(0, 7), expected));
  REQUIRE(at::equal(file.read(2, 3), expected.narrow(0, 2, 3)));
  REQUIRE(file.read(7, 0).numel() == 0);
  REQUIRE(at::equal(data::load_npy(folder / "a.npy").to(at::kLong), expected));
  for (const auto& [first, count] : std::vector<std::pair<int64_t, int64_t>>{
           {0, 8}, {7, 1}, {8, 0}, {-1, 2}, {1, -1}, {std::numeric_limits<int64_t>::max(), 2}})
    REQUIRE_THROWS_AS(file.read(first, count), ShapeError);
  const data::TokenFile other(folder / "a.npy", 40001);
  REQUIRE(other.read(2, 2)[1].item<int64_t>() == 40000);
  REQUIRE_THROWS_WITH(other.read(2, 3), Contains("at place 4 is not in the vocabulary"));
}

TEST_CASE("a token file without a token") {
  const TemporaryFolder folder;
  write_tokens(folder / "a.npy", {}, 10);
  REQUIRE(data::TokenFile(folder / "a.npy", 10).size() == 0);
}

TEST_CASE("a writer refuses tokens that are not in the vocabulary, and is no file before the end") {
  const TemporaryFolder folder;
  data::TokenWriter writer(folder / "a.npy", 10);
  REQUIRE_THROWS_AS(writer.append(data::TokenIds{10}), ShapeError);
  REQUIRE_THROWS_AS(writer.append(data::TokenIds{-1}), ShapeError);
  REQUIRE_THROWS_AS(data::TokenFile(folder / "a.npy", 10), DataError);
  REQUIRE_THROWS_AS(data::TokenWriter(folder / "none/a.npy", 10), DataError);
}

TEST_CASE("files that are no token files") {
  const TemporaryFolder folder;
  data::save_npy(folder / "float.npy", at::ones({4}));
  data::save_npy(folder / "byte.npy", at::ones({4}, at::kByte));
  write_text(folder / "text.npy", "some text");
  write_tokens(folder / "cut.npy", {1, 2, 3}, 10);
  std::filesystem::resize_file(folder / "cut.npy", 131);
  for (const auto* name : {"float.npy", "byte.npy", "text.npy", "cut.npy", "none.npy"}) {
    INFO(name);
    REQUIRE_THROWS_AS(data::TokenFile(folder / name, 10), DataError);
  }
}

TEST_CASE("tokens.json says what it was given, and each wrong value is an error") {
  data::TokenSetInfo info;
  info.tokenizer = "gpt2";
  info.vocabulary = 601;
  info.vocabulary_hash = "abc";
  info.vocabulary_files = {"encoder.json", "vocab.bpe"};
  info.separator = 600;
  info.documents = "line";
  info.seed = 18446744073709551615u;
  info.validation_fraction = 0.25;
  info.splits["train"] = {.tokens = 10, .documents = 2, .bytes = 30, .checksum = 4294967295u};
  info.sources = {{.file = "a\xff.txt", .bytes = 31, .documents = 2, .empty = 1, .replaced = 3}};
  info.provenance = {{"version", "x"}};
  const std::string text = data::token_set_json(info);
  const auto read = data::parse_token_set(text, "tokens.json");
  REQUIRE(data::token_set_json(read) == text.substr(0, text.size()));
  REQUIRE(read.separator == 600);
  REQUIRE(read.seed == info.seed);
  REQUIRE(read.splits.at("train").checksum == 4294967295u);
  REQUIRE(read.sources[0].replaced == 3);
  const auto good = nlohmann::json::parse(text);
  for (const auto& [key, value] : good.items()) {
    INFO(key);
    auto missing = good;
    missing.erase(key);
    REQUIRE_THROWS_AS(data::parse_token_set(missing.dump(), "t"), DataError);
    auto wrong = good;
    wrong[key] = true;
    REQUIRE_THROWS_AS(data::parse_token_set(wrong.dump(), "t"), DataError);
  }
  const auto changed = [&](const std::string& pointer, const nlohmann::json& value) {
    auto json = good;
    json[nlohmann::json::json_pointer(pointer)] = value;
    return json.dump();
  };
  for (const auto& json : {changed("/version", 2), changed("/splits/train/tokens", -1), changed("/splits/other", 1),
                           changed("/splits/train/tokens", 1.5), changed("/vocabulary_files/0", "../x"),
                           changed("/vocabulary", 18446744073709551615u), std::string("{"), std::string("[]")})
    REQUIRE_THROWS_AS(data::parse_token_set(json, "t"), DataError);
}

TEST_CASE("documents: every byte is in one of them") {
  using enum data::DocumentKind;
  REQUIRE(documents("a\n\nb", file) == std::vector<std::string>{"a\n\nb"});
  REQUIRE(documents("a\n\nb", line) == std::vector<std::string>{"a\n", "\n", "b"});
  REQUIRE(documents("\n\na\nb\n\n \nc\n", paragraph) == std::vector<std::string>{"\n\na\nb\n\n \n", "c\n"});
  const std::string wiki = " \n = A = \n x \n = = B = = \n y = 3 \n = C D = \n z";
  REQUIRE(documents(wiki, wikitext) ==
          std::vector<std::string>{" \n", " = A = \n x \n = = B = = \n y = 3 \n", " = C D = \n z"});
  REQUIRE(data::parse_document_kind("wikitext") == wikitext);
  REQUIRE_THROWS_AS(data::parse_document_kind("book"), ConfigError);
  REQUIRE(data::is_blank(" \r\n\t"));
  REQUIRE_FALSE(data::is_blank(" x"));
}

TEST_CASE("an unfinished token file goes on behind any place, as if it had been written at once") {
  const TemporaryFolder folder;
  const data::TokenIds ids{5, 3, 9, 1, 7, 2};
  const uint32_t whole = write_tokens(folder / "a.npy", ids, 10);
  uint32_t checksum = 0;
  {
    data::TokenWriter writer(folder / "b.npy", 10);
    writer.append(std::span(ids).first(4));
    writer.sync();
    checksum = writer.checksum();
    writer.append(data::TokenIds{8, 8, 8});  // lost: no state was kept behind them
  }
  {
    data::TokenWriter writer(folder / "b.npy", 10, 4, checksum);
    writer.append(std::span(ids).subspan(4));
    writer.finish();
    REQUIRE(writer.checksum() == whole);
  }
  REQUIRE(file_text(folder / "b.npy") == file_text(folder / "a.npy"));
  REQUIRE_THROWS_WITH(data::TokenWriter(folder / "b.npy", 10, 7, 0), Contains("expected 7 tokens"));
  REQUIRE_THROWS_AS(data::TokenWriter(folder / "c.npy", 10, 0, 0), DataError);
}
