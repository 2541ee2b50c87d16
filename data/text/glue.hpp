#pragma once
// GLUE (Wang et al., ICLR 2019): the nine tasks and their files.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "monarch/data/text/sentence_pairs.hpp"
#include "monarch/data/text/tokenizer.hpp"

namespace monarch::data {

enum class GlueMetric { accuracy, f1, matthews, pearson, spearman };
/// "accuracy", "f1", "matthews", "pearson", "spearman".
std::string glue_metric_name(GlueMetric metric);

/// A task of the benchmark.
struct GlueTask {
  std::string name;                 ///< "CoLA"
  std::vector<std::string> labels;  ///< as files and submissions spell them, in the order of classes; none: a score 0 … 5
  std::vector<GlueMetric> metrics;  ///< whose mean is the task's score
  std::vector<std::string> dev;     ///< names of the files in the task's folder
  std::vector<std::string> test;
  std::vector<std::string> submissions;  ///< names of the files that gluebenchmark.com takes, in the order of `test`

  bool regression() const { return labels.empty(); }
  int64_t outputs() const { return regression() ? 1 : static_cast<int64_t>(labels.size()); }
};

/// CoLA, SST-2, MRPC, STS-B, QQP, MNLI, QNLI, RTE, WNLI.
const std::vector<GlueTask>& glue_tasks();
/// Any case, with or without the hyphen. Throws ConfigError naming the closest one.
const GlueTask& glue_task(const std::string& name);

struct GlueExample {
  std::string index;                  ///< of the line in a submission: the column `index` (`id`), else the row from 0
  std::string first;
  std::optional<std::string> second;  ///< none for CoLA and SST-2
  double label = 0;                   ///< class, or score
  int64_t line = 0;                   ///< in the file, from 1
};

struct GlueFile {
  std::string name;
  bool labelled = false;  ///< files of a test split hold no labels
  std::vector<GlueExample> examples;
  int64_t blank = 0;    ///< lines without a character, left out
  int64_t cut_off = 0;  ///< rows of QQP with columns missing, left out: its published file has some
};

/// Reads a file as the GLUE archive has them: UTF-8 (a byte order mark may lead), a row a line, columns between tabs,
/// quotes being characters like others. Columns are found by the names in the first line; the files of CoLA with labels
/// have none. MRPC also as Microsoft publishes it (msr_paraphrase_*.txt). Throws DataError naming file and line: invalid
/// UTF-8, columns missing or too many, a label of another task, a score out of 0 … 5, no rows.
GlueFile parse_glue(const GlueTask& task, std::string_view text, const std::string& name);
GlueFile read_glue(const GlueTask& task, const std::filesystem::path& path);

/// Examples as BERT reads them.
struct GlueEncoding {
  std::vector<SentencePair> pairs;
  int64_t truncated = 0;  ///< pairs that lost tokens
};
/// Truncated "longest_first" to `length` tokens, special ones included (at least 5); on LibTorch's threads.
GlueEncoding encode_glue(std::span<const GlueExample> examples, const Tokenizer& tokenizer, int64_t length);

}  // namespace monarch::data
