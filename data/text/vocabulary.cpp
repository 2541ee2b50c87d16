// Readers of vocabulary files.
#include "monarch/data/text/vocabulary.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/input_file.hpp"
#include "monarch/data/text/unicode.hpp"

namespace monarch::data {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr uint64_t largest_file = uint64_t{256} << 20;
constexpr int64_t most_tokens = 1 << 24;

/// The character that stands for a byte in GPT-2's files: itself where it is printable in Latin-1, else U+0100 and on.
std::vector<int> bytes_of_characters() {
  std::vector<int> bytes(512, -1);
  int next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool itself = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
    bytes[static_cast<size_t>(itself ? byte : next++)] = byte;
  }
  return bytes;
}

/// Characters of a vocabulary to the bytes that they stand for.
std::string to_bytes(std::string_view text, const std::string& place) {
  static const std::vector<int> table = bytes_of_characters();
  std::string bytes;
  for (size_t at = 0; at < text.size();) {
    const char32_t code = next_character(text, at);
    check<DataError>(
        code < table.size() && table[code] >= 0,
        [&] {
          return fmt::format("{}: '{}' holds U+{:04X}, which stands for no byte", place, text,
                             static_cast<uint32_t>(code));
        },
        "expected a byte-level vocabulary, as GPT-2's");
    bytes += static_cast<char>(table[code]);
  }
  return bytes;
}

/// Tokens in order of ids from pairs (token, id).
class TokenList {
 public:
  explicit TokenList(std::string name) : name_(std::move(name)) {}

  void add(const std::string& token, const json& id) {
    check<DataError>(id.is_number_integer(), [&] {
      return fmt::format("{}: the id of '{}' is {}, expected a whole number", name_, token, id.type_name());
    });
    const auto number = id.is_number_unsigned() && id.get<uint64_t>() > most_tokens ? most_tokens : id.get<int64_t>();
    check<DataError>(number >= 0 && number < most_tokens, [&] {
      return fmt::format("{}: the id of '{}' is {}, expected 0 … {}", name_, token, id.dump(), most_tokens - 1);
    });
    check<DataError>(!token.empty(), [&] { return fmt::format("{}: token {} is empty", name_, number); });
    const auto [old, fresh] = names_.emplace(number, token);
    check<DataError>(
        fresh, [&] { return fmt::format("{}: '{}' and '{}' have the same id {}", name_, old->second, token, number); });
    check<DataError>(ids_.emplace(token, number).second,
                     [&] { return fmt::format("{}: token '{}' is there twice", name_, token); });
  }
  bool has(const std::string& token, int64_t id) const {
    const auto found = ids_.find(token);
    return found != ids_.end() && found->second == id;
  }

  std::vector<std::string> take(bool byte_level) const {
    check<DataError>(!names_.empty(), [&] { return fmt::format("{}: holds no token", name_); });
    std::vector<std::string> tokens;
    for (size_t id = 0; id < names_.size(); ++id) {
      const auto found = names_.find(static_cast<int64_t>(id));
      check<DataError>(
          found != names_.end(),
          [&] { return fmt::format("{}: no token has id {}, of {} tokens", name_, id, names_.size()); },
          "ids must be 0, 1, 2 … without a hole");
      tokens.push_back(byte_level ? to_bytes(found->second, name_) : found->second);
    }
    return tokens;
  }

 private:
  std::string name_;
  std::unordered_map<int64_t, std::string> names_;
  std::unordered_map<std::string, int64_t> ids_;
};

[[noreturn]] void bad_json(const std::string& name, const json::exception& error) {
  fail<DataError>(fmt::format("{}: malformed JSON: {}", name, error.what()), "copy or download it again");
}

/// A merge of two tokens as they are written: "Ġ t".
MergeRule parse_merge(std::string_view line, int64_t number, const std::string& name) {
  const size_t space = line.find(' ');
  check<DataError>(
      space != std::string_view::npos && space > 0 && space + 1 < line.size() &&
          line.find(' ', space + 1) == std::string_view::npos,
      [&] { return fmt::format("{}:{}: '{}', expected two tokens with a space between", name, number, line); });
  const std::string place = fmt::format("{}:{}", name, number);
  return {to_bytes(line.substr(0, space), place), to_bytes(line.substr(space + 1), place), number};
}

/// Calls use(line, number from 1) for each line, without its end.
template <class Use>
void for_each_line(const VocabularyText& file, Use&& use) {
  const size_t bad = find_invalid_utf8(file.text);
  check<DataError>(bad == std::string_view::npos,
                   [&] { return fmt::format("{}: is not valid UTF-8 at byte {}", file.name, bad); });
  int64_t number = 0;
  for (size_t at = 0; at < file.text.size();) {
    const size_t end = std::min(file.text.find('\n', at), file.text.size());
    std::string_view line = file.text.substr(at, end - at);
    if (line.ends_with('\r')) line.remove_suffix(1);
    use(line, ++number);
    at = end + 1;
  }
}

std::string read_whole(const fs::path& path) {
  const InputFile file(path);
  check<DataError>(
      file.size() <= largest_file,
      [&] {
        return fmt::format("{}: {} are too many for a vocabulary", path.string(),
                           bytes_text(static_cast<double>(file.size())));
      },
      "is it the right file?");
  std::string text(file.size(), '\0');
  file.read(0, text.data(), text.size());
  return text;
}

/// `part[key]` must be `expected` (or absent, where `absent` is allowed).
void demand(const json& part, const char* key, const json& expected, const std::string& place, bool absent = false) {
  const bool there = part.is_object() && part.contains(key);
  check<DataError>(
      there ? part[key] == expected : absent,
      [&] {
        return fmt::format("{}: {} is {}, expected {}", place, key, there ? part[key].dump(-1, ' ', true) : "missing",
                           expected.dump());
      },
      "only GPT-2's and BERT's uncased tokenizers are known");
}

}  // namespace

std::string printable(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) {
    if (c >= 0x20 && c < 0x7f)
      text += c;
    else
      text += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  }
  return text;
}

std::shared_ptr<const Tokenizer> parse_gpt2(const VocabularyText& vocabulary, const VocabularyText& merges) {
  TokenList tokens(vocabulary.name);
  std::string key;
  const auto entry = [&](int depth, json::parse_event_t event, json& parsed) {
    if (event == json::parse_event_t::key) {
      key = parsed.get<std::string>();
    } else if (depth == 1 && event == json::parse_event_t::value) {
      tokens.add(key, parsed);
    } else {
      check<DataError>(
          depth == 0 && (event == json::parse_event_t::object_start || event == json::parse_event_t::object_end),
          [&] { return fmt::format("{}: expected one object of tokens and their ids", vocabulary.name); });
      return true;
    }
    return event == json::parse_event_t::key;
  };
  try {
    const json ignored = json::parse(vocabulary.text, entry);
  } catch (const json::exception& error) {
    bad_json(vocabulary.name, error);
  }
  std::vector<MergeRule> rules;
  for_each_line(merges, [&](std::string_view line, int64_t number) {
    if ((number == 1 && line.starts_with("#version")) || line.empty()) return;  // blank lines hold no merge
    rules.push_back(parse_merge(line, number, merges.name));
  });
  return make_byte_pair(tokens.take(true), rules, vocabulary.name, merges.name);
}

std::shared_ptr<const Tokenizer> parse_bert(const VocabularyText& vocabulary) {
  std::vector<std::string> tokens;
  std::unordered_map<std::string_view, int64_t> lines;
  for_each_line(vocabulary, [&](std::string_view line, int64_t number) {
    check<DataError>(
        !line.empty(), [&] { return fmt::format("{}:{}: is empty, expected a token", vocabulary.name, number); },
        "a blank line would shift the ids of all tokens behind it");
    const auto [old, fresh] = lines.emplace(line, number);
    check<DataError>(fresh, [&] {
      return fmt::format("{}:{}: token '{}' is there already, in line {}", vocabulary.name, number, line, old->second);
    });
    tokens.emplace_back(line);
  });
  check<DataError>(static_cast<int64_t>(tokens.size()) < most_tokens,
                   [&] { return fmt::format("{}: {} tokens are too many", vocabulary.name, tokens.size()); });
  return make_wordpiece(std::move(tokens), vocabulary.name);
}

std::shared_ptr<const Tokenizer> parse_tokenizer_json(const VocabularyText& file) {
  const std::string& name = file.name;
  try {
    const json root = json::parse(file.text);
    check<DataError>(root.is_object() && root.contains("model") && root["model"].is_object() &&
                         root["model"].contains("vocab") && root["model"]["vocab"].is_object(),
                     [&] { return fmt::format("{}: has no model.vocab", name); });
    const json& model = root["model"];
    const bool byte_pair = model.contains("merges");
    const json nothing = nullptr;
    TokenList tokens(name);
    for (const auto& [token, id] : model["vocab"].items()) tokens.add(token, id);
    if (root.contains("added_tokens")) {
      for (const auto& added : root["added_tokens"]) {
        const auto token = added.at("content").get<std::string>();
        demand(added, "special", true, fmt::format("{}: added token '{}'", name, token));
        if (added.at("id").is_number_integer() && tokens.has(token, added["id"].get<int64_t>())) continue;
        tokens.add(token, added["id"]);
      }
    }
    const auto part = [&](const char* key) { return root.contains(key) ? root[key] : nothing; };
    if (!byte_pair) {
      demand(model, "type", "WordPiece", name + ": model", true);
      demand(model, "unk_token", "[UNK]", name + ": model");
      demand(model, "continuing_subword_prefix", "##", name + ": model");
      demand(model, "max_input_chars_per_word", 100, name + ": model");
      demand(part("normalizer"), "type", "BertNormalizer", name + ": normalizer");
      demand(part("normalizer"), "lowercase", true, name + ": normalizer");
      demand(part("normalizer"), "clean_text", true, name + ": normalizer");
      demand(part("normalizer"), "handle_chinese_chars", true, name + ": normalizer");
      if (part("normalizer").value("strip_accents", json()) != json(true))
        demand(part("normalizer"), "strip_accents", nothing, name + ": normalizer", true);
      demand(part("pre_tokenizer"), "type", "BertPreTokenizer", name + ": pre_tokenizer");
      return make_wordpiece(tokens.take(false), name);
    }
    demand(model, "type", "BPE", name + ": model", true);
    demand(model, "ignore_merges", false, name + ": model", true);
    demand(root, "normalizer", nothing, name, true);
    demand(part("pre_tokenizer"), "type", "ByteLevel", name + ": pre_tokenizer");
    demand(part("pre_tokenizer"), "add_prefix_space", false, name + ": pre_tokenizer");
    demand(part("pre_tokenizer"), "use_regex", true, name + ": pre_tokenizer", true);
    std::vector<MergeRule> rules;
    for (const auto& merge : model["merges"]) {
      const auto number = static_cast<int64_t>(rules.size()) + 1;
      if (merge.is_array() && merge.size() == 2) {
        const std::string place = fmt::format("{}: merge {}", name, number);
        rules.push_back(
            {to_bytes(merge[0].get<std::string>(), place), to_bytes(merge[1].get<std::string>(), place), number});
      } else {
        rules.push_back(parse_merge(merge.get<std::string>(), number, name + ": merge"));
      }
    }
    return make_byte_pair(tokens.take(true), rules, name, name + ": merge");
  } catch (const json::exception& error) {
    bad_json(name, error);
  }
}

std::vector<fs::path> vocabulary_files(std::string_view kind, const fs::path& folder) {
  check<ConfigError>(kind == "gpt2" || kind == "bert",
                     [&] { return fmt::format("tokenizer '{}' is unknown, expected gpt2 or bert", kind); });
  std::error_code error;
  check<DataError>(
      fs::is_directory(folder, error),
      [&] { return fmt::format("{}: no such folder of a vocabulary", folder.string()); },
      "name the folder that holds the files");
  const auto first_of = [&](std::initializer_list<const char*> names) -> fs::path {
    for (const char* name : names)
      if (fs::exists(folder / name, error)) return folder / name;
    return {};
  };
  if (kind == "bert") {
    if (const auto vocabulary = first_of({"vocab.txt"}); !vocabulary.empty()) return {vocabulary};
  } else {
    const auto vocabulary = first_of({"encoder.json", "vocab.json"}), merges = first_of({"vocab.bpe", "merges.txt"});
    if (!vocabulary.empty() && !merges.empty()) return {vocabulary, merges};
  }
  if (const auto all = first_of({"tokenizer.json"}); !all.empty()) return {all};
  fail<DataError>(fmt::format("{}: holds no vocabulary of {}", folder.string(), kind),
                  kind == "bert"
                      ? "expected vocab.txt or tokenizer.json"
                      : "expected encoder.json (or vocab.json) and vocab.bpe (or merges.txt), or tokenizer.json");
}

std::shared_ptr<const Tokenizer> load_tokenizer(std::string_view kind, const fs::path& folder) {
  return load_tokenizer(kind, vocabulary_files(kind, folder));
}

std::shared_ptr<const Tokenizer> load_tokenizer(std::string_view kind, const std::vector<fs::path>& files) {
  check<ConfigError>(!files.empty() && files.size() <= 2, "a vocabulary is one file, or two");
  const std::string first = read_whole(files[0]);
  const VocabularyText text{first, files[0].string()};
  std::shared_ptr<const Tokenizer> tokenizer;
  if (files.size() == 2) {
    const std::string second = read_whole(files[1]);
    tokenizer = parse_gpt2(text, {second, files[1].string()});
  } else {
    tokenizer = files[0].extension() == ".json" ? parse_tokenizer_json(text) : parse_bert(text);
  }
  check<DataError>(tokenizer->kind() == kind, [&] {
    return fmt::format("{}: is a vocabulary of {}, expected {}", text.name, tokenizer->kind(), kind);
  });
  return tokenizer;
}

}  // namespace monarch::data
