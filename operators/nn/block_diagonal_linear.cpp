#include "monarch/operators/nn/block_diagonal_linear.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <cmath>
#include <ostream>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace monarch::operators {

BlockDiagonalLinearImpl::BlockDiagonalLinearImpl(int64_t in, int64_t out, int64_t nblocks, bool with_bias)
    : in_(in), out_(out), nblocks_(nblocks), has_bias_(with_bias) {
  check<ShapeError>(in >= 1 && out >= 1 && nblocks >= 1, [&] {
    return fmt::format("block-diagonal layer {} -> {}, nblocks {}: all must be at least 1", in, out, nblocks);
  });
  reset();
}

void BlockDiagonalLinearImpl::reset() {
  const c10::NoGradGuard no_gradient;
  const int64_t rows = (out_ + nblocks_ - 1) / nblocks_, columns = (in_ + nblocks_ - 1) / nblocks_;
  const double bound = 1 / std::sqrt(static_cast<double>(in_));
  const double scale = std::sqrt(static_cast<double>(nblocks_));
  weight = register_parameter("weight", at::empty({nblocks_, rows, columns}).uniform_(-bound * scale, bound * scale));
  if (has_bias_) bias = register_parameter("bias", at::empty({out_}).uniform_(-bound, bound));
}

at::Tensor BlockDiagonalLinearImpl::forward(const at::Tensor& x) {
  check<ShapeError>(x.defined() && x.dim() >= 1 && x.size(-1) == in_, [&] {
    return fmt::format("block-diagonal layer {} -> {}: expected [..., {}], got {}", in_, out_, in_,
                       x.defined() ? shape_text(x.sizes()) : "an undefined tensor");
  });
  const int64_t columns = weight.size(2), rows = weight.size(1);
  const at::Tensor padded = nblocks_ * columns == in_ ? x : at::constant_pad_nd(x, {0, nblocks_ * columns - in_});
  const at::Tensor blocks = padded.reshape({-1, nblocks_, columns}).transpose(0, 1);
  const at::Tensor products = at::bmm(blocks, weight.transpose(1, 2));  // [block, row of x, row of the block]
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = nblocks_ * rows;
  at::Tensor y = products.transpose(0, 1).reshape(shape);
  if (shape.back() != out_) y = y.narrow(-1, 0, out_);
  return bias.defined() ? y + bias : y;
}

std::shared_ptr<BlockDiagonalLinearImpl> BlockDiagonalLinearImpl::from_dense(const at::Tensor& dense,
                                                                             const at::Tensor& dense_bias,
                                                                             int64_t nblocks, double* error) {
  const c10::NoGradGuard no_gradient;
  const auto layer =
      std::make_shared<BlockDiagonalLinearImpl>(dense.size(1), dense.size(0), nblocks, dense_bias.defined());
  layer->to(dense.device(), dense.scalar_type());
  const int64_t rows = layer->weight.size(1), columns = layer->weight.size(2);
  const at::Tensor padded =
      at::constant_pad_nd(dense, {0, nblocks * columns - dense.size(1), 0, nblocks * rows - dense.size(0)});
  for (int64_t b = 0; b < nblocks; ++b)
    layer->weight[b].copy_(padded.narrow(0, b * rows, rows).narrow(1, b * columns, columns));
  if (dense_bias.defined()) layer->bias.copy_(dense_bias);
  if (error) {
    *error = (at::linalg_vector_norm(dense - layer->densify()) / at::linalg_vector_norm(dense)).item<double>();
  }
  return layer;
}

void BlockDiagonalLinearImpl::initialise_like(double deviation) {
  const c10::NoGradGuard no_gradient;
  weight.normal_(0, deviation * std::sqrt(static_cast<double>(nblocks_)));
}

at::Tensor BlockDiagonalLinearImpl::densify() const {
  const std::vector<at::Tensor> blocks = weight.unbind(0);
  return at::block_diag(blocks).narrow(0, 0, out_).narrow(1, 0, in_);
}

void BlockDiagonalLinearImpl::pretty_print(std::ostream& stream) const {
  stream << fmt::format("block-diagonal {} -> {}, nblocks {}{}", in_, out_, nblocks_, has_bias_ ? ", bias" : "");
}

}  // namespace monarch::operators
