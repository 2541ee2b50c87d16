#include "monarch/solvers/numerical/step_tables.hpp"

#include <cmath>

namespace monarch::solvers {
namespace {

/// (e^z − 1)/z and its successors, φ_{j+1}(z) = (φ_j(z) − 1/j!)/z, in extended precision for z <= 0.
struct Phi {
  long double p1, p2, p3;
};
Phi phi(long double z) {
  if (std::abs(z) < 0.5L) {
    // φ_j(z) = sum over m of z^m/(m+j)!
    long double p[3] = {0, 0, 0};
    for (int j = 1; j <= 3; ++j) {
      long double term = 1;
      for (int i = 2; i <= j; ++i) term /= i;
      for (int m = 0; m < 24; ++m) {
        p[j - 1] += term;
        term *= z / (m + j + 1);
      }
    }
    return {p[0], p[1], p[2]};
  }
  const long double p1 = std::expm1(z) / z, p2 = (p1 - 1) / z;
  return {p1, p2, (p2 - 0.5L) / z};
}

}  // namespace

template <class T>
StepTables<T> step_tables(const std::vector<double>& decay, Integrator integrator, double h) {
  StepTables<T> result;
  for (const double rate : decay) {
    const auto put = [&](int i, long double value) { result.values[i].push_back(static_cast<T>(value)); };
    if (integrator == Integrator::etdrk4) {
      const long double step = h, z = -step * rate;
      const Phi full = phi(z), half = phi(z / 2);
      put(0, std::exp(z / 2));
      put(1, step / 2 * half.p1);
      put(2, std::exp(z));
      put(3, step * (full.p1 - 3 * full.p2 + 4 * full.p3));
      put(4, 2 * step * (full.p2 - 2 * full.p3));
      put(5, step * (4 * full.p3 - full.p2));
      continue;
    }
    const bool euler = integrator == Integrator::euler_cn;
    for (int stage = 0; stage < (euler ? 1 : stages_of_rk4); ++stage) {
      const double mu = 0.5 * h * (euler ? 1 : rk_c[stage + 1] - rk_c[stage]) * rate;
      put(2 * stage, (1 - mu) / (1 + mu));
      put(2 * stage + 1, h * (euler ? 1 : rk_b[stage]) / (1 + mu));
    }
  }
  return result;
}

template StepTables<float> step_tables(const std::vector<double>& decay, Integrator integrator, double h);
template StepTables<double> step_tables(const std::vector<double>& decay, Integrator integrator, double h);

}  // namespace monarch::solvers
