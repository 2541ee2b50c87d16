#include "monarch/solvers/neural/axis_transforms.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <numeric>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/operators/monarch/roots.hpp"
#include "monarch/operators/nn/activate.hpp"
#include "monarch/solvers/neural/field_grid.hpp"

namespace monarch::solvers {
namespace {

using operators::AxisTransform;
using operators::KeptModes;
using operators::TransformFactors;

/// {K, P}; a prime number of points takes one dense block.
std::array<int64_t, 2> split(int64_t n) {
  for (int64_t k = 2; k * k <= n; ++k)
    if (n % k == 0) return operators::monarch_split(n);
  return {1, n};
}

at::Tensor in_front(const at::Tensor& t, int64_t channels) {
  if (channels == 0) return t.clone();
  std::vector<int64_t> repeats(t.dim() + 1, 1);
  repeats[0] = channels;
  return t.unsqueeze(0).repeat(repeats);
}

/// Row `rows[i]` and column `columns[i]` of a Monarch matrix in its own order.
std::vector<int64_t> places(const at::Tensor& permutation, int64_t count) {
  std::vector<int64_t> all(count);
  if (!permutation.defined()) {
    std::iota(all.begin(), all.end(), 0);
  } else {
    const at::Tensor cpu = permutation.cpu().contiguous();
    std::copy_n(cpu.const_data_ptr<int64_t>(), count, all.begin());
  }
  return all;
}

std::vector<int64_t> picked(const std::vector<int64_t>& from, const std::vector<int64_t>& wanted) {
  std::vector<int64_t> result;
  for (const int64_t i : wanted) result.push_back(from[i]);
  return result;
}

class DenseMap final : public AxisMap {
 public:
  DenseMap(const at::Tensor& exact, int64_t channels, double multiplier) : AxisMap(multiplier) {
    weight_ = register_parameter("weight", in_front(exact.to(at::kComplexFloat), channels));
  }
  at::Tensor matrix() const override { return weight_; }

 private:
  at::Tensor weight_;
};

/// The rows `rows` and columns `columns` of the matrix of Monarch factors between two permutations.
class MonarchMap final : public AxisMap {
 public:
  MonarchMap(TransformFactors f, std::vector<int64_t> rows, std::vector<int64_t> columns, bool keep_rows,
             bool truncated, int64_t channels, double multiplier)
      : AxisMap(multiplier), keep_rows_(keep_rows), channels_(channels) {
    if (truncated) {
      f = keep_rows ? operators::monarch_keep_outputs(f, rows) : operators::monarch_keep_inputs(f, columns);
      auto& all = keep_rows ? rows : columns;
      all = operators::first_indices(static_cast<int64_t>(all.size()));
    }
    const operators::MonarchSizes z = operators::monarch_sizes(f.factors.w1, f.factors.w2);
    rank_ = z.q / z.l;
    wanted_ = keep_rows ? rows : columns;
    const std::vector<int64_t> row = picked(places(f.output, z.l * z.s), rows);
    std::vector<int64_t> block;
    for (const int64_t m : row) block.push_back(m % z.l);
    row_ = operators::index_tensor(row);
    block_ = operators::index_tensor(block);
    column_ = operators::index_tensor(picked(operators::inverse_of(places(f.input, z.k * z.p)), columns));
    w1_ = register_parameter("w1", in_front(f.factors.w1.to(at::kComplexFloat), channels));
    w2_ = register_parameter("w2", in_front(f.factors.w2.to(at::kComplexFloat), channels));
    layout_ = f;
    layout_.factors = {};
  }

  /// M[s l + j, k p + i] = sum over rho of w2[j, s, k rank + rho] w1[k, rho l + j, i]: for the DFT (rank 1) one
  /// multiplication per entry.
  at::Tensor matrix() const override {
    const at::Tensor w1 = channels_ ? w1_ : w1_.unsqueeze(0), w2 = channels_ ? w2_ : w2_.unsqueeze(0);
    const int64_t c = w1.size(0), k = w1.size(1), q = w1.size(2), p = w1.size(3);
    const int64_t l = w2.size(1), s = w2.size(2), rows = row_.size(0);
    const at::Device device = w1.device();
    const at::Tensor left = w2.transpose(1, 2).reshape({c, s * l, k, rank_, 1}).index_select(1, row_.to(device));
    const at::Tensor right = w1.view({c, k, q / l, l, p})
                                 .permute({0, 3, 1, 2, 4})
                                 .index_select(1, block_.to(device));  // [c, rows, k, rank, p]
    const at::Tensor product = rank_ == 1 ? (left * right).squeeze(3) : (left * right).sum(3);
    const at::Tensor m = product.reshape({c, rows, k * p}).index_select(2, column_.to(device));
    return channels_ ? m : m.squeeze(0);
  }

  std::optional<TransformFactors> factors() const override {
    if (channels_) return std::nullopt;
    TransformFactors f = layout_;
    f.factors = {w1_, w2_};
    const auto move = [&](at::Tensor& t) {
      if (t.defined()) t = t.to(w1_.device());
    };
    move(f.input);
    move(f.output);
    return keep_rows_ ? operators::monarch_keep_outputs(f, wanted_) : operators::monarch_keep_inputs(f, wanted_);
  }

 private:
  bool keep_rows_;
  int64_t channels_, rank_ = 1;
  TransformFactors layout_;  // permutations and lengths; no factors
  std::vector<int64_t> wanted_;
  at::Tensor row_, block_, column_;
  at::Tensor w1_, w2_;
};

/// Multiplications per vector of kept factors.
int64_t cost(const TransformFactors& f) {
  return f.factors.w1.numel() + f.factors.w2.numel();
}

at::Tensor along(const at::Tensor& m, const at::Tensor& x, int64_t axis) {
  const at::Tensor moved = x.movedim(axis, -1);
  if (m.dim() == 2) return at::matmul(moved, m.t()).movedim(-1, axis);
  std::vector<int64_t> shape(moved.sizes().begin(), moved.sizes().end());
  const at::Tensor flat = moved.reshape({shape[0], shape[1], -1, shape.back()});
  shape.back() = m.size(1);
  return at::einsum("bcrn,cmn->bcrm", {flat, m}).reshape(shape).movedim(-1, axis);
}

at::Tensor along(const TransformFactors& f, const at::Tensor& x, int64_t axis) {
  return operators::transform_multiply(x.movedim(axis, -1).contiguous(), f).movedim(-1, axis);
}

}  // namespace

TransformSettings read_transform_settings(const Config& config, TransformKind kind, int64_t axes) {
  TransformSettings s;
  const std::string table = "model.transform.";
  const std::vector<std::string> kinds{"fourier", "monarch", "dense"};
  const bool short_form = config.has("model.transform") && config.names("model.transform").empty();
  const std::string name =
      choice(config, short_form ? "model.transform" : table + "kind", kinds[static_cast<int>(kind)], kinds);
  s.kind = static_cast<TransformKind>(std::find(kinds.begin(), kinds.end(), name) - kinds.begin());
  if (s.kind == TransformKind::fourier || short_form) return s;  // other keys have no meaning: finish() names them

  s.per_layer = choice(config, table + "share", "all", {"all", "layer"}) == "layer";
  const std::string directions = choice(config, table + "directions", "both", {"both", "forward", "inverse"});
  s.forward = directions != "inverse";
  s.inverse = directions != "forward";
  s.tied = config.boolean(table + "tied", false);
  s.per_channel = config.boolean(table + "per_channel", false);
  s.lr_multiplier = config.number(table + "lr_multiplier", 1);
  s.dct = choice(config, table + "init", "dft", {"dft", "dct"}) == "dct";
  if (s.kind == TransformKind::monarch) {
    s.truncated = config.boolean(table + "truncated", false);
    const std::string product = choice(config, table + "product", "automatic", {"automatic", "dense", "factors"});
    s.product = product == "dense"     ? TransformProduct::dense
                : product == "factors" ? TransformProduct::factors
                                       : TransformProduct::automatic;
  }
  std::vector<double> all(axes);
  std::iota(all.begin(), all.end(), 0.0);
  for (const double axis : config.numbers(table + "axes", all)) {
    check<ConfigError>(axis == std::floor(axis) && axis >= 0 && axis < static_cast<double>(axes), [&] {
      return fmt::format("{}: model.transform.axes: there is no axis {}; the grid has axes 0 to {}", config.name(),
                         axis, axes - 1);
    });
    s.axes.push_back(static_cast<int64_t>(axis));
  }
  check<ConfigError>(
      !s.axes.empty(), [&] { return config.name() + ": model.transform.axes is empty"; },
      "for transforms that are not learned write kind = \"fourier\"");
  check<ConfigError>(!s.tied || (s.forward && s.inverse),
                     [&] { return config.name() + ": model.transform.tied needs directions = \"both\""; });
  check<ConfigError>(s.lr_multiplier >= 0, [&] {
    return fmt::format("{}: model.transform.lr_multiplier = {}", config.name(), s.lr_multiplier);
  });
  check<ConfigError>(!s.per_channel || s.product != TransformProduct::factors, [&] {
    return config.name() +
           ": model.transform: per_channel transforms are multiplied out, product = \"factors\" is not for them";
  });
  return s;
}

AxisTransforms::AxisTransforms(int64_t n, int64_t modes, KeptModes kept, const TransformSettings& settings,
                               bool learned, int64_t channels)
    : n_(n), modes_(modes), kept_(kept), settings_(settings) {
  const AxisTransform fourier = operators::truncated_fourier(n, modes, kept, at::kDouble);  // checks the modes
  if (!learned || settings.kind == TransformKind::fourier) return;

  const int64_t count = fourier.forward.size(0);
  const bool monarch = settings.kind == TransformKind::monarch, dct = settings.dct;
  const std::array<int64_t, 2> sizes = split(n);
  const operators::ConstructionOptions construction{.sizes = sizes};
  const std::vector<int64_t> wanted =
      kept == KeptModes::low_both && !dct ? operators::low_frequencies(n, modes) : operators::first_indices(count);
  const std::vector<int64_t> all = operators::first_indices(n);
  const auto exact = [&](bool inverse) {
    TransformFactors f =
        dct ? operators::monarch_real_transform(
                  n, inverse ? operators::RealTransform::dct3 : operators::RealTransform::dct2,
                  operators::Normalisation::none, construction)
            : operators::monarch_dft(n, {.inverse = inverse, .normalisation = operators::Normalisation::none},
                                     construction);
    f.factors = {f.factors.w1.to(at::kComplexDouble), f.factors.w2.to(at::kComplexDouble)};
    return f;
  };
  const auto make = [&](bool inverse) -> std::shared_ptr<AxisMap> {
    const TransformFactors f = exact(inverse);
    const int64_t c = settings.per_channel ? channels : 0;
    if (monarch)
      return std::make_shared<MonarchMap>(f, inverse ? all : wanted, inverse ? wanted : all, !inverse,
                                          settings.truncated, c, settings.lr_multiplier);
    const at::Tensor matrix = operators::transform_dense(f);
    return std::make_shared<DenseMap>(matrix.index_select(inverse ? 1 : 0, operators::index_tensor(wanted)), c,
                                      settings.lr_multiplier);
  };
  // The other direction, where only one is learned: a constant with its scale inside.
  const double half = 1.0 / (2.0 * static_cast<double>(n));
  scale_ = at::full({count}, dct ? half : 1.0 / static_cast<double>(n), at::kDouble);
  for (int64_t a = 1; !dct && kept == KeptModes::low_half && a < count; ++a)
    if (2 * a != n) scale_[a] = 2.0 / static_cast<double>(n);
  if (dct && settings.tied) scale_[0] = half / 2;
  const auto constant = [&](bool inverse) {
    return operators::transform_dense(exact(inverse)).index_select(inverse ? 1 : 0, operators::index_tensor(wanted));
  };
  if (settings.forward)
    forward_ = register_module("forward", make(false));
  else
    fixed_ = constant(false);
  if (settings.inverse && !settings.tied) inverse_ = register_module("inverse", make(true));
  if (!settings.inverse) fixed_ = constant(true) * scale_;

  if (monarch && !settings.per_channel) {
    const auto cheaper = [&](const std::shared_ptr<AxisMap>& map) {
      return map && n > 64 && n * count > 4 * cost(*map->factors());
    };
    as_factors_ = settings.product == TransformProduct::factors ||
                  (settings.product == TransformProduct::automatic && (cheaper(forward_) || cheaper(inverse_)));
  }
  text_ = !monarch        ? fmt::format("{} dense", n)
          : sizes[0] == 1 ? fmt::format("{} as one block", n)
                          : fmt::format("{} = {} · {}", n, sizes[0], sizes[1]);
}

AxisPass AxisTransforms::pass(int64_t n, at::ScalarType precision, at::Device device) {
  const auto type = c10::toComplexType(precision);
  if (!learned()) {
    if (constant_points_ != n || constant_.forward.scalar_type() != type || constant_.forward.device() != device) {
      constant_ = operators::truncated_fourier(n, modes_, kept_, precision);
      constant_.forward = constant_.forward.to(device);
      constant_.inverse = constant_.inverse.to(device);
      constant_points_ = n;
    }
    AxisPass pass;
    pass.matrices = constant_;
    return pass;
  }
  check<ShapeError>(n == n_, [&] { return fmt::format("transforms learned on {} points met {}", n_, n); });
  const at::Tensor scale = scale_.to(at::TensorOptions().dtype(precision).device(device));
  AxisPass pass;
  if (as_factors_ && forward_) pass.forward_factors = forward_->factors();
  if (as_factors_ && inverse_) {
    pass.inverse_factors = inverse_->factors();
    pass.inverse_scale = scale;
  }
  at::Tensor& forward = pass.matrices.forward;
  if (!forward_)
    forward = fixed_.to(device, type);
  else if (!pass.forward_factors || settings_.tied)
    forward = forward_->matrix();
  if (!settings_.inverse)
    pass.matrices.inverse = fixed_.to(device, type);
  else if (settings_.tied)
    pass.matrices.inverse = forward.mH() * scale;
  else if (!pass.inverse_factors)
    pass.matrices.inverse = inverse_->matrix() * scale;
  return pass;
}

TransformSet::TransformSet(const std::vector<int64_t>& grid, const std::vector<int64_t>& modes,
                           const std::vector<KeptModes>& kept, const TransformSettings& settings, int64_t channels) {
  for (size_t a = 0; a < grid.size(); ++a) {
    const bool learned = settings.axes.empty() || std::find(settings.axes.begin(), settings.axes.end(),
                                                            static_cast<int64_t>(a)) != settings.axes.end();
    axes_.push_back(std::make_shared<AxisTransforms>(grid[a], modes[a], kept[a], settings, learned, channels));
    register_module(fmt::format("axis{}", a), axes_.back());
  }
}

std::vector<AxisPass> TransformSet::passes(at::IntArrayRef grid, at::ScalarType precision, at::Device device) {
  std::vector<AxisPass> result;
  for (size_t a = 0; a < axes_.size(); ++a) result.push_back(axes_[a]->pass(grid[a], precision, device));
  return result;
}

bool TransformSet::tied_to_other_grid(at::IntArrayRef grid) const {
  for (size_t a = 0; a < axes_.size(); ++a)
    if (axes_[a]->learned() && axes_[a]->points() != grid[a]) return true;
  return false;
}

std::string TransformSet::describe() const {
  std::vector<std::string> texts;
  for (const auto& axis : axes_) texts.push_back(axis->learned() ? axis->describe() : "Fourier");
  return fmt::format("{}", fmt::join(texts, ", "));
}

at::Tensor spectral_pass(const at::Tensor& x, const std::vector<AxisPass>& axes, const at::Tensor& weight,
                         const at::Tensor& pointwise, const at::Tensor& bias, operators::Activation activation) {
  if (std::all_of(axes.begin(), axes.end(), [](const AxisPass& axis) { return axis.plain(); })) {
    std::vector<AxisTransform> matrices;
    for (const AxisPass& axis : axes) matrices.push_back(axis.matrices);
    const operators::SpectralWeights weights{weight, std::move(matrices), pointwise, bias, activation};
    return operators::spectral_layer(x, weights);
  }
  const int64_t d = static_cast<int64_t>(axes.size());
  at::Tensor modes = x.to(weight.scalar_type());
  for (int64_t a = d - 1; a >= 0; --a)
    modes = axes[a].forward_factors ? along(*axes[a].forward_factors, modes, a + 2)
                                    : along(axes[a].matrices.forward, modes, a + 2);
  at::Tensor y = operators::mix_modes(modes, weight);
  for (int64_t a = 0; a < d; ++a) {
    if (axes[a].inverse_factors) {
      std::vector<int64_t> wide(d + 2, 1);
      wide[a + 2] = -1;
      y = along(*axes[a].inverse_factors, y * axes[a].inverse_scale.view(wide), a + 2);
    } else {
      y = along(axes[a].matrices.inverse, y, a + 2);
    }
  }
  return operators::finish_spectral(at::real(y), x, pointwise, bias, activation);
}

}  // namespace monarch::solvers
