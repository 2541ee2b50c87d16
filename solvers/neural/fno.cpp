#include "monarch/solvers/neural/fno.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/operators/nn/activate.hpp"
#include "monarch/operators/resample.hpp"

namespace monarch::solvers {
namespace {

using operators::Activation;
using operators::KeptModes;
using operators::LinearFactory;
using operators::LinearLayer;

std::vector<KeptModes> kept_modes(size_t axes) {
  std::vector<KeptModes> kept(axes, KeptModes::low_both);
  kept.back() = KeptModes::low_half;
  return kept;
}

at::Tensor initial_spectral(const std::vector<int64_t>& shape, SpectralInit init) {
  const auto in = static_cast<double>(shape[0]), out = static_cast<double>(shape[1]);
  if (init == SpectralInit::xavier) return at::randn(shape, at::kComplexFloat) * std::sqrt(2 / (in + out));
  at::Tensor weight = at::rand(shape, at::kComplexFloat);
  if (init == SpectralInit::zero_mean) weight = 2 * weight - at::complex(at::ones({}), at::ones({}));
  return weight * (1 / (in * out));
}

LinearFactory mixing(int64_t blocks) {
  if (blocks == 0) return operators::dense_layers();
  operators::MonarchLinearOptions options;
  options.nblocks = blocks;
  return operators::monarch_layers(options);
}

}  // namespace

PointwiseWeights pointwise_weights(const LinearLayer& layer) {
  return {layer->densify(), std::visit([](const auto& content) { return content->bias; }, layer->content())};
}

std::vector<int64_t> read_modes(const Config& config, int64_t axes, int64_t fallback, bool half_everywhere) {
  const std::string convention = choice(config, "model.modes_convention", "script", {"script", "neuraloperator"});
  std::vector<int64_t> modes = integers_per_axis(config, "model.modes", fallback, axes);
  if (convention == "script") return modes;
  for (int64_t a = 0; a < axes; ++a) {
    if (a == axes - 1 || half_everywhere) {
      modes[a] = modes[a] / 2 + 1;
      continue;
    }
    check<ConfigError>(
        modes[a] % 2 == 0,
        [&] { return fmt::format("{}: model.modes: {} modes of both signs on axis {}", config.name(), modes[a], a); },
        "an even number: -m … m-1");
    modes[a] /= 2;
  }
  return modes;
}

void check_modes(const std::vector<int64_t>& modes, const std::vector<int64_t>& grid,
                 const std::vector<KeptModes>& kept) {
  for (size_t a = 0; a < grid.size(); ++a) {
    const bool both = kept[a] == KeptModes::low_both;
    const int64_t most = both ? grid[a] / 2 : grid[a] / 2 + 1;
    check<ShapeError>(
        modes[a] <= most,
        [&] {
          return fmt::format("model.modes: {} modes{} on axis {} of {} points: at most {} fit (Nyquist)", modes[a],
                             both ? " of each sign" : "", a, grid[a], most);
        },
        "take fewer modes or a finer grid");
  }
}

Fno::Fno(const FieldShape& shape, FnoOptions options)
    : NeuralSolver(shape), options_(std::move(options)), coordinates_(options_.coordinates) {
  const int64_t axes = static_cast<int64_t>(shape.grid.size()), width = options_.width;
  const std::vector<int64_t> grid = options_.padding.padded(shape.grid);
  const std::vector<KeptModes> kept = kept_modes(shape.grid.size());
  check_modes(options_.modes, grid, kept);

  const LinearFactory linear = mixing(options_.mixing_blocks);
  const int64_t lifted = options_.lift_hidden ? options_.lift_hidden : width;
  lift_ = register_module("lift", linear({.in = shape.in_channels + coordinates_.channels(axes), .out = lifted}));
  if (options_.lift_hidden) lift_out_ = register_module("lift_out", linear({.in = lifted, .out = width}));
  std::vector<int64_t> spectral{width, width};
  for (size_t a = 0; a < grid.size(); ++a)
    spectral.push_back(kept[a] == KeptModes::low_both ? 2 * options_.modes[a] : options_.modes[a]);
  std::vector<int64_t> positions{1, width};
  positions.insert(positions.end(), grid.begin(), grid.end());
  for (int64_t i = 0; i < options_.layers; ++i) {
    spectral_.push_back(
        register_parameter(fmt::format("spectral{}", i), initial_spectral(spectral, options_.spectral_init)));
    pointwise_.push_back(register_module(fmt::format("pointwise{}", i), linear({.in = width, .out = width})));
    if (options_.batch_norm) norms_.push_back(register_module(fmt::format("norm{}", i), torch::nn::BatchNorm1d(width)));
    if (options_.positional_bias)
      positional_bias_.push_back(register_parameter(fmt::format("positional_bias{}", i), at::zeros(positions)));
    const int64_t hidden = options_.block_hidden;
    if (hidden == 0) continue;
    expand_.push_back(register_module(fmt::format("expand{}", i), linear({.in = width, .out = hidden})));
    contract_.push_back(register_module(fmt::format("contract{}", i), linear({.in = hidden, .out = width})));
    if (options_.block_skip == BlockSkip::soft_gating)
      gate_.push_back(register_parameter(fmt::format("gate{}", i), at::ones({width})));
    if (options_.block_skip == BlockSkip::linear)
      skip_.push_back(register_module(fmt::format("skip{}", i), linear({.in = width, .out = width, .bias = false})));
  }
  head0_ = register_module("head0", linear({.in = width, .out = options_.projection}));
  head1_ = register_module("head1", linear({.in = options_.projection, .out = shape.out_channels}));

  const int64_t sets = options_.transform.per_layer ? options_.layers : 1;
  for (int64_t i = 0; i < sets; ++i) {
    transforms_.push_back(
        std::make_shared<TransformSet>(grid, options_.modes, kept, options_.transform, options_.width));
    register_module(sets == 1 ? "transforms" : fmt::format("transforms{}", i), transforms_.back());
  }
}

at::Tensor Fno::forward(const at::Tensor& x) {
  check_input(x);
  const std::vector<int64_t> grid = grid_of(x);
  const bool elsewhere = transforms_[0]->tied_to_other_grid(options_.padding.padded(grid)) ||
                         (options_.positional_bias && grid != shape().grid);
  if (!elsewhere) return run(x);
  return operators::resample(run(operators::resample(x, shape().grid)), grid);
}

at::Tensor Fno::run(const at::Tensor& x) {
  const std::vector<int64_t> grid = grid_of(x), wide = options_.padding.padded(grid);
  const PointwiseWeights lift = pointwise_weights(lift_);
  at::Tensor v = coordinates_.append(x);
  if (options_.lift_hidden) {
    const PointwiseWeights out = pointwise_weights(lift_out_);
    v = operators::pointwise_mlp(v, lift.weight, lift.bias, out.weight, out.bias, options_.activation);
  } else {
    v = operators::pointwise_linear(v, lift.weight, lift.bias);
  }
  v = options_.padding.pad(v);
  std::vector<AxisPass> passes;
  for (int64_t i = 0; i < options_.layers; ++i) {
    if (i == 0 || options_.transform.per_layer) {
      auto& set = *transforms_[options_.transform.per_layer ? i : 0];
      passes = set.passes(wide, x.scalar_type(), x.device());
    }
    const PointwiseWeights w = pointwise_weights(pointwise_[i]);
    const Activation activation = i + 1 < options_.layers ? options_.activation : Activation::none;
    const bool plain = !options_.batch_norm && !options_.positional_bias;
    at::Tensor u = spectral_pass(v, passes, spectral_[i], w.weight, w.bias, plain ? activation : Activation::none);
    if (options_.positional_bias) u = u + positional_bias_[i];
    if (options_.batch_norm) u = norms_[i]->forward(u.flatten(2)).view(u.sizes());
    if (!plain) u = operators::activate(u, activation);
    v = options_.block_hidden ? channel_mlp(i, u, v, activation) : u;
  }
  if (options_.padding.any()) v = options_.padding.crop(v, grid);
  const PointwiseWeights q0 = pointwise_weights(head0_), q1 = pointwise_weights(head1_);
  return operators::pointwise_mlp(v, q0.weight, q0.bias, q1.weight, q1.bias, options_.activation);
}

at::Tensor Fno::channel_mlp(int64_t i, const at::Tensor& u, const at::Tensor& v, Activation activation) {
  const PointwiseWeights b1 = pointwise_weights(expand_[i]), b2 = pointwise_weights(contract_[i]);
  at::Tensor y = operators::pointwise_mlp(u, b1.weight, b1.bias, b2.weight, b2.bias, options_.activation);
  switch (options_.block_skip) {
    case BlockSkip::identity:
      y = y + v;
      break;
    case BlockSkip::soft_gating: {
      std::vector<int64_t> wide(v.dim() - 1, 1);
      wide[0] = -1;
      y = at::addcmul(y, v, gate_[i].view(wide));
      break;
    }
    case BlockSkip::linear:
      y = y + operators::pointwise_linear(v, skip_[i]->densify(), {});
      break;
  }
  return operators::activate(y, activation);
}

std::string Fno::describe() const {
  const TransformSettings& t = options_.transform;
  std::string text =
      fmt::format("{} {}-D, modes {}, width {}, {} layers",
                  t.kind == TransformKind::monarch ? "Monarch-NO"
                  : t.kind == TransformKind::dense ? "FNO with learned dense transforms"
                                                   : "FNO",
                  shape().grid.size(), fmt::join(options_.modes, " × "), options_.width, options_.layers);
  if (t.kind != TransformKind::fourier)
    text += fmt::format(", transforms {} ({})", t.per_layer ? "per layer" : "shared by the layers",
                        transforms_[0]->describe());
  if (options_.lift_hidden) text += fmt::format(", lift through {} channels", options_.lift_hidden);
  if (options_.block_hidden) text += fmt::format(", channel MLPs of {}", options_.block_hidden);
  if (options_.batch_norm) text += ", batch normalisation";
  if (options_.mixing_blocks) text += fmt::format(", Monarch mixing of {} blocks", options_.mixing_blocks);
  if (options_.positional_bias) text += ", positional bias";
  return text;
}

NeuralSolverPtr make_fno(const Config& config, const FieldShape& shape, TransformKind kind) {
  const int64_t axes = static_cast<int64_t>(shape.grid.size());
  const std::string variant =
      choice(config, "model.variant", "published", {"published", "paper-2020", "neuraloperator"});
  const bool old = variant == "paper-2020", blocks = variant == "neuraloperator";
  const int64_t modes = old ? 8 : axes == 1 ? 16 : axes == 2 ? 12 : 8;
  FnoOptions options;
  options.modes = read_modes(config, axes, modes);
  options.width = positive(config, "model.width", axes == 1 ? 64 : 20);
  options.layers = positive(config, "model.layers", 4);
  options.projection = positive(config, "model.projection", blocks ? 2 * options.width : 128);
  options.lift_hidden = config.integer("model.lift_hidden", blocks ? 2 * options.width : 0);
  check<ConfigError>(
      options.lift_hidden >= 0,
      [&] { return fmt::format("{}: model.lift_hidden = {} is negative", config.name(), options.lift_hidden); },
      "a number of channels, or 0 for a lift of one layer");
  options.coordinates = coordinates_from_name(config.text("model.coordinates", blocks ? "exclusive" : "inclusive"));
  options.activation = operators::activation_from_name(config.text("model.activation", old ? "relu" : "gelu"));
  options.batch_norm = choice(config, "model.norm", old ? "batch" : "none", {"none", "batch"}) == "batch";
  const std::string init =
      choice(config, "model.spectral_init", blocks ? "xavier" : "published", {"published", "zero-mean", "xavier"});
  options.spectral_init = init == "xavier"      ? SpectralInit::xavier
                          : init == "zero-mean" ? SpectralInit::zero_mean
                                                : SpectralInit::published;
  const double expansion = config.number("model.block_mlp", blocks ? 0.5 : 0.0);
  options.block_hidden = std::llround(expansion * static_cast<double>(options.width));
  check<ConfigError>(
      expansion == 0 || options.block_hidden > 0,
      [&] {
        return fmt::format("{}: model.block_mlp = {} leaves {} of {} channels inside a block", config.name(), expansion,
                           options.block_hidden, options.width);
      },
      "the channels of the MLP over model.width, such as 0.5, or 0 for none");
  if (options.block_hidden > 0) {
    const std::string skip = choice(config, "model.block_skip", "soft-gating", {"identity", "soft-gating", "linear"});
    options.block_skip = skip == "identity" ? BlockSkip::identity
                         : skip == "linear" ? BlockSkip::linear
                                            : BlockSkip::soft_gating;
  }
  options.padding = read_padding(config, shape.grid);
  if (choice(config, "model.mixing", "dense", {"dense", "monarch"}) == "monarch")
    options.mixing_blocks = positive(config, "model.nblocks", 4);
  options.positional_bias = config.boolean("model.positional_bias", false);
  options.transform = read_transform_settings(config, kind, axes);
  return std::make_shared<Fno>(shape, std::move(options));
}

}  // namespace monarch::solvers
