// Daubechies filters by spectral factorisation.
//
// With y = (2 - z - 1/z)/4, |H|² ∝ (1 - y)^N P(y), P(y) = Σ_{k<N} C(N-1+k, k) y^k. Taking, for every root of P, the z
// inside the unit circle gives the minimum phase H(z) ∝ (1 + 1/z)^N Π (1 - z_i/z). Daubechies (1988), section 4.

#include <array>
#include <complex>
#include <cmath>

#include <fmt/format.h>

#include "monarch/core/error.hpp"
#include "monarch/operators/wavelet.hpp"

namespace monarch::operators {
namespace {

using Complex = std::complex<long double>;

/// Roots of Σ c[k] y^k by the simultaneous iteration of Durand and Kerner.
std::vector<Complex> roots(const std::vector<long double>& c) {
  const size_t degree = c.size() - 1;
  std::vector<Complex> y(degree);
  for (size_t i = 0; i < degree; ++i) y[i] = std::pow(Complex(0.4L, 0.9L), static_cast<long double>(i));
  for (int sweep = 0; sweep < 500; ++sweep) {
    long double moved = 0;
    for (size_t i = 0; i < degree; ++i) {
      Complex value = 0;
      for (size_t k = c.size(); k-- > 0;) value = value * y[i] + c[k];
      Complex others = c[degree];
      for (size_t j = 0; j < degree; ++j) {
        if (j != i) others *= y[i] - y[j];
      }
      const Complex step = value / others;
      y[i] -= step;
      moved = std::max(moved, std::abs(step));
    }
    if (moved <= 1e-19L) break;
  }
  return y;
}

std::vector<double> factorise(int64_t order) {
  std::vector<long double> c(order, 1);
  for (int64_t k = 1; k < order; ++k) c[k] = c[k - 1] * static_cast<long double>(order - 1 + k) / k;
  std::vector<Complex> h{1};
  const auto multiply = [&h](Complex factor) {  // by 1 + factor/z
    h.push_back(0);
    for (size_t t = h.size() - 1; t > 0; --t) h[t] += factor * h[t - 1];
  };
  for (int64_t k = 0; k < order; ++k) multiply(1);
  for (const Complex& y : roots(c)) {
    const Complex b = 1.0L - 2.0L * y, root = std::sqrt(b * b - 1.0L);
    const Complex z = std::abs(b - root) < std::abs(b + root) ? b - root : b + root;
    multiply(-z);
  }
  long double sum = 0;
  for (const Complex& v : h) sum += v.real();
  std::vector<double> filter;
  for (const Complex& v : h) filter.push_back(static_cast<double>(v.real() * std::sqrt(2.0L) / sum));
  return filter;
}

/// The largest departure from Σ_t h[t] h[t + 2k] = δ_k.
double orthonormality_error(const std::vector<double>& h) {
  double worst = 0;
  for (size_t k = 0; k < h.size(); k += 2) {
    double sum = k == 0 ? -1 : 0;
    for (size_t t = 0; t + k < h.size(); ++t) sum += h[t] * h[t + k];
    if (!(std::abs(sum) <= worst)) worst = std::abs(sum);
  }
  return worst;
}

}  // namespace

const std::vector<double>& daubechies_filter(int64_t order) {
  check<ConfigError>(1 <= order && order <= 10,
                     [&] { return fmt::format("Daubechies wavelet of order {}: expected 1 to 10", order); },
                     "the order counts vanishing moments; the filter has twice as many taps");
  static const std::array<std::vector<double>, 10> filters = [] {
    std::array<std::vector<double>, 10> all;
    for (int64_t n = 1; n <= 10; ++n) {
      all[n - 1] = factorise(n);
      const double error = orthonormality_error(all[n - 1]);
      check<BackendError>(error <= 1e-12, [&] {
        return fmt::format("Daubechies filter of order {} came out {} from orthonormal", n, error);
      }, "long double arithmetic is broken in this build: check for options like -ffast-math");
    }
    return all;
  }();
  return filters[order - 1];
}

}  // namespace monarch::operators
