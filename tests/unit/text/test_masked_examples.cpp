#include <ATen/ATen.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <map>
#include <set>

#include "monarch/core/error.hpp"
#include "monarch/data/text/masked_examples.hpp"
#include "support/support.hpp"
#include "word_documents.hpp"

using namespace monarch;
using namespace monarch::test;
using Catch::Matchers::Contains;

namespace {

std::vector<int64_t> every(int64_t count) {
  std::vector<int64_t> ids(static_cast<size_t>(count));
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int64_t>(i);
  return ids;
}

/// |observed − expected| of a share of n draws, in standard deviations.
double deviations(double share, double expected, double n) {
  return std::abs(share - expected) / std::sqrt(expected * (1 - expected) / n);
}

}  // namespace

TEST_CASE("15 % of the tokens are guessed: 80 % [MASK], 10 % random, 10 % as they were") {
  const TemporaryFolder folder;
  const auto tokens = token_set(folder.path(), random_documents(60, 40));
  const data::MaskedExamples examples(tokens, "train", {.length = 128, .predictions = 128});
  REQUIRE(examples.documents() == 60);
  REQUIRE(examples.sentences() == 2400);
  const auto ids = every(examples.size());
  const data::MaskedBatch batch = examples.batch(ids, 3, "0");
  const at::Tensor masked = batch.pairs.ids.flatten().index_select(0, batch.positions);
  const auto n = static_cast<double>(batch.targets.numel());
  REQUIRE(n > 3000);
  int64_t all = 0, wanted = 0;
  for (const int64_t id : ids) {
    all += examples.length(id);
    wanted += std::max(1L, std::lrint(0.15 * static_cast<double>(examples.length(id))));
  }
  REQUIRE(batch.pairs.mask.sum().item<int64_t>() == all);
  REQUIRE(batch.targets.numel() == wanted);
  const double mask_share = (masked == mask).sum().item<double>() / n;
  const double same_share = (masked == batch.targets).sum().item<double>() / n;
  REQUIRE(deviations(mask_share, 0.8, n) <= 4);
  REQUIRE(deviations(same_share, 0.1, n) <= 4);
  REQUIRE(deviations(0.75, 0.8, n) > 4);  // what the bound rejects
  // What was not chosen is as it was.
  at::Tensor whole = batch.pairs.ids.clone().flatten();
  whole.index_copy_(0, batch.positions, batch.targets);
  whole = whole.view_as(batch.pairs.ids);
  for (const int64_t id : ids) {
    const auto pair = examples.pair(id);
    for (size_t i = 0; i < pair.tokens.size(); ++i)
      REQUIRE(whole[id][static_cast<int64_t>(i)].item<int64_t>() == pair.tokens[i]);
  }
}

TEST_CASE("special tokens are never masked, drawn or lost, and lengths keep to their bounds") {
  const TemporaryFolder folder;
  const auto tokens = token_set(folder.path(), random_documents(40, 30));
  for (const int64_t length : {16, 64}) {
    const data::MaskedExamples examples(tokens, "train", {.length = length, .predictions = 5});
    const data::MaskedBatch batch = examples.batch(every(examples.size()), 1, "0");
    REQUIRE(batch.pairs.ids.size(1) <= length);
    REQUIRE((batch.targets >= full_stop).all().item<bool>());
    const at::Tensor masked = batch.pairs.ids.flatten().index_select(0, batch.positions);
    REQUIRE(((masked == mask) | (masked >= full_stop)).all().item<bool>());
    const at::Tensor ids = batch.pairs.ids, real = batch.pairs.mask;
    REQUIRE((ids.select(1, 0) == cls).all().item<bool>());
    REQUIRE(at::equal((ids == sep).sum(1), at::full({ids.size(0)}, 2, at::kLong)));
    REQUIRE(at::equal(ids == pad, ~real));
    REQUIRE_FALSE(batch.pairs.types.masked_select(~real).any().item<bool>());
    // Types change behind the first [SEP].
    const at::Tensor before = (ids == sep).to(at::kLong).cumsum(1) - (ids == sep).to(at::kLong);
    REQUIRE(at::equal((before == 1) & real, batch.pairs.types == 1));
    std::map<int64_t, int64_t> guesses;
    const auto* positions = batch.positions.const_data_ptr<int64_t>();
    for (int64_t i = 0; i < batch.positions.numel(); ++i) ++guesses[positions[i] / ids.size(1)];
    REQUIRE(static_cast<int64_t>(guesses.size()) == examples.size());
    for (const auto& [id, count] : guesses) REQUIRE(count <= 5);
  }
}

TEST_CASE("half of the second segments follow the first, the others are from another document") {
  const TemporaryFolder folder;
  const auto documents = random_documents(50, 60);
  const auto tokens = token_set(folder.path(), documents);
  const data::MaskedExamples examples(tokens, "train", {.length = 64, .copies = 3});
  const auto n = static_cast<double>(examples.size());
  REQUIRE(n > 1000);
  // At the end of a document a single sentence can be left, whose partner is always random.
  const double left = 3.0 * 50 / n;
  REQUIRE(examples.random_share() >= 0.5 - 2 / std::sqrt(n));
  REQUIRE(examples.random_share() <= 0.5 + left + 2 / std::sqrt(n));
  const auto holds = [](const data::TokenIds& document, std::span<const int32_t> part) {
    return std::search(document.begin(), document.end(), part.begin(), part.end()) != document.end();
  };
  const at::Tensor random = examples.batch(every(examples.size()), 0, "0").random;
  int64_t checked = 0;
  for (int64_t id = 0; id < examples.size(); id += 7) {
    const auto pair = examples.pair(id);
    const auto first = std::span(pair.tokens).subspan(1, static_cast<size_t>(pair.first_length) - 2);
    const auto second = std::span(pair.tokens).subspan(static_cast<size_t>(pair.first_length),
                                                       pair.tokens.size() - static_cast<size_t>(pair.first_length) - 1);
    if (first.size() < 6 || second.size() < 6) continue;  // short segments stand in several documents
    const bool together = std::any_of(documents.begin(), documents.end(), [&](const data::TokenIds& document) {
      return holds(document, first) && holds(document, second);
    });
    REQUIRE(together == (random[id].item<int64_t>() == 0));
    ++checked;
  }
  REQUIRE(checked > 50);
}

TEST_CASE("an example depends on seed, draw and id, and not on its batch") {
  const TemporaryFolder folder;
  const auto tokens = token_set(folder.path(), random_documents(20, 20));
  const data::MaskedExamples examples(tokens, "train", {.length = 48}), again(tokens, "train", {.length = 48});
  const auto same = [](const data::MaskedBatch& a, const data::MaskedBatch& b) {
    return at::equal(a.pairs.ids, b.pairs.ids) && at::equal(a.positions, b.positions) && at::equal(a.targets, b.targets);
  };
  const std::vector<int64_t> one{5}, two{5, 2};
  const auto alone = examples.batch(one, 9, "4");
  REQUIRE(same(alone, again.batch(one, 9, "4")));
  const auto pair = examples.batch(two, 9, "4");
  REQUIRE(at::equal(pair.pairs.ids[0].narrow(0, 0, examples.length(5)), alone.pairs.ids[0]));
  REQUIRE_FALSE(same(alone, examples.batch(one, 9, "5")));
  REQUIRE_FALSE(same(alone, examples.batch(one, 8, "4")));
  const data::MaskedExamples other(tokens, "train", {.length = 48, .seed = 1});
  bool equal = other.size() == examples.size();
  for (int64_t id = 0; equal && id < examples.size(); ++id) equal = examples.pair(id).tokens == other.pair(id).tokens;
  REQUIRE_FALSE(equal);
}

TEST_CASE("sentences end behind full stops and the quotes that follow them") {
  const TemporaryFolder folder;
  const int32_t a = first_word;
  const data::TokenIds one{a, a, full_stop, quote, a, exclamation, exclamation, a}, two{quote, a, full_stop};
  const auto tokens = token_set(folder.path(), {one, two});
  const data::MaskedExamples examples(tokens, "train", {.length = 128});
  REQUIRE(examples.sentences() == 4);  // a a . " | a ! ! | a, and " a .
  // A document without one is cut where an example is full.
  const auto long_ones = token_set(folder / "long", {data::TokenIds(100, a), data::TokenIds(5, a)});
  REQUIRE(data::MaskedExamples(long_ones, "train", {.length = 23}).sentences() == 5 + 1);
}

TEST_CASE("whole words are guessed with all their pieces") {
  const TemporaryFolder folder;
  const auto tokens = token_set(folder.path(), random_documents(20, 20));
  const data::MaskedExamples examples(tokens, "train", {.length = 64, .whole_words = true});
  int64_t split = 0;
  for (int64_t id = 0; id < examples.size(); ++id) {
    const std::vector<int64_t> one{id};
    const auto batch = examples.batch(one, 0, "0");
    const auto pair = examples.pair(id);
    std::set<int64_t> guessed;
    for (int64_t i = 0; i < batch.positions.numel(); ++i) guessed.insert(batch.positions[i].item<int64_t>());
    for (int64_t i = 2; i < static_cast<int64_t>(pair.tokens.size()); ++i) {
      const bool joins = pair.tokens[static_cast<size_t>(i)] >= first_word + words && i != pair.first_length && i > 1;
      if (joins) split += guessed.contains(i) != guessed.contains(i - 1);
    }
  }
  REQUIRE(split == 0);
}

TEST_CASE("token sets that cannot be paired are refused by name") {
  const TemporaryFolder folder;
  const auto one = token_set(folder / "one", {{first_word, full_stop}});
  REQUIRE_THROWS_WITH(data::MaskedExamples(one, "train", {}), Contains("has 1 document with tokens") && Contains("--documents"));
  REQUIRE_THROWS_WITH(data::MaskedExamples(one, "validation", {}), Contains("'validation' has 0 documents"));
  REQUIRE_THROWS_AS(data::MaskedExamples(one, "dev", {}), ConfigError);
  const auto two = token_set(folder / "two", random_documents(2, 2));
  REQUIRE_THROWS_WITH(data::MaskedExamples(two, "train", {.length = 4}), Contains("length of examples is 4"));
  REQUIRE_THROWS_WITH(data::MaskedExamples(two, "train", {.masked = 1.5}), Contains("share of masked tokens"));
}
