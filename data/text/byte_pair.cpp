// GPT-2's byte-level byte-pair encoding (Sennrich et al. 2016; Radford et al. 2019).

#include <fmt/format.h>

#include <array>
#include <limits>
#include <queue>

#include "monarch/core/error.hpp"
#include "monarch/data/text/unicode.hpp"
#include "monarch/data/text/vocabulary.hpp"
#include "monarch/data/text/word_cache.hpp"
#include "monarch/data/text/words.hpp"

namespace monarch::data {
namespace {

constexpr int32_t none = -1;

struct Merge {
  int32_t rank = std::numeric_limits<int32_t>::max();  ///< the largest: no such merge
  int32_t id = none;
};

/// Pairs of tokens to their merge, by open addressing.
class MergeTable {
 public:
  explicit MergeTable(size_t count) {
    while ((size_t{1} << bits_) < 2 * count + 2) ++bits_;
    slots_.resize(size_t{1} << bits_);
  }
  /// False where the pair is there already.
  bool add(int32_t left, int32_t right, Merge merge) {
    Slot& slot = slots_[place(key(left, right))];
    if (slot.merge.id != none) return false;
    slot = {key(left, right), merge};
    return true;
  }
  Merge find(int32_t left, int32_t right) const { return slots_[place(key(left, right))].merge; }

 private:
  struct Slot {
    uint64_t key = 0;
    Merge merge;
  };
  static uint64_t key(int32_t left, int32_t right) {
    return static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
  }
  size_t place(uint64_t key) const {
    size_t at = (key * 0x9e3779b97f4a7c15u) >> (64 - bits_);
    while (slots_[at].merge.id != none && slots_[at].key != key) at = (at + 1) & (slots_.size() - 1);
    return at;
  }
  int bits_ = 4;
  std::vector<Slot> slots_;
};

constexpr std::string_view end_of_text[] = {"<|endoftext|>"};

class BytePairTokenizer final : public Tokenizer {
 public:
  BytePairTokenizer(std::vector<std::string> tokens, const std::vector<MergeRule>& merges, const std::string& name,
                    const std::string& merges_name)
      : Tokenizer(std::move(tokens), end_of_text, end_of_text[0]), merges_(merges.size()) {
    for (int byte = 0; byte < 256; ++byte) {
      const auto character = static_cast<char>(byte);
      const auto id = find({&character, 1});
      check<DataError>(
          id.has_value(),
          [&] {
            return fmt::format("{}: no token for the byte {:#04x}, so that not every text can be encoded", name, byte);
          },
          "byte-level vocabularies hold all 256 bytes");
      bytes_[static_cast<size_t>(byte)] = *id;
    }
    for (size_t i = 0; i < merges.size(); ++i) {
      const auto& [left, right, line] = merges[i];
      const auto known = [&](const std::string& token, const char* what) {
        const auto id = find(token);
        check<DataError>(
            id.has_value(),
            [&] {
              return fmt::format("{}:{}: {} '{}' is no token of {}", merges_name, line, what, printable(token), name);
            },
            "the two files must belong together");
        return *id;
      };
      const int32_t l = known(left, "left half"), r = known(right, "right half"), both = known(left + right, "merge");
      check<DataError>(merges_.add(l, r, {static_cast<int32_t>(i), both}), [&] {
        return fmt::format("{}:{}: the merge of '{}' and '{}' is there twice", merges_name, line, printable(left),
                           printable(right));
      });
    }
  }

  std::string_view kind() const override { return "gpt2"; }

  std::string decode(std::span<const int32_t> ids) const override {
    std::string text;
    for (size_t i = 0; i < ids.size(); ++i) text += token_at(ids, i);
    return text;
  }

 protected:
  void encode_plain(std::string_view text, TokenIds& ids, WordCache& cache) const override {
    for (size_t at = 0; at < text.size();) {
      const size_t end = gpt2_word_end(text, at);
      cache.append(text.substr(at, end - at), ids, [this](std::string_view word, TokenIds& out) {
        if (word.size() <= most_scanned)
          scan(word, out);
        else
          merge_by_queue(word, out);
      });
      at = end;
    }
  }

 private:
  static constexpr size_t most_scanned = 32;

  int32_t byte_id(char byte) const { return bytes_[static_cast<unsigned char>(byte)]; }

  /// The leftmost pair of least rank is merged until none is left; a scan for each, which short words make cheap.
  void scan(std::string_view word, TokenIds& out) const {
    std::array<int32_t, most_scanned> symbols;
    std::array<Merge, most_scanned> pairs;  // of symbol i with the next
    size_t count = word.size();
    for (size_t i = 0; i < count; ++i) symbols[i] = byte_id(word[i]);
    for (size_t i = 0; i + 1 < count; ++i) pairs[i] = merges_.find(symbols[i], symbols[i + 1]);
    while (count > 1) {
      size_t best = 0;
      for (size_t i = 1; i + 1 < count; ++i)
        if (pairs[i].rank < pairs[best].rank) best = i;
      if (pairs[best].id == none) break;
      symbols[best] = pairs[best].id;
      --count;
      for (size_t i = best + 1; i < count; ++i) symbols[i] = symbols[i + 1];
      for (size_t i = best + 1; i + 1 < count; ++i) pairs[i] = pairs[i + 1];
      if (best > 0) pairs[best - 1] = merges_.find(symbols[best - 1], symbols[best]);
      if (best + 1 < count) pairs[best] = merges_.find(symbols[best], symbols[best + 1]);
    }
    out.insert(out.end(), symbols.begin(), symbols.begin() + static_cast<std::ptrdiff_t>(count));
  }

  /// The same by a queue of pairs over a linked list: O(n log n), for words of any length.
  void merge_by_queue(std::string_view word, TokenIds& out) const {
    struct Symbol {
      int32_t id, before, behind;
    };
    struct Candidate {
      Merge merge;
      int32_t at;
      bool operator<(const Candidate& other) const {  // the queue gives the largest first
        return merge.rank != other.merge.rank ? merge.rank > other.merge.rank : at > other.at;
      }
    };
    const auto count = static_cast<int32_t>(word.size());
    std::vector<Symbol> symbols(word.size());
    for (int32_t i = 0; i < count; ++i)
      symbols[static_cast<size_t>(i)] = {byte_id(word[static_cast<size_t>(i)]), i - 1, i + 1 < count ? i + 1 : none};
    const auto symbol = [&](int32_t i) -> Symbol& { return symbols[static_cast<size_t>(i)]; };
    std::priority_queue<Candidate> queue;
    const auto pair_at = [&](int32_t i) {
      return symbol(i).id == none || symbol(i).behind == none ? Merge{}
                                                              : merges_.find(symbol(i).id, symbol(symbol(i).behind).id);
    };
    const auto offer = [&](int32_t i) {
      if (const Merge merge = pair_at(i); merge.id != none) queue.push({merge, i});
    };
    for (int32_t i = 0; i + 1 < count; ++i) offer(i);
    while (!queue.empty()) {
      const Candidate best = queue.top();
      queue.pop();
      if (pair_at(best.at).rank != best.merge.rank) continue;  // one of the two has been merged since
      Symbol& left = symbol(best.at);
      Symbol& right = symbol(left.behind);
      left.id = best.merge.id;
      left.behind = right.behind;
      right.id = none;
      if (left.behind != none) symbol(left.behind).before = best.at;
      if (left.before != none) offer(left.before);
      offer(best.at);
    }
    for (int32_t i = 0; i != none; i = symbol(i).behind) out.push_back(symbol(i).id);
  }

  std::array<int32_t, 256> bytes_{};
  MergeTable merges_;
};

}  // namespace

std::shared_ptr<const Tokenizer> make_byte_pair(std::vector<std::string> tokens, const std::vector<MergeRule>& merges,
                                                const std::string& name, const std::string& merges_name) {
  return std::make_shared<BytePairTokenizer>(std::move(tokens), merges, name, merges_name);
}

}  // namespace monarch::data
