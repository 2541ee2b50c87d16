#pragma once
// The factorised Fourier neural operator: one transform per axis, summed.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "monarch/operators/monarch/multiply.hpp"
#include "monarch/solvers/neural/axis_transforms.hpp"
#include "monarch/solvers/neural/field_grid.hpp"
#include "monarch/solvers/neural/neural_solver.hpp"

namespace monarch::solvers {

/// y = W x + b at each point. With weight_norm W = g v / ||v|| row by row, and v, g are the parameters.
class NormedPointwise : public torch::nn::Module {
 public:
  NormedPointwise(int64_t in, int64_t out, bool weight_norm);
  at::Tensor weight() const;
  const at::Tensor& bias() const { return bias_; }

 private:
  at::Tensor weight_, gain_, bias_;
};

struct FfnoOptions {
  std::vector<int64_t> modes;  ///< per axis: 0 … m-1 of the half spectrum of that axis
  int64_t width = 64, layers = 4, factor = 4, projection = 128;
  bool share_weights = true;  ///< one spectral weight per axis for all layers
  bool weight_norm = true;
  Coordinates coordinates = Coordinates::inclusive;
  operators::Activation activation = operators::Activation::relu;
  Padding padding{{}};
  TransformSettings transform;
};

/// v = P x̃; for each layer v ← v + B2 act(B1 sum_a K_a v + b1) + b2, with K_a the spectral layer along axis a alone
/// (weights complex [width, width, modes_a]); y = Q2 (Q1 v + c1) + c2 without an activation between (Tran et al., ICLR
/// 2023). Transforms, padding and other grids as in Fno; every axis keeps a half spectrum.
///
/// Parameters: lift, spectral<a> or layer<i>_spectral<a>, expand<i>, contract<i>, head0, head1, transforms or
/// transforms<i>. Cost: sum over the axes of one-dimensional spectral layers, and 2 · factor · width² per point and
/// layer.
class Ffno final : public NeuralSolver {
 public:
  Ffno(const FieldShape& shape, FfnoOptions options);
  at::Tensor forward(const at::Tensor& x) override;
  std::string describe() const override;

 private:
  at::Tensor run(const at::Tensor& x);

  FfnoOptions options_;
  CoordinateChannels coordinates_;
  std::shared_ptr<NormedPointwise> lift_, head0_, head1_;
  std::vector<std::shared_ptr<NormedPointwise>> expand_, contract_;
  std::vector<std::vector<at::Tensor>> spectral_;  // [layer or 1][axis]
  std::vector<std::shared_ptr<TransformSet>> transforms_;
};

/// `model.name` "f-fno"; keys in docs/neural-solvers.md. Throws ConfigError.
NeuralSolverPtr make_ffno(const Config& config, const FieldShape& shape);

}  // namespace monarch::solvers
