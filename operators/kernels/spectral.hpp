#pragma once
// The fused CPU kernels of spectral layers and pointwise networks in float32, forward and backward.
// Nothing here is checked: operators/nn/spectral.cpp does that. All tensors are contiguous.

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>

#include "monarch/operators/monarch/multiply.hpp"

namespace monarch::operators::kernels {

/// The layer of operators/nn/spectral.hpp over one or two axes: y = act(Re(G W F x) + pointwise x + bias).
struct SpectralProblem {
  at::Tensor x;                   ///< [batch, in, n_1, n_2] or [batch, in, n]
  at::Tensor weight;              ///< complex [in, out, modes_1, modes_2] or [in, out, modes]
  at::Tensor forward1, forward2;  ///< complex [modes_a, n_a]; forward1 undefined for one axis
  at::Tensor inverse1, inverse2;  ///< complex [n_out_a, modes_a]
  at::Tensor pointwise;           ///< [out, in] or undefined
  at::Tensor bias;                ///< [out] or undefined
  Activation activation = Activation::none;
};

struct SpectralForward {
  at::Tensor y;
  at::Tensor modes;   ///< x̂ = F x of the kept modes, [batch, in, 2 (re, im), modes], if kept
  at::Tensor mixed;   ///< ŷ = W x̂, [batch, out, 2, modes], if kept
  at::Tensor before;  ///< what the activation is applied to, if kept and there is one
};

/// Gradients; undefined where they were not asked for.
struct SpectralGradients {
  at::Tensor x, weight, forward1, forward2, inverse1, inverse2, pointwise, bias;
};
struct SpectralWanted {
  bool x = false, weight = false, forward = false, inverse = false, pointwise = false, bias = false;
};

/// y = W2 act(W1 x + b1) + b2 (two layers) or W1 x + b1 (one: w2 undefined) at each point.
struct PointwiseProblem {
  at::Tensor x;       ///< [batch, in, points]
  at::Tensor w1, b1;  ///< [hidden, in], [hidden] or undefined
  at::Tensor w2, b2;  ///< [out, hidden], [out] or undefined
  Activation activation = Activation::none;
};
struct PointwiseGradients {
  at::Tensor x, w1, b1, w2, b2;
};

namespace cpu {
/// False on a processor without vectors: then nothing below may be called.
bool spectral_available();

/// A sample's maps stay in the second-level cache from the inverse transform to the activation; the modes of all
/// samples are mixed at once. Memory beside the result: one map per thread and the kept modes.
SpectralForward spectral_forward(const SpectralProblem& problem, bool keep);
/// gradient: of y. Sums over samples are taken in their order, whatever the number of threads.
SpectralGradients spectral_backward(const SpectralProblem& problem, const SpectralForward& kept,
                                    const at::Tensor& gradient, const SpectralWanted& wanted);

/// The hidden values exist for one tile of points at a time, in backward (where they are computed again) as well.
at::Tensor pointwise_forward(const PointwiseProblem& problem);
/// wanted: x, w1, b1, w2, b2.
PointwiseGradients pointwise_backward(const PointwiseProblem& problem, const at::Tensor& gradient,
                                      const std::array<bool, 5>& wanted);
}  // namespace cpu

}  // namespace monarch::operators::kernels
