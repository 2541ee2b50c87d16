#pragma once
// What BERT is pre-trained on: pairs of segments of which some tokens are to be guessed, from a token set.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "monarch/data/text/sentence_pairs.hpp"
#include "monarch/data/text/token_set.hpp"

namespace monarch {
class Rng;
}

namespace monarch::data {

struct MaskedExampleOptions {
  int64_t length = 128;           ///< of an example, [CLS] and both [SEP] included; 5 … 65535
  int64_t predictions = 20;       ///< tokens to guess in an example, at most
  double masked = 0.15;           ///< share of an example's tokens to guess
  double short_probability = 0.1; ///< share of examples that aim at a length drawn from 2 … length − 3
  bool whole_words = false;       ///< the pieces of a word ("##…") are guessed together
  int64_t copies = 1;             ///< how often the documents are cut into pairs, each time at other places
  uint64_t seed = 0;              ///< of the cuts
};

/// Examples with their guesses.
struct MaskedBatch {
  PairBatch pairs;       ///< ids are those after masking
  at::Tensor positions;  ///< [guess] int64: places in ids.flatten() to be guessed, ascending
  at::Tensor targets;    ///< [guess] int64: the tokens that stood there
  at::Tensor random;     ///< [batch] int64: 0 where b follows a in the text, 1 where b is from another document
};

/// The examples of a split, after create_pretraining_data of Google's and NVIDIA's BERT; made when they are asked for,
/// so that nothing but the token files is on disk.
///
/// Pairs. A document's sentences are collected until they fill an example; the first 1 … n − 1 of the n sentences are a
/// (n = 1: it is); with probability ½, or where n = 1, b is the text from a random sentence of another document on, and
/// the sentences not used are collected again; else b is the rest. What is too long loses tokens of the longer segment,
/// at its front or back with equal probability. Every choice is drawn by Rng(seed, "pairs <copy> <document>").
///
/// Masks. max(1, min(predictions, round(masked · tokens))) tokens, [CLS] and [SEP] excepted, are to be guessed; of these
/// 80 % become [MASK], 10 % another token of the vocabulary (special ones excepted), 10 % stay. Drawn by
/// Rng(seed, "mask <draw> <example>").
///
/// Differences from NVIDIA's: sentences end behind a token ".", "!" or "?" and closing quotes and brackets that follow
/// it, or when they fill an example (NVIDIA's input has a line for each sentence); whether an example is short is drawn
/// for each example, not once for a document; the random document is never the same one; random tokens are never
/// special ones.
///
/// Memory: 8 bytes a sentence and 24 an example. Immutable; several threads may ask for batches.
class MaskedExamples {
 public:
  /// Reads the split once. Throws DataError: no BERT vocabulary, fewer than two documents with tokens; ConfigError:
  /// options out of range, no such split.
  MaskedExamples(std::shared_ptr<const TokenSet> tokens, const std::string& split, const MaskedExampleOptions& options);

  int64_t size() const { return static_cast<int64_t>(pairs_.size()); }
  int64_t documents() const { return static_cast<int64_t>(documents_.size()); }
  int64_t sentences() const { return static_cast<int64_t>(starts_.size()); }
  /// Share of the examples whose b is from another document.
  double random_share() const;
  /// Tokens of an example.
  int64_t length(int64_t id) const;
  /// Tokens of it that are guessed; with whole words it can be fewer.
  int64_t guesses(int64_t id) const { return wanted(length(id)); }

  /// Examples `ids` with masks drawn by Rng(seed, "mask <draw> <id>"): a function of seed, draw and id, not of the batch.
  MaskedBatch batch(std::span<const int64_t> ids, uint64_t seed, const std::string& draw) const;
  /// An example before masking.
  SentencePair pair(int64_t id) const;

 private:
  struct Range {
    int64_t begin = 0, end = 0;  // tokens of the split
    int64_t size() const { return end - begin; }
  };
  struct Pair {
    int64_t first = 0, second = 0;  // where the segments begin
    uint16_t first_length = 0, second_length = 0;
    bool random = false;
  };
  struct Document {
    int64_t first_sentence = 0;  // in starts_
    int64_t end = 0;             // behind its last token
  };
  void find_sentences(const Tokenizer& tokenizer);
  void cut_document(size_t document, int64_t copy);
  /// Sentences `first` … `last` − 1 of a document.
  Range tokens_of(size_t document, int64_t first, int64_t last) const;
  int64_t sentence_count(size_t document) const;
  Range of_other_document(size_t document, int64_t length, Rng& rng) const;
  int64_t wanted(int64_t length) const;
  std::vector<size_t> places_to_guess(const SentencePair& pair, Rng& rng) const;

  std::shared_ptr<const TokenSet> tokens_;
  const TokenFile& file_;
  std::string name_;
  MaskedExampleOptions options_;
  PairSymbols symbols_;
  std::vector<bool> special_, continuation_;  // by token
  std::vector<int32_t> ordinary_;             // tokens that are not special
  std::vector<int64_t> starts_;               // of sentences
  std::vector<Document> documents_;
  std::vector<Pair> pairs_;
};

}  // namespace monarch::data
