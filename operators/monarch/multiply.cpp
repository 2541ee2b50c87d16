#include "monarch/operators/monarch/multiply.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/operators/linear_operator.hpp"
#include "monarch/operators/monarch/checks.hpp"

namespace monarch::operators {
namespace {

at::Tensor activate(const at::Tensor& y, Activation activation) {
  switch (activation) {
    case Activation::gelu: return at::gelu(y);
    case Activation::gelu_tanh: return at::gelu(y, "tanh");
    case Activation::relu: return at::relu(y);
    case Activation::none: break;
  }
  return y;
}

/// Zero columns appended up to `width`.
at::Tensor padded(const at::Tensor& x, int64_t width) {
  return x.size(-1) == width ? x : at::constant_pad_nd(x, {0, width - x.size(-1)});
}

}  // namespace

at::Tensor monarch_multiply_composite(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2,
                                      const MultiplyOptions& options) {
  const MonarchSizes z = monarch_sizes(w1, w2);
  const int64_t out = check_multiply(x, w1, w2, options);
  std::vector<int64_t> shape(x.sizes().begin(), x.sizes().end() - 1);
  at::Tensor rows = padded(x, z.in()).to(w1.scalar_type()).reshape({-1, z.k, z.p});
  const int64_t batch = rows.size(0);
  at::Tensor mid = at::bmm(rows.transpose(0, 1), w1.transpose(1, 2));               // [k, batch, q]
  mid = mid.transpose(0, 1).reshape({batch, z.r, z.l});                            // t = rho l + j
  at::Tensor y = at::bmm(mid.permute({2, 0, 1}), w2.transpose(1, 2));               // [l, batch, s]
  y = y.permute({1, 2, 0}).reshape({batch, z.out()});                              // s l + j
  if (out != z.out()) y = y.narrow(1, 0, out);
  if (options.bias) y = y + *options.bias;
  shape.push_back(out);
  return activate(y, options.activation).reshape(shape);
}

at::Tensor monarch_multiply(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2,
                            const MultiplyOptions& options) {
  return monarch_multiply_composite(x, w1, w2, options);
}

at::Tensor monarch_multiply_adjoint(const at::Tensor& y, const at::Tensor& w1, const at::Tensor& w2) {
  const MonarchSizes z = monarch_sizes(w1, w2);
  std::vector<int64_t> shape(y.sizes().begin(), y.sizes().end() - 1);
  const at::Tensor rows = y.reshape({-1, z.s, z.l});
  const int64_t batch = rows.size(0);
  at::Tensor mid = at::bmm(rows.permute({2, 0, 1}), w2.conj());                     // [l, batch, r]
  mid = mid.permute({1, 2, 0}).reshape({batch, z.k, z.q});
  const at::Tensor x = at::bmm(mid.transpose(0, 1), w1.conj());                     // [k, batch, p]
  shape.push_back(z.in());
  return x.transpose(0, 1).reshape(shape);
}

at::Tensor monarch_dense(const at::Tensor& w1, const at::Tensor& w2) {
  const MonarchSizes z = monarch_sizes(w1, w2);
  // Block k of the first factor maps its p columns: the whole matrix is the product with the identity.
  const at::Tensor identity = at::eye(z.in(), w1.options());
  return monarch_multiply_composite(identity, w1, w2).transpose(0, 1);
}

}  // namespace monarch::operators
