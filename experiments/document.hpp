#pragma once
// A page of headings, paragraphs, tables and pictures, written as Markdown and as one HTML file.

#include <filesystem>
#include <string>
#include <variant>
#include <vector>

namespace monarch::experiments {

/// Text may hold **bold**, *italic* and `code`.
struct Heading {
  int level = 2;
  std::string text;
};
struct Paragraph {
  std::string text;
};
struct Bullets {
  std::vector<std::string> items;
};
struct Table {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
  size_t text_columns = 1;  ///< leading columns that are text; the others are numbers, set to the right
};
/// A file beside the page: SVG, PNG or GIF.
struct Picture {
  std::filesystem::path file;
  std::string caption;
};
struct Code {
  std::string text;
};

using Block = std::variant<Heading, Paragraph, Bullets, Table, Picture, Code>;

struct Document {
  std::string title;
  std::vector<Block> blocks;
  template <class B>
  void add(B block) {
    blocks.emplace_back(std::move(block));
  }
};

/// Markdown; pictures are links relative to `folder`.
std::string markdown(const Document& document, const std::filesystem::path& folder);
/// One page that needs nothing else: pictures are inside it. Throws DataError where a picture cannot be read.
std::string html(const Document& document);

}  // namespace monarch::experiments
