#pragma once
// The spectral layer of neural operators: truncated transforms along every axis, a matrix per kept mode, and back.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "monarch/operators/monarch/multiply.hpp"

namespace monarch::operators {

/// Which frequencies an axis keeps. low_both: 0 … m-1 and -m … -1 (2m modes; the corners of the published 2-D script);
/// low_half: 0 … m-1 of a real signal's half spectrum (the last axis): the inverse counts each frequency but 0 and n/2
/// twice, so that the real part of the result is what irfft gives.
enum class KeptModes { low_both, low_half };

/// The two transforms of one axis as dense complex matrices: x̂ = forward · x, y = Re or intermediate of inverse · ŷ.
/// Constants for a Fourier layer; results of a product of Monarch factors for a learned one (gradients flow).
struct AxisTransform {
  at::Tensor forward;  ///< complex [modes, n]
  at::Tensor inverse;  ///< complex [n_out, modes]; n_out = n but for super-resolution
  /// Set by truncated_fourier where n_out = n: both are what an FFT computes.
  std::optional<KeptModes> fourier = std::nullopt;
};

/// The exact transforms: forward[a, j] = exp(-2 pi i k_a j / n), inverse[j, a] = c_a exp(+2 pi i k_a j / n_out) / n
/// with c_a = 2 or 1 as KeptModes says; k_a: operators::low_frequencies, or 0 … m-1. With n_out != n the inverse is the
/// trigonometric interpolant at n_out points. precision: float32 or float64. Throws ShapeError where m modes do not
/// fit: low_both 2m <= n (and n_out), low_half m <= floor(n/2) + 1.
AxisTransform truncated_fourier(int64_t n, int64_t m, KeptModes kept, at::ScalarType precision, int64_t n_out = 0);

struct SpectralWeights {
  at::Tensor weight;  ///< complex [in, out, modes_1, …, modes_d]; the mode axes in the order of the grid axes
  std::vector<AxisTransform> axes;  ///< d of them, in the order of the grid axes
  at::Tensor pointwise;             ///< real [out, in] and undefined for none: the 1×1 convolution beside
  at::Tensor bias;                  ///< real [out], or undefined
  Activation activation = Activation::none;
};

/// y = act( Re(G_1 ⊗ … ⊗ G_d (W · (F_1 ⊗ … ⊗ F_d x))) + pointwise x + bias ), F_a = axes[a].forward, G_a =
/// axes[a].inverse, and (W ŷ)[o, k] = sum_i weight[i, o, k] x̂[i, k].
/// x: real [batch, in, n_1, …, n_d], d = 1, 2, 3, float32 or float64; result [batch, out, n_out_1, …, n_out_d]
/// (pointwise only where n_out = n). Differentiable in x and every tensor of the weights.
/// On the CPU in float32, one and two axes run in fused kernels (kernels/cpu/spectral.*): one sample at a time stays in
/// the second-level cache, and only the kept modes are saved for backward. Everything else goes through ATen products.
/// Where nearly all modes of a large grid are kept (spectral_by_fft), Fourier transforms go through FFTs instead.
/// Throws ShapeError and DtypeError. Cost of one 2-D map and direction: about 4 n² m + 16 n m² flops.
at::Tensor spectral_layer(const at::Tensor& x, const SpectralWeights& weights);

/// The same by differentiable ATen products: the specification, any device and type.
at::Tensor spectral_layer_composite(const at::Tensor& x, const SpectralWeights& weights);

/// The two parts of it that are the same for any transforms. [batch, in, modes…] · weight [in, out, modes…] -> [batch,
/// out, modes…], one product per mode; act(y + pointwise x + bias).
at::Tensor mix_modes(const at::Tensor& modes, const at::Tensor& weight);
at::Tensor finish_spectral(const at::Tensor& y, const at::Tensor& x, const at::Tensor& pointwise,
                           const at::Tensor& bias, Activation activation);

/// The same for axes of truncated_fourier by real FFTs over all of them, a matrix per kept mode, and zeros elsewhere.
at::Tensor spectral_layer_fft(const at::Tensor& x, const SpectralWeights& weights);

/// True where FFTs of this layer cost less than products with the truncated matrices: by flops, weighted with the rates
/// that both reach (docs/performance.md), so that the choice does not depend on a measurement.
bool spectral_by_fft(const at::Tensor& x, const SpectralWeights& weights);

/// y = W2 act(W1 x + b1) + b2 at each point: x real [batch, in, points…], w1 [hidden, in], b1 [hidden], w2 [out,
/// hidden], b2 [out] -> [batch, out, points…]. The hidden values (6 times x in a published FNO) never exist as a whole
/// on the CPU in float32, in forward and in backward. Differentiable in everything. Throws ShapeError and DtypeError.
at::Tensor pointwise_mlp(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& b1, const at::Tensor& w2,
                         const at::Tensor& b2, Activation activation);
at::Tensor pointwise_mlp_composite(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& b1,
                                   const at::Tensor& w2, const at::Tensor& b2, Activation activation);

/// y = W x + b at each point: x [batch, in, points…], w [out, in], b [out] or undefined.
at::Tensor pointwise_linear(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b);
at::Tensor pointwise_linear_composite(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b);

}  // namespace monarch::operators
