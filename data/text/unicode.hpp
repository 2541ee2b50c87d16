#pragma once
// UTF-8 and the character classes that tokenizers ask for.

#include <cstdint>
#include <string>
#include <string_view>

namespace monarch::data {

/// Classes of a code point by the Unicode Character Database (ICU's tables), as bits.
namespace unicode {
constexpr uint8_t letter = 1;       ///< general category L
constexpr uint8_t number = 2;       ///< general category N
constexpr uint8_t whitespace = 4;   ///< property White_Space
constexpr uint8_t punctuation = 8;  ///< general category P
constexpr uint8_t mark = 16;        ///< general category Mn
constexpr uint8_t control = 32;     ///< general categories Cc, Cf, Co and Cs; not Cn (unassigned)
}  // namespace unicode

/// Bits of a code point; 0 beyond U+10FFFF. A table look-up below U+10000.
uint8_t character_classes(char32_t code);

/// Canonical decomposition (NFD) of valid UTF-8, without marks (Mn), each character in lower case by its simple
/// mapping. Appends to `out`.
void append_folded(std::string_view text, std::string& out);

/// Appends a code point as UTF-8.
void append_utf8(char32_t code, std::string& out);

/// The code point at `text[at]`, with `at` moved behind it. The text must be valid UTF-8 and `at` a character's start.
inline char32_t next_character(std::string_view text, size_t& at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const char32_t first = byte(at++);
  if (first < 0x80) return first;
  if (first < 0xe0) return (first & 0x1f) << 6 | (byte(at++) & 0x3f);
  char32_t code = first < 0xf0 ? first & 0x0f : first & 0x07;
  for (int more = first < 0xf0 ? 2 : 3; more > 0; --more) code = code << 6 | (byte(at++) & 0x3f);
  return code;
}

/// Offset of the first byte that is no part of valid UTF-8 (overlong forms, surrogates and cut characters are not),
/// from `from` on; npos where all is valid.
size_t find_invalid_utf8(std::string_view text, size_t from = 0);

/// The text with U+FFFD for each ill-formed part: a maximal beginning of a character, or one byte (Unicode 15, section
/// 3.9, as Python's errors="replace"). Adds the number of parts to `replaced`.
std::string replace_invalid_utf8(std::string_view text, int64_t& replaced);

}  // namespace monarch::data
