#pragma once
// Which samples of k-space were acquired.

#include "monarch/operators/linear_operator.hpp"

namespace monarch::operators {

/// y = M x: zero where nothing was acquired. M is a 0/1 diagonal, so that A = A^H = A^H A. Zero is written, not
/// multiplied: an infinite or NaN value where nothing was acquired does not pass.
/// Cost: one pass over input and output.
class Sampling final : public LinearOperator {
 public:
  /// mask: bool, true where acquired, aligned at the last axes of the space and broadcast over those in front: a mask
  /// [z, y, x] serves k-space [coil, z, y, x], a mask [z, y, 1] full readouts. Not to be modified afterwards.
  /// Throws ShapeError and DtypeError.
  Sampling(Space space, const at::Tensor& mask);

  std::string describe() const override;
  /// As given. [..., z, y, x]
  const at::Tensor& mask() const { return mask_; }

 protected:
  at::Tensor do_apply(const at::Tensor& x) const override;
  at::Tensor do_adjoint(const at::Tensor& y) const override;
  at::Tensor do_normal(const at::Tensor& x) const override;

 private:
  at::Tensor mask_;
  at::Tensor zero_;
};

}  // namespace monarch::operators
