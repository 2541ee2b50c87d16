#include "monarch/experiments/document.hpp"

#include <fmt/format.h>

#include <fstream>
#include <sstream>

#include "monarch/core/error.hpp"
#include "monarch/core/provenance.hpp"
#include "monarch/core/text.hpp"

namespace fs = std::filesystem;

namespace monarch::experiments {
namespace {

template <class... F>
struct Match : F... {
  using F::operator()...;
};
template <class... F>
Match(F...) -> Match<F...>;

constexpr const char* kStyle = R"(
:root { --page:#f5f6f8; --card:#fff; --text:#1b1f24; --muted:#5c6670; --line:#d9dee4; --accent:#0b62c4 }
@media (prefers-color-scheme: dark) {
  :root { --page:#14171a; --card:#1e2226; --text:#e6e9ec; --muted:#9aa5b0; --line:#353b42; --accent:#6cb2ff } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1.5rem; max-width: 1100px; background: var(--page); color: var(--text);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif }
h1 { font-size: 1.6rem; margin: 0 0 .5rem } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem } h3 { font-size: 1rem }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 8px }
table { border-collapse: collapse; width: 100% }
th, td { padding: .35rem .7rem; border-top: 1px solid var(--line); text-align: left; vertical-align: top }
thead th { border-top: 0; color: var(--muted); font-weight: 600 }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
figure { margin: 1rem 0; padding: .6rem; background: #fff; border: 1px solid var(--line); border-radius: 8px }
figure img { max-width: 100%; display: block; margin: auto } figcaption { color: #5c6670; font-size: .87rem }
pre, code { font: .87rem ui-monospace, monospace; background: var(--card) }
pre { border: 1px solid var(--line); border-radius: 8px; padding: .7rem; overflow-x: auto }
)";

/// Escaped text with **bold**, *italic* and `code` as elements.
std::string inline_html(const std::string& text) {
  std::string out = html_escape(text);
  const auto replace_pairs = [&](const std::string& mark, const std::string& tag) {
    size_t at = 0;
    while ((at = out.find(mark, at)) != std::string::npos) {
      const size_t end = out.find(mark, at + mark.size());
      if (end == std::string::npos) break;
      const std::string inside = out.substr(at + mark.size(), end - at - mark.size());
      const std::string element = fmt::format("<{0}>{1}</{0}>", tag, inside);
      out.replace(at, end + mark.size() - at, element);
      at += element.size();
    }
  };
  replace_pairs("`", "code");
  replace_pairs("**", "strong");
  replace_pairs("*", "em");
  return out;
}

std::string embedded(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  check<DataError>(stream.good(), [&] { return fmt::format("{}: picture cannot be read", file.string()); });
  std::ostringstream bytes;
  bytes << stream.rdbuf();
  const std::string extension = file.extension();
  const char* type = extension == ".svg" ? "image/svg+xml" : extension == ".gif" ? "image/gif" : "image/png";
  return fmt::format("data:{};base64,{}", type, base64(bytes.str()));
}

}  // namespace

std::string markdown(const Document& document, const fs::path& folder) {
  std::string out = "# " + document.title + "\n";
  const auto row_text = [](const std::vector<std::string>& cells) {
    std::string line = "|";
    for (const auto& cell : cells) line += " " + cell + " |";
    return line + "\n";
  };
  for (const Block& block : document.blocks) {
    out += "\n";
    std::visit(Match{[&](const Heading& h) { out += std::string(h.level, '#') + " " + h.text + "\n"; },
                     [&](const Paragraph& p) { out += p.text + "\n"; },
                     [&](const Bullets& b) {
                       for (const auto& item : b.items) out += "- " + item + "\n";
                     },
                     [&](const Table& t) {
                       out += row_text(t.header) + "|";
                       for (size_t i = 0; i < t.header.size(); ++i) out += i < t.text_columns ? " --- |" : " ---: |";
                       out += "\n";
                       for (const auto& row : t.rows) out += row_text(row);
                     },
                     [&](const Picture& p) {
                       out += fmt::format("![{}]({})\n", p.caption, fs::proximate(p.file, folder).generic_string());
                     },
                     [&](const Code& c) { out += "```\n" + c.text + "\n```\n"; }},
               block);
  }
  return out;
}

std::string html(const Document& document) {
  std::string out = fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src "
      "'unsafe-inline'\"><title>{0}</title><style>{1}</style></head><body><h1>{0}</h1>\n",
      html_escape(document.title), kStyle);
  for (const Block& block : document.blocks) {
    std::visit(Match{[&](const Heading& h) { out += fmt::format("<h{0}>{1}</h{0}>\n", h.level, inline_html(h.text)); },
                     [&](const Paragraph& p) { out += "<p>" + inline_html(p.text) + "</p>\n"; },
                     [&](const Bullets& b) {
                       out += "<ul>";
                       for (const auto& item : b.items) out += "<li>" + inline_html(item) + "</li>";
                       out += "</ul>\n";
                     },
                     [&](const Table& t) {
                       const auto cells = [&](const std::vector<std::string>& row, const char* tag) {
                         out += "<tr>";
                         for (size_t i = 0; i < row.size(); ++i)
                           out += fmt::format("<{0}{1}>{2}</{0}>", tag, i < t.text_columns ? "" : " class=\"n\"",
                                              inline_html(row[i]));
                         out += "</tr>";
                       };
                       out += "<div class=\"scroll\"><table><thead>";
                       cells(t.header, "th");
                       out += "</thead><tbody>";
                       for (const auto& row : t.rows) cells(row, "td");
                       out += "</tbody></table></div>\n";
                     },
                     [&](const Picture& p) {
                       out +=
                           fmt::format("<figure><img alt=\"{0}\" src=\"{1}\"><figcaption>{0}</figcaption></figure>\n",
                                       html_escape(p.caption), embedded(p.file));
                     },
                     [&](const Code& c) { out += "<pre>" + html_escape(c.text) + "</pre>\n"; }},
               block);
  }
  return out + "</body></html>\n";
}

}  // namespace monarch::experiments
