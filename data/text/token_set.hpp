#pragma once
// A folder of token files: what `monarch prepare text` makes and language models train on.

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "monarch/data/text/token_file.hpp"
#include "monarch/data/text/tokenizer.hpp"

namespace monarch::data {

/// One split of the documents.
struct TokenSplit {
  int64_t tokens = 0;  ///< separators included
  int64_t documents = 0;
  int64_t bytes = 0;      ///< of text, as UTF-8
  uint32_t checksum = 0;  ///< CRC-32 of the tokens as stored
};

/// A file that the tokens come from.
struct TextSource {
  std::string file;
  int64_t bytes = 0;
  int64_t documents = 0;
  int64_t empty = 0;     ///< documents without a character, which are left out
  int64_t replaced = 0;  ///< ill-formed parts of UTF-8 that became U+FFFD
};

/// The content of tokens.json (docs/text-data.md).
struct TokenSetInfo {
  std::string tokenizer;                      ///< "gpt2" or "bert"
  int64_t vocabulary = 0;                     ///< number of tokens
  std::string vocabulary_hash;                ///< SHA-1 of the vocabulary files' content, one after the other
  std::vector<std::string> vocabulary_files;  ///< below vocabulary/
  std::optional<int64_t> separator;           ///< token behind each document
  std::string documents;                      ///< file, line, paragraph or wikitext
  uint64_t seed = 0;
  double validation_fraction = 0;
  std::map<std::string, TokenSplit> splits;  ///< train and validation, in files of these names with .npy
  std::vector<TextSource> sources;
  std::map<std::string, std::string> provenance;
};

std::string token_set_json(const TokenSetInfo& info);
/// Throws DataError: malformed, a key missing or of another type, another version, absurd numbers.
TokenSetInfo parse_token_set(std::string_view json, const std::string& name);

/// SHA-1 of the files' content, one after the other. Throws DataError.
std::string vocabulary_hash(const std::vector<std::filesystem::path>& files);

class TokenSet {
 public:
  /// Opens a folder. Throws DataError where tokens.json or a split is missing or they do not agree in number of tokens.
  explicit TokenSet(const std::filesystem::path& folder);

  const TokenSetInfo& info() const { return info_; }
  const std::filesystem::path& folder() const { return folder_; }
  /// Throws ConfigError for a split that is not there, naming those that are.
  const TokenFile& split(const std::string& name) const;
  /// The tokenizer in the folder. Throws DataError where its files are not those that the tokens were made with.
  std::shared_ptr<const Tokenizer> tokenizer() const;
  /// Reads every token and throws DataError unless checksums agree.
  void verify() const;

 private:
  std::filesystem::path folder_;
  TokenSetInfo info_;
  std::map<std::string, TokenFile> splits_;
};

/// True for a folder that holds a tokens.json.
bool is_token_set(const std::filesystem::path& folder);

}  // namespace monarch::data
