#pragma once
// Monarch matrices of order p: p block-diagonal factors between fixed permutations.

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "monarch/operators/linear_operator.hpp"
#include "monarch/operators/monarch/transform.hpp"

namespace monarch::operators {

/// y = P blockdiag(W_p) ... P blockdiag(W_2) P blockdiag(W_1) x, over the last axis. Stage g takes the vector as
/// [blocks, in], multiplies each block by its w_g[block, out, in], and P writes the result [blocks, out] as
/// [out, blocks]. With x as a grid [n_1, ..., n_p] stage 1 acts along the last axis, stage 2 along the one before it,
/// ..., and y is the grid [m_1, ..., m_p] of the new extents; blocks are counted over the other axes in the order of
/// the vector, (m of axes done, then n of those to come).
/// x [..., blocks_1·in_1]; factors w_g [blocks, out, in] with blocks_g·out_g = blocks_{g+1}·in_{g+1}; p >= 1. x may be
/// real where the factors are complex. Two factors are the Monarch product where l = q (monarch_multiply). Returns
/// [..., blocks_p·out_p]. Differentiable. Cost: the number of weights, multiplications a row. Throws ShapeError.
at::Tensor order_multiply(const at::Tensor& x, const std::vector<at::Tensor>& factors);
/// The adjoint: [..., blocks_p·out_p] -> [..., blocks_1·in_1].
at::Tensor order_adjoint(const at::Tensor& y, const std::vector<at::Tensor>& factors);

/// Factors and the input permutation (element input[i] of x at place i).
struct OrderFactors {
  std::vector<at::Tensor> factors;
  at::Tensor input;  ///< int64 [n]
};
/// The exact DFT of length n = digits[0]·...·digits[p-1], p >= 2, any digits: the grid is [n_1, ..., n_p] and the input
/// permutation reverses the digits. n·(n_1 + ... + n_p) complex weights. Every option of monarch_dft but sizes.
/// Throws ShapeError (fewer than two digits, one below 1).
OrderFactors order_dft(const std::vector<int64_t>& digits, const TransformOptions& transform = {},
                       const ConstructionOptions& options = {});

/// y = M x[input]: [n] -> [m].
class OrderMonarch final : public LinearOperator {
 public:
  /// factors: of one of float32, float64, complex64, complex128, constants from here on; input may be undefined.
  /// Throws ShapeError and DtypeError.
  explicit OrderMonarch(OrderFactors factors);
  std::string describe() const override;

 protected:
  at::Tensor do_apply(const at::Tensor& x) const override;
  at::Tensor do_adjoint(const at::Tensor& y) const override;

 private:
  OrderFactors factors_;
  at::Tensor inverse_;  ///< of the input permutation
};

}  // namespace monarch::operators
