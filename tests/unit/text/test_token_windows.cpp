#include "monarch/data/text/token_windows.hpp"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <memory>

#include "monarch/core/error.hpp"
#include "monarch/data/text/small_vocabulary.hpp"
#include "support/support.hpp"
#include "text_files.hpp"

using namespace monarch;
using namespace monarch::test;
using Catch::Matchers::Contains;
using data::TokenWindows;

namespace {

/// A token set of the tokens 0, 1, 2 … in `train`, and as many less five in `validation`.
std::shared_ptr<const data::TokenSet> counting_set(const TemporaryFolder& folder, int32_t tokens) {
  data::TokenSetInfo info;
  info.tokenizer = "gpt2";
  info.vocabulary = 1000;
  info.documents = "file";
  const auto write = [&](const std::string& split, int32_t count) {
    data::TokenWriter writer(folder / (split + ".npy"), info.vocabulary);
    for (int32_t i = 0; i < count; ++i) writer.append(data::TokenIds{i});
    writer.finish();
    info.splits[split] = {count, 1, 3 * count, writer.checksum()};
  };
  write("train", tokens);
  write("validation", std::max(0, tokens - 5));
  write_text(folder / "tokens.json", data::token_set_json(info));
  return std::make_shared<const data::TokenSet>(folder.path());
}

}  // namespace

TEST_CASE("windows do not overlap, and targets are the tokens behind the inputs") {
  const TemporaryFolder folder;
  const auto set = counting_set(folder, 24);
  const TokenWindows windows(set, "train", 5, TokenWindows::Last::dropped);
  REQUIRE(windows.size() == 4);  // of 23 tokens that follow another one
  REQUIRE(windows.predicted() == 20);
  REQUIRE(windows.bytes_per_token() == 3);
  const std::vector<int64_t> ids{3, 0};
  const data::TokenBatch batch = windows.read(ids);
  REQUIRE(at::equal(batch.inputs, at::stack({at::arange(15, 20), at::arange(0, 5)})));
  REQUIRE(at::equal(batch.targets, batch.inputs + 1));
  REQUIRE_THAT(windows.describe(ids), Contains("windows 3, 0 of ") && Contains("/train"));
  REQUIRE_THROWS_AS(windows.read(std::vector<int64_t>{4}), ShapeError);
  REQUIRE_THROWS_AS(windows.read(std::vector<int64_t>{-1}), ShapeError);
}

TEST_CASE("in evaluation every token but the first is predicted once") {
  for (const int32_t tokens : {24, 25, 26, 27}) {
    const TemporaryFolder folder;
    const TokenWindows windows(counting_set(folder, tokens), "validation", 5, TokenWindows::Last::kept);
    std::vector<int64_t> seen(1000, 0);
    int64_t counted = 0;
    for (int64_t i = 0; i < windows.size(); ++i) {
      const data::TokenBatch batch = windows.read(std::vector<int64_t>{i});
      for (int64_t t = 0; t < 5; ++t) {
        const auto target = batch.targets[0][t].item<int64_t>();
        if (target < 0) continue;
        REQUIRE(batch.inputs[0][t].item<int64_t>() == target - 1);
        ++seen[static_cast<size_t>(target)];
        ++counted;
      }
    }
    REQUIRE(counted == tokens - 6);
    REQUIRE(windows.predicted() == counted);
    for (int64_t token = 0; token < tokens - 5; ++token) REQUIRE(seen[static_cast<size_t>(token)] == (token > 0));
  }
}

TEST_CASE("a split without a window and a wrong split are named") {
  const TemporaryFolder folder;
  const auto set = counting_set(folder, 6);
  REQUIRE(TokenWindows(set, "train", 5, TokenWindows::Last::dropped).size() == 1);
  REQUIRE_THROWS_WITH(TokenWindows(set, "train", 6, TokenWindows::Last::dropped),
                      Contains("6 tokens, expected at least 7"));
  REQUIRE_THROWS_AS(TokenWindows(set, "validation", 5, TokenWindows::Last::kept), DataError);  // one token
  REQUIRE_THROWS_AS(TokenWindows(set, "test", 5, TokenWindows::Last::kept), ConfigError);
  REQUIRE_THROWS_AS(TokenWindows(set, "train", 0, TokenWindows::Last::kept), ConfigError);
}

TEST_CASE("a smaller vocabulary has the first tokens, encodes every text, and needs no more tokens than bytes alone") {
  const std::string vocabulary = file_text(golden_tokenizers / "gpt2/encoder.json"),
                    merges = file_text(golden_tokenizers / "gpt2/vocab.bpe");
  const auto full = data::parse_gpt2({vocabulary, "encoder.json"}, {merges, "vocab.bpe"});
  const std::string text = "The king's speech, naïve and long: the the the 123.\n";
  const auto bytes = data::byte_vocabulary();
  const auto plain = data::parse_gpt2({bytes.vocabulary, "vocab.json"}, {bytes.merges, "merges.txt"});
  REQUIRE(plain->size() == 257);
  REQUIRE(plain->encode(text).size() == text.size());
  REQUIRE(plain->decode(plain->encode(text)) == text);
  size_t last = text.size() + 1;
  for (const int64_t size : {int64_t{257}, int64_t{300}, int64_t{450}, full->size()}) {
    const auto small = data::smaller_vocabulary({vocabulary, "encoder.json"}, {merges, "vocab.bpe"}, size);
    const auto tokenizer = data::parse_gpt2({small.vocabulary, "vocab.json"}, {small.merges, "merges.txt"});
    REQUIRE(tokenizer->size() == size);
    REQUIRE(tokenizer->separator() == static_cast<int32_t>(size - 1));
    for (int64_t id = 0; id < size - 1; ++id) REQUIRE(tokenizer->token(id) == full->token(id));
    const auto ids = tokenizer->encode(text);
    REQUIRE(tokenizer->decode(ids) == text);
    REQUIRE(ids.size() < last);
    last = ids.size();
    if (size == 257) REQUIRE(tokenizer->encode(text) == plain->encode(text));
    if (size == full->size()) REQUIRE(ids == full->encode(text));
  }
  const auto of_size = [&](int64_t size) {
    return data::smaller_vocabulary({vocabulary, "encoder.json"}, {merges, "vocab.bpe"}, size);
  };
  REQUIRE_THROWS_WITH(of_size(256), Contains("expected at least 257"));
  REQUIRE_THROWS_WITH(of_size(full->size() + 1), Contains(std::to_string(full->size()) + " tokens"));
}
