#pragma once
// Gaussian random fields with zero normal derivative: the coefficients of the published Darcy data.

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace monarch::solvers {

/// Law of a field on the unit square, mean zero over the square, covariance τ^(2α-2) (-Δ + τ²)^(-α) with Neumann
/// conditions and without its constant mode:
///   w(x, y) = sum over k ≠ 0 of τ^(α-1) (π²|k|² + τ²)^(-α/2) ξ_k φ_k1(x) φ_k2(y),   φ_0 = 1, φ_k(x) = √2 cos(πkx),
/// ξ independent standard normal numbers. The published coefficients have α = 2, τ = 3.
struct NeumannFieldLaw {
  double alpha = 2;
  double tau = 3;
};

/// Mean over the square of the variance on n × n points: the sum over the grid's wavenumbers.
double mean_variance(const NeumannFieldLaw& law, int64_t n);

/// Samples first … first+count-1 of `seed` at the cell centres ((i + 1/2)/n, (j + 1/2)/n): [count, n, n] float64. A
/// pure function of (seed, sample). The random numbers are drawn by max(k1, k2) = 1, 2, 3 …, so that a sample is the
/// same function at every n but for what the coarser grid cannot hold. Parallel over samples; O(n² log n) each. Throws
/// ShapeError for n < 1 or count < 0, ConfigError unless alpha and tau are positive.
at::Tensor neumann_random_field(const NeumannFieldLaw& law, int64_t n, uint64_t seed, int64_t first, int64_t count);

}  // namespace monarch::solvers
