#pragma once
// The Fourier neural operator in one to three dimensions, and Monarch-NO, which learns its transforms.

#include <torch/nn/modules/batchnorm.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "monarch/operators/nn/linear_layer.hpp"
#include "monarch/solvers/neural/axis_transforms.hpp"
#include "monarch/solvers/neural/field_grid.hpp"
#include "monarch/solvers/neural/neural_solver.hpp"

namespace monarch::solvers {

/// How R [in, out, modes…] starts: both parts uniform in [0, 1)/(in · out), whose mean is not 0, or in (-1, 1)/(in ·
/// out), or normal with E|R|² = 2/(in + out) (Xavier's, as in neuraloperator).
enum class SpectralInit { published, zero_mean, xavier };
/// What a channel MLP stands beside: v, a number per channel times v (which starts as 1), or a matrix times v.
enum class BlockSkip { identity, soft_gating, linear };

struct FnoOptions {
  /// Per axis m: the last axis keeps frequencies 0 … m-1 of its half spectrum, the others 0 … m-1 and -m … -1.
  std::vector<int64_t> modes;
  int64_t width = 20, layers = 4, projection = 128;
  Coordinates coordinates = Coordinates::inclusive;
  operators::Activation activation = operators::Activation::gelu;
  bool batch_norm = false;
  SpectralInit spectral_init = SpectralInit::published;
  int64_t lift_hidden = 0;   ///< channels between two layers of the lift; 0: one layer
  int64_t block_hidden = 0;  ///< channels inside the MLP of each block; 0: no MLP
  BlockSkip block_skip = BlockSkip::soft_gating;
  Padding padding{{}};
  int64_t mixing_blocks = 0;     ///< lift, pointwise layers and head as Monarch layers of so many blocks; 0: dense
  bool positional_bias = false;  ///< a learned bias [width, grid] in every layer (a control)
  TransformSettings transform;
};

/// v = P x̃ (x̃: x and coordinates), v ← act(BN(K v + W v + b)) for each layer, without act in the last, y = Q2 act(Q1 v
/// + c1) + c2, with K the spectral layer of operators/nn/spectral.hpp over transforms F, G of each axis: constants of
/// Fourier, or learned (then "Monarch-NO").
///
/// With block_hidden, as in neuraloperator (Kossaifi et al., Multi-Grid Tensorized FNO, TMLR 2024), a layer is
/// u = act(BN(K v + W v + b)), v ← act(B2 act(B1 u + b1) + b2 + S v), without the outer acts in the last, with S as
/// block_skip says. With lift_hidden, v = P2 act(P1 x̃ + p1) + p2.
///
/// On another grid than it trained on, a model with Fourier transforms evaluates its kernels there. Learned transforms
/// (and positional biases) belong to their grid: input and output go through operators::resample.
///
/// Parameters: lift (and lift_out), spectral<i> (complex [width, width, modes…]), pointwise<i>, norm<i>,
/// positional_bias<i>, expand<i>, contract<i>, gate<i> [width] or skip<i>, head0, head1, transforms or transforms<i>.
class Fno final : public NeuralSolver {
 public:
  /// Throws ShapeError for modes beyond Nyquist, naming the axis.
  Fno(const FieldShape& shape, FnoOptions options);

  at::Tensor forward(const at::Tensor& x) override;
  std::string describe() const override;
  const FnoOptions& options() const { return options_; }

 private:
  at::Tensor run(const at::Tensor& x);
  /// act(B2 act(B1 u + b1) + b2 + S v) of layer i.
  at::Tensor channel_mlp(int64_t i, const at::Tensor& u, const at::Tensor& v, operators::Activation activation);

  FnoOptions options_;
  CoordinateChannels coordinates_;
  operators::LinearLayer lift_{nullptr}, lift_out_{nullptr}, head0_{nullptr}, head1_{nullptr};
  std::vector<operators::LinearLayer> pointwise_, expand_, contract_, skip_;
  std::vector<at::Tensor> spectral_, positional_bias_, gate_;
  std::vector<torch::nn::BatchNorm1d> norms_;
  std::vector<std::shared_ptr<TransformSet>> transforms_;  // one, or one per layer
};

/// `model.name` "fno" (kind fourier) or "monarch-no". Reads the keys of docs/neural-solvers.md. Throws ConfigError.
NeuralSolverPtr make_fno(const Config& config, const FieldShape& shape, TransformKind kind);

/// The weight [out, in] and bias of a layer as they are now.
struct PointwiseWeights {
  at::Tensor weight, bias;
};
PointwiseWeights pointwise_weights(const operators::LinearLayer& layer);

/// `model.modes`, which counts as `model.modes_convention` says: "script" (m as above) or "neuraloperator" (n_modes
/// counts both signs: 2m, and on a last axis 2(m-1)). Throws ConfigError.
std::vector<int64_t> read_modes(const Config& config, int64_t axes, int64_t fallback, bool half_everywhere = false);
/// Throws ShapeError where modes do not fit on a grid (padding included).
void check_modes(const std::vector<int64_t>& modes, const std::vector<int64_t>& grid,
                 const std::vector<operators::KeptModes>& kept);

}  // namespace monarch::solvers
