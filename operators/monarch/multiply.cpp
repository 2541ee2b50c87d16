#include "monarch/operators/monarch/multiply.hpp"

#include <ATen/ATen.h>

#include "monarch/operators/kernels/monarch.hpp"
#include "monarch/operators/monarch/checks.hpp"

namespace monarch::operators {

at::Tensor monarch_multiply_composite(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2,
                                      const MultiplyOptions& options) {
  const int64_t out = check_multiply(x, w1, w2, options);
  std::vector<c10::SymInt> shape = x.sym_sizes().vec();
  shape.back() = out;
  const at::Tensor rows = x.reshape({-1, extent(x, -1)});
  return kernels::composite::monarch_forward(rows, w1, w2, options.bias.value_or(at::Tensor()), out, options.activation,
                                             false)
      .y.reshape_symint(shape);
}

at::Tensor monarch_dense(const at::Tensor& w1, const at::Tensor& w2) {
  const MonarchSizes z = monarch_sizes(w1, w2);
  // Block k of the first factor maps its p columns: the whole matrix is the product with the identity.
  const at::Tensor identity = at::eye(z.in(), w1.options());
  return monarch_multiply_composite(identity, w1, w2).transpose(0, 1);
}

}  // namespace monarch::operators
