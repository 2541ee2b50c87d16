#include "monarch/solvers/numerical/neumann_random_field.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/solvers/numerical/grid_transforms.hpp"

namespace monarch::solvers {
namespace {

double amplitude(const NeumannFieldLaw& law, int64_t k1, int64_t k2) {
  const double square = std::numbers::pi * std::numbers::pi * static_cast<double>(k1 * k1 + k2 * k2);
  return std::pow(law.tau, law.alpha - 1) * std::pow(square + law.tau * law.tau, -law.alpha / 2);
}

/// Calls visit(k1, k2) in the order in which the random numbers are drawn.
template <class Visit>
void for_each_mode(int64_t n, const Visit& visit) {
  for (int64_t shell = 1; shell < n; ++shell) {
    for (int64_t k = 0; k < shell; ++k) {
      visit(shell, k);
      visit(k, shell);
    }
    visit(shell, shell);
  }
}

}  // namespace

double mean_variance(const NeumannFieldLaw& law, int64_t n) {
  double sum = 0;
  for_each_mode(n, [&](int64_t k1, int64_t k2) { sum += std::pow(amplitude(law, k1, k2), 2); });
  return sum;
}

at::Tensor neumann_random_field(const NeumannFieldLaw& law, int64_t n, uint64_t seed, int64_t first, int64_t count) {
  check<ShapeError>(n >= 1 && count >= 0, [&] {
    return fmt::format("random field: {} samples on {} points an axis; expected at least 1 point", count, n);
  });
  check<ConfigError>(law.alpha > 0 && law.tau > 0, [&] {
    return fmt::format("random field: alpha {} and tau {}; both must be positive", law.alpha, law.tau);
  });
  const CosineTransform2d transform(n);
  at::Tensor result = at::zeros({count, n, n}, at::kDouble);
  double* data = result.mutable_data_ptr<double>();
  std::vector<double> amplitudes;
  amplitudes.reserve(static_cast<size_t>(n * n));
  for_each_mode(n,
                [&](int64_t k1, int64_t k2) { amplitudes.push_back(static_cast<double>(n) * amplitude(law, k1, k2)); });
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; ++s) {
      double* field = data + s * n * n;
      Rng rng(seed, fmt::format("neumann-field/{}", first + s));
      const double* next = amplitudes.data();
      for_each_mode(n, [&](int64_t k1, int64_t k2) { field[k1 * n + k2] = *next++ * rng.normal(); });
      transform.inverse(field, field);
    }
  });
  return result;
}

}  // namespace monarch::solvers
