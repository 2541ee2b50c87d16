#pragma once
// Losses between fields, one number for each sample; differentiable.

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

namespace monarch::training {

// All take prediction û and truth u [batch, channel, grid…] with 1 to 3 axes of grid, equal shapes, real; sums in
// float32 at least. They return [batch] and throw ShapeError or DtypeError. A sample whose truth is zero everywhere has
// no relative error: the result is infinite or NaN. The gradient at û = u is 0.

/// ‖û − u‖₂ / ‖u‖₂ over channels and grid: the error of Li et al. (2021) and of PDE tables since.
at::Tensor relative_l2(const at::Tensor& prediction, const at::Tensor& truth);

/// Mean of (û − u)² over channels and grid.
at::Tensor mean_square(const at::Tensor& prediction, const at::Tensor& truth);

enum class Derivative {
  spectral,  ///< periodic grid, point i at i L/n; multiplication by 2πk/L, also at the Nyquist mode |k| = n/2
  periodic,  ///< the same grid; central differences (u[i+1] − u[i−1]) n/(2L)
  bounded    ///< point i at i L/(n−1); central differences, one-sided of second order at both ends (n ≥ 3)
};

/// Relative error in the Sobolev norm H¹: (‖û − u‖² + ‖∇(û − u)‖²)^½ / (‖u‖² + ‖∇u‖²)^½, ‖∇v‖² summed over the axes.
/// `lengths` L of the axes; empty: 1 each.
at::Tensor relative_h1(const at::Tensor& prediction, const at::Tensor& truth,
                       Derivative derivative = Derivative::spectral, const std::vector<double>& lengths = {});

/// Relative L2 errors of bands of wave numbers, averaged over the bands: small scales weigh as much as large ones. A
/// mode with the integer wave vector k (of all signs) belongs to band b where edges[b−1] ≤ |k| < edges[b], with 0 below
/// the first and ∞ above the last edge. A band in which the truth holds less than 1e-6 of its norm counts with the
/// error divided by that floor, so that rounding noise does not lead. Periodic grid. Edges ascend; default 4, 12:
/// PDEBench's low, middle and high range.
at::Tensor relative_l2_bands(const at::Tensor& prediction, const at::Tensor& truth,
                             const std::vector<double>& edges = {4, 12});

/// Root mean square over shells of log₁₀ E_û(k) − log₁₀ E_u(k), with E(k) = ½ Σ |v̂|² over k − ½ ≤ |k| < k + ½ and the
/// channels: sees amplitudes, not phases. Both E are raised by 1e-12 of the truth's sum. Shells 0 … n/2 of the shortest
/// axis.
at::Tensor log_spectrum(const at::Tensor& prediction, const at::Tensor& truth);

using Loss = std::function<at::Tensor(const at::Tensor& prediction, const at::Tensor& truth)>;

/// The loss of that name: "l2", "h1" (spectral), "h1-periodic", "h1-bounded", "mse", "spectral" (relative_l2_bands),
/// "log-spectrum". Throws ConfigError with the closest name.
Loss make_loss(const std::string& name);
std::vector<std::string> loss_names();

}  // namespace monarch::training
