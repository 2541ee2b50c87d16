#pragma once
// Periodic Gaussian random fields: the initial states of the published data sets.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace monarch::solvers {

/// Law of a field on [0, length)^d: Gaussian, mean zero, covariance operator scale² (−Δ + τ²)^(−α) without its constant
/// mode, so that
///   w(x) = scale · sum over k ≠ 0 of (4π²|k|²/length² + τ²)^(−α/2) (ξ_k cos θ_k − η_k sin θ_k),   θ_k = 2π k·x/length,
/// ξ and η independent standard normal numbers (on the unit torus; elsewhere the covariance has the factor length^d).
struct RandomFieldLaw {
  double alpha = 2.5;
  double tau = 7;
  double scale = 1;
  double length = 1;
};

/// The laws of the published Navier–Stokes data, α = 5/2, τ = 7, by name:
///   "2020"  scale² = 2·7³: the script that made the published files (standard deviation 0.2620);
///   "2022"  scale² = 7³: the script after its port to torch.fft (0.1852);
///   "paper" scale² = 7^(3/2): the operator as printed (0.0430).
/// Throws ConfigError naming the closest name.
RandomFieldLaw navier_stokes_law(std::string_view name);

/// Standard deviation of the field on n^dims points: the root of the sum over the grid's wavenumbers.
double standard_deviation(const RandomFieldLaw& law, int dims, int64_t n);

/// Samples first … first+count-1 of `seed` on n points along each of `dims` (1 or 2) axes: [count, n] or [count, n, n]
/// float64, point j at x = j·length/n. A pure function of (seed, sample): it depends neither on the grouping nor on
/// threads. The random numbers are drawn by max |k_i| = 1, 2, 3 …, so that the modes |k_i| < n/2 of a sample are the
/// same at every n: a field is the same function at 64² and at 256² but for what the coarser grid cannot hold. An even
/// n has the wavenumber −n/2 along each axis as well, as the published scripts do. Parallel over samples; cost O(n^d
/// log n). Throws ShapeError for n < 1, dims other than 1 and 2, and count < 0; ConfigError for a law whose scale, tau
/// or length is not positive.
at::Tensor gaussian_random_field(const RandomFieldLaw& law, int dims, int64_t n, uint64_t seed, int64_t first,
                                 int64_t count);

}  // namespace monarch::solvers
