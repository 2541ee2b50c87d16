#pragma once
// Monarch products along the rows of matrices: no transposition of the data.

#include <ATen/core/Tensor.h>

namespace monarch::operators {

/// y[b, s l + j, c] = sum_kappa w2[j, s, kappa] sum_i w1[kappa, j, i] x[b, i k + kappa, c]
///
/// The transforms of monarch_dft along the second axis of x [batch, k p, columns], their input order included: w1
/// [k, l, p], w2 [l, s, k], all of one complex or real type, on any device. Returns [batch, l s, columns], contiguous.
/// Both stages are matrix products that read and write their rows where they lie, so that nothing is moved or permuted.
/// The adjoint is the same product with the factors (w2^H, w1^H). Differentiable; second derivatives go through
/// batched products of ATen. Throws ShapeError and DtypeError.
/// Cost: batch · columns · (k l p + l s k) multiplications; one middle vector beside the result.
at::Tensor monarch_columns(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2);

}  // namespace monarch::operators
