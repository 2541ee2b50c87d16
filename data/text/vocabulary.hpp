#pragma once
// From the files of a vocabulary to a tokenizer: what the readers hand to the algorithms.

#include <string>
#include <utility>
#include <vector>

#include "monarch/data/text/tokenizer.hpp"

namespace monarch::data {

/// A pair of tokens that BPE joins; the rank is its place in the list.
struct MergeRule {
  std::string left, right;
  int64_t line = 0;  ///< in its file, from 1
};

/// Bytes for a message: those that are no printable ASCII become \xNN.
std::string printable(std::string_view bytes);

/// Tokens and merges as bytes. Throws DataError: a byte without a token, a merge of unknown tokens, one that is there
/// twice.
std::shared_ptr<const Tokenizer> make_byte_pair(std::vector<std::string> tokens, const std::vector<MergeRule>& merges,
                                                const std::string& name, const std::string& merges_name);

/// Throws DataError without [UNK].
std::shared_ptr<const Tokenizer> make_wordpiece(std::vector<std::string> tokens, const std::string& name);

}  // namespace monarch::data
