#include "monarch/data/text/unicode.hpp"

#include <unicode/uchar.h>
#include <unicode/unorm2.h>
#include <unicode/ustring.h>
#include <unicode/utf16.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "monarch/core/error.hpp"

namespace monarch::data {
namespace {

constexpr char32_t table_end = 0x10000;

uint8_t classify(char32_t code) {
  const auto c = static_cast<UChar32>(code);
  const uint32_t category = U_MASK(u_charType(c));
  uint8_t bits = 0;
  if (category & U_GC_L_MASK) bits |= unicode::letter;
  if (category & U_GC_N_MASK) bits |= unicode::number;
  if (category & U_GC_P_MASK) bits |= unicode::punctuation;
  if (category & U_GC_MN_MASK) bits |= unicode::mark;
  if (category & (U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CO_MASK | U_GC_CS_MASK)) bits |= unicode::control;
  if (u_isUWhiteSpace(c)) bits |= unicode::whitespace;
  return bits;
}

/// Length of the character at the start of `s`, or minus the length of an ill-formed part.
int sequence(const unsigned char* s, size_t left) {
  const unsigned first = s[0];
  if (first < 0x80) return 1;
  int more = 0;
  unsigned low = 0x80, high = 0xbf;
  if (first >= 0xc2 && first <= 0xdf) {
    more = 1;
  } else if (first >= 0xe0 && first <= 0xef) {
    more = 2;
    if (first == 0xe0) low = 0xa0;
    if (first == 0xed) high = 0x9f;
  } else if (first >= 0xf0 && first <= 0xf4) {
    more = 3;
    if (first == 0xf0) low = 0x90;
    if (first == 0xf4) high = 0x8f;
  } else {
    return -1;
  }
  for (int i = 1; i <= more; ++i) {
    if (static_cast<size_t>(i) >= left || s[i] < low || s[i] > high) return -i;
    low = 0x80;
    high = 0xbf;
  }
  return more + 1;
}

}  // namespace

uint8_t character_classes(char32_t code) {
  static const std::vector<uint8_t> table = [] {
    std::vector<uint8_t> all(table_end);
    for (char32_t c = 0; c < table_end; ++c) all[c] = classify(c);
    return all;
  }();
  if (code < table_end) return table[code];
  return code <= 0x10ffff ? classify(code) : 0;
}

void append_utf8(char32_t code, std::string& out) {
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xc0 | code >> 6);
    out += static_cast<char>(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    out += static_cast<char>(0xe0 | code >> 12);
    out += static_cast<char>(0x80 | (code >> 6 & 0x3f));
    out += static_cast<char>(0x80 | (code & 0x3f));
  } else {
    out += static_cast<char>(0xf0 | code >> 18);
    out += static_cast<char>(0x80 | (code >> 12 & 0x3f));
    out += static_cast<char>(0x80 | (code >> 6 & 0x3f));
    out += static_cast<char>(0x80 | (code & 0x3f));
  }
}

void append_folded(std::string_view text, std::string& out) {
  std::u16string wide;
  for (size_t at = 0; at < text.size();) {
    const char32_t code = next_character(text, at);
    if (code >= 0x10000) wide += static_cast<char16_t>(U16_LEAD(code));
    wide += static_cast<char16_t>(code >= 0x10000 ? U16_TRAIL(code) : code);
  }
  UErrorCode status = U_ZERO_ERROR;
  static const UNormalizer2* const nfd = unorm2_getNFDInstance(&status);
  check<BackendError>(U_SUCCESS(status), "ICU's normalisation tables cannot be loaded", "reinstall libicu");
  std::u16string decomposed(wide.size() * 4, u'\0');  // no character of the table becomes more than four units
  const auto length = unorm2_normalize(nfd, wide.data(), static_cast<int32_t>(wide.size()), decomposed.data(),
                                       static_cast<int32_t>(decomposed.size()), &status);
  check<BackendError>(U_SUCCESS(status), [&] { return std::string("ICU's normalisation: ") + u_errorName(status); });
  for (int32_t at = 0; at < length;) {
    UChar32 code;
    U16_NEXT(decomposed.data(), at, length, code);
    if (character_classes(static_cast<char32_t>(code)) & unicode::mark) continue;
    append_utf8(static_cast<char32_t>(u_tolower(code)), out);
  }
}

size_t find_invalid_utf8(std::string_view text, size_t from) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
  for (size_t at = from; at < text.size();) {
    uint64_t eight;
    if (text.size() - at >= 8) {
      std::memcpy(&eight, bytes + at, 8);
      if ((eight & 0x8080808080808080u) == 0) {
        at += 8;
        continue;
      }
    }
    const int length = sequence(bytes + at, text.size() - at);
    if (length < 0) return at;
    at += static_cast<size_t>(length);
  }
  return std::string_view::npos;
}

std::string replace_invalid_utf8(std::string_view text, int64_t& replaced) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t bad = std::min(find_invalid_utf8(text, at), text.size());
    out.append(text, at, bad - at);
    at = bad;
    if (at == text.size()) break;
    at += static_cast<size_t>(-sequence(reinterpret_cast<const unsigned char*>(text.data()) + at, text.size() - at));
    out += "\xef\xbf\xbd";
    ++replaced;
  }
  return out;
}

}  // namespace monarch::data
