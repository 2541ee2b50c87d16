#include "monarch/operators/nn/low_rank_linear.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ostream>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace monarch::operators {

LowRankLinearImpl::LowRankLinearImpl(int64_t in, int64_t out, int64_t rank, bool with_bias)
    : in_(in), out_(out), rank_(rank), has_bias_(with_bias) {
  check<ShapeError>(in >= 1 && out >= 1 && rank >= 1, [&] {
    return fmt::format("low-rank layer {} -> {}, rank {}: all must be at least 1", in, out, rank);
  });
  reset();
}

void LowRankLinearImpl::reset() {
  const c10::NoGradGuard no_gradient;
  const double bound = 1 / std::sqrt(static_cast<double>(in_));
  first = register_parameter("first", at::empty({rank_, in_}));
  second = register_parameter("second", at::empty({out_, rank_}));
  initialise_like(bound / std::sqrt(3.0));
  if (has_bias_) bias = register_parameter("bias", at::empty({out_}).uniform_(-bound, bound));
}

void LowRankLinearImpl::initialise_like(double deviation) {
  const c10::NoGradGuard no_gradient;
  const double gain = std::sqrt(static_cast<double>(in_)) * deviation;  // of the variance, by each factor
  first.normal_(0, std::sqrt((gain > 0 ? gain : 1) / static_cast<double>(in_)));
  second.normal_(0, std::sqrt(gain / static_cast<double>(rank_)));
}

at::Tensor LowRankLinearImpl::forward(const at::Tensor& x) {
  check<ShapeError>(x.defined() && x.dim() >= 1 && x.size(-1) == in_, [&] {
    return fmt::format("low-rank layer {} -> {}: expected [..., {}], got {}", in_, out_, in_,
                       x.defined() ? shape_text(x.sizes()) : "an undefined tensor");
  });
  return at::linear(at::linear(x, first), second, bias);
}

std::shared_ptr<LowRankLinearImpl> LowRankLinearImpl::from_dense(const at::Tensor& dense, const at::Tensor& dense_bias,
                                                                 int64_t rank, double* error) {
  const c10::NoGradGuard no_gradient;
  const int64_t out = dense.size(0), in = dense.size(1);
  rank = std::min({rank, in, out});
  const auto layer = std::make_shared<LowRankLinearImpl>(in, out, rank, dense_bias.defined());
  layer->to(dense.device(), dense.scalar_type());
  const auto [u, values, vh] = at::linalg_svd(dense.to(at::kDouble), /*full_matrices=*/false);
  const at::Tensor roots = values.narrow(0, 0, rank).sqrt();
  layer->first.copy_(roots.unsqueeze(1) * vh.narrow(0, 0, rank));
  layer->second.copy_(u.narrow(1, 0, rank) * roots);
  if (dense_bias.defined()) layer->bias.copy_(dense_bias);
  if (error) {
    const at::Tensor lost = at::linalg_vector_norm(values.narrow(0, rank, values.size(0) - rank));
    *error = (lost / at::linalg_vector_norm(values)).item<double>();
  }
  return layer;
}

at::Tensor LowRankLinearImpl::densify() const {
  return at::matmul(second, first);
}

void LowRankLinearImpl::pretty_print(std::ostream& stream) const {
  stream << fmt::format("low-rank {} -> {}, rank {}{}", in_, out_, rank_, has_bias_ ? ", bias" : "");
}

int64_t matching_rank(int64_t in, int64_t out, int64_t nblocks) {
  return std::max<int64_t>(1, std::min(in, out) / nblocks);
}

}  // namespace monarch::operators
