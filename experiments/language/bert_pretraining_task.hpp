#pragma once
// Pre-training of BERT: masked tokens and next sentences.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "monarch/core/config.hpp"
#include "monarch/data/text/masked_examples.hpp"
#include "monarch/experiments/language/bert.hpp"
#include "monarch/training/task.hpp"

namespace monarch::experiments {

/// Tables [data] and [task] of task.kind "bert-pretraining" (docs/bert.md).
struct BertPretrainingOptions {
  std::string tokens;                  ///< folder of `monarch prepare text --tokenizer bert`
  data::MaskedExampleOptions examples;
  bool dynamic_masks = true;           ///< drawn again every epoch; else the same ones
  int64_t validation_examples = 0;     ///< evenly over the validation split; 0: all
  int64_t evaluation_batch = 32;

  static BertPretrainingOptions from_config(const Config& config);
};

/// The loss of a sample is Σ over its guesses of −log p(token) / ḡ − log p(is b from another document), ḡ being the mean
/// number of guesses of a training example: every guess weighs the same, whatever the batch, and the mean over a batch
/// is NVIDIA's loss (mean over its guesses, plus mean over its pairs) but for the batch's own number of guesses. Only
/// guessed tokens go through the head and the output layer, whose logits are never held whole. Batches are padded to
/// their longest example; evaluation goes through examples of about equal length together.
class BertPretrainingTask final : public training::Task {
 public:
  using MakeModel = std::function<std::shared_ptr<BertForPreTrainingImpl>(int64_t vocabulary)>;
  /// Throws ConfigError where examples are longer than the model's positions, and what MaskedExamples throws.
  BertPretrainingTask(const BertPretrainingOptions& options, std::shared_ptr<const data::TokenSet> tokens,
                      const MakeModel& make_model, at::Device device = at::kCPU);

  torch::nn::Module& module() override { return *model_; }
  int64_t training_size() const override { return training_.size(); }
  double accumulate_gradients(std::span<const int64_t> ids, double weight, const training::Step& step) override;
  /// loss = mlm_loss + nsp_loss, mlm_loss and mlm_accuracy over all guesses, nsp_loss and nsp_accuracy over all pairs of
  /// the validation split, with masks that never change.
  training::Metrics evaluate() override;
  std::string selection_metric() const override { return "loss"; }
  /// metrics.json, guesses.txt (some validation examples with what the model puts in), vocab.txt.
  void write_results(const std::filesystem::path& folder) override;
  std::string describe_samples(std::span<const int64_t> ids) const override;

  const BertForPreTrainingImpl& model() const { return *model_; }
  const data::MaskedExamples& training_examples() const { return training_; }
  const data::MaskedExamples& validation_examples() const { return validation_; }
  /// Multiplications of a forward pass for one full training example, its guesses' output layer included.
  int64_t macs_per_sample() const;
  /// evaluate() of the present weights, computed once: there is no third split.
  const training::Metrics& test_metrics();

 private:
  data::MaskedBatch to_device(data::MaskedBatch batch) const;
  /// Features of the guessed tokens behind the head [guess, width], and logits of the pairs [batch, 2].
  std::pair<at::Tensor, at::Tensor> predict(const data::MaskedBatch& batch);
  std::vector<int64_t> validation_ids() const;

  BertPretrainingOptions options_;
  std::shared_ptr<const data::TokenSet> tokens_;
  data::MaskedExamples training_, validation_;
  double mean_guesses_ = 1;
  at::Device device_;
  std::shared_ptr<BertForPreTrainingImpl> model_;
  std::optional<training::Metrics> test_metrics_;
};

}  // namespace monarch::experiments
