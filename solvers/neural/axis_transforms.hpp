#pragma once
// The transforms along the axes of a spectral layer: exact Fourier, learnable Monarch or learnable dense ones.

#include <torch/nn/module.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "monarch/core/config.hpp"
#include "monarch/operators/monarch/transform.hpp"
#include "monarch/operators/nn/spectral.hpp"

namespace monarch::solvers {

/// fourier: constants. monarch: products of learnable factors. dense: learnable truncated matrices (the control).
enum class TransformKind { fourier, monarch, dense };
/// How a learned transform meets the data. dense: multiplied out, then a product. factors: factor by factor. automatic:
/// dense up to 64 points and wherever its multiplications are below four times those of the factors.
enum class TransformProduct { automatic, dense, factors };

/// The table [model.transform]; docs/neural-solvers.md.
struct TransformSettings {
  TransformKind kind = TransformKind::fourier;
  bool per_layer = false;               ///< a set for each layer instead of one for all
  bool forward = true, inverse = true;  ///< which directions are learned; the other one is the exact constant
  bool tied = false;                    ///< the inverse is the scaled conjugate transpose of the learned forward
  bool truncated = false;               ///< only entries that meet kept modes are parameters
  bool per_channel = false;             ///< a transform for each channel
  bool dct = false;                     ///< start from the DCT (types II and III) instead of the DFT
  double lr_multiplier = 1;
  std::vector<int64_t> axes;  ///< the learned ones; empty: all
  TransformProduct product = TransformProduct::automatic;
};

/// Reads the keys below `model.transform` (or the text `model.transform`, which is its kind). Throws ConfigError.
TransformSettings read_transform_settings(const Config& config, TransformKind kind, int64_t axes);

/// A learnable complex matrix of one axis [rows, columns], or [channels, rows, columns].
class AxisMap : public torch::nn::Module {
 public:
  explicit AxisMap(double multiplier) : lr_multiplier(multiplier) {}
  /// As it is now; gradients flow.
  virtual at::Tensor matrix() const = 0;
  /// The same as factors that are not multiplied out; none where the map is dense or has channels.
  virtual std::optional<operators::TransformFactors> factors() const { return std::nullopt; }

  const double lr_multiplier;  ///< of the learning rate of its parameters
};

/// What one forward pass does along one axis. The matrices may have a channel axis in front; where factors are given
/// they stand instead of the matrix, and the inverse is applied to modes scaled by inverse_scale [modes].
struct AxisPass {
  operators::AxisTransform matrices;
  std::optional<operators::TransformFactors> forward_factors, inverse_factors;
  at::Tensor inverse_scale;

  bool plain() const {
    return !forward_factors && !inverse_factors && matrices.forward.dim() == 2 && matrices.inverse.dim() == 2;
  }
};

/// The transforms of one axis of n points: x̂ = F x keeps the low modes, y = G ŷ.
class AxisTransforms : public torch::nn::Module {
 public:
  /// learned: whether `settings` hold for this axis; else it is exact Fourier. channels: for per_channel.
  AxisTransforms(int64_t n, int64_t modes, operators::KeptModes kept, const TransformSettings& settings, bool learned,
                 int64_t channels);

  /// For data of n points (another number only where nothing is learned), the real type and device given.
  AxisPass pass(int64_t n, at::ScalarType precision, at::Device device);

  bool learned() const { return forward_ || inverse_; }
  int64_t points() const { return n_; }
  /// "64 = 8 · 8" or "13 (dense)" for a learned one.
  const std::string& describe() const { return text_; }

 private:
  int64_t n_, modes_;
  operators::KeptModes kept_;
  TransformSettings settings_;
  std::shared_ptr<AxisMap> forward_, inverse_;
  at::Tensor scale_;  // [modes], float64: what stands outside the inverse
  at::Tensor fixed_;  // complex128: the direction that is not learned, scale included
  bool as_factors_ = false;
  std::string text_;
  operators::AxisTransform constant_;  // of the last n, precision and device
  int64_t constant_points_ = 0;
};

/// The transforms of all axes of one layer, or of all layers.
class TransformSet : public torch::nn::Module {
 public:
  /// grid, modes: per axis. kept: per axis.
  TransformSet(const std::vector<int64_t>& grid, const std::vector<int64_t>& modes,
               const std::vector<operators::KeptModes>& kept, const TransformSettings& settings, int64_t channels);

  std::vector<AxisPass> passes(at::IntArrayRef grid, at::ScalarType precision, at::Device device);
  AxisTransforms& axis(size_t a) { return *axes_[a]; }
  /// True where a learned axis has another number of points than `grid`.
  bool tied_to_other_grid(at::IntArrayRef grid) const;
  std::string describe() const;

 private:
  std::vector<std::shared_ptr<AxisTransforms>> axes_;
};

/// operators::spectral_layer, also for transforms with a channel axis or as factors (through ATen products). Other
/// arguments as there.
at::Tensor spectral_pass(const at::Tensor& x, const std::vector<AxisPass>& axes, const at::Tensor& weight,
                         const at::Tensor& pointwise, const at::Tensor& bias, operators::Activation activation);

}  // namespace monarch::solvers
