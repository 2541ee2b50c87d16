// monarch prepare: text files to token files, and a look at them.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <optional>
#include <set>

#include "command.hpp"
#include "monarch/core/error.hpp"
#include "monarch/core/files.hpp"
#include "monarch/core/log.hpp"
#include "monarch/core/progress.hpp"
#include "monarch/core/provenance.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/text/documents.hpp"
#include "monarch/data/text/token_set.hpp"
#include "monarch/data/text/unicode.hpp"
#include "monarch/data/text/words.hpp"
#include "prepare_text.hpp"

namespace monarch::apps {
namespace {

namespace fs = std::filesystem;

struct TextArguments : TextOptions {
  std::optional<double> fraction;
  bool wikitext = false, no_separator = false, json = false;
};

constexpr double default_fraction = 0.0005;

void check_arguments(TextArguments& a) {
  check<ConfigError>(
      !a.wikitext || a.documents == "file", [&] { return "--wikitext beside --documents " + a.documents; },
      "--wikitext is short for --documents wikitext");
  if (a.wikitext) a.documents = "wikitext";
  check<ConfigError>(a.validation.empty() || !a.fraction, "--validation beside --validation-fraction",
                     "the files of --validation are the validation split");
  a.validation_fraction = a.validation.empty() ? a.fraction.value_or(default_fraction) : 0;
  a.separator = !a.no_separator;
  check<ConfigError>(
      (a.tokenizer == "bytes") == a.vocabulary.empty(),
      [&] { return fmt::format("--tokenizer {} with{} --vocabulary", a.tokenizer, a.vocabulary.empty() ? "out" : ""); },
      "gpt2 and bert need the folder of a vocabulary, bytes has its own");
  check<ConfigError>(
      !a.vocabulary_size || a.tokenizer != "bytes",
      [&] { return "--vocabulary-size beside --tokenizer " + a.tokenizer; },
      "its 257 tokens are all that there are");
  std::set<fs::path> seen;
  for (const auto* list : {&a.files, &a.validation}) {
    for (const auto& file : *list) {
      std::error_code error;
      const fs::path path = fs::weakly_canonical(file, error);
      check<ConfigError>(
          error || seen.insert(path).second, [&] { return fmt::format("{} is named twice", file); },
          "its documents would count twice");
    }
  }
}

/// Names of files need not be UTF-8.
std::string json_text(const nlohmann::json& json) {
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string split_text(const data::TokenSplit& split) {
  std::string text = fmt::format("{} tokens, {} documents, {}", thousands(split.tokens), thousands(split.documents),
                                 bytes_text(static_cast<double>(split.bytes)));
  if (split.tokens > 0)
    text += fmt::format(", {:.3f} bytes a token", static_cast<double>(split.bytes) / static_cast<double>(split.tokens));
  return text;
}

std::vector<std::pair<std::string, std::string>> rows_of(const data::TokenSetInfo& info, const std::string& folder) {
  std::vector<std::pair<std::string, std::string>> rows = {
      {"folder", folder},
      {"tokenizer", fmt::format("{}, {} tokens", info.tokenizer, thousands(info.vocabulary))},
      {"documents",
       fmt::format("a {} each, {}", info.documents,
                   info.separator ? fmt::format("token {} behind each", *info.separator) : "no separator")}};
  int64_t empty = 0, replaced = 0;
  for (const auto& source : info.sources) {
    rows.emplace_back("source",
                      fmt::format("{} ({}, {} documents)", source.file, bytes_text(static_cast<double>(source.bytes)),
                                  thousands(source.documents)));
    empty += source.empty;
    replaced += source.replaced;
  }
  if (empty > 0) rows.emplace_back("left out", fmt::format("{} blank documents", thousands(empty)));
  if (replaced > 0) rows.emplace_back("replaced", fmt::format("{} ill-formed parts of UTF-8", thousands(replaced)));
  for (const auto& [name, split] : info.splits) rows.emplace_back(name, split_text(split));
  return rows;
}

void run_text(TextArguments& a) {
  check_arguments(a);
  const auto start = std::chrono::steady_clock::now();
  const data::TokenSetInfo info = prepare_text(a);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  double bytes = 0;
  for (const auto& source : info.sources) bytes += static_cast<double>(source.bytes);
  if (info.splits.at("validation").tokens == 0 && (info.validation_fraction > 0 || !a.validation.empty()))
    log::warning(fmt::format("no document fell to validation (fraction {:g} of {} documents)", info.validation_fraction,
                             info.splits.at("train").documents));
  if (a.json) {
    auto result = nlohmann::json::parse(data::token_set_json(info));
    result["folder"] = a.output;
    result["seconds"] = seconds;
    result["megabytes_per_second"] = bytes * 1e-6 / seconds;
    fmt::print("{}\n", json_text(result));
    return;
  }
  auto rows = rows_of(info, a.output);
  rows.emplace_back("time", fmt::format("{}, {:.1f} MB/s", duration_text(seconds), bytes * 1e-6 / seconds));
  print_table(rows);
}

struct DecodeArguments {
  std::string folder, split = "train";
  int64_t first = 0, count = 200;
  bool verify = false, json = false;
};

void run_decode(const DecodeArguments& a) {
  const data::TokenSet set(a.folder);
  if (a.verify) set.verify();
  const data::TokenFile& file = set.split(a.split);
  check<ConfigError>(
      a.first <= file.size(),
      [&] { return fmt::format("--first {}: {} has {} tokens", a.first, a.split, file.size()); },
      "count from 0, or look at another split (--split)");
  const at::Tensor tokens = file.read(a.first, std::min(a.count, file.size() - a.first));
  const auto* values = tokens.const_data_ptr<int64_t>();
  data::TokenIds ids;
  for (int64_t i = 0; i < tokens.numel(); ++i) ids.push_back(static_cast<int32_t>(values[i]));
  const auto tokenizer = set.tokenizer();
  int64_t cut = 0;
  const std::string text = data::replace_invalid_utf8(tokenizer->decode(ids), cut);
  if (!a.json) {
    fmt::print("{}{}", text, text.ends_with('\n') ? "" : "\n");
    return;
  }
  fmt::print("{}\n", json_text({{"folder", a.folder},
                                {"split", a.split},
                                {"first", a.first},
                                {"tokens", ids},
                                {"text", text},
                                {"cut_characters", cut},
                                {"verified", a.verify}}));
}

}  // namespace

void print_token_set(const std::string& folder, bool json) {
  const data::TokenSet set(folder);
  if (json)
    fmt::print("{}", data::token_set_json(set.info()));
  else
    print_table(rows_of(set.info(), folder));
}

void add_prepare(CLI::App& app) {
  CLI::App* prepare = app.add_subcommand("prepare", "Make training data of raw files, or look at it");
  prepare->require_subcommand(1);
  auto a = std::make_shared<TextArguments>();
  CLI::App* text = prepare->add_subcommand("text", "Text files to tokens, in splits for training and validation");
  text->add_option("files", a->files, "Text files, UTF-8")->required();
  text->add_option("--tokenizer", a->tokenizer, "gpt2 (byte-level BPE), bert (uncased WordPiece) or bytes")
      ->check(CLI::IsMember({"gpt2", "bert", "bytes"}))
      ->required();
  text->add_option("--vocabulary", a->vocabulary,
                   "Folder with encoder.json and vocab.bpe, or vocab.txt, or tokenizer.json");
  text->add_option("--vocabulary-size", a->vocabulary_size,
                   "gpt2: the first N - 1 tokens and <|endoftext|>; bert: the first N tokens")
      ->check(CLI::PositiveNumber);
  text->add_option("-o,--output", a->output, "Folder for train.npy, validation.npy, tokens.json and the vocabulary")
      ->required();
  text->add_option("--documents", a->documents, "What a document is: file (default), line, paragraph or wikitext")
      ->check(CLI::IsMember({"file", "line", "paragraph", "wikitext"}));
  text->add_flag("--wikitext", a->wikitext, "Short for --documents wikitext: an article each");
  text->add_option("--validation-fraction", a->fraction, "Share of documents held out (default 0.0005)")
      ->check(CLI::Range(0.0, 1.0));
  text->add_option("--validation", a->validation, "Files that are the validation split, instead of a fraction");
  text->add_option("--seed", a->seed, "The split is a function of (seed, file name, number in the file) (default 0)")
      ->check(CLI::NonNegativeNumber);
  text->add_flag("--no-separator", a->no_separator, "No <|endoftext|> or [SEP] behind documents");
  text->add_flag("--replace-invalid", a->replace_invalid, "U+FFFD in place of ill-formed UTF-8, counted");
  text->add_flag("--restart", a->restart, "Forget an unfinished run, instead of going on with it");
  text->add_option("--save-minutes", a->save_minutes,
                   "Between states from which an interrupted run goes on (default 1)")
      ->check(CLI::NonNegativeNumber);
  text->add_flag("--json", a->json, "The summary as JSON on stdout");
  text->callback([a] { run_text(*a); });

  auto d = std::make_shared<DecodeArguments>();
  CLI::App* decode = prepare->add_subcommand("decode", "The text of some tokens of a prepared folder");
  decode->add_option("folder", d->folder, "A folder that `monarch prepare text` made")->required();
  decode->add_option("--split", d->split, "train (default) or validation");
  decode->add_option("--first", d->first, "First token, from 0 (default 0)")->check(CLI::NonNegativeNumber);
  decode->add_option("--count", d->count, "How many, as far as there are (default 200)")->check(CLI::NonNegativeNumber);
  decode->add_flag("--verify", d->verify, "Check the checksums of all tokens first");
  decode->add_flag("--json", d->json, "Tokens and text as JSON on stdout");
  decode->callback([d] { run_decode(*d); });
}

}  // namespace monarch::apps
