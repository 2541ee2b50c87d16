#include "monarch/operators/nn/spectral.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/operators/monarch/transform.hpp"
#include "monarch/operators/nn/activate.hpp"
#include "monarch/operators/nn/spectral_autograd.hpp"

namespace monarch::operators {
namespace {

/// Flops of a product with truncated matrices that take as long as one of an FFT with its copies: measured.
constexpr double kProductsPerFftFlop = 24;

/// M · x over axis `axis`: m complex [rows, n], x [.., n, ..] -> [.., rows, ..].
at::Tensor along(const at::Tensor& m, const at::Tensor& x, int64_t axis) {
  return at::matmul(x.movedim(axis, -1), m.t()).movedim(-1, axis);
}

void check_spectral(const at::Tensor& x, const SpectralWeights& w) {
  const int64_t d = static_cast<int64_t>(w.axes.size());
  check<ShapeError>(d >= 1 && d <= 3, [&] { return fmt::format("a spectral layer has 1 to 3 axes, not {}", d); });
  check<ShapeError>(x.dim() == d + 2, [&] {
    return fmt::format("spectral layer over {} axes: x must be [batch, channel, {} axes], found {}", d, d,
                       shape_text(x.sizes()));
  });
  check<DtypeError>(x.is_floating_point(), "spectral layer: x must be real");
  check<DtypeError>(w.weight.is_complex(), "spectral layer: the weight must be complex");
  check<ShapeError>(w.weight.dim() == d + 2 && w.weight.size(0) == x.size(1), [&] {
    return fmt::format("spectral layer: the weight must be [in, out, {} mode axes] with in = {}, found {}", d,
                       x.size(1), shape_text(w.weight.sizes()));
  });
  check<ShapeError>((!w.pointwise.defined() || w.pointwise.sizes() == at::IntArrayRef{w.weight.size(1), x.size(1)}) &&
                        (!w.bias.defined() || w.bias.sizes() == at::IntArrayRef{w.weight.size(1)}),
                    [&] {
                      return fmt::format("spectral layer {} -> {} channels: pointwise is {}, bias {}", x.size(1),
                                         w.weight.size(1),
                                         w.pointwise.defined() ? shape_text(w.pointwise.sizes()) : std::string("none"),
                                         w.bias.defined() ? shape_text(w.bias.sizes()) : std::string("none"));
                    });
  for (int64_t a = 0; a < d; ++a) {
    const at::Tensor& forward = w.axes[a].forward;
    const at::Tensor& inverse = w.axes[a].inverse;
    check<ShapeError>(
        forward.dim() == 2 && inverse.dim() == 2 && forward.size(1) == x.size(a + 2) &&
            forward.size(0) == w.weight.size(a + 2) && inverse.size(1) == w.weight.size(a + 2),
        [&] {
          return fmt::format(
              "spectral layer, axis {}: x has {} points and the weight {} modes, but the transforms are {} "
              "and {}",
              a, x.size(a + 2), w.weight.size(a + 2), shape_text(forward.sizes()), shape_text(inverse.sizes()));
        });
    check<ShapeError>(!w.pointwise.defined() || inverse.size(0) == x.size(a + 2), [&] {
      return fmt::format("spectral layer, axis {}: a pointwise path needs {} points on both sides, found {}", a,
                         x.size(a + 2), inverse.size(0));
    });
  }
}

void check_pointwise(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b) {
  check<ShapeError>(
      x.dim() >= 3 && w.dim() == 2 && w.size(1) == x.size(1) && (!b.defined() || b.numel() == w.size(0)), [&] {
        return fmt::format(
            "pointwise layer: x must be [batch, in, points…], w [out, in] and b [out], found {}, {} and {}",
            shape_text(x.sizes()), shape_text(w.sizes()), b.defined() ? shape_text(b.sizes()) : std::string("none"));
      });
}

}  // namespace

AxisTransform truncated_fourier(int64_t n, int64_t m, KeptModes kept, at::ScalarType precision, int64_t n_out) {
  if (n_out == 0) n_out = n;
  check<ShapeError>(n >= 1 && n_out >= 1 && m >= 1,
                    [&] { return fmt::format("{} modes of {} points: both must be positive", m, std::min(n, n_out)); });
  const int64_t points = std::min(n, n_out);
  const int64_t most = kept == KeptModes::low_both ? points / 2 : points / 2 + 1;
  check<ShapeError>(
      m <= most,
      [&] { return fmt::format("{} modes on an axis of {} points: at most {} fit (Nyquist)", m, points, most); },
      "take fewer modes or a finer grid");
  std::vector<int64_t> k = kept == KeptModes::low_both ? low_frequencies(n, m) : first_indices(m);
  for (int64_t a = 0; kept == KeptModes::low_both && a < m; ++a) k[m + a] = a - m;  // signed: n_out may differ from n
  const auto options = at::TensorOptions().dtype(at::kDouble);
  const at::Tensor frequencies = at::tensor(k, at::kLong);
  const auto phases = [&](int64_t length) {  // [modes, length], reduced before the multiplication by 2 pi / length
    const at::Tensor product = frequencies.unsqueeze(1) * at::arange(length, at::kLong).unsqueeze(0);
    return product.remainder(length).to(at::kDouble) * (2 * M_PI / static_cast<double>(length));
  };
  at::Tensor count = at::ones({static_cast<int64_t>(k.size())}, options);
  if (kept == KeptModes::low_half)
    for (int64_t a = 0; a < m; ++a) {
      const bool alone = a == 0 || (2 * a == n && n_out == n);
      count[a] = alone ? 1.0 : 2.0;
    }
  const at::Tensor out_phase = phases(n_out), in_phase = phases(n);
  AxisTransform t;
  t.forward = at::complex(in_phase.cos(), -in_phase.sin());
  t.inverse = (at::complex(out_phase.cos(), out_phase.sin()) * (count / static_cast<double>(n)).unsqueeze(1)).t();
  const auto type = at::toComplexType(precision);
  t.forward = t.forward.to(type).contiguous();
  t.inverse = t.inverse.to(type).contiguous();
  if (n_out == n) t.fourier = kept;
  return t;
}

at::Tensor mix_modes(const at::Tensor& modes, const at::Tensor& weight) {
  const at::Tensor mixed = at::matmul(modes.flatten(2).permute({2, 0, 1}), weight.flatten(2).permute({2, 0, 1}));
  std::vector<int64_t> shape(modes.sizes().begin(), modes.sizes().end());
  shape[1] = weight.size(1);
  return mixed.permute({1, 2, 0}).reshape(shape);
}

at::Tensor finish_spectral(const at::Tensor& y, const at::Tensor& x, const at::Tensor& pointwise,
                           const at::Tensor& bias, Activation activation) {
  at::Tensor sum = y;
  if (pointwise.defined()) {
    sum = sum + pointwise_linear(x, pointwise, bias);
  } else if (bias.defined()) {
    std::vector<int64_t> wide(y.dim(), 1);
    wide[1] = -1;
    sum = sum + bias.reshape(wide);
  }
  return activate(sum, activation);
}

at::Tensor spectral_layer_composite(const at::Tensor& x, const SpectralWeights& w) {
  check_spectral(x, w);
  const int64_t d = static_cast<int64_t>(w.axes.size());
  // The last axis first: its half spectrum is the smaller.
  at::Tensor modes = x.to(w.weight.scalar_type());
  for (int64_t a = d - 1; a >= 0; --a) modes = along(w.axes[a].forward, modes, a + 2);
  at::Tensor y = mix_modes(modes, w.weight);
  for (int64_t a = 0; a < d; ++a) y = along(w.axes[a].inverse, y, a + 2);
  return finish_spectral(at::real(y), x, w.pointwise, w.bias, w.activation);
}

at::Tensor spectral_layer_fft(const at::Tensor& x, const SpectralWeights& w) {
  check_spectral(x, w);
  const int64_t d = static_cast<int64_t>(w.axes.size());
  std::vector<int64_t> dims, points;
  for (int64_t a = 0; a < d; ++a) {
    check<ConfigError>(w.axes[a].fourier.has_value() && (*w.axes[a].fourier == KeptModes::low_half) == (a == d - 1),
                       [&] { return fmt::format("spectral layer by FFT: axis {} has other transforms", a); });
    dims.push_back(a + 2);
    points.push_back(x.size(a + 2));
  }
  at::Tensor modes = at::fft_rfftn(x, c10::nullopt, dims);
  for (int64_t a = d - 1; a >= 0; --a) {
    const int64_t kept = w.weight.size(a + 2);
    modes =
        a == d - 1
            ? modes.narrow(a + 2, 0, kept)
            : at::cat({modes.narrow(a + 2, 0, kept / 2), modes.narrow(a + 2, points[a] - kept / 2, kept / 2)}, a + 2);
  }
  at::Tensor y = mix_modes(modes, w.weight);
  for (int64_t a = 0; a + 1 < d; ++a) {  // zeros between the two signs
    const int64_t m = w.weight.size(a + 2) / 2;
    std::vector<int64_t> gap(y.sizes().begin(), y.sizes().end());
    gap[a + 2] = points[a] - 2 * m;
    if (gap[a + 2] > 0) y = at::cat({y.narrow(a + 2, 0, m), at::zeros(gap, y.options()), y.narrow(a + 2, m, m)}, a + 2);
  }
  y = at::fft_irfftn(y, points, dims);  // fills the last axis itself
  return finish_spectral(y, x, w.pointwise, w.bias, w.activation);
}

bool spectral_by_fft(const at::Tensor& x, const SpectralWeights& w) {
  const size_t d = w.axes.size();
  double product = 0, points = 1, log_points = 0;  // flops of one map and direction
  for (size_t a = 0; a < d; ++a) {
    if (!w.axes[a].fourier || (*w.axes[a].fourier == KeptModes::low_half) != (a + 1 == d)) return false;
    points *= static_cast<double>(x.size(a + 2));
    log_points += std::log2(static_cast<double>(x.size(a + 2)));
  }
  double rows = points;
  for (size_t a = d; a-- > 0;) {
    const auto n = static_cast<double>(x.size(a + 2)), m = static_cast<double>(w.weight.size(a + 2));
    product += (a + 1 == d ? 4 : 8) * rows * m;
    rows *= m / n;
  }
  return product > kProductsPerFftFlop * 2.5 * points * log_points;
}

at::Tensor spectral_layer(const at::Tensor& x, const SpectralWeights& w) {
  if (spectral_by_fft(x, w)) return spectral_layer_fft(x, w);
  if (!spectral_fused(x, w)) return spectral_layer_composite(x, w);
  check_spectral(x, w);
  return spectral_layer_fused(x, w);
}

at::Tensor pointwise_linear_composite(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b) {
  check_pointwise(x, w, b);
  std::vector<int64_t> shape(x.sizes().begin(), x.sizes().end());
  shape[1] = w.size(0);
  at::Tensor y = at::matmul(w, x.flatten(2));
  if (b.defined()) y = y + b.unsqueeze(1);
  return y.reshape(shape);
}

at::Tensor pointwise_linear(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b) {
  if (!pointwise_fused(x, w, b)) return pointwise_linear_composite(x, w, b);
  check_pointwise(x, w, b);
  return pointwise_layer_fused(x, w, b, {}, {}, Activation::none);
}

at::Tensor pointwise_mlp_composite(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& b1,
                                   const at::Tensor& w2, const at::Tensor& b2, Activation activation) {
  return pointwise_linear_composite(activate(pointwise_linear_composite(x, w1, b1), activation), w2, b2);
}

at::Tensor pointwise_mlp(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& b1, const at::Tensor& w2,
                         const at::Tensor& b2, Activation activation) {
  if (!pointwise_fused(x, w1, w2)) return pointwise_mlp_composite(x, w1, b1, w2, b2, activation);
  check_pointwise(x, w1, b1);
  check<ShapeError>(w2.dim() == 2 && w2.size(1) == w1.size(0) && (!b2.defined() || b2.numel() == w2.size(0)), [&] {
    return fmt::format("pointwise network: w2 must be [out, {}] with as many biases, found {} and {}", w1.size(0),
                       shape_text(w2.sizes()), b2.defined() ? b2.numel() : 0);
  });
  return pointwise_layer_fused(x, w1, b1, w2, b2, activation);
}

}  // namespace monarch::operators
