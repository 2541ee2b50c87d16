#include "monarch/data/text/tokenizer.hpp"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>

#include "monarch/core/error.hpp"
#include "monarch/data/text/unicode.hpp"
#include "monarch/data/text/word_cache.hpp"

namespace monarch::data {

Tokenizer::Tokenizer(std::vector<std::string> tokens, std::span<const std::string_view> special,
                     std::string_view separator)
    : tokens_(std::move(tokens)) {
  ids_.reserve(tokens_.size());
  for (size_t id = 0; id < tokens_.size(); ++id) ids_.emplace(tokens_[id], static_cast<int32_t>(id));
  for (const auto name : special)
    if (const auto id = find(name)) special_.push_back(*id);
  separator_ = find(separator);
}

Tokenizer::~Tokenizer() = default;

std::string_view Tokenizer::token(int64_t id) const {
  check<DataError>(id >= 0 && id < size(), [&] {
    return fmt::format("token {} is not in the vocabulary of {}, which has 0 … {}", id, kind(), size() - 1);
  });
  return tokens_[static_cast<size_t>(id)];
}

std::optional<int32_t> Tokenizer::find(std::string_view token) const {
  const auto found = ids_.find(token);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

std::string_view Tokenizer::token_at(std::span<const int32_t> ids, size_t place) const {
  check<DataError>(
      ids[place] >= 0 && ids[place] < size(),
      [&] {
        return fmt::format("token {} at place {} is not in the vocabulary of {}, which has 0 … {}", ids[place], place,
                           kind(), size() - 1);
      },
      "decode with the vocabulary that the tokens were made with");
  return tokens_[static_cast<size_t>(ids[place])];
}

void Tokenizer::encode(std::string_view text, TokenIds& ids, SpecialTokens special) const {
  const size_t bad = find_invalid_utf8(text);
  check<DataError>(
      bad == std::string_view::npos,
      [&] {
        return fmt::format("text is not valid UTF-8: byte {:#04x} at offset {}", static_cast<unsigned char>(text[bad]),
                           bad);
      },
      "convert it (iconv -t UTF-8), or replace what is invalid (--replace-invalid)");
  check<DataError>(
      text.size() < (size_t{1} << 31),
      [&] { return fmt::format("text of {} bytes, expected less than 2^31 at once", text.size()); },
      "encode it in parts");
  std::unique_ptr<WordCache> cache;
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      cache = std::move(idle_.back());
      idle_.pop_back();
    }
  }
  if (!cache) cache = std::make_unique<WordCache>();
  if (special == SpecialTokens::as_text) {
    encode_plain(text, ids, *cache);
  } else {
    std::vector<size_t> next(special_.size(), 0);  // where each occurs next; npos: nowhere
    for (size_t at = 0; at < text.size() || at == 0;) {
      size_t first = std::string_view::npos, which = 0;
      for (size_t i = 0; i < special_.size(); ++i) {
        const std::string& name = tokens_[static_cast<size_t>(special_[i])];
        if (next[i] != std::string_view::npos && (next[i] < at || at == 0)) next[i] = text.find(name, at);
        const bool longer = next[i] == first && first != std::string_view::npos &&
                            name.size() > tokens_[static_cast<size_t>(special_[which])].size();
        if (next[i] < first || longer) {
          first = next[i];
          which = i;
        }
      }
      const size_t end = std::min(first, text.size());
      encode_plain(text.substr(at, end - at), ids, *cache);
      if (first == std::string_view::npos) break;
      ids.push_back(special_[which]);
      at = end + tokens_[static_cast<size_t>(special_[which])].size();
    }
  }
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(cache));
}

TokenIds Tokenizer::encode(std::string_view text, SpecialTokens special) const {
  TokenIds ids;
  encode(text, ids, special);
  return ids;
}

std::vector<TokenIds> Tokenizer::encode_batch(std::span<const std::string_view> texts, SpecialTokens special) const {
  std::vector<TokenIds> all(texts.size());
  at::parallel_for(0, static_cast<int64_t>(texts.size()), 1, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) encode(texts[i], all[i], special);
  });
  return all;
}

}  // namespace monarch::data
