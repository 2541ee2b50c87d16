#include "monarch/data/text/documents.hpp"

#include <fmt/format.h>

#include <array>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace monarch::data {
namespace {

constexpr std::array<const char*, 4> kinds = {"file", "line", "paragraph", "wikitext"};

/// The line at `at`, with its end.
std::string_view line_at(std::string_view text, size_t at) {
  const size_t end = text.find('\n', at);
  return text.substr(at, end == std::string_view::npos ? end : end + 1 - at);
}

std::string_view trimmed(std::string_view line) {
  const size_t first = line.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return line.substr(first, line.find_last_not_of(" \t\r\n") - first + 1);
}

/// "= Title =", but not "= = Section = =".
bool is_title(std::string_view line) {
  line = trimmed(line);
  return line.size() > 4 && line.starts_with("= ") && line.ends_with(" =") && !line.starts_with("= =") &&
         !line.ends_with("= =");
}

}  // namespace

DocumentKind parse_document_kind(const std::string& word) {
  for (size_t i = 0; i < kinds.size(); ++i)
    if (word == kinds[i]) return static_cast<DocumentKind>(i);
  fail<ConfigError>(fmt::format("documents '{}' are unknown, expected {}", word,
                                join_or(std::vector<std::string>(kinds.begin(), kinds.end()))));
}

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

std::string_view next_document(std::string_view text, size_t& at, DocumentKind kind) {
  const size_t start = at;
  if (kind == DocumentKind::file) {
    at = text.size();
  } else {
    at += line_at(text, at).size();
    bool blank = kind == DocumentKind::paragraph && is_blank(text.substr(start, at - start));
    bool seen = !blank;  // a paragraph needs a line with characters before a blank one ends it
    while (kind != DocumentKind::line && at < text.size()) {
      const std::string_view line = line_at(text, at);
      if (kind == DocumentKind::wikitext) {
        if (is_title(line)) break;
      } else {
        const bool now = is_blank(line);
        if (seen && blank && !now) break;
        blank = now;
        seen = seen || !now;
      }
      at += line.size();
    }
  }
  return text.substr(start, at - start);
}

}  // namespace monarch::data
