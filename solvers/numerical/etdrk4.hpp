#pragma once
// Exponential time differencing of fourth order for v' = L v + N(v) with a real diagonal L.

#include <cmath>
#include <complex>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace monarch::solvers {

/// What one step of length h needs of each diagonal entry, z = hL:
///   full = e^z, half = e^(z/2), q = h (e^(z/2) - 1)/z,
///   f1 = h (-4 - z + e^z (4 - 3z + z²))/z³, f2 = h (2 + z + e^z (z - 2))/z³, f3 = h (-4 - 3z - z² + e^z (4 - z))/z³.
struct Etdrk4Coefficients {
  std::vector<double> full, half, q, f1, f2, f3;
};

/// The quotients are means over a circle of radius 1 around z (Kassam and Trefethen, SIAM J. Sci. Comput. 26 (2005)),
/// so that nothing cancels at small z: relative error below 1e-12. O(32 n).
Etdrk4Coefficients etdrk4_coefficients(std::span<const double> linear, double step);

/// Cox and Matthews' ETDRK4 (J. Comput. Phys. 176 (2002)). Exact where N = 0; order 4 in h. One object per thread: it
/// holds the stages. Value is double or std::complex<double>.
template <class Value>
class Etdrk4 {
 public:
  /// n = N(v): [modes] each; v and n do not overlap.
  using Nonlinear = std::function<void(const Value* v, Value* n)>;

  /// linear: the diagonal of L, one entry per element of the state.
  explicit Etdrk4(std::vector<double> linear) : linear_(std::move(linear)) {
    for (auto* stage : {&nv_, &na_, &nb_, &nc_, &a_, &b_}) stage->resize(linear_.size());
  }

  /// Advances v by `duration` in `steps` equal steps. Four evaluations of N a step.
  void advance(Value* v, double duration, int64_t steps, const Nonlinear& nonlinear) {
    const double step = duration / static_cast<double>(steps);
    // Moments such as 3 · 0.06 - 2 · 0.06 differ from 0.06 by rounding: not worth new coefficients.
    if (!(std::abs(step - step_) <= 1e-13 * step)) {
      coefficients_ = etdrk4_coefficients(linear_, step);
      step_ = step;
    }
    for (int64_t i = 0; i < steps; ++i) one(v, nonlinear);
  }

 private:
  void one(Value* v, const Nonlinear& nonlinear) {
    const auto& c = coefficients_;
    const size_t n = linear_.size();
    nonlinear(v, nv_.data());
    for (size_t i = 0; i < n; ++i) a_[i] = c.half[i] * v[i] + c.q[i] * nv_[i];
    nonlinear(a_.data(), na_.data());
    for (size_t i = 0; i < n; ++i) b_[i] = c.half[i] * v[i] + c.q[i] * na_[i];
    nonlinear(b_.data(), nb_.data());
    for (size_t i = 0; i < n; ++i) b_[i] = c.half[i] * a_[i] + c.q[i] * (2.0 * nb_[i] - nv_[i]);
    nonlinear(b_.data(), nc_.data());
    for (size_t i = 0; i < n; ++i) {
      v[i] = c.full[i] * v[i] + c.f1[i] * nv_[i] + 2.0 * c.f2[i] * (na_[i] + nb_[i]) + c.f3[i] * nc_[i];
    }
  }

  std::vector<double> linear_;
  double step_ = 0;
  Etdrk4Coefficients coefficients_;
  std::vector<Value> nv_, na_, nb_, nc_, a_, b_;
};

}  // namespace monarch::solvers
