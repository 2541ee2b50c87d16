#pragma once
// A trained reconstruction network with all that its use needs.

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>

#include "monarch/mri/learning/options.hpp"
#include "monarch/mri/neural/reconstruction_model.hpp"
#include "monarch/training/checkpoint.hpp"

namespace monarch::mri {

class LearnedReconstruction {
 public:
  /// Reads a run folder or a checkpoint of `monarch train`. Throws DataError: no checkpoint, one of another kind of
  /// model, weights that do not fit.
  static LearnedReconstruction load(const std::filesystem::path& path);

  /// kspace [coil, y, x] complex64, zero where not sampled; mask [y, x] bool; maps [coil, y, x]. Returns the image
  /// [y, x] complex64 in the units of k-space. Throws ShapeError saying what would fit.
  at::Tensor reconstruct(const at::Tensor& kspace, const at::Tensor& mask, const at::Tensor& maps,
                         int64_t contrast) const;

  const ReconstructionModel& model() const { return *model_; }
  /// The name in the config: "msense".
  const std::string& name() const { return name_; }
  /// What it was trained for: "Poisson-disc masks at 2×, 3×, 4×".
  const std::string& training() const { return training_; }

 private:
  LearnedReconstruction() = default;

  ReconstructionModelPtr model_;
  std::string name_, training_;
  SliceScale scale_ = SliceScale::percentile;
};

}  // namespace monarch::mri
