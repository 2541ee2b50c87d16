#pragma once
// Networks that make an image of undersampled k-space.

#include <torch/nn/module.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "monarch/core/config.hpp"
#include "monarch/mri/neural/encoding.hpp"
#include "monarch/operators/nn/linear_layer.hpp"
#include "monarch/operators/nn/parameter_groups.hpp"

namespace monarch::mri {

/// What the data say of a model.
struct SliceShape {
  int64_t ny = 0, nx = 0;
  int64_t coils = 1;
  int64_t contrasts = 1;
  /// Probability that a point of k-space is sampled, [ny, nx] float32; called only by models that need it. Empty: the
  /// model gets it from its checkpoint.
  std::function<at::Tensor()> sampling_probability;
};

/// A model SliceBatch -> image [batch, y, x] complex64. The scale of k-space is that of its training: see
/// slice_scale().
class ReconstructionModel : public torch::nn::Module {
 public:
  explicit ReconstructionModel(SliceShape shape) : shape_(std::move(shape)) {}
  /// Call check_fit() before. Differentiable in the weights.
  virtual at::Tensor forward(const SliceBatch& batch) = 0;
  virtual std::string describe() const = 0;
  /// Real multiply-accumulates of one slice of the model's shape, transforms and coil products included.
  virtual double macs() const = 0;

  /// Throws ShapeError, saying what would fit, for slices that the model cannot take: other extents (where its weights
  /// belong to a grid, or smaller than its poolings), coils or contrasts.
  virtual void check_fit(const SliceBatch& batch) const;
  /// True where weights belong to the extents of the training data.
  virtual bool fixed_extents() const { return false; }
  /// Rows and columns that a slice needs, for poolings.
  virtual int64_t smallest_extent() const { return 1; }

  /// Settings to choose between where nothing is learned (a λ, say); the task takes the best on its training slices.
  virtual int64_t candidates() const { return 1; }
  virtual void choose(int64_t candidate) { (void)candidate; }
  /// The same model without what a study takes away, under a name ("diagonal"), for reports. Empty: there is none.
  virtual std::string ablation() const { return {}; }
  virtual at::Tensor forward_ablated(const SliceBatch& batch) { return forward(batch); }

  const SliceShape& shape() const { return shape_; }

 protected:
  SliceShape shape_;
};

using ReconstructionModelPtr = std::shared_ptr<ReconstructionModel>;

/// Builds the model of the table [model]: `model.name` (docs/learned-reconstruction.md) and its options. Weights start
/// from LibTorch's generator. Throws ConfigError naming the closest model.
ReconstructionModelPtr make_reconstruction_model(const Config& config, const SliceShape& shape);
std::vector<std::string> reconstruction_model_names();

/// operators::parameter_groups with what the models ask for: no weight decay on learned transforms, thresholds and
/// step sizes, unless `decay_transforms`.
std::vector<operators::ParameterGroup> model_parameter_groups(const torch::nn::Module& model, bool decay_transforms);
/// Real numbers that train.
int64_t model_parameter_count(const torch::nn::Module& model);

// One function for each file of models; they read their keys of the table [model].
ReconstructionModelPtr make_sense(const Config& config, const SliceShape& shape);
ReconstructionModelPtr make_msense(const Config& config, const SliceShape& shape);
ReconstructionModelPtr make_density_sense(const Config& config, const SliceShape& shape);
ReconstructionModelPtr make_cg_sense(const Config& config, const SliceShape& shape);
ReconstructionModelPtr make_l1_wavelet(const Config& config, const SliceShape& shape);
ReconstructionModelPtr make_image_unet(const Config& config, const SliceShape& shape);
/// `preset`: "unrolled", "modl" or "patch", whose defaults differ.
ReconstructionModelPtr make_unrolled(const Config& config, const SliceShape& shape, const std::string& preset);
ReconstructionModelPtr make_varnet(const Config& config, const SliceShape& shape);

/// `model.layers`: "dense" or "monarch" (with model.nblocks), what convolutions are made of.
operators::LinearFactory layer_factory(const Config& config);
/// `model.encoding`: "fourier", or "monarch" / "dense" / "weights", a learned transform inside; registered with
/// `model`.
EncodingFactory read_encoding(const Config& config, const SliceShape& shape, torch::nn::Module& model,
                              std::shared_ptr<operators::PlaneTransform>& transform);
/// The keys of the learned transform below `table`: per_contrast, per_coil, tied_axes, image.
operators::PlaneOptions read_plane_options(const Config& config, const std::string& table, const std::string& kind,
                                           const SliceShape& shape);
/// Multiplications of A^H A of one slice: two transforms (Fourier where `transform` is null) and two products with the
/// coils.
double normal_macs(const SliceShape& shape, const operators::PlaneTransform* transform = nullptr);

}  // namespace monarch::mri
