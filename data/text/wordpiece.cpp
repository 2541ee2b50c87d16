// BERT's WordPiece (Devlin et al. 2019): the longest token that a word starts with, and so on behind it.

#include <fmt/format.h>

#include <algorithm>

#include "monarch/core/error.hpp"
#include "monarch/data/text/unicode.hpp"
#include "monarch/data/text/vocabulary.hpp"
#include "monarch/data/text/word_cache.hpp"
#include "monarch/data/text/words.hpp"

namespace monarch::data {
namespace {

constexpr std::string_view special_names[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
constexpr std::string_view continuation = "##";
constexpr int64_t longest_word = 100;  // characters

class WordPieceTokenizer final : public Tokenizer {
 public:
  WordPieceTokenizer(std::vector<std::string> tokens, const std::string& name)
      : Tokenizer(std::move(tokens), special_names, "[SEP]") {
    const auto unknown = find("[UNK]");
    check<DataError>(
        unknown.has_value(), [&] { return fmt::format("{}: no token [UNK]", name); },
        "expected BERT's vocab.txt, a token a line");
    unknown_ = *unknown;
    for (int32_t id = 0; id < size(); ++id) {
      std::string_view text = token(id);
      const bool behind = text.starts_with(continuation);
      if (behind) text.remove_prefix(continuation.size());
      (behind ? later_ : first_).emplace(text, id);
      longest_ = std::max(longest_, text.size());
    }
  }

  std::string_view kind() const override { return "bert"; }

  std::string decode(std::span<const int32_t> ids) const override {
    std::string text;
    for (size_t i = 0; i < ids.size(); ++i) {
      const std::string_view token = token_at(ids, i);
      if (i > 0 && token.starts_with(continuation)) {
        text += token.substr(continuation.size());
      } else {
        if (i > 0) text += ' ';
        text += token;
      }
    }
    return text;
  }

 protected:
  void encode_plain(std::string_view text, TokenIds& ids, WordCache& cache) const override {
    for_each_bert_word(text, [&](std::string_view word) {
      cache.append(word, ids, [this](std::string_view w, TokenIds& out) { pieces(w, out); });
    });
  }

 private:
  void pieces(std::string_view word, TokenIds& out) const {
    const size_t before = out.size();
    int64_t characters = 0;
    for (const char c : word) characters += (c & 0xc0) != 0x80;
    for (size_t at = 0; at < word.size() && characters <= longest_word;) {
      size_t end = std::min(word.size(), at + longest_);
      const auto& tokens = at == 0 ? first_ : later_;
      auto found = tokens.end();
      for (; end > at; --end) {
        if (end < word.size() && (word[end] & 0xc0) == 0x80) continue;  // within a character
        found = tokens.find(word.substr(at, end - at));
        if (found != tokens.end()) break;
      }
      if (found == tokens.end()) {
        characters = longest_word + 1;
        break;
      }
      out.push_back(found->second);
      at = end;
    }
    if (characters <= longest_word) return;
    out.resize(before);
    out.push_back(unknown_);
  }

  int32_t unknown_ = 0;
  size_t longest_ = 0;
  std::unordered_map<std::string_view, int32_t> first_, later_;
};

}  // namespace

std::shared_ptr<const Tokenizer> make_wordpiece(std::vector<std::string> tokens, const std::string& name) {
  return std::make_shared<WordPieceTokenizer>(std::move(tokens), name);
}

}  // namespace monarch::data
