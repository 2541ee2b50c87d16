#pragma once
// Monarch matrices and transforms made of them, as linear operators.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "monarch/operators/linear_operator.hpp"
#include "monarch/operators/monarch/projection.hpp"
#include "monarch/operators/monarch/transform.hpp"

namespace monarch::operators {

/// y = M x, M the leading [out, in] part of the Monarch matrix of the factors: [in] -> [out].
class Monarch final : public LinearOperator {
 public:
  /// factors: w1 [k, q, p], w2 [l, s, r] of one of float32, float64, complex64, complex128; constants from here on (no
  /// gradient) that must not be modified. `in`: default k·p, else k·(p-1) < in <= k·p; `out`: default l·s, else
  /// l·(s-1) < out <= l·s. Throws ShapeError and DtypeError.
  explicit Monarch(MonarchFactors factors, std::optional<int64_t> in = std::nullopt,
                   std::optional<int64_t> out = std::nullopt);

  const MonarchFactors& factors() const { return factors_; }
  std::string describe() const override;

 protected:
  at::Tensor do_apply(const at::Tensor& x) const override;
  at::Tensor do_adjoint(const at::Tensor& y) const override;

 private:
  MonarchFactors factors_;
};

/// y = (T_1 (x) ... (x) T_d) x: one transform along each of the last d axes, the last axis first. A 2-D DFT is two
/// monarch_dft. Domain [..., in_1, ..., in_d] -> codomain [..., out_1, ..., out_d].
class MonarchTransform final : public LinearOperator {
 public:
  /// domain: of the factors' precision. Real factors serve a complex domain; complex factors on a real domain make a
  /// complex codomain, and the operator is linear over the real numbers (its adjoint takes the real part).
  /// axes: transforms of the last axes, in the order of the axes; constants from here on.
  /// Throws ShapeError and DtypeError.
  MonarchTransform(const Space& domain, std::vector<TransformFactors> axes);

  const std::vector<TransformFactors>& axes() const { return axes_; }
  /// Real numbers in the factors as given; a complex weight counts as two.
  int64_t parameters() const { return parameters_; }
  std::string describe() const override;

 protected:
  at::Tensor do_apply(const at::Tensor& x) const override;
  at::Tensor do_adjoint(const at::Tensor& y) const override;

 private:
  std::vector<TransformFactors> axes_;
  int64_t parameters_ = 0;
};

}  // namespace monarch::operators
