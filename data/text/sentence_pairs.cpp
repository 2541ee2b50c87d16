#include "monarch/data/text/sentence_pairs.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "monarch/core/error.hpp"

namespace monarch::data {

PairSymbols PairSymbols::of(const Tokenizer& tokenizer, const std::string& name) {
  const auto find = [&](const char* token) {
    const auto id = tokenizer.find(token);
    check<DataError>(
        id.has_value(), [&] { return fmt::format("{}: the vocabulary has no token {}", name, token); },
        "BERT needs its own vocabulary (vocab.txt with [PAD], [CLS], [SEP] and [MASK])");
    return *id;
  };
  return {find("[PAD]"), find("[CLS]"), find("[SEP]"), find("[MASK]")};
}

SentencePair join_pair(std::span<const int32_t> first, const std::span<const int32_t>* second,
                       const PairSymbols& symbols) {
  SentencePair pair;
  pair.tokens.reserve(first.size() + (second ? second->size() + 3 : 2));
  pair.tokens.push_back(symbols.classify);
  pair.tokens.insert(pair.tokens.end(), first.begin(), first.end());
  pair.tokens.push_back(symbols.separate);
  pair.first_length = static_cast<int64_t>(pair.tokens.size());
  if (second) {
    pair.tokens.insert(pair.tokens.end(), second->begin(), second->end());
    pair.tokens.push_back(symbols.separate);
  }
  return pair;
}

KeptLengths longest_first(int64_t first, int64_t second, int64_t most) {
  if (first + second <= most) return {first, second};
  int64_t shorter = std::min(first, second), longer = std::max(most - shorter, shorter);
  if (shorter + longer > most) {
    shorter = most / 2;
    longer = most - shorter;
  }
  return first > second ? KeptLengths{longer, shorter} : KeptLengths{shorter, longer};
}

PairBatch pad_pairs(std::span<const SentencePair> pairs, int32_t pad) {
  size_t longest = 0;
  for (const SentencePair& pair : pairs) longest = std::max(longest, pair.tokens.size());
  const std::vector<int64_t> shape{static_cast<int64_t>(pairs.size()), static_cast<int64_t>(longest)};
  PairBatch batch{at::full(shape, pad, at::kLong), at::zeros(shape, at::kLong), at::zeros(shape, at::kBool)};
  auto* ids = batch.ids.mutable_data_ptr<int64_t>();
  auto* types = batch.types.mutable_data_ptr<int64_t>();
  auto* mask = batch.mask.mutable_data_ptr<bool>();
  for (const SentencePair& pair : pairs) {
    std::copy(pair.tokens.begin(), pair.tokens.end(), ids);
    std::fill(types + pair.first_length, types + pair.tokens.size(), 1);
    std::fill_n(mask, pair.tokens.size(), true);
    ids += longest;
    types += longest;
    mask += longest;
  }
  return batch;
}

}  // namespace monarch::data
