#pragma once
// Small pieces of text that messages and reports share.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace monarch {

/// "[2, 256, 256]".
std::string shape_text(std::span<const int64_t> shape);

/// "1.5 GiB", "312 KiB", "17 B".
std::string bytes_text(double bytes);

/// "6,558,537".
std::string thousands(int64_t number);

/// "2.3 s", "41 ms", "1 h 03 min".
std::string duration_text(double seconds);

/// The candidate with the smallest edit distance, or "" when none is near (more than half of it would change).
std::string closest_match(std::string_view word, const std::vector<std::string>& candidates);

/// True for well-formed UTF-8 (no overlong forms, no surrogates).
bool is_utf8(std::string_view text);

/// Text as HTML or XML, safe inside elements and quoted attributes.
std::string html_escape(std::string_view text);

/// Bytes in base64, without line breaks.
std::string base64(std::string_view bytes);

/// A list for people: "a, b or c".
std::string join_or(const std::vector<std::string>& words);

}  // namespace monarch
