#include "monarch/operators/nn/monarch_linear.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ostream>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/operators/monarch/monarch_operator.hpp"
#include "monarch/operators/nn/activate.hpp"
#include "monarch/operators/nn/sizes.hpp"

namespace monarch::operators {
namespace {

/// rms(W)² / rms0², over a whole factor of blocks d_out × d_in.
at::Tensor excess(const at::Tensor& w) {
  const at::Tensor square = w.is_complex() ? at::view_as_real(w).square().sum(-1) : w.square();
  const double rms0 = mup_deviation(w.size(2), w.size(1));
  return square.mean() / (rms0 * rms0);
}

/// gain·W / max(1, rms(W)/rms0). The square root comes after the maximum: a factor of zeros has a gradient, too.
at::Tensor normalised(const at::Tensor& w, const at::Tensor& gain) {
  return w * (gain / excess(w).clamp_min(1).sqrt());
}

bool wants_gradient(const at::Tensor& t) {
  return t.defined() && t.requires_grad();
}

}  // namespace

std::string monarch_layer_text(const MonarchSizes& z, int64_t in, int64_t out) {
  if (z == monarch_layer_sizes(in, out, z.k)) return fmt::format("Monarch {} -> {}, nblocks {}", in, out, z.k);
  return fmt::format("Monarch {} -> {}, w1 [{}, {}, {}], w2 [{}, {}, {}]", in, out, z.k, z.q, z.p, z.l, z.s, z.r);
}

MonarchLinearImpl::MonarchLinearImpl(int64_t in, int64_t out)
    : MonarchLinearImpl(MonarchLinearOptions{.in = in, .out = out}) {}

MonarchLinearImpl::MonarchLinearImpl(const MonarchLinearOptions& given) : options(given) {
  sizes_ = options.sizes ? *options.sizes : monarch_layer_sizes(options.in, options.out, options.nblocks);
  check_layer_sizes(sizes_, options.in, options.out);
  check<DtypeError>(at::isFloatingType(options.dtype) || at::isComplexType(options.dtype), [&] {
    return fmt::format("Monarch layer: expected real or complex numbers, got {}", dtype_text(options.dtype));
  });
  check<ConfigError>(options.activation == Activation::none || !at::isComplexType(options.dtype), [&] {
    return fmt::format("Monarch layer: activation {} is not defined for complex numbers",
                       activation_name(options.activation));
  });
  dense_cache_.set_path(options.inference);
  reset();
}

void MonarchLinearImpl::reset() {
  const auto tensor = at::TensorOptions().dtype(options.dtype).device(options.device);
  const auto real = tensor.dtype(at::toRealValueType(options.dtype));
  blkdiag1 = register_parameter("blkdiag1", at::empty({sizes_.k, sizes_.q, sizes_.p}, tensor));
  blkdiag2 = register_parameter("blkdiag2", at::empty({sizes_.l, sizes_.s, sizes_.r}, tensor));
  if (options.weight_norm) {
    gain1 = register_parameter("gain1", at::ones({}, real));
    gain2 = register_parameter("gain2", at::ones({}, real));
  }
  if (options.bias) bias = register_parameter("bias", at::empty({options.out}, tensor));
  reset_parameters();
}

void MonarchLinearImpl::reset_parameters() {
  const c10::NoGradGuard no_gradient;
  initialise_factors(blkdiag1, blkdiag2, options.in, options.init);
  if (options.zero_second) blkdiag2.zero_();
  if (bias.defined()) initialise_bias(bias, options.in, options.init);
  if (gain1.defined()) {
    gain1.fill_(1);
    gain2.fill_(1);
  }
}

MonarchFactors MonarchLinearImpl::factors() const {
  if (!options.weight_norm) return {blkdiag1, blkdiag2};
  return {normalised(blkdiag1, gain1), normalised(blkdiag2, gain2)};
}

at::Tensor MonarchLinearImpl::dense_weight_for(const at::Tensor& x) {
  if (is_training() || dense_cache_.path() == InferencePath::monarch || !x.defined() || x.dim() < 1 ||
      x.size(-1) != options.in) {
    return {};
  }
  std::vector<at::Tensor> sources = {blkdiag1, blkdiag2};
  if (options.weight_norm) sources.insert(sources.end(), {gain1, gain2});
  const bool gradient = at::GradMode::is_enabled() && (x.requires_grad() || wants_gradient(bias) ||
                                                       std::any_of(sources.begin(), sources.end(), wants_gradient));
  const bool same_numbers = x.scalar_type() == blkdiag1.scalar_type() && x.device() == blkdiag1.device();
  if (gradient || !same_numbers) return {};
  const DenseCache::Ways ways{
      .build = [this] { return densify(); },
      .dense = [&](const at::Tensor& weight) { activate(at::linear(x, weight, bias), options.activation); },
      .monarch =
          [&] {
            const MonarchFactors w = factors();
            monarch_multiply(x, w.w1, w.w2,
                             {.bias = bias.defined() ? std::optional(bias) : std::nullopt,
                              .activation = options.activation,
                              .out_features = options.out});
          },
      .name = monarch_layer_text(sizes_, options.in, options.out) + (options.weight_norm ? ", weight norm" : "")};
  return dense_cache_.weight_for(x.numel() / options.in, sources, ways);
}

at::Tensor MonarchLinearImpl::forward(const at::Tensor& x) {
  if (const at::Tensor weight = dense_weight_for(x); weight.defined()) {
    return activate(at::linear(x, weight, bias), options.activation);
  }
  check<ShapeError>(x.defined() && x.dim() >= 1 && x.size(-1) == options.in, [&] {
    return fmt::format("{}: expected [..., {}], got {}", monarch_layer_text(sizes_, options.in, options.out),
                       options.in, x.defined() ? shape_text(x.sizes()) : "an undefined tensor");
  });
  const MonarchFactors w = factors();
  return monarch_multiply(x, w.w1, w.w2,
                          {.bias = bias.defined() ? std::optional(bias) : std::nullopt,
                           .activation = options.activation,
                           .out_features = options.out,
                           .recompute = options.recompute});
}

std::shared_ptr<MonarchLinearImpl> MonarchLinearImpl::from_dense(const at::Tensor& weight, const at::Tensor& bias,
                                                                 MonarchLinearOptions options, double* error) {
  check<ShapeError>(weight.defined() && weight.dim() == 2, [&] {
    return fmt::format("Monarch layer of a dense one: expected a weight [out, in], got {}",
                       weight.defined() ? shape_text(weight.sizes()) : "an undefined tensor");
  });
  options.out = weight.size(0);
  options.in = weight.size(1);
  options.bias = bias.defined();
  options.dtype = weight.scalar_type();
  options.device = weight.device();
  check<ShapeError>(!bias.defined() || (bias.dim() == 1 && bias.size(0) == options.out), [&] {
    return fmt::format("Monarch layer of a dense one: expected a bias [{}], got {}", options.out,
                       shape_text(bias.sizes()));
  });
  const c10::NoGradGuard no_gradient;
  const auto layer = std::make_shared<MonarchLinearImpl>(options);
  const Projection projection = monarch_project(weight, layer->sizes());
  layer->blkdiag1.copy_(projection.factors.w1);
  layer->blkdiag2.copy_(projection.factors.w2);
  if (options.weight_norm) {  // the gains undo the normalisation of what was found
    layer->gain1.copy_(excess(layer->blkdiag1).clamp_min(1).sqrt());
    layer->gain2.copy_(excess(layer->blkdiag2).clamp_min(1).sqrt());
  }
  if (bias.defined()) layer->bias.copy_(bias);
  if (error) *error = projection.relative_error;
  return layer;
}

at::Tensor MonarchLinearImpl::densify() const {
  const MonarchFactors w = factors();
  return monarch_dense(w.w1, w.w2).narrow(0, 0, options.out).narrow(1, 0, options.in);
}

torch::nn::Linear MonarchLinearImpl::to_linear() const {
  check<ConfigError>(
      options.activation == Activation::none,
      [&] {
        return fmt::format("{} carries the activation {}, which torch::nn::Linear cannot",
                           monarch_layer_text(sizes_, options.in, options.out), activation_name(options.activation));
      },
      "use linear_part() and apply the activation yourself");
  return linear_part();
}

torch::nn::Linear MonarchLinearImpl::linear_part() const {
  const c10::NoGradGuard no_gradient;
  // Built without a weight of its own: the one it would draw is never used, and the generator stays where it is.
  torch::nn::Linear linear(torch::nn::LinearOptions(1, 1).bias(bias.defined()));
  linear->options.in_features(options.in);
  linear->options.out_features(options.out);
  linear->weight.set_data(densify().contiguous());
  if (bias.defined()) {
    linear->bias.set_data(bias.detach().clone());
    linear->bias.set_requires_grad(bias.requires_grad());
  }
  linear->weight.set_requires_grad(blkdiag1.requires_grad() || blkdiag2.requires_grad());
  linear->train(is_training());
  return linear;
}

OperatorPtr MonarchLinearImpl::as_operator() const {
  const MonarchFactors w = factors();
  return std::make_shared<const Monarch>(MonarchFactors{w.w1.detach().clone(), w.w2.detach().clone()}, options.in,
                                         options.out);
}

double MonarchLinearImpl::parameter_fraction() const {
  return static_cast<double>(weights()) / (static_cast<double>(options.in) * static_cast<double>(options.out));
}

FactorMultipliers MonarchLinearImpl::multipliers(int64_t base_in) const {
  return learning_rate_multipliers(sizes_, options.in, options.init, base_in);
}

void MonarchLinearImpl::train(bool on) {
  torch::nn::Module::train(on);
  if (on) dense_cache_.forget();
}

void MonarchLinearImpl::pretty_print(std::ostream& stream) const {
  stream << monarch_layer_text(sizes_, options.in, options.out) << (options.bias ? ", bias" : "");
  if (options.activation != Activation::none) stream << ", " << activation_name(options.activation);
  if (options.weight_norm) stream << ", weight norm";
}

}  // namespace monarch::operators
