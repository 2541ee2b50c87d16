#include "monarch/data/text/small_vocabulary.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "monarch/core/error.hpp"
#include "monarch/data/text/unicode.hpp"

namespace monarch::data {
namespace {

using nlohmann::json;

constexpr std::string_view separator = "<|endoftext|>";
constexpr std::string_view merges_head = "#version: 0.2\n";
constexpr int64_t bytes = 256;

/// The JSON object of tokens and their ids, with the separator behind the others.
std::string numbered(const std::vector<std::string>& tokens) {
  std::string text = "{";
  for (size_t id = 0; id < tokens.size(); ++id) text += fmt::format("{}: {}, ", json(tokens[id]).dump(), id);
  return text + fmt::format("{}: {}}}\n", json(separator).dump(), tokens.size());
}

}  // namespace

Gpt2Vocabulary byte_vocabulary() {
  // Printable characters of Latin-1 stand for themselves and come first, the other bytes for U+0100 and on.
  std::vector<std::string> tokens;
  char32_t other = 0x100;
  std::vector<std::string> others;
  for (char32_t byte = 0; byte < bytes; ++byte) {
    const bool itself = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
    append_utf8(itself ? byte : other++, (itself ? tokens : others).emplace_back());
  }
  tokens.insert(tokens.end(), others.begin(), others.end());
  return {numbered(tokens), std::string(merges_head)};
}

Gpt2Vocabulary smaller_vocabulary(const VocabularyText& vocabulary, const VocabularyText& merges, int64_t size) {
  parse_gpt2(vocabulary, merges);  // from here on both are known to be well-formed
  check<ConfigError>(
      size > bytes, [&] { return fmt::format("a vocabulary of {} tokens, expected at least {}", size, bytes + 1); },
      "256 bytes and <|endoftext|> are in every byte-level vocabulary");
  const json all = json::parse(vocabulary.text);
  std::vector<std::pair<int64_t, std::string>> single;
  for (const auto& [token, id] : all.items()) {
    size_t at = 0;
    next_character(token, at);
    if (at == token.size()) single.emplace_back(id.get<int64_t>(), token);
  }
  std::sort(single.begin(), single.end());
  Gpt2Vocabulary result{{}, std::string(merges_head)};
  std::vector<std::string> tokens;
  std::set<std::string> known;
  for (auto& [id, token] : single) {
    known.insert(token);
    tokens.push_back(std::move(token));
  }
  for (size_t at = merges.text.starts_with("#version") ? merges.text.find('\n') + 1 : 0;
       at < merges.text.size() && static_cast<int64_t>(tokens.size()) < size - 1;) {
    const size_t end = std::min(merges.text.find('\n', at), merges.text.size());
    std::string_view line = merges.text.substr(at, end - at);
    at = end + 1;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    const size_t space = line.find(' ');
    std::string token(line.substr(0, space));
    token += line.substr(space + 1);
    result.merges += std::string(line) + '\n';
    if (known.insert(token).second) tokens.push_back(std::move(token));
  }
  check<ConfigError>(static_cast<int64_t>(tokens.size()) == size - 1, [&] {
    return fmt::format("{}: its merges make {} tokens, {} were asked for", merges.name, tokens.size() + 1, size);
  });
  result.vocabulary = numbered(tokens);
  return result;
}

std::string smaller_vocabulary(const VocabularyText& vocabulary, int64_t size) {
  const auto whole = parse_bert(vocabulary);
  int64_t least = 1;
  for (const int32_t id : whole->special()) least = std::max<int64_t>(least, id + 1);
  check<ConfigError>(size >= least && size <= whole->size(), [&] {
    return fmt::format("{}: a vocabulary of {} tokens, expected {} (all special ones) to {}", vocabulary.name, size, least,
                       whole->size());
  });
  std::string lines;
  for (int64_t id = 0; id < size; ++id) lines += std::string(whole->token(id)) + '\n';
  return lines;
}

}  // namespace monarch::data
