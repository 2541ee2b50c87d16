#pragma once
// Tokens of words seen before, in bounded memory.

#include <algorithm>
#include <cstring>
#include <functional>
#include <string_view>
#include <vector>

#include "monarch/data/text/tokenizer.hpp"

namespace monarch::data {

/// Direct-mapped: a word replaces the one in its slot. Words of up to 30 bytes and 8 tokens are kept.
class WordCache {
 public:
  /// Appends the tokens of `word`: those kept, or what `make(word, ids)` appends.
  template <class Make>
  void append(std::string_view word, TokenIds& ids, Make&& make) {
    if (word.empty() || word.size() > sizeof(Entry::word)) return make(word, ids);
    Entry& entry = entries_[std::hash<std::string_view>()(word) % slots];
    if (entry.bytes == word.size() && std::memcmp(entry.word, word.data(), word.size()) == 0) {
      ids.insert(ids.end(), entry.ids, entry.ids + entry.count);
      return;
    }
    const size_t before = ids.size();
    make(word, ids);
    const size_t count = ids.size() - before;
    if (count > std::size(entry.ids)) return;
    entry.bytes = static_cast<uint8_t>(word.size());
    entry.count = static_cast<uint8_t>(count);
    std::memcpy(entry.word, word.data(), word.size());
    std::copy_n(ids.begin() + static_cast<std::ptrdiff_t>(before), count, entry.ids);
  }

 private:
  struct Entry {
    uint8_t bytes = 0, count = 0;
    char word[30];
    int32_t ids[8];
  };
  static constexpr size_t slots = 1 << 15;
  std::vector<Entry> entries_ = std::vector<Entry>(slots);
};

}  // namespace monarch::data
