#include "monarch/data/text/token_set.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "monarch/core/error.hpp"
#include "monarch/core/provenance.hpp"
#include "monarch/data/input_file.hpp"

namespace monarch::data {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* format_name = "monarch-tokens";
constexpr int64_t version_number = 1;
constexpr uint64_t largest_json = uint64_t{256} << 20;
constexpr int64_t largest_number = int64_t{1} << 48;

std::string read_whole(const fs::path& path) {
  const InputFile file(path);
  check<DataError>(
      file.size() <= largest_json,
      [&] { return fmt::format("{}: {} bytes, expected a small file", path.string(), file.size()); },
      "is it the right file?");
  std::string text(file.size(), '\0');
  file.read(0, text.data(), text.size());
  return text;
}

int64_t number_in(const json& object, const char* key, const std::string& place) {
  const json& value = object.at(key);
  check<DataError>(value.is_number_integer() && value <= largest_number && value >= 0, [&] {
    return fmt::format("{}: {} is {}, expected a whole number, not negative", place, key, value.dump(-1, ' ', true));
  });
  return value.get<int64_t>();
}

TokenSetInfo from_json(const json& root, const std::string& name) {
  check<DataError>(
      root.is_object() && root.value("format", json()) == json(format_name) &&
          root.value("version", json()) == json(version_number),
      [&] { return fmt::format("{}: is not format {} version {}", name, format_name, version_number); },
      "make token files with `monarch prepare text`");
  TokenSetInfo info;
  info.tokenizer = root.at("tokenizer").get<std::string>();
  info.vocabulary = number_in(root, "vocabulary", name);
  info.vocabulary_hash = root.at("vocabulary_sha1").get<std::string>();
  info.vocabulary_files = root.at("vocabulary_files").get<std::vector<std::string>>();
  for (const auto& file : info.vocabulary_files)
    check<DataError>(!file.empty() && file.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos, [&] {
      return fmt::format("{}: vocabulary file '{}' is not a name without a folder", name, file);
    });
  if (!root.at("separator").is_null()) info.separator = number_in(root, "separator", name);
  info.documents = root.at("documents").get<std::string>();
  info.seed = root.at("seed").get<uint64_t>();
  info.validation_fraction = root.at("validation_fraction").get<double>();
  for (const auto& [split, values] : root.at("splits").items()) {
    check<DataError>(split == "train" || split == "validation",
                     [&] { return fmt::format("{}: split '{}', expected train and validation", name, split); });
    const std::string place = name + ": " + split;
    info.splits[split] = {number_in(values, "tokens", place), number_in(values, "documents", place),
                          number_in(values, "bytes", place), static_cast<uint32_t>(number_in(values, "crc32", place))};
  }
  for (const auto& values : root.at("sources"))
    info.sources.push_back({values.at("file").get<std::string>(), number_in(values, "bytes", name),
                            number_in(values, "documents", name), number_in(values, "empty", name),
                            number_in(values, "replaced", name)});
  info.provenance = root.at("provenance").get<std::map<std::string, std::string>>();
  return info;
}

}  // namespace

std::string token_set_json(const TokenSetInfo& info) {
  json splits = json::object(), sources = json::array();
  for (const auto& [name, split] : info.splits) {
    splits[name] = {{"file", name + ".npy"},
                    {"tokens", split.tokens},
                    {"documents", split.documents},
                    {"bytes", split.bytes},
                    {"crc32", split.checksum}};
  }
  for (const auto& source : info.sources) {
    sources.push_back({{"file", source.file},
                       {"bytes", source.bytes},
                       {"documents", source.documents},
                       {"empty", source.empty},
                       {"replaced", source.replaced}});
  }
  return json{{"format", format_name},
              {"version", version_number},
              {"tokenizer", info.tokenizer},
              {"vocabulary", info.vocabulary},
              {"vocabulary_sha1", info.vocabulary_hash},
              {"vocabulary_files", info.vocabulary_files},
              {"separator", info.separator ? json(*info.separator) : json()},
              {"documents", info.documents},
              {"seed", info.seed},
              {"validation_fraction", info.validation_fraction},
              {"splits", splits},
              {"sources", sources},
              {"provenance", info.provenance}}
             .dump(2, ' ', false, json::error_handler_t::replace) +
         "\n";
}

TokenSetInfo parse_token_set(std::string_view text, const std::string& name) {
  try {
    return from_json(json::parse(text), name);
  } catch (const json::exception& error) {
    fail<DataError>(fmt::format("{}: {}", name, error.what()), "make token files with `monarch prepare text`");
  }
}

std::string vocabulary_hash(const std::vector<fs::path>& files) {
  std::string all;
  for (const auto& file : files) all += read_whole(file);
  return text_hash(all);
}

TokenSet::TokenSet(const fs::path& folder) : folder_(folder) {
  info_ = parse_token_set(read_whole(folder / "tokens.json"), (folder / "tokens.json").string());
  for (const auto& [name, split] : info_.splits) {
    const fs::path path = folder / (name + ".npy");
    const TokenFile& file = splits_.try_emplace(name, path, info_.vocabulary).first->second;
    check<DataError>(
        file.size() == split.tokens,
        [&] {
          return fmt::format("{}: holds {} tokens, tokens.json says {}", path.string(), file.size(), split.tokens);
        },
        "the files of the folder must come from one run of `monarch prepare text`");
  }
}

const TokenFile& TokenSet::split(const std::string& name) const {
  const auto found = splits_.find(name);
  if (found == splits_.end()) {
    std::vector<std::string> names;
    for (const auto& [split, file] : splits_) names.push_back(split);
    fail<ConfigError>(fmt::format("{}: no split '{}', there are: {}", folder_.string(), name, fmt::join(names, ", ")));
  }
  return found->second;
}

std::shared_ptr<const Tokenizer> TokenSet::tokenizer() const {
  const fs::path folder = folder_ / "vocabulary";
  std::vector<fs::path> files;
  for (const auto& file : info_.vocabulary_files) files.push_back(folder / file);
  const std::string hash = vocabulary_hash(files);
  check<DataError>(
      hash == info_.vocabulary_hash,
      [&] {
        return fmt::format("{}: the vocabulary has SHA-1 {}, tokens.json says {}", folder.string(), hash,
                           info_.vocabulary_hash);
      },
      "the tokens were made with another vocabulary: prepare them again");
  auto tokenizer = load_tokenizer(info_.tokenizer, files);
  check<DataError>(tokenizer->size() == info_.vocabulary, [&] {
    return fmt::format("{}: {} tokens, tokens.json says {}", folder.string(), tokenizer->size(), info_.vocabulary);
  });
  return tokenizer;
}

void TokenSet::verify() const {
  for (const auto& [name, file] : splits_) {
    const uint32_t found = file.checksum(), expected = info_.splits.at(name).checksum;
    check<DataError>(
        found == expected,
        [&] {
          return fmt::format("{}: CRC-32 of the tokens is {}, tokens.json says {}",
                             (folder_ / (name + ".npy")).string(), found, expected);
        },
        "the file is damaged: prepare it again");
  }
}

bool is_token_set(const fs::path& folder) {
  std::error_code error;
  return fs::is_regular_file(folder / "tokens.json", error);
}

}  // namespace monarch::data
