#pragma once
// From text files to a folder of tokens (monarch prepare text), in runs that may be interrupted.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "monarch/data/text/token_set.hpp"

namespace monarch::apps {

struct TextOptions {
  std::vector<std::string> files;
  std::vector<std::string> validation;     ///< files that are the validation split; else a fraction of the documents
  std::string tokenizer;                   ///< "gpt2", "bert" or "bytes"
  std::string vocabulary;                  ///< its folder; "" for bytes
  std::optional<int64_t> vocabulary_size;  ///< the beginning of the vocabulary; not of bytes
  std::string output;
  std::string documents = "file";
  double validation_fraction = 0;
  uint64_t seed = 0;
  bool separator = true;
  bool replace_invalid = false;
  bool restart = false;     ///< forget an unfinished run
  double save_minutes = 1;  ///< between states from which an interrupted run goes on
};

/// Encodes the files into options.output, which gets its files together at the end. Until then they lie in the hidden
/// folder `.NAME.unfinished` beside it, with a state every save_minutes; the same call goes on from there and makes the
/// same files as an uninterrupted one, byte for byte. Throws ConfigError where an unfinished run of another call (other
/// options, changed files) is there, and while another process works on it; DataError for bad input. An error before
/// the first state leaves nothing.
data::TokenSetInfo prepare_text(const TextOptions& options);

}  // namespace monarch::apps
