#pragma once
// Learning to reconstruct: what training::train is given.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "monarch/mri/learning/losses.hpp"
#include "monarch/mri/learning/options.hpp"
#include "monarch/mri/learning/slices.hpp"
#include "monarch/mri/neural/reconstruction_model.hpp"
#include "monarch/training/task.hpp"

namespace monarch::mri {

/// Slices for each purpose. validation may be null: the first training slices take its place.
struct SliceSets {
  std::shared_ptr<const SliceSet> train, validation, test;
  static SliceSets open(const SliceOptions& options);
};

class ReconstructionTask final : public training::Task {
 public:
  /// `make_model` builds the model for the shape that the data give; where nothing is learned, its best candidate is
  /// chosen on training slices. Throws ConfigError and DataError.
  ReconstructionTask(ReconstructionOptions task, SliceOptions options, SliceSets sets,
                     const std::function<ReconstructionModelPtr(const SliceShape&)>& make_model,
                     at::Device device = at::kCPU);

  torch::nn::Module& module() override { return *model_; }
  std::vector<operators::ParameterGroup> parameters() override;
  int64_t training_size() const override { return sets_.train->size(); }
  double accumulate_gradients(std::span<const int64_t> ids, double weight, const training::Step& step) override;
  /// Names as docs/learned-reconstruction.md has them: <metric>[_echo<n>][_<R>x].
  training::Metrics evaluate() override;
  std::string selection_metric() const override { return task_.selection; }
  std::map<std::string, at::Tensor> constants() const override;
  /// metrics.json, and panel.png: zero-filled, reconstruction, truth, error.
  void write_results(const std::filesystem::path& folder) override;
  std::string describe_samples(std::span<const int64_t> ids) const override;

  const ReconstructionModel& model() const { return *model_; }
  const MaskSettings& mask() const { return options_.mask; }
  /// Of the test slices, which are used here for the first time; with the model's ablation under <metric>_<ablation>.
  const training::Metrics& test_metrics();
  /// Milliseconds for a slice, median over the test slices of the largest acceleration.
  double milliseconds_per_slice() const { return milliseconds_; }

 private:
  using Forward = std::function<at::Tensor(const SliceBatch&)>;
  struct Prepared {
    SliceBatch batch;           // scaled
    at::Tensor kspace, target;  // scaled: k-space as acquired, and the image
    std::vector<double> scale;
  };
  struct Shown {
    std::string title;
    at::Tensor zero_filled, image, target;  // [y, x] magnitudes
  };

  Prepared prepare(const std::vector<Slice>& slices, const std::vector<at::Tensor>& masks) const;
  at::Tensor mask_for(const Slice& slice, const SliceSet& set, int64_t index, double acceleration,
                      const std::string& stream) const;
  at::Tensor sampling_probability(const Slice& first) const;
  training::Metrics score(const SliceSet& set, const std::vector<int64_t>& indices, const Forward& forward,
                          std::vector<Shown>* shown = nullptr, double* milliseconds = nullptr);
  at::Tensor hold_out(SliceBatch& batch, uint64_t seed, const std::vector<std::string>& streams) const;
  void choose_candidate();

  ReconstructionOptions task_;
  SliceOptions options_;
  SliceSets sets_;
  at::Device device_;
  ReconstructionModelPtr model_;
  ReconstructionLoss loss_;
  mutable std::map<std::string, at::Tensor> masks_;
  std::optional<training::Metrics> test_metrics_;
  std::vector<Shown> shown_;
  double milliseconds_ = 0;
  std::map<double, int64_t> choices_;  // candidate of each acceleration
};

}  // namespace monarch::mri
