#pragma once
// Learning the solution of a PDE from data: what training::train is given.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "monarch/solvers/learning/dataset.hpp"
#include "monarch/solvers/learning/evaluation.hpp"
#include "monarch/solvers/learning/field_model.hpp"
#include "monarch/training/task.hpp"

namespace monarch::solvers {

/// Errors of a reference that needs no training.
struct Baseline {
  std::string name;  ///< "persistence": the last given frame; "mean": the mean of the training data
  FieldScores scores;
};

class FieldTask final : public training::Task {
 public:
  /// `make_network` builds the model for the shapes that the data give. Normalisers are fitted on the training samples.
  /// Data and model are used on `device`. Throws what FieldModel and the losses throw.
  FieldTask(TaskOptions task, const DataOptions& options, PdeDataset data,
            const std::function<NeuralSolverPtr(const FieldShape&)>& make_network, at::Device device = at::kCPU);

  torch::nn::Module& module() override { return model_->network(); }
  std::vector<operators::ParameterGroup> parameters() override;
  /// Trajectories; in mode one_step pairs: id = trajectory · horizon + step.
  int64_t training_size() const override;
  double accumulate_gradients(std::span<const int64_t> ids, double weight, const training::Step& step) override;
  /// On the validation samples; where there are none, on the first training samples, as many as the test has.
  training::Metrics evaluate() override;
  std::string selection_metric() const override { return model_->task().selection; }
  std::map<std::string, at::Tensor> constants() const override { return model_->constants(); }
  /// metrics.json, error_time.svg, spectrum.svg, and for fields in the plane panel.png and rollout.gif: of the test
  /// samples, which are used here for the first time. predictions.npy with save_predictions.
  void write_results(const std::filesystem::path& folder) override;
  std::string describe_samples(std::span<const int64_t> ids) const override;

  const FieldModel& model() const { return *model_; }
  const PdeDataset& data() const { return data_; }
  /// Persistence (where input and target are one kind of field) and the mean of the training data.
  std::vector<Baseline> baselines(const FieldSet& set) const;
  FieldScores score(const FieldSet& set) const;
  /// Test metrics, further test sets under "<metric>_<name>"; computed by write_results, or now.
  const training::Metrics& test_metrics();

 private:
  using Predict = std::function<at::Tensor(const FieldBatch& batch)>;
  FieldScores score(const FieldSet& set, const Predict& predict,
                    const std::function<void(const FieldBatch&, const at::Tensor&)>& see = {}) const;
  FieldBatch to_device(FieldBatch batch) const;
  void run_test(const std::function<void(const FieldBatch&, const at::Tensor&)>& see);
  bool recompute(int64_t samples, int64_t steps) const;
  double one_step_gradients(std::span<const int64_t> ids, double weight, const training::Step& step);

  PdeDataset data_;
  at::Device device_;
  std::optional<FieldModel> model_;
  training::Loss loss_;
  at::Tensor mean_;       // [1, time, channel, grid…] of the training targets
  double field_std_ = 0;  // of the training targets, for noise
  std::optional<FieldScores> test_;
  std::vector<std::pair<std::string, FieldScores>> extra_;
  training::Metrics test_metrics_;
};

}  // namespace monarch::solvers
