#include "monarch/data/text/glue.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/mapped_file.hpp"
#include "monarch/data/text/unicode.hpp"

namespace monarch::data {
namespace {

using enum GlueMetric;
const std::vector<std::string> no_or_yes = {"0", "1"};
const std::vector<std::string> entailment = {"entailment", "not_entailment"};

/// Where the columns of a file are; −1: not there.
struct Layout {
  bool header = true;  // the first line is one
  int64_t columns = 0;
  int64_t index = -1, first = -1, second = -1, label = -1;
};

/// The columns of a task by the names that files give them.
struct Names {
  std::vector<std::string> first, second, label;
};

Names names_of(const std::string& task) {
  if (task == "MRPC") return {{"#1 String"}, {"#2 String"}, {"Quality"}};
  if (task == "STS-B") return {{"sentence1"}, {"sentence2"}, {"score"}};
  if (task == "QQP") return {{"question1"}, {"question2"}, {"is_duplicate"}};
  if (task == "MNLI") return {{"sentence1"}, {"sentence2"}, {"gold_label"}};
  if (task == "QNLI") return {{"question"}, {"sentence"}, {"label"}};
  if (task == "RTE" || task == "WNLI") return {{"sentence1"}, {"sentence2"}, {"label"}};
  return {{"sentence"}, {}, {"label"}};  // CoLA, SST-2
}

std::vector<std::string_view> split_tabs(std::string_view line) {
  std::vector<std::string_view> cells;
  for (size_t at = 0;;) {
    const size_t end = line.find('\t', at);
    cells.push_back(line.substr(at, end - at));
    if (end == std::string_view::npos) return cells;
    at = end + 1;
  }
}

int64_t find_column(const std::vector<std::string_view>& header, const std::vector<std::string>& names) {
  for (const auto& name : names) {
    const auto found = std::find(header.begin(), header.end(), name);
    if (found != header.end()) return found - header.begin();
  }
  return -1;
}

/// The layout that a first line says; CoLA's files with labels start with a row.
Layout layout_of(const GlueTask& task, const std::vector<std::string_view>& header, const std::string& name) {
  const auto cells = static_cast<int64_t>(header.size());
  const bool bare = task.name == "CoLA" && find_column(header, {"sentence"}) < 0;
  if (bare) {
    check<DataError>(
        cells == 4, [&] { return fmt::format("{}:1: {} columns, expected 4: source, label, mark, sentence", name, cells); },
        "is it a file of CoLA?");
    return {.header = false, .columns = 4, .first = 3, .label = 1};
  }
  const Names names = names_of(task.name);
  Layout layout{.columns = cells};
  layout.index = find_column(header, {"index", "id"});
  layout.first = find_column(header, names.first);
  layout.second = find_column(header, names.second);
  layout.label = find_column(header, names.label);
  const bool whole = layout.first >= 0 && (names.second.empty() || layout.second >= 0);
  check<DataError>(
      whole,
      [&] {
        std::string wanted = "'" + names.first[0] + "'";
        if (!names.second.empty()) wanted += " and '" + names.second[0] + "'";
        return fmt::format("{}:1: the first line names no columns {}", name, wanted);
      },
      "is it a file of " + task.name + "?");
  return layout;
}

double score_in(std::string_view cell, const std::string& place) {
  double score = 0;
  const auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), score);
  check<DataError>(error == std::errc() && end == cell.data() + cell.size() && score >= 0 && score <= 5,
                   [&] { return fmt::format("{}: score '{}', expected a number 0 … 5", place, cell); });
  return score;
}

double label_in(const GlueTask& task, std::string_view cell, const std::string& place) {
  if (task.regression()) return score_in(cell, place);
  const auto found = std::find(task.labels.begin(), task.labels.end(), cell);
  check<DataError>(found != task.labels.end(),
                   [&] { return fmt::format("{}: label '{}', expected {}", place, cell, join_or(task.labels)); });
  return static_cast<double>(found - task.labels.begin());
}

}  // namespace

std::string glue_metric_name(GlueMetric metric) {
  switch (metric) {
    case accuracy:
      return "accuracy";
    case f1:
      return "f1";
    case matthews:
      return "matthews";
    case pearson:
      return "pearson";
    case spearman:
      return "spearman";
  }
  return "";
}

const std::vector<GlueTask>& glue_tasks() {
  const std::vector<std::string> dev = {"dev.tsv"}, test = {"test.tsv"};
  static const std::vector<GlueTask> tasks = {
      {"CoLA", no_or_yes, {matthews}, dev, test, {"CoLA.tsv"}},
      {"SST-2", no_or_yes, {accuracy}, dev, test, {"SST-2.tsv"}},
      {"MRPC", no_or_yes, {accuracy, f1}, dev, test, {"MRPC.tsv"}},
      {"STS-B", {}, {pearson, spearman}, dev, test, {"STS-B.tsv"}},
      {"QQP", no_or_yes, {accuracy, f1}, dev, test, {"QQP.tsv"}},
      {"MNLI",
       {"entailment", "neutral", "contradiction"},
       {accuracy},
       {"dev_matched.tsv", "dev_mismatched.tsv"},
       {"test_matched.tsv", "test_mismatched.tsv"},
       {"MNLI-m.tsv", "MNLI-mm.tsv"}},
      {"QNLI", entailment, {accuracy}, dev, test, {"QNLI.tsv"}},
      {"RTE", entailment, {accuracy}, dev, test, {"RTE.tsv"}},
      {"WNLI", no_or_yes, {accuracy}, dev, test, {"WNLI.tsv"}}};
  return tasks;
}

const GlueTask& glue_task(const std::string& name) {
  const auto plain = [](const std::string& text) {
    std::string letters;
    for (const char c : text)
      if (c != '-' && c != '_') letters += static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    return letters;
  };
  std::vector<std::string> names;
  for (const GlueTask& task : glue_tasks()) {
    if (plain(task.name) == plain(name)) return task;
    names.push_back(task.name);
  }
  const std::string near = closest_match(name, names);
  fail<ConfigError>(fmt::format("no task of GLUE is named '{}'{}", name,
                                near.empty() ? "" : fmt::format("; did you mean '{}'?", near)),
                    "there are " + join_or(names));
}

GlueFile parse_glue(const GlueTask& task, std::string_view text, const std::string& name) {
  GlueFile file;
  file.name = name;
  const size_t bad = find_invalid_utf8(text);
  check<DataError>(
      bad == std::string_view::npos,
      [&] {
        const auto before = text.begin() + static_cast<std::ptrdiff_t>(bad);
        return fmt::format("{}:{}: not valid UTF-8: byte {:#04x} at offset {}", name,
                           1 + std::count(text.begin(), before, '\n'), static_cast<unsigned char>(text[bad]), bad);
      },
      "convert it (iconv -t UTF-8)");
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  std::optional<Layout> layout;
  int64_t line = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string_view row = text.substr(at, end - at);
    at = end + 1;
    ++line;
    if (row.ends_with('\r')) row.remove_suffix(1);
    if (row.empty()) {
      ++file.blank;
      continue;
    }
    const auto cells = split_tabs(row);
    if (!layout) {
      layout = layout_of(task, cells, name);
      file.labelled = layout->label >= 0;
      if (layout->header) continue;
    }
    const std::string place = fmt::format("{}:{}", name, line);
    const auto found = static_cast<int64_t>(cells.size());
    if (task.name == "QQP" && found < layout->columns) {
      ++file.cut_off;
      continue;
    }
    check<DataError>(found == layout->columns, [&] {
      return fmt::format("{}: {} columns, expected {} as in the first line", place, found, layout->columns);
    });
    const auto cell = [&](int64_t column) { return cells[static_cast<size_t>(column)]; };
    GlueExample example;
    example.index = layout->index >= 0 ? std::string(cell(layout->index)) : std::to_string(file.examples.size());
    example.first = cell(layout->first);
    if (layout->second >= 0) example.second = cell(layout->second);
    if (file.labelled) example.label = label_in(task, cell(layout->label), place);
    example.line = line;
    file.examples.push_back(std::move(example));
  }
  check<DataError>(!file.examples.empty(), [&] { return fmt::format("{}: holds no example of {}", name, task.name); });
  return file;
}

GlueFile read_glue(const GlueTask& task, const std::filesystem::path& path) {
  const MappedFile file(path);
  return parse_glue(task, file.bytes(), path.string());
}

GlueEncoding encode_glue(std::span<const GlueExample> examples, const Tokenizer& tokenizer, int64_t length) {
  check<ConfigError>(length >= 5,
                     [&] { return fmt::format("sequences of {} tokens, expected 5 at least", length); });
  const PairSymbols symbols = PairSymbols::of(tokenizer, "tokenizer");
  std::vector<std::string_view> texts;
  for (const GlueExample& example : examples) {
    texts.push_back(example.first);
    if (example.second) texts.push_back(*example.second);
  }
  const auto ids = tokenizer.encode_batch(texts);
  GlueEncoding encoding;
  size_t next = 0;
  for (const GlueExample& example : examples) {
    std::span<const int32_t> first = ids[next++], second;
    if (example.second) second = ids[next++];
    const auto sizes = longest_first(static_cast<int64_t>(first.size()), static_cast<int64_t>(second.size()),
                                     length - (example.second ? 3 : 2));
    const auto kept = [](std::span<const int32_t> tokens, int64_t count) {
      return tokens.first(static_cast<size_t>(count));
    };
    const bool cut = kept(first, sizes.first).size() + kept(second, sizes.second).size() < first.size() + second.size();
    encoding.truncated += cut;
    first = kept(first, sizes.first);
    second = kept(second, sizes.second);
    encoding.pairs.push_back(join_pair(first, example.second ? &second : nullptr, symbols));
  }
  return encoding;
}

}  // namespace monarch::data
