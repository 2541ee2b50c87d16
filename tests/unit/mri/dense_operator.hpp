#pragma once
// A dense matrix as an operator: what solvers are checked against.

#include <ATen/ATen.h>

#include <string>
#include <utility>

#include "monarch/operators/linear_operator.hpp"

namespace monarch::test {

/// y = M x with M [rows, columns] of any floating or complex type.
class DenseOperator final : public operators::LinearOperator {
 public:
  explicit DenseOperator(at::Tensor matrix)
      : LinearOperator({.shape = {matrix.size(1)}, .dtype = matrix.scalar_type()},
                       {.shape = {matrix.size(0)}, .dtype = matrix.scalar_type()}),
        matrix_(std::move(matrix)) {}
  std::string describe() const override { return "dense matrix"; }
  const at::Tensor& matrix() const { return matrix_; }

 protected:
  at::Tensor do_apply(const at::Tensor& x) const override { return at::matmul(x, matrix_.t()); }
  at::Tensor do_adjoint(const at::Tensor& y) const override { return at::matmul(y, matrix_.conj()); }

 private:
  at::Tensor matrix_;
};

}  // namespace monarch::test
