#pragma once
// Token sets of documents of made-up words.

#include <fmt/format.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "monarch/core/files.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/data/text/token_set.hpp"
#include "support/support.hpp"

namespace monarch::test {

inline const std::vector<std::string> symbols = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "!", "\""};
constexpr int64_t words = 400, pieces = 40;
constexpr int32_t pad = 0, cls = 2, sep = 3, mask = 4, full_stop = 5, exclamation = 6, quote = 7, first_word = 8;

/// A token set of documents that are lists of tokens.
inline std::shared_ptr<const data::TokenSet> token_set(const std::filesystem::path& folder,
                                                       const std::vector<data::TokenIds>& documents,
                                                       const std::vector<data::TokenIds>& held_out = {}) {
  std::string vocabulary;
  for (const auto& token : symbols) vocabulary += token + "\n";
  for (int64_t i = 0; i < words; ++i) vocabulary += fmt::format("w{}\n", i);
  for (int64_t i = 0; i < pieces; ++i) vocabulary += fmt::format("##p{}\n", i);
  std::filesystem::create_directories(folder / "vocabulary");
  write_text(folder / "vocabulary/vocab.txt", vocabulary);
  data::TokenSetInfo info;
  info.tokenizer = "bert";
  info.vocabulary = static_cast<int64_t>(symbols.size()) + words + pieces;
  info.vocabulary_files = {"vocab.txt"};
  info.vocabulary_hash = data::vocabulary_hash({folder / "vocabulary/vocab.txt"});
  info.separator = sep;
  info.documents = "paragraph";
  data::TokenWriter train(folder / "train.npy", info.vocabulary), validation(folder / "validation.npy", info.vocabulary);
  const auto write = [](data::TokenWriter& writer, const std::vector<data::TokenIds>& list) {
    for (const auto& document : list) {
      writer.append(document);
      writer.append({&sep, 1});
    }
    writer.finish();
  };
  write(train, documents);
  write(validation, held_out);
  info.splits["train"] = {train.tokens(), static_cast<int64_t>(documents.size()), 0, train.checksum()};
  info.splits["validation"] = {validation.tokens(), static_cast<int64_t>(held_out.size()), 0, validation.checksum()};
  write_file_atomically(folder / "tokens.json", data::token_set_json(info));
  return std::make_shared<data::TokenSet>(folder);
}

/// Documents of sentences of 3 to 20 words; a fifth of the words has a second piece.
inline std::vector<data::TokenIds> random_documents(int64_t count, int64_t sentences) {
  std::vector<data::TokenIds> documents;
  for (int64_t d = 0; d < count; ++d) {
    Rng rng(7, fmt::format("document {}", d));
    auto& document = documents.emplace_back();
    for (int64_t s = 0; s < sentences; ++s) {
      for (int64_t w = 3 + rng.below(18); w > 0; --w) {
        document.push_back(first_word + static_cast<int32_t>(rng.below(words)));
        if (rng.uniform() < 0.2) document.push_back(first_word + static_cast<int32_t>(words + rng.below(pieces)));
      }
      document.push_back(full_stop);
    }
  }
  return documents;
}

}  // namespace monarch::test
