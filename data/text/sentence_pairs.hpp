#pragma once
// What BERT reads: [CLS] a [SEP], or [CLS] a [SEP] b [SEP].

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>

#include "monarch/data/text/tokenizer.hpp"

namespace monarch::data {

/// The special tokens that BERT's input is made of.
struct PairSymbols {
  int32_t pad = 0, classify = 0, separate = 0, mask = 0;
  /// Throws DataError where the vocabulary lacks one, saying that it is not BERT's.
  static PairSymbols of(const Tokenizer& tokenizer, const std::string& name);
};

/// Tokens of one text or two with their special tokens.
struct SentencePair {
  TokenIds tokens;
  int64_t first_length = 0;  ///< tokens of [CLS] a [SEP], which are of type 0; those behind are of type 1
};

/// [CLS] a [SEP] b [SEP]; without b where `second` is null.
SentencePair join_pair(std::span<const int32_t> first, const std::span<const int32_t>* second,
                       const PairSymbols& symbols);

/// Lengths that two texts keep when together they may have `most` tokens: those of HuggingFace's fast tokenizers,
/// truncation "longest_first". Nothing is cut where both fit; else the longer one is, and where both are longer than
/// half, they keep half each, the odd token going to the longer one (the second of equal ones).
struct KeptLengths {
  int64_t first = 0, second = 0;
};
KeptLengths longest_first(int64_t first, int64_t second, int64_t most);

/// Several of them, padded to the longest.
struct PairBatch {
  at::Tensor ids;    ///< [batch, token] int64
  at::Tensor types;  ///< [batch, token] int64: 0 for [CLS] a [SEP] and padding, 1 for b [SEP]
  at::Tensor mask;   ///< [batch, token] bool: true for tokens, false for padding
};
PairBatch pad_pairs(std::span<const SentencePair> pairs, int32_t pad);

}  // namespace monarch::data
