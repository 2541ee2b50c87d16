#include "monarch/training/losses.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace monarch::training {

namespace {

struct Pair {
  at::Tensor prediction, truth;
};

Pair checked(const char* loss, const at::Tensor& prediction, const at::Tensor& truth) {
  const auto shapes = [&] {
    return fmt::format("prediction {}, truth {}", shape_text({prediction.sizes().data(), prediction.sizes().size()}),
                       shape_text({truth.sizes().data(), truth.sizes().size()}));
  };
  check<ShapeError>(
      prediction.sizes() == truth.sizes(), [&] { return fmt::format("{} needs equal shapes: {}", loss, shapes()); },
      "is a channel or time axis squeezed on one side?");
  check<ShapeError>(prediction.dim() >= 3 && prediction.dim() <= 5 && prediction.numel() > 0, [&] {
    return fmt::format("{} needs [batch, channel, grid…] with 1 to 3 axes of grid: {}", loss, shapes());
  });
  check<DtypeError>(prediction.is_floating_point() && truth.is_floating_point(),
                    [&] { return fmt::format("{} needs real floating-point fields", loss); });
  const auto wide = [](const at::Tensor& t) {
    return t.scalar_type() == at::kDouble || t.scalar_type() == at::kFloat ? t : t.to(at::kFloat);
  };
  return {wide(prediction), wide(truth)};
}

/// ‖t[b]‖₂; its gradient at 0 is 0.
at::Tensor sample_norm(const at::Tensor& t) {
  const at::Tensor real = t.is_complex() ? at::view_as_real(t) : t;
  return at::linalg_vector_norm(real.flatten(1), 2, at::IntArrayRef{1});
}

std::vector<int64_t> grid_axes(const at::Tensor& t) {
  std::vector<int64_t> axes(static_cast<size_t>(t.dim() - 2));
  std::iota(axes.begin(), axes.end(), 2);
  return axes;
}

/// Modes of rfftn along one axis as integers, shaped to broadcast over [batch, channel, modes…].
at::Tensor modes(const at::Tensor& field, int64_t axis) {
  const int64_t n = field.size(axis);
  const auto options = at::TensorOptions().dtype(at::kDouble).device(field.device());
  const at::Tensor k = axis + 1 == field.dim() ? at::arange(n / 2 + 1, options)
                                               : at::fft_fftfreq(n, 1.0 / static_cast<double>(n), options);
  std::vector<int64_t> shape(static_cast<size_t>(field.dim()), 1);
  shape[static_cast<size_t>(axis)] = k.numel();
  return k.view(shape);
}

/// How many modes of the full transform each mode of rfftn stands for: 2, but 1 at k = 0 and at Nyquist of the last
/// axis.
at::Tensor multiplicity(const at::Tensor& field) {
  const int64_t n = field.size(-1);
  at::Tensor m = at::full({n / 2 + 1}, 2.0, at::TensorOptions().dtype(at::kDouble));
  m[0] = 1;
  if (n % 2 == 0) m[n / 2] = 1;
  return m.to(field.device());
}

/// |k| of the integer wave vectors of rfftn.
at::Tensor wave_numbers(const at::Tensor& field) {
  at::Tensor square = at::zeros({}, at::TensorOptions().dtype(at::kDouble).device(field.device()));
  for (const int64_t axis : grid_axes(field)) square = square + modes(field, axis).square();
  return square.sqrt();
}

/// Fourier coefficients whose plain sum of |·|² is the sum of squares over the grid (Parseval), half spectrum.
at::Tensor unitary_half_spectrum(const at::Tensor& field) {
  return at::fft_rfftn(field, {}, grid_axes(field), "ortho") * multiplicity(field).sqrt().to(field.scalar_type());
}

/// ∂u/∂x along one axis by differences.
at::Tensor difference(const at::Tensor& u, int64_t axis, double length, bool periodic) {
  const int64_t n = u.size(axis);
  if (periodic) return (u.roll(-1, axis) - u.roll(1, axis)) * (static_cast<double>(n) / (2 * length));
  const auto at = [&](int64_t i) { return u.narrow(axis, i, 1); };
  const at::Tensor inner = u.narrow(axis, 2, n - 2) - u.narrow(axis, 0, n - 2);
  const at::Tensor first = -3 * at(0) + 4 * at(1) - at(2);
  const at::Tensor last = 3 * at(n - 1) - 4 * at(n - 2) + at(n - 3);
  return at::cat({first, inner, last}, axis) * (static_cast<double>(n - 1) / (2 * length));
}

}  // namespace

at::Tensor relative_l2(const at::Tensor& prediction, const at::Tensor& truth) {
  const auto [p, t] = checked("relative L2", prediction, truth);
  return sample_norm(p - t) / sample_norm(t);
}

at::Tensor mean_square(const at::Tensor& prediction, const at::Tensor& truth) {
  const auto [p, t] = checked("mean square error", prediction, truth);
  return (p - t).square().flatten(1).mean(1);
}

at::Tensor relative_h1(const at::Tensor& prediction, const at::Tensor& truth, Derivative derivative,
                       const std::vector<double>& lengths) {
  const auto [p, t] = checked("relative H1", prediction, truth);
  const std::vector<int64_t> axes = grid_axes(p);
  check<ShapeError>(lengths.empty() || lengths.size() == axes.size(), [&] {
    return fmt::format("relative H1: {} lengths for a grid of {} axes", lengths.size(), axes.size());
  });
  const auto length = [&](size_t i) { return lengths.empty() ? 1.0 : lengths[i]; };
  for (size_t i = 0; i < axes.size(); ++i) {
    check<ConfigError>(length(i) > 0 && std::isfinite(length(i)),
                       [&] { return fmt::format("relative H1: length {} of axis {}", length(i), i); });
    check<ShapeError>(derivative != Derivative::bounded || p.size(axes[i]) >= 3, [&] {
      return fmt::format("relative H1: differences at a boundary need 3 points, axis {} has {}", i, p.size(axes[i]));
    });
  }
  if (derivative == Derivative::spectral) {
    at::Tensor weight = at::ones({}, at::TensorOptions().dtype(at::kDouble).device(p.device()));
    for (size_t i = 0; i < axes.size(); ++i)
      weight = weight + (modes(p, axes[i]) * (2 * std::numbers::pi / length(i))).square();
    weight = weight.sqrt().to(p.scalar_type());
    const auto norm = [&](const at::Tensor& v) { return sample_norm(unitary_half_spectrum(v) * weight); };
    return norm(p - t) / norm(t);
  }
  const auto norm = [&](const at::Tensor& v) {
    std::vector<at::Tensor> parts = {v.flatten(1)};
    for (size_t i = 0; i < axes.size(); ++i)
      parts.push_back(difference(v, axes[i], length(i), derivative == Derivative::periodic).flatten(1));
    return sample_norm(at::cat(parts, 1));
  };
  return norm(p - t) / norm(t);
}

at::Tensor relative_l2_bands(const at::Tensor& prediction, const at::Tensor& truth, const std::vector<double>& edges) {
  constexpr double kFloor = 1e-6;
  const auto [p, t] = checked("spectral loss", prediction, truth);
  check<ConfigError>(!edges.empty() && edges.front() > 0 &&
                         std::adjacent_find(edges.begin(), edges.end(), std::greater_equal<>()) == edges.end(),
                     "spectral loss: the edges of the bands must be positive and ascend");
  const at::Tensor error = unitary_half_spectrum(p - t), reference = unitary_half_spectrum(t);
  const at::Tensor k = wave_numbers(p);
  const at::Tensor floor = kFloor * sample_norm(reference);
  at::Tensor sum = at::zeros_like(floor);
  int64_t bands = 0;
  for (size_t b = 0; b <= edges.size(); ++b) {
    at::Tensor inside = at::ones_like(k, at::kBool);
    if (b > 0) inside = inside & (k >= edges[b - 1]);
    if (b < edges.size()) inside = inside & (k < edges[b]);
    if (!inside.any().item<bool>()) continue;  // beyond the grid
    const at::Tensor mask = inside.to(p.scalar_type());
    sum = sum + sample_norm(error * mask) / at::maximum(sample_norm(reference * mask), floor);
    ++bands;
  }
  return sum / static_cast<double>(bands);
}

at::Tensor log_spectrum(const at::Tensor& prediction, const at::Tensor& truth) {
  constexpr double kFloor = 1e-12;
  const auto [p, t] = checked("log-spectrum loss", prediction, truth);
  const std::vector<int64_t> axes = grid_axes(p);
  int64_t shortest = p.size(axes.front());
  for (const int64_t axis : axes) shortest = std::min(shortest, p.size(axis));
  const int64_t shells = shortest / 2 + 1;
  const at::Tensor shell = (wave_numbers(p) + 0.5).floor().to(at::kLong).flatten().clamp_max(shells);
  const auto energies = [&](const at::Tensor& v) {
    const at::Tensor square = at::view_as_real(unitary_half_spectrum(v)).square().sum(-1).sum(1).flatten(1);
    return at::zeros({v.size(0), shells + 1}, v.options()).index_add(1, shell, 0.5 * square).narrow(1, 0, shells);
  };
  const at::Tensor of_truth = energies(t);
  const at::Tensor floor = kFloor * of_truth.sum(1, true);
  const at::Tensor decades = (energies(p) + floor).log10() - (of_truth + floor).log10();
  return sample_norm(decades) / std::sqrt(static_cast<double>(shells));
}

namespace {

struct NamedLoss {
  const char* name;
  at::Tensor (*loss)(const at::Tensor&, const at::Tensor&);
};
constexpr NamedLoss kLosses[] = {
    {"l2", relative_l2},
    {"h1", [](const at::Tensor& p, const at::Tensor& t) { return relative_h1(p, t); }},
    {"h1-periodic", [](const at::Tensor& p, const at::Tensor& t) { return relative_h1(p, t, Derivative::periodic); }},
    {"h1-bounded", [](const at::Tensor& p, const at::Tensor& t) { return relative_h1(p, t, Derivative::bounded); }},
    {"mse", mean_square},
    {"spectral", [](const at::Tensor& p, const at::Tensor& t) { return relative_l2_bands(p, t); }},
    {"log-spectrum", log_spectrum},
};

}  // namespace

std::vector<std::string> loss_names() {
  std::vector<std::string> names;
  for (const NamedLoss& entry : kLosses) names.emplace_back(entry.name);
  return names;
}

Loss make_loss(const std::string& name) {
  for (const NamedLoss& entry : kLosses) {
    if (name == entry.name) return entry.loss;
  }
  const std::string closest = closest_match(name, loss_names());
  fail<ConfigError>(fmt::format("no loss is called '{}'; expected {}", name, join_or(loss_names())),
                    closest.empty() ? "" : "did you mean '" + closest + "'?");
}

}  // namespace monarch::training
