#pragma once
// How GPT-2 and BERT cut text into words before their vocabularies see it.

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace monarch::data {

/// End of the word that starts at `text[at]`, by GPT-2's pattern
///   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
/// (Radford et al. 2019, encoder.py), first alternative that matches. Valid UTF-8, at < text.size(). Every byte is part
/// of one word. Linear in the word's length.
size_t gpt2_word_end(std::string_view text, size_t at);

/// All words of a text.
std::vector<std::string_view> gpt2_words(std::string_view text);

/// Words of BERT's uncased models (Devlin et al. 2019, BasicTokenizer), of valid UTF-8:
///   1. U+0000, U+FFFD and controls (Cc, Cf, Co) go; white space, tab and line ends become a space;
///   2. each CJK ideograph stands alone;
///   3. NFD, and marks (Mn) go;
///   4. lower case, character by character;
///   5. cut at white space; each punctuation character (category P, or an ASCII symbol) stands alone.
/// Calls `use` for each word, which is valid during the call.
void for_each_bert_word(std::string_view text, const std::function<void(std::string_view)>& use);

/// All of them.
std::vector<std::string> bert_words(std::string_view text);

/// First place at or behind `from` where a text can be cut without changing its tokens: before a single space or line
/// end between characters that are no white space. text.size() where there is none. Valid UTF-8; `from` may be any
/// byte.
size_t safe_cut(std::string_view text, size_t from);

}  // namespace monarch::data
