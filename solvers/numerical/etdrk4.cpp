#include "monarch/solvers/numerical/etdrk4.hpp"

#include <cmath>
#include <numbers>

namespace monarch::solvers {

Etdrk4Coefficients etdrk4_coefficients(std::span<const double> linear, double step) {
  constexpr int points = 16;  // on the upper half of the circle; the lower half is its conjugate
  std::complex<double> circle[points];
  for (int i = 0; i < points; ++i) circle[i] = std::polar(1.0, std::numbers::pi * (i + 0.5) / points);

  Etdrk4Coefficients c;
  for (auto* list : {&c.full, &c.half, &c.q, &c.f1, &c.f2, &c.f3}) list->resize(linear.size());
  for (size_t i = 0; i < linear.size(); ++i) {
    const double z0 = step * linear[i];
    std::complex<double> q = 0, f1 = 0, f2 = 0, f3 = 0;
    for (const auto& r : circle) {
      const std::complex<double> z = z0 + r, z2 = z * z, z3 = z2 * z, half = std::exp(z / 2.0), e = half * half;
      q += (half - 1.0) / z;
      f1 += (-4.0 - z + e * (4.0 - 3.0 * z + z2)) / z3;
      f2 += (2.0 + z + e * (z - 2.0)) / z3;
      f3 += (-4.0 - 3.0 * z - z2 + e * (4.0 - z)) / z3;
    }
    c.full[i] = std::exp(z0);
    c.half[i] = std::exp(z0 / 2);
    c.q[i] = step * q.real() / points;
    c.f1[i] = step * f1.real() / points;
    c.f2[i] = step * f2.real() / points;
    c.f3[i] = step * f3.real() / points;
  }
  return c;
}

}  // namespace monarch::solvers
