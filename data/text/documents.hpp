#pragma once
// Text files as documents.

#include <string>
#include <string_view>
#include <vector>

namespace monarch::data {

/// What a document is: the whole file; each line, with its line end; what blank lines separate; or an article of
/// WikiText, which a heading of the first level (" = Title = ") begins.
enum class DocumentKind { file, line, paragraph, wikitext };

/// "file", "line", "paragraph", "wikitext". Throws ConfigError for another word.
DocumentKind parse_document_kind(const std::string& word);

/// The document that starts at `text[at]`, with `at` moved behind it (at < text.size()). Every byte of the text is in
/// one document, blank lines between paragraphs at the end of the one before.
std::string_view next_document(std::string_view text, size_t& at, DocumentKind kind);

/// True where a text has no character but spaces, tabs and line ends.
bool is_blank(std::string_view text);

}  // namespace monarch::data
