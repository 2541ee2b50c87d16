#include "monarch/solvers/neural/ffno.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>

#include "monarch/core/error.hpp"
#include "monarch/operators/resample.hpp"
#include "monarch/solvers/neural/fno.hpp"

namespace monarch::solvers {
namespace {

using operators::Activation;
using operators::KeptModes;

/// The spectral layer along one axis of v [batch, width, grid…]; the other axes join the batch.
at::Tensor along_axis(const at::Tensor& v, int64_t axis, const AxisPass& pass, const at::Tensor& weight) {
  const at::Tensor moved = v.movedim(axis, -1).movedim(1, -2);  // [batch, others…, width, n]
  const at::Tensor flat = moved.reshape({-1, moved.size(-2), moved.size(-1)});
  const at::Tensor y = spectral_pass(flat, {pass}, weight, {}, {}, Activation::none);
  return y.reshape(moved.sizes()).movedim(-2, 1).movedim(-1, axis);
}

}  // namespace

NormedPointwise::NormedPointwise(int64_t in, int64_t out, bool weight_norm) {
  const double bound = 1 / std::sqrt(static_cast<double>(in));
  const at::Tensor w = at::rand({out, in}).mul_(2 * bound).sub_(bound);
  weight_ = register_parameter(weight_norm ? "weight_v" : "weight", w);
  if (weight_norm) gain_ = register_parameter("weight_g", at::linalg_vector_norm(w, 2, 1, true));
  bias_ = register_parameter("bias", at::rand({out}).mul_(2 * bound).sub_(bound));
}

at::Tensor NormedPointwise::weight() const {
  return gain_.defined() ? weight_ * (gain_ / at::linalg_vector_norm(weight_, 2, 1, true)) : weight_;
}

Ffno::Ffno(const FieldShape& shape, FfnoOptions options)
    : NeuralSolver(shape), options_(std::move(options)), coordinates_(options_.coordinates) {
  const int64_t axes = static_cast<int64_t>(shape.grid.size()), width = options_.width;
  const std::vector<int64_t> grid = options_.padding.padded(shape.grid);
  const std::vector<KeptModes> kept(axes, KeptModes::low_half);
  check_modes(options_.modes, grid, kept);
  const auto pointwise = [&](const std::string& name, int64_t in, int64_t out) {
    return register_module(name, std::make_shared<NormedPointwise>(in, out, options_.weight_norm));
  };
  lift_ = pointwise("lift", shape.in_channels + coordinates_.channels(axes), width);
  for (int64_t i = 0; i < (options_.share_weights ? 1 : options_.layers); ++i) {
    auto& layer = spectral_.emplace_back();
    for (int64_t a = 0; a < axes; ++a) {
      // Both parts normal with Xavier's variance over the modes, as published.
      const double deviation = 1 / std::sqrt(static_cast<double>(2 * width * options_.modes[a]));
      const at::Tensor parts = at::randn({width, width, options_.modes[a], 2}) * deviation;
      const std::string name =
          options_.share_weights ? fmt::format("spectral{}", a) : fmt::format("layer{}_spectral{}", i, a);
      layer.push_back(register_parameter(name, at::view_as_complex(parts)));
    }
  }
  for (int64_t i = 0; i < options_.layers; ++i) {
    expand_.push_back(pointwise(fmt::format("expand{}", i), width, options_.factor * width));
    contract_.push_back(pointwise(fmt::format("contract{}", i), options_.factor * width, width));
  }
  head0_ = pointwise("head0", width, options_.projection);
  head1_ = pointwise("head1", options_.projection, shape.out_channels);
  const int64_t sets = options_.transform.per_layer ? options_.layers : 1;
  for (int64_t i = 0; i < sets; ++i) {
    transforms_.push_back(std::make_shared<TransformSet>(grid, options_.modes, kept, options_.transform, width));
    register_module(sets == 1 ? "transforms" : fmt::format("transforms{}", i), transforms_.back());
  }
}

at::Tensor Ffno::forward(const at::Tensor& x) {
  check_input(x);
  const std::vector<int64_t> grid = grid_of(x);
  if (!transforms_[0]->tied_to_other_grid(options_.padding.padded(grid))) return run(x);
  return operators::resample(run(operators::resample(x, shape().grid)), grid);
}

at::Tensor Ffno::run(const at::Tensor& x) {
  const std::vector<int64_t> grid = grid_of(x), wide = options_.padding.padded(grid);
  at::Tensor v = operators::pointwise_linear(coordinates_.append(x), lift_->weight(), lift_->bias());
  v = options_.padding.pad(v);
  std::vector<AxisPass> passes;
  for (int64_t i = 0; i < options_.layers; ++i) {
    if (i == 0 || options_.transform.per_layer)
      passes = transforms_[options_.transform.per_layer ? i : 0]->passes(wide, x.scalar_type(), x.device());
    const auto& weights = spectral_[options_.share_weights ? 0 : i];
    at::Tensor sum;
    for (size_t a = 0; a < passes.size(); ++a) {
      const at::Tensor term = along_axis(v, static_cast<int64_t>(a) + 2, passes[a], weights[a]);
      sum = sum.defined() ? sum + term : term;
    }
    v = v + operators::pointwise_mlp(sum, expand_[i]->weight(), expand_[i]->bias(), contract_[i]->weight(),
                                     contract_[i]->bias(), options_.activation);
  }
  if (options_.padding.any()) v = options_.padding.crop(v, grid);
  return operators::pointwise_mlp(v, head0_->weight(), head0_->bias(), head1_->weight(), head1_->bias(),
                                  Activation::none);
}

std::string Ffno::describe() const {
  const TransformSettings& t = options_.transform;
  std::string text = fmt::format("F-FNO {}-D, modes {}, width {}, {} layers", shape().grid.size(),
                                 fmt::join(options_.modes, " × "), options_.width, options_.layers);
  if (t.kind != TransformKind::fourier)
    text += fmt::format(", {} transforms {} ({})", t.kind == TransformKind::monarch ? "Monarch" : "learned dense",
                        t.per_layer ? "per layer" : "shared by the layers", transforms_[0]->describe());
  return text;
}

NeuralSolverPtr make_ffno(const Config& config, const FieldShape& shape) {
  const int64_t axes = static_cast<int64_t>(shape.grid.size());
  FfnoOptions options;
  options.modes = read_modes(config, axes, 16, /*half_everywhere=*/true);
  options.width = positive(config, "model.width", 64);
  options.layers = positive(config, "model.layers", 4);
  options.factor = positive(config, "model.factor", 4);
  options.projection = positive(config, "model.projection", 128);
  options.share_weights = config.boolean("model.share_weights", true);
  options.weight_norm = config.boolean("model.weight_norm", true);
  options.coordinates = coordinates_from_name(config.text("model.coordinates", "inclusive"));
  options.activation = operators::activation_from_name(config.text("model.activation", "relu"));
  options.padding = read_padding(config, shape.grid);
  options.transform = read_transform_settings(config, TransformKind::fourier, axes);
  return std::make_shared<Ffno>(shape, std::move(options));
}

}  // namespace monarch::solvers
