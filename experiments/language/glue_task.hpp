#pragma once
// Fine-tuning BERT on a task of GLUE.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "monarch/core/config.hpp"
#include "monarch/data/text/glue.hpp"
#include "monarch/experiments/language/bert.hpp"
#include "monarch/training/task.hpp"

namespace monarch::experiments {

/// Tables [data] and [task] of task.kind "glue" (docs/bert.md).
struct GlueOptions {
  const data::GlueTask* task = nullptr;
  std::filesystem::path folder;               ///< with train.tsv, dev.tsv …; empty: files are named one by one
  std::string train;                          ///< files instead of those of the folder
  std::vector<std::string> dev, test;         ///< MNLI: matched, then mismatched
  double hold_out = 0;                        ///< share of `train` that becomes the dev set, where there is none
  int64_t train_examples = 0;                 ///< so many of them, chosen by the seed; 0: all
  uint64_t seed = 0;                          ///< of hold_out and train_examples
  int64_t length = 128;                       ///< of a sequence; what is longer is cut and counted
  std::filesystem::path vocabulary;           ///< folder of vocab.txt or tokenizer.json
  int64_t evaluation_batch = 32;

  /// Keys task.name, task.evaluation_batch, data.{folder, train, dev, test, hold_out, train_examples, seed, length,
  /// vocabulary}. Without data.vocabulary it is looked for beside model.weights. Throws ConfigError.
  static GlueOptions from_config(const Config& config);
};

/// The examples of a task as text.
struct GlueData {
  data::GlueFile train;
  std::vector<data::GlueFile> dev, test;
  std::vector<std::string> notes;  ///< rows left out, examples held out

  /// Throws DataError (data::read_glue; a training or dev file without labels) and ConfigError (no dev set).
  static GlueData open(const GlueOptions& options);
};

/// Loss of a sample: cross-entropy of its class, or the squared error of its score. Examples of a batch are padded to
/// the longest of them.
class GlueTask final : public training::Task {
 public:
  using MakeModel = std::function<std::shared_ptr<BertForClassificationImpl>(int64_t vocabulary, int64_t labels)>;
  /// Throws ConfigError where data.length is more than the model's positions.
  GlueTask(const GlueOptions& options, const GlueData& data, const data::Tokenizer& tokenizer,
           const MakeModel& make_model, at::Device device = at::kCPU);

  torch::nn::Module& module() override { return *model_; }
  int64_t training_size() const override { return static_cast<int64_t>(train_.labels.size()); }
  double accumulate_gradients(std::span<const int64_t> ids, double weight, const training::Step& step) override;
  /// Of the dev set: the task's metrics (MNLI: accuracy of the matched file, accuracy_mm of the other), loss, score
  /// (glue_task_score) and error = 100 − score, which chooses the best epoch.
  training::Metrics evaluate() override;
  std::string selection_metric() const override { return "error"; }
  /// dev/ and test/: predictions under the names and in the form that gluebenchmark.com takes (index, prediction);
  /// metrics.json.
  void write_results(const std::filesystem::path& folder) override;
  std::string describe_samples(std::span<const int64_t> ids) const override;

  const BertForClassificationImpl& model() const { return *model_; }
  /// evaluate() of the present weights, computed once: GLUE's test sets have no labels here.
  const training::Metrics& test_metrics();
  /// Of the evaluation behind test_metrics().
  double milliseconds_per_example() const { return milliseconds_; }
  /// Examples that lost tokens to data.length: training, dev and test.
  int64_t truncated() const { return truncated_; }
  /// Mean number of tokens of a training example.
  double mean_length() const;

 private:
  struct Split {
    std::string name;  // of its file
    std::vector<data::SentencePair> pairs;
    std::vector<double> labels;
    std::vector<std::string> indices;  // as in the file
    std::vector<int64_t> lines;
  };
  struct Predictions {
    std::vector<double> values;  // classes, or scores
    double loss = 0;             // mean
  };
  Split encode(const data::GlueFile& file, const data::Tokenizer& tokenizer);
  at::Tensor logits(const Split& split, std::span<const int64_t> ids);
  /// Sum over ids.
  at::Tensor loss(const at::Tensor& logits, const Split& split, std::span<const int64_t> ids) const;
  Predictions predict(const Split& split);
  void write_predictions(const std::filesystem::path& file, const Split& split, const Predictions& predictions) const;

  GlueOptions options_;
  int32_t pad_ = 0;
  int64_t truncated_ = 0;
  Split train_;
  std::vector<Split> dev_, test_;
  at::Device device_;
  std::shared_ptr<BertForClassificationImpl> model_;
  std::optional<training::Metrics> test_metrics_;
  double milliseconds_ = 0;
};

}  // namespace monarch::experiments
