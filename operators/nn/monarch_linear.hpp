#pragma once
// A linear layer whose weight is a Monarch matrix.

#include <torch/nn/modules/linear.h>

#include <cstdint>
#include <optional>
#include <string>

#include "monarch/operators/linear_operator.hpp"
#include "monarch/operators/monarch/multiply.hpp"
#include "monarch/operators/monarch/projection.hpp"
#include "monarch/operators/nn/dense_cache.hpp"
#include "monarch/operators/nn/initialise.hpp"

namespace monarch::operators {

struct MonarchLinearOptions {
  int64_t in = 0, out = 0;
  int64_t nblocks = 4;                               ///< blocks of each factor; monarch_layer_sizes gives the rest
  std::optional<MonarchSizes> sizes = std::nullopt;  ///< instead of nblocks: any k, l and ranks that fit in -> out
  bool bias = true;
  Activation activation = Activation::none;  ///< fused into the product
  MonarchInit init = MonarchInit::dense_matching;
  bool zero_second = false;  ///< the second factor starts at 0: the last layer of a residual branch under mup
  bool weight_norm = false;  ///< factors enter as gain·W / max(1, rms(W)/rms0), rms0 the mup deviation of a block
  bool recompute = false;    ///< backward recomputes the middle vector instead of keeping it
  InferencePath inference = InferencePath::automatic;
  at::ScalarType dtype = at::kFloat;
  at::Device device = at::kCPU;
};

/// y = act(M x + bias) over the last axis, M = P2 blockdiag(blkdiag2) P1 blockdiag(blkdiag1): a drop-in for
/// torch::nn::Linear. Parameters carry the names of the paper's code: `blkdiag1` [k, q, p], `blkdiag2` [l, s, r],
/// `bias` [out]; weight_norm adds the scalars `gain1`, `gain2`. Extents that the blocks do not divide are padded. In
/// eval mode and where no gradient is asked for, few rows go through a cached dense weight where that was measured to
/// be faster (DenseCache); the result is the same to rounding. Training never does.
/// Throws ShapeError for sizes that do not fit, ConfigError for an activation on complex numbers.
/// Cost: macs() multiplications per row.
class MonarchLinearImpl : public torch::nn::Cloneable<MonarchLinearImpl> {
 public:
  MonarchLinearImpl(int64_t in, int64_t out);
  explicit MonarchLinearImpl(const MonarchLinearOptions& options);

  /// x [..., in] -> [..., out].
  at::Tensor forward(const at::Tensor& x);

  /// The nearest layer to x -> weight x + bias in the Frobenius norm (monarch_project). weight [out, in], real or
  /// complex; bias [out] or undefined. in, out, bias, dtype and device of the options are taken from the weight; init
  /// is not used. The relative error ||W - M||/||W|| goes to `error` where given.
  static std::shared_ptr<MonarchLinearImpl> from_dense(const at::Tensor& weight, const at::Tensor& bias = {},
                                                       MonarchLinearOptions options = {}, double* error = nullptr);

  /// The dense weight [out, in], differentiable.
  at::Tensor densify() const;
  /// torch::nn::Linear with the same function, mode and requires_grad. Throws ConfigError where an activation is fused.
  torch::nn::Linear to_linear() const;
  /// The same without the activation.
  torch::nn::Linear linear_part() const;
  /// The map without bias and activation as it is now, [in] -> [out]; a constant copy.
  OperatorPtr as_operator() const;

  /// The factors that multiply x: blkdiag1 and blkdiag2, normalised where weight_norm is on. Differentiable.
  MonarchFactors factors() const;

  const MonarchSizes& sizes() const { return sizes_; }
  /// Weights without bias and gains.
  int64_t weights() const { return sizes_.parameters(); }
  /// Weights / (in·out).
  double parameter_fraction() const;
  /// Multiplications per row, padding included.
  int64_t macs() const { return sizes_.parameters(); }
  FactorMultipliers multipliers(int64_t base_in = 0) const;

  /// Which way inference goes, and the cached weight.
  DenseCache& dense_cache() { return dense_cache_; }

  void reset() override;
  void reset_parameters();
  void train(bool on = true) override;
  void pretty_print(std::ostream& stream) const override;

  MonarchLinearOptions options;
  at::Tensor blkdiag1, blkdiag2, bias, gain1, gain2;

 private:
  at::Tensor dense_weight_for(const at::Tensor& x);

  MonarchSizes sizes_;
  DenseCache dense_cache_;
};

TORCH_MODULE(MonarchLinear);

/// "Monarch 768 -> 3072, nblocks 4", or the sizes where they are not of one block count.
std::string monarch_layer_text(const MonarchSizes& sizes, int64_t in, int64_t out);

}  // namespace monarch::operators
