#include "monarch/operators/nn/monarch_adapter.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <ostream>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/operators/monarch/projection.hpp"
#include "monarch/operators/nn/initialise.hpp"

namespace monarch::operators {

MonarchAdapterImpl::MonarchAdapterImpl(const at::Tensor& dense, const at::Tensor& dense_bias,
                                       const MonarchAdapterOptions& given)
    : options(given) {
  check<ShapeError>(dense.defined() && dense.dim() == 2 && dense.numel() > 0, [&] {
    return fmt::format("Monarch adapter: expected a weight [out, in], got {}",
                       dense.defined() ? shape_text(dense.sizes()) : "an undefined tensor");
  });
  check<ShapeError>(!dense_bias.defined() || (dense_bias.dim() == 1 && dense_bias.size(0) == dense.size(0)), [&] {
    return fmt::format("Monarch adapter: expected a bias [{}], got {}", dense.size(0), shape_text(dense_bias.sizes()));
  });
  check<ShapeError>(options.nblocks >= 1 && options.rank >= 1, [&] {
    return fmt::format("Monarch adapter: expected nblocks and rank of at least 1, got {} and {}", options.nblocks,
                       options.rank);
  });
  const int64_t out = dense.size(0), in = dense.size(1), n = options.nblocks;
  sizes_ = {n, options.rank, (in + n - 1) / n, n, (out + n - 1) / n, options.rank};
  check<ShapeError>(
      options.rank <= std::min(sizes_.p, sizes_.s),
      [&] {
        return fmt::format("Monarch adapter: rank {} exceeds a block, {} x {} of a layer {} -> {}", options.rank,
                           sizes_.s, sizes_.p, in, out);
      },
      "choose a smaller rank, or fewer blocks");
  const c10::NoGradGuard no_gradient;
  weight = dense.detach().clone();
  if (dense_bias.defined()) bias = dense_bias.detach().clone();
  reset();
  if (options.principal) {
    const MonarchFactors nearest = monarch_project(weight, sizes_).factors;
    blkdiag1.copy_(nearest.w1);
    blkdiag2.copy_(nearest.w2);
    weight.sub_(monarch_dense(blkdiag1, blkdiag2).narrow(0, 0, out).narrow(1, 0, in));
  }
}

void MonarchAdapterImpl::reset() {
  const c10::NoGradGuard no_gradient;
  weight = register_parameter("weight", weight.detach().clone(), /*requires_grad=*/false);
  if (bias.defined()) bias = register_parameter("bias", bias.detach().clone(), /*requires_grad=*/false);
  blkdiag1 = register_parameter("blkdiag1", at::empty({sizes_.k, sizes_.q, sizes_.p}, weight.options()));
  blkdiag2 = register_parameter("blkdiag2", at::empty({sizes_.l, sizes_.s, sizes_.r}, weight.options()));
  initialise_factors(blkdiag1, blkdiag2, weight.size(1), MonarchInit::fly);
  blkdiag2.zero_();
}

at::Tensor MonarchAdapterImpl::densify() const {
  return weight + monarch_dense(blkdiag1, blkdiag2).narrow(0, 0, weight.size(0)).narrow(1, 0, weight.size(1));
}

at::Tensor MonarchAdapterImpl::forward(const at::Tensor& x) {
  check<ShapeError>(x.defined() && x.dim() >= 1 && x.size(-1) == weight.size(1), [&] {
    return fmt::format("Monarch adapter: expected [..., {}], got {}", weight.size(1),
                       x.defined() ? shape_text(x.sizes()) : "an undefined tensor");
  });
  if (merged_) {
    const at::Tensor sum = merged_weight_.weight({weight, blkdiag1, blkdiag2}, [this] { return densify(); });
    return at::linear(x, sum, bias);
  }
  return at::linear(x, weight, bias) +
         monarch_multiply(x, blkdiag1, blkdiag2, {.bias = {}, .out_features = weight.size(0)});
}

void MonarchAdapterImpl::merge() {
  check<ConfigError>(!is_training(), "Monarch adapter: merging is for inference, and the layer is in training mode",
                     "call eval() first, or to_linear() for a merged layer that trains");
  merged_ = true;
}

void MonarchAdapterImpl::unmerge() {
  merged_ = false;
  merged_weight_.forget();
}

torch::nn::Linear MonarchAdapterImpl::to_linear() const {
  const c10::NoGradGuard no_gradient;
  torch::nn::Linear linear(torch::nn::LinearOptions(1, 1).bias(bias.defined()));
  linear->options.in_features(weight.size(1));
  linear->options.out_features(weight.size(0));
  linear->weight.set_data(densify());
  if (bias.defined()) linear->bias.set_data(bias.clone());
  linear->train(is_training());
  return linear;
}

void MonarchAdapterImpl::train(bool on) {
  torch::nn::Module::train(on);
  if (on) unmerge();
}

void MonarchAdapterImpl::pretty_print(std::ostream& stream) const {
  stream << fmt::format("dense {} -> {} with a Monarch adapter, nblocks {}, rank {}{}", weight.size(1), weight.size(0),
                        options.nblocks, options.rank, merged_ ? ", merged" : "");
}

}  // namespace monarch::operators
