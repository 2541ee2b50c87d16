#pragma once
// Learning to continue text: what training::train is given.

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "monarch/core/config.hpp"
#include "monarch/data/text/token_windows.hpp"
#include "monarch/experiments/language/gpt2.hpp"
#include "monarch/training/task.hpp"

namespace monarch::experiments {

struct LanguageModelOptions {
  std::string tokens;                ///< folder of `monarch prepare text`
  std::string test;                  ///< another one, whose validation split is the test; "": the same as `tokens`
  int64_t length = 0;                ///< tokens of a window; 0: as many as the model has positions
  int64_t evaluation_batch = 8;      ///< windows at a time
  int64_t evaluation_windows = 0;    ///< of the validation split while training; 0: all. The test takes all
  std::vector<std::string> prompts;  ///< continued in results/samples.md

  /// [data] tokens, test; [task] length, evaluation_batch, evaluation_windows, prompts. Throws ConfigError.
  static LanguageModelOptions from_config(const Config& config);
};

/// Mean negative log-likelihood of the next token, through operators::linear_cross_entropy. A sample is a window.
class LanguageModelTask final : public training::Task {
 public:
  /// Throws DataError where a split is shorter than a window or its vocabulary is not the model's, ConfigError for
  /// windows longer than the model.
  LanguageModelTask(LanguageModelOptions options, std::shared_ptr<Gpt2Impl> model, at::Device device = at::kCPU);

  torch::nn::Module& module() override { return *model_; }
  int64_t training_size() const override { return train_.size(); }
  double accumulate_gradients(std::span<const int64_t> ids, double weight, const training::Step& step) override;
  /// loss (nats per token), perplexity = exp(loss), bits_per_byte = loss / log 2 / bytes of text per token.
  training::Metrics evaluate() override;
  std::string selection_metric() const override { return "loss"; }
  /// Options of the model and files of the vocabulary (stored_gpt2.hpp).
  std::map<std::string, at::Tensor> constants() const override;
  /// metrics.json and samples.md.
  void write_results(const std::filesystem::path& folder) override;
  std::string describe_samples(std::span<const int64_t> ids) const override { return train_.describe(ids); }

  const Gpt2Impl& model() const { return *model_; }
  const data::TokenWindows& train() const { return train_; }
  const data::TokenWindows& validation() const { return validation_; }
  const data::TokenWindows& test() const { return test_; }
  /// Over every token of the test split; computed once.
  const training::Metrics& test_metrics();

 private:
  training::Metrics score(const data::TokenWindows& windows, int64_t most);

  LanguageModelOptions options_;
  std::shared_ptr<Gpt2Impl> model_;
  at::Device device_;
  data::TokenWindows train_, validation_, test_;
  std::optional<training::Metrics> test_metrics_;
};

}  // namespace monarch::experiments
