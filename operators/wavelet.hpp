#pragma once
// Orthogonal Daubechies wavelets with periodic boundaries.

#include "monarch/operators/linear_operator.hpp"

#include <vector>

namespace monarch::operators {

namespace kernels {
struct WaveletPlan;
}

/// What `Wavelet` computes. The defaults are the four-tap filter over both axes of an image.
struct WaveletOptions {
  /// Vanishing moments, 1 (Haar) to 10; the filter has twice as many taps.
  int64_t order = 2;
  /// Levels of every transformed axis longer than 1. 0: each axis as many as leave a coarsest band of at least
  /// max(16, taps) samples of it, so a short axis may be left alone.
  int64_t levels = 0;
  /// The last 1, 2 or 3 axes are transformed; those in front are batch dimensions of the domain.
  int64_t dimensions = 2;
  /// Circular shift in samples before the transform, one per transformed axis, empty: none. Positive moves
  /// content to higher indices, like at::roll. This is the offset of cycle spinning.
  std::vector<int64_t> shift = {};

  bool operator==(const WaveletOptions&) const = default;
};

/// y = W P S x: circular shift S, zero padding P at the end of each axis, orthogonal periodic wavelet analysis W.
///
/// One level splits an axis of even length n into  low[k] = Σ_t h[t] x[(2k + t) mod n]  and
/// high[k] = Σ_t g[t] x[(2k + t) mod n],  g[t] = (-1)^t h[taps - 1 - t],  h the minimum phase filter. The next level
/// splits what is low along every axis. Layout (Mallat's): each level's block holds `low` before `high` along each
/// axis, so the coarsest band is the leading corner of extents `coarse_shape()`.
///
/// Shapes: domain [..., z, y, x] -> codomain [..., Z, Y, X], each extent padded to a multiple of 2^levels of its axis.
/// The operator is an isometry, A^H A = 1; it is unitary where nothing was padded. float32, float64, complex64 and
/// complex128 on the CPU. Cost: one sweep over the data per level with 2·taps multiplications per sample and axis;
/// shift, padding and cropping are folded into the first sweep and cost next to nothing.
/// Throws ConfigError for options out of range, BackendError for a device other than the CPU.
/// Mallat, IEEE Trans. Pattern Anal. Mach. Intell. 11 (1989); Daubechies, Comm. Pure Appl. Math. 41 (1988).
class Wavelet final : public LinearOperator {
 public:
  /// domain: [..., z, y, x].
  explicit Wavelet(Space domain, WaveletOptions options = {});

  std::string describe() const override;
  const WaveletOptions& options() const { return options_; }
  /// Extents of the codomain's leading corner that holds the coarsest band (all of the axes not transformed).
  const std::vector<int64_t>& coarse_shape() const { return coarse_shape_; }
  /// Levels of each axis of the domain; 0 for those left alone.
  const std::vector<int64_t>& levels() const { return levels_; }

  /// The same transform after a circular shift of that many samples (one per transformed axis). Costs microseconds.
  Wavelet shifted(std::vector<int64_t> shift) const;

  /// A^H T(A x): T shrinks the modulus of every coefficient outside the coarsest band by `threshold` (soft
  /// thresholding) and leaves the coarsest band alone. The proximal operator of threshold·‖A x‖₁ where nothing was
  /// padded. Faster than its three steps by hand; not differentiable. x: [..., domain] -> [..., domain].
  /// `threshold` is in units of x; ConfigError where it is not >= 0.
  at::Tensor shrink(const at::Tensor& x, double threshold) const;
  /// Σ |coefficient| outside the coarsest band, per batch. y: [..., codomain] -> [...], real, of y's precision.
  at::Tensor detail_norm(const at::Tensor& y) const;

 protected:
  at::Tensor do_apply(const at::Tensor& x) const override;
  at::Tensor do_adjoint(const at::Tensor& y) const override;
  at::Tensor do_normal(const at::Tensor& x) const override;

 private:
  WaveletOptions options_;
  std::vector<int64_t> levels_;
  std::vector<int64_t> coarse_shape_;
  std::shared_ptr<const kernels::WaveletPlan> plan_;
};

/// The 2·order low-pass coefficients h of the minimum phase Daubechies filter, 1 <= order <= 10: Σ h = √2,
/// Σ_t h[t] h[t + 2k] = δ_k to 1e-14. Found once by spectral factorisation, then kept.
const std::vector<double>& daubechies_filter(int64_t order);

}  // namespace monarch::operators
