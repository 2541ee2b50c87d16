#include "monarch/data/text/words.hpp"

#include <algorithm>

#include "monarch/data/text/unicode.hpp"

namespace monarch::data {
namespace {

constexpr uint8_t word_classes = unicode::letter | unicode::number | unicode::whitespace;

/// Letter, number, white space or none of them, of the character at `at`, which moves behind it.
uint8_t gpt2_class(std::string_view text, size_t& at) {
  const uint8_t bits = character_classes(next_character(text, at)) & word_classes;
  return bits & unicode::whitespace ? unicode::whitespace : bits;
}

/// Length of 's 't 're 've 'm 'll 'd at `at`, or 0.
size_t contraction(std::string_view text, size_t at) {
  const std::string_view rest = text.substr(at, 3);
  if (rest.size() < 2 || rest[0] != '\'') return 0;
  if (rest[1] == 's' || rest[1] == 't' || rest[1] == 'm' || rest[1] == 'd') return 2;
  return rest == "'re" || rest == "'ve" || rest == "'ll" ? 3 : 0;
}

bool is_cjk(char32_t c) {
  // Blocks of the published tokenizers; the end of the fifth is where extension E ends, its start as in theirs.
  return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x20000 && c <= 0x2a6df) ||
         (c >= 0x2a700 && c <= 0x2b73f) || (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) ||
         (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

bool stands_alone(char32_t c) {
  if (c < 0x80)
    return (c > 0x20 && c < 0x30) || (c > 0x39 && c < 0x41) || (c > 0x5a && c < 0x61) || (c > 0x7a && c < 0x7f);
  return character_classes(c) & unicode::punctuation;
}

}  // namespace

size_t gpt2_word_end(std::string_view text, size_t at) {
  if (const size_t length = contraction(text, at)) return at + length;
  size_t end = at;
  uint8_t kind = gpt2_class(text, end);
  if (text[at] == ' ' && end < text.size()) {
    size_t behind = end;
    const uint8_t next = gpt2_class(text, behind);
    if (next != unicode::whitespace) {
      kind = next;
      end = behind;
    }
  }
  size_t last = at;  // start of the last character of the run
  while (end < text.size()) {
    size_t behind = end;
    if (gpt2_class(text, behind) != kind) break;
    last = end;
    end = behind;
  }
  // White space before something else leaves its last character to what follows.
  return kind == unicode::whitespace && end < text.size() && last > at ? last : end;
}

std::vector<std::string_view> gpt2_words(std::string_view text) {
  std::vector<std::string_view> words;
  for (size_t at = 0; at < text.size();) {
    const size_t end = gpt2_word_end(text, at);
    words.push_back(text.substr(at, end - at));
    at = end;
  }
  return words;
}

void for_each_bert_word(std::string_view text, const std::function<void(std::string_view)>& use) {
  std::string word, pending, folded;
  const auto finish = [&] {
    if (!word.empty()) use(word);
    word.clear();
  };
  const auto take = [&](char32_t code, std::string_view bytes) {
    if (stands_alone(code)) {
      finish();
      use(bytes);
    } else if (character_classes(code) & unicode::whitespace) {
      finish();
    } else {
      word += bytes;
    }
  };
  // Characters beyond ASCII are decomposed together, because marks are put in order across them.
  const auto fold = [&] {
    if (pending.empty()) return;
    folded.clear();
    append_folded(pending, folded);
    pending.clear();
    for (size_t at = 0; at < folded.size();) {
      const size_t start = at;
      const char32_t code = next_character(folded, at);
      take(code, std::string_view(folded).substr(start, at - start));
    }
  };
  for (size_t at = 0; at < text.size();) {
    const size_t start = at;
    const char32_t code = next_character(text, at);
    const uint8_t bits = character_classes(code);
    if ((bits & unicode::whitespace) || code == '\t' || code == '\n' || code == '\r') {
      // U+000B, U+000C, U+001C … U+001F, U+0085 are controls before they are white space.
      if ((bits & unicode::control) && code != '\t' && code != '\n' && code != '\r') continue;
      fold();
      finish();
    } else if ((bits & unicode::control) || code == 0xfffd) {
      continue;
    } else if (code < 0x80) {
      fold();
      const char lower = code >= 'A' && code <= 'Z' ? static_cast<char>(code + 32) : static_cast<char>(code);
      take(static_cast<char32_t>(lower), {&lower, 1});
    } else if (is_cjk(code)) {
      fold();
      finish();
      pending.append(text, start, at - start);
      fold();
      finish();
    } else {
      pending.append(text, start, at - start);
    }
  }
  fold();
  finish();
}

std::vector<std::string> bert_words(std::string_view text) {
  std::vector<std::string> words;
  for_each_bert_word(text, [&](std::string_view word) { words.emplace_back(word); });
  return words;
}

size_t safe_cut(std::string_view text, size_t from) {
  const auto blank_at = [&](size_t at) {
    return (character_classes(next_character(text, at)) & unicode::whitespace) != 0;
  };
  for (size_t at = std::max<size_t>(from, 1); at + 1 < text.size(); ++at) {
    if (text[at] != ' ' && text[at] != '\n') continue;
    size_t before = at - 1;
    while (before > 0 && (text[before] & 0xc0) == 0x80) --before;
    if (!blank_at(before) && !blank_at(at + 1)) return at;
  }
  return text.size();
}

}  // namespace monarch::data
