#pragma once
// Text to tokens and back: GPT-2's byte-level BPE and BERT's uncased WordPiece.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace monarch::data {

using TokenIds = std::vector<int32_t>;
class WordCache;

/// What "<|endoftext|>" or "[MASK]" in a text is: characters like others, so that no text can make a special token
/// (training data), or that token (prompts, cloze tests).
enum class SpecialTokens { as_text, recognised };

/// A vocabulary with its algorithm. Immutable; several threads may encode at once, each with a cache of words of 2 MiB
/// that later calls use again.
class Tokenizer {
 public:
  virtual ~Tokenizer();
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  /// "gpt2" or "bert".
  virtual std::string_view kind() const = 0;
  /// Number of tokens: ids are 0 … size() − 1.
  int64_t size() const { return static_cast<int64_t>(tokens_.size()); }
  /// A token as the vocabulary has it; of gpt2 its bytes, which need not be UTF-8. Throws DataError for other ids.
  std::string_view token(int64_t id) const;
  std::optional<int32_t> find(std::string_view token) const;
  /// <|endoftext|>, or [PAD], [UNK], [CLS], [SEP] and [MASK], as far as the vocabulary has them.
  const std::vector<int32_t>& special() const { return special_; }
  /// What stands behind each document of a token file: <|endoftext|> or [SEP].
  std::optional<int32_t> separator() const { return separator_; }

  /// Appends the tokens of a text; no special token is added to it. About linear in the length. Throws DataError for
  /// invalid UTF-8, with the offset of the byte.
  void encode(std::string_view text, TokenIds& ids, SpecialTokens special = SpecialTokens::as_text) const;
  TokenIds encode(std::string_view text, SpecialTokens special = SpecialTokens::as_text) const;
  /// Several texts, on LibTorch's threads.
  std::vector<TokenIds> encode_batch(std::span<const std::string_view> texts,
                                     SpecialTokens special = SpecialTokens::as_text) const;

  /// gpt2: the bytes of the tokens, so that decode(encode(x)) = x; tokens cut within a character give invalid UTF-8.
  /// bert: tokens with spaces between, "##" continuations joined; case, accents and spacing are gone. Special tokens
  /// are written out. Throws DataError for an id that the vocabulary lacks, naming its place.
  virtual std::string decode(std::span<const int32_t> ids) const = 0;

 protected:
  /// Tokens in the order of ids, all different. The names of special tokens that are among them become special.
  Tokenizer(std::vector<std::string> tokens, std::span<const std::string_view> special, std::string_view separator);
  virtual void encode_plain(std::string_view text, TokenIds& ids, WordCache& cache) const = 0;
  std::string_view token_at(std::span<const int32_t> ids, size_t place) const;

 private:
  std::vector<std::string> tokens_;
  std::unordered_map<std::string_view, int32_t> ids_;
  std::vector<int32_t> special_;
  std::optional<int32_t> separator_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<WordCache>> idle_;  // caches that no thread uses now
};

/// Where a part of a vocabulary comes from, for messages.
struct VocabularyText {
  std::string_view text;
  std::string name;
};

/// Byte-level BPE from GPT-2's files: `vocabulary`, a JSON object of token to id (ids 0 … n − 1, all 256 bytes among
/// the tokens; bytes are written as printable characters), and `merges`, a line "#version…" and then a pair of tokens a
/// line, in order of rank. Throws DataError: naming file, line or token.
std::shared_ptr<const Tokenizer> parse_gpt2(const VocabularyText& vocabulary, const VocabularyText& merges);

/// WordPiece from BERT's vocab.txt: a token a line, whose id is the number of its line from 0; [UNK] must be among
/// them. Words of more than 100 characters, and those that the tokens do not spell, become [UNK]. Throws DataError.
std::shared_ptr<const Tokenizer> parse_bert(const VocabularyText& vocabulary);

/// Either of them from `tokenizer.json` of HuggingFace's tokenizers, where it describes just that: GPT-2's or BERT's
/// normaliser and pre-tokeniser, nothing else. Throws DataError naming the part that differs.
std::shared_ptr<const Tokenizer> parse_tokenizer_json(const VocabularyText& json);

/// The files of a folder that load_tokenizer reads: gpt2: encoder.json or vocab.json, and vocab.bpe or merges.txt;
/// bert: vocab.txt; else tokenizer.json. Throws DataError naming what is missing, ConfigError for another kind.
std::vector<std::filesystem::path> vocabulary_files(std::string_view kind, const std::filesystem::path& folder);
std::shared_ptr<const Tokenizer> load_tokenizer(std::string_view kind, const std::filesystem::path& folder);
/// From just these files, as vocabulary_files gives them.
std::shared_ptr<const Tokenizer> load_tokenizer(std::string_view kind, const std::vector<std::filesystem::path>& files);

}  // namespace monarch::data
