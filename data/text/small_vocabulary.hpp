#pragma once
// Small vocabularies for small models: the bytes alone, or the beginning of GPT-2's or BERT's.

#include <cstdint>
#include <string>

#include "monarch/data/text/tokenizer.hpp"

namespace monarch::data {

/// The content of vocab.json and merges.txt, as parse_gpt2 and HuggingFace's GPT2Tokenizer read them.
struct Gpt2Vocabulary {
  std::string vocabulary, merges;
};

/// The 256 bytes in GPT-2's order (ids 0 … 255), no merges, and <|endoftext|> with id 256.
Gpt2Vocabulary byte_vocabulary();

/// The first `size` tokens that a GPT-2 vocabulary makes: its 256 bytes in the order of their ids, then the results of
/// its merges in order of rank, then <|endoftext|> with id size − 1. Of GPT-2's own vocabulary this keeps the ids
/// 0 … size − 2, and the merges of ranks 0 … size − 258: a merge joins tokens that earlier ones made, so that a
/// beginning of the list is a smaller vocabulary of the same kind. Throws DataError for files that parse_gpt2 refuses,
/// ConfigError for a size below 257 or beyond what the merges make, naming the largest.
Gpt2Vocabulary smaller_vocabulary(const VocabularyText& vocabulary, const VocabularyText& merges, int64_t size);

/// The first `size` lines of BERT's vocab.txt, whose words are ordered by how often they occur: ids stay, and words that
/// the tokens no longer spell become [UNK]. Throws DataError for a file that parse_bert refuses, ConfigError for more
/// lines than there are, or fewer than hold all special tokens.
std::string smaller_vocabulary(const VocabularyText& vocabulary, int64_t size);

}  // namespace monarch::data
