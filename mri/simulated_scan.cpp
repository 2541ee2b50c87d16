#include "monarch/mri/simulated_scan.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <numbers>
#include <optional>

#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/core/text.hpp"
#include "monarch/mri/anatomy.hpp"
#include "monarch/mri/arrays.hpp"

namespace monarch::mri {
namespace {

constexpr double pi = std::numbers::pi;
constexpr double kFirstEcho = 6, kEchoSpacing = 24;  // ms
constexpr double kView[3] = {160, 128, 160};         // mm: y, x, slices
constexpr int64_t kFine = 2;                         // pixels of the object per pixel of the scan, per axis
constexpr int64_t kOrder = 3;                        // of trigonometric polynomials, in half cycles per field of view
constexpr int64_t kModes = (2 * kOrder + 1) * (2 * kOrder + 1);
constexpr int64_t kFitPoints = 28;  // per axis, of their fit

using Complex = std::complex<double>;

/// u of the pixels of an axis, in fields of view.
std::vector<double> positions(int64_t n) {
  std::vector<double> result(static_cast<size_t>(n));
  for (int64_t p = 0; p < n; ++p)
    result[static_cast<size_t>(p)] = static_cast<double>(p - n / 2) / static_cast<double>(n);
  return result;
}

/// c0 + c·(y, x, s) + quadratic terms, with coefficients of a given size.
struct Quadratic {
  std::array<double, 8> c{};
  Quadratic(Rng& rng, double size) {
    for (double& value : c) value = size * (2 * rng.uniform() - 1);
  }
  double operator()(double y, double x, double s) const {
    return c[0] + 2 * (c[1] * y + c[2] * x + c[3] * s) + 4 * (c[4] * y * y + c[5] * x * x + c[6] * y * x) +
           2 * c[7] * s * y;
  }
};

/// 1 + a few waves of up to two and a half cycles in the field of view.
struct Modulation {
  std::array<std::array<double, 5>, 4> waves{};  // y, x, s frequencies, phase, amplitude
  explicit Modulation(Rng& rng) {
    for (auto& wave : waves) {
      for (size_t i = 0; i < 3; ++i) wave[i] = 2.5 * (2 * rng.uniform() - 1);
      wave[3] = 2 * pi * rng.uniform();
      wave[4] = 0.05 * rng.uniform();
    }
  }
  double operator()(double y, double x, double s) const {
    double value = 1;
    for (const auto& w : waves) value += w[4] * std::cos(2 * pi * (w[0] * y + w[1] * x + w[2] * s) + w[3]);
    return value;
  }
};

/// A loop far smaller than its distance, in mm; longer than wide, so that along the slices it reaches further.
struct Coil {
  double place[3], normal[3];

  Complex operator()(double y, double x, double s) const {
    const double to[3] = {y * kView[0] - place[0], x * kView[1] - place[1], 0.4 * (s * kView[2] - place[2])};
    constexpr double soft = 45 * 45;  // mm²: the loop's own size
    const double square = to[0] * to[0] + to[1] * to[1] + to[2] * to[2] + soft;
    const double along = to[0] * normal[0] + to[1] * normal[1] + to[2] * normal[2];
    const double scale = 1 / (square * std::sqrt(square));
    // The main field lies along the slices: what turns in the plane is received.
    const double by = scale * (3 * along * to[0] / square - normal[0]);
    const double bx = scale * (3 * along * to[1] / square - normal[1]);
    return {by, -bx};
  }
};

std::vector<Coil> coil_array(int64_t count, Rng& rng) {
  const int64_t rings = (count + 7) / 8;
  std::vector<Coil> coils;
  for (int64_t c = 0; c < count; ++c) {
    const int64_t ring = c % rings, in_ring = (count - ring + rings - 1) / rings;
    const double angle =
        2 * pi * (static_cast<double>(c / rings) + 0.5 * static_cast<double>(ring)) / static_cast<double>(in_ring) +
        0.3 * (rng.uniform() - 0.5);
    const double along =
        rings == 1 ? 0.25 * (rng.uniform() - 0.5) : static_cast<double>(ring) / static_cast<double>(rings - 1) - 0.5;
    const double radius = 0.62 + 0.06 * rng.uniform();
    Coil coil{};
    coil.place[0] = radius * kView[0] * std::cos(angle);
    coil.place[1] = radius * kView[1] * std::sin(angle);
    coil.place[2] = along * 0.8 * kView[2];
    const double lean = 0.6 * (rng.uniform() - 0.5);
    coil.normal[0] = -std::cos(angle + lean);
    coil.normal[1] = -std::sin(angle + lean);
    coils.push_back(coil);
  }
  return coils;
}

/// Values of f(y, x) at the pixels of a grid, complex128 [y, x].
template <class F>
at::Tensor on_grid(int64_t ny, int64_t nx, F f) {
  at::Tensor result = at::empty({ny, nx}, at::kComplexDouble);
  auto* to = static_cast<Complex*>(result.mutable_data_ptr());
  const auto ys = positions(ny), xs = positions(nx);
  for (const double y : ys)
    for (const double x : xs) *to++ = f(y, x);
  return result;
}

/// exp(iπ m u) for |m| <= kOrder: [points, modes] complex128.
at::Tensor wave_matrix(const std::vector<double>& u) {
  at::Tensor result = at::empty({static_cast<int64_t>(u.size()), 2 * kOrder + 1}, at::kComplexDouble);
  auto* to = static_cast<Complex*>(result.mutable_data_ptr());
  for (const double place : u)
    for (int64_t m = -kOrder; m <= kOrder; ++m) *to++ = std::polar(1.0, pi * static_cast<double>(m) * place);
  return result;
}

/// Points of the fit: from edge to edge of the field of view.
std::vector<double> fit_points() {
  std::vector<double> u;
  for (int64_t i = 0; i < kFitPoints; ++i) u.push_back((static_cast<double>(i) + 0.5) / kFitPoints - 0.5);
  return u;
}

/// Spectrum of the product with Σ_m q_m exp(iπ m·u): out[b, i] = Σ_m q[b, m] in[step i − m + kOrder].
/// spectrum [y', x'], modes [batch, 2K + 1, 2K + 1] -> [batch, y, x], complex128.
at::Tensor modulated(const at::Tensor& spectrum, const at::Tensor& modes, int64_t step, int64_t ny, int64_t nx) {
  std::vector<at::Tensor> shifted;
  for (int64_t my = 0; my <= 2 * kOrder; ++my) {
    for (int64_t mx = 0; mx <= 2 * kOrder; ++mx) {
      shifted.push_back(spectrum.slice(0, 2 * kOrder - my, c10::nullopt, step)
                            .narrow(0, 0, ny)
                            .slice(1, 2 * kOrder - mx, c10::nullopt, step)
                            .narrow(1, 0, nx)
                            .reshape({-1}));
    }
  }
  return at::mm(modes.reshape({-1, kModes}), at::stack(shifted)).view({-1, ny, nx});
}

void check_options(const SimulatedScanOptions& o) {
  check<ConfigError>(o.matrix[0] >= 8 && o.matrix[1] >= 8 && o.matrix[0] <= 4096 && o.matrix[1] <= 4096, [&] {
    return fmt::format("a simulated scan of matrix {} × {}: extents from 8 to 4096", o.matrix[0], o.matrix[1]);
  });
  check<ConfigError>(o.slices >= 1 && o.echoes >= 1 && o.echoes <= 64 && o.coils >= 1 && o.coils <= 32, [&] {
    return fmt::format("a simulated scan of {} slices, {} echoes, {} coils: 1 or more, up to 64 echoes and 32 coils",
                       o.slices, o.echoes, o.coils);
  });
  check<ConfigError>(o.noise >= 0 && o.noise <= 1e6,
                     [&] { return fmt::format("a simulated scan with noise {}: from 0 to 1e6", o.noise); });
  if (!o.images.defined()) return;
  check<ConfigError>(!o.analytic, "a simulated scan of images cannot be analytic: that is for ellipses",
                     "leave one of the two out");
  check<ShapeError>(o.images.dim() == 3 && o.images.numel() > 0 && !o.images.is_complex(), [&] {
    return fmt::format("images to simulate a scan of: expected real [image, y, x], found {}",
                       shape_text(o.images.sizes()));
  });
  check<DataError>(at::isfinite(o.images).all().item<bool>() && o.images.min().item<double>() >= 0 &&
                       o.images.max().item<double>() > 0,
                   "images to simulate a scan of: expected magnitudes, found values that are negative, infinite, NaN "
                   "or all zero");
}

/// Images with their 99th percentile at 1.
at::Tensor scaled_images(const at::Tensor& images) {
  const at::Tensor values = images.to(at::kDouble).contiguous();
  const at::Tensor flat = values.flatten();
  const int64_t step = std::max<int64_t>(1, flat.numel() >> 20);
  const at::Tensor few = flat.slice(0, 0, c10::nullopt, step);
  double top = std::get<0>(few.kthvalue(std::max<int64_t>(1, few.numel() * 99 / 100))).item<double>();
  if (!(top > 0)) top = flat.max().item<double>();
  return values / top;
}

}  // namespace

at::Tensor ellipse_spectrum(const std::vector<Ellipse>& ellipses, int64_t echoes, std::array<int64_t, 2> extent,
                            std::array<int64_t, 2> first) {
  const auto [ny, nx] = extent;
  at::Tensor result = at::zeros({echoes, ny, nx}, at::kComplexDouble);
  auto* to = static_cast<Complex*>(result.mutable_data_ptr());
  const auto waves = [](int64_t n, int64_t from, double place) {
    std::vector<Complex> all;
    for (int64_t i = 0; i < n; ++i) all.push_back(std::polar(1.0, -pi * static_cast<double>(i - from) * place));
    return all;
  };
  for (const Ellipse& ellipse : ellipses) {
    const auto& a = ellipse.axes;
    const double area = std::abs(a[0][0] * a[1][1] - a[0][1] * a[1][0]);
    const auto along_y = waves(ny, first[0], ellipse.centre[0]), along_x = waves(nx, first[1], ellipse.centre[1]);
    for (int64_t i = 0; i < ny; ++i) {
      const double ky = 0.5 * static_cast<double>(i - first[0]);
      for (int64_t j = 0; j < nx; ++j) {
        const double kx = 0.5 * static_cast<double>(j - first[1]);
        const double q = std::hypot(a[0][0] * ky + a[1][0] * kx, a[0][1] * ky + a[1][1] * kx);
        const double disc = q < 1e-9 ? pi : ::j1(2 * pi * q) / q;
        const Complex value = area * disc * along_y[static_cast<size_t>(i)] * along_x[static_cast<size_t>(j)];
        for (int64_t e = 0; e < echoes; ++e)
          to[(e * ny + i) * nx + j] += ellipse.signal[static_cast<size_t>(e)] * value;
      }
    }
  }
  return result;
}

at::Tensor ellipse_image(const std::vector<Ellipse>& ellipses, int64_t echoes, std::array<int64_t, 2> matrix) {
  const auto [ny, nx] = matrix;
  at::Tensor result = at::zeros({echoes, ny, nx}, at::kDouble);
  double* to = result.mutable_data_ptr<double>();
  const double dy = 1 / static_cast<double>(ny), dx = 1 / static_cast<double>(nx);
  for (const Ellipse& ellipse : ellipses) {
    const auto& a = ellipse.axes;
    const double det = a[0][0] * a[1][1] - a[0][1] * a[1][0];
    const double b[2][2] = {{a[1][1] / det, -a[0][1] / det}, {-a[1][0] / det, a[0][0] / det}};  // A⁻¹
    const auto range = [](double centre, double reach, int64_t n, double d) {
      const double middle = centre / d + static_cast<double>(n / 2), half = reach / d + 2;
      const auto inside = [n](double place) { return std::clamp(place, 0.0, static_cast<double>(n)); };
      return std::pair(static_cast<int64_t>(inside(middle - half)), static_cast<int64_t>(inside(middle + half)));
    };
    const auto [y0, y1] = range(ellipse.centre[0], std::hypot(a[0][0], a[0][1]), ny, dy);
    const auto [x0, x1] = range(ellipse.centre[1], std::hypot(a[1][0], a[1][1]), nx, dx);
    for (int64_t y = y0; y < y1; ++y) {
      const double v = static_cast<double>(y - ny / 2) * dy - ellipse.centre[0];
      for (int64_t x = x0; x < x1; ++x) {
        const double u = static_cast<double>(x - nx / 2) * dx - ellipse.centre[1];
        const double p = b[0][0] * v + b[0][1] * u, q = b[1][0] * v + b[1][1] * u;
        const double rho = std::hypot(p, q);
        // Slope of rho per pixel: the edge is a ramp as wide as a pixel.
        const double sy = (b[0][0] * p + b[1][0] * q) * dy, sx = (b[0][1] * p + b[1][1] * q) * dx;
        const double slope = rho > 1e-12 ? std::hypot(sy, sx) / rho : 0;
        const double part = slope > 0 ? std::clamp(0.5 + (1 - rho) / slope, 0.0, 1.0) : 1.0;
        if (part == 0) continue;
        for (int64_t e = 0; e < echoes; ++e) to[(e * ny + y) * nx + x] += part * ellipse.signal[static_cast<size_t>(e)];
      }
    }
  }
  return result;
}

struct SimulatedScan::State {
  SimulatedScanOptions options;
  uint64_t seed;
  std::string scan_id;
  std::vector<double> times;
  std::vector<Ellipsoid> anatomy;
  at::Tensor images;
  std::vector<Coil> coils;
  double coil_scale = 1;
  std::optional<Quadratic> phase, field;
  std::optional<Modulation> modulation;
  at::Tensor fit_y;  ///< pseudo-inverse of the waves at the points of the fit, [modes, points]

  double along(int64_t slice) const {
    return (static_cast<double>(slice) + 0.5) / static_cast<double>(options.slices) - 0.5;
  }

  /// The smooth factor of an echo at a point.
  Complex factor(int64_t echo, double y, double x, double s) const {
    const double angle = (*phase)(y, x, s) + static_cast<double>(echo + 1) * (*field)(y, x, s);
    const double magnitude = images.defined() ? 1 : (*modulation)(y, x, s);
    return std::polar(magnitude, angle);
  }

  at::Tensor factors(int64_t ny, int64_t nx, double s) const {  // [echo, y, x]
    std::vector<at::Tensor> all;
    for (int64_t e = 0; e < options.echoes; ++e)
      all.push_back(on_grid(ny, nx, [&](double y, double x) { return factor(e, y, x, s); }));
    return at::stack(all);
  }
  at::Tensor coil_maps(int64_t ny, int64_t nx, double s) const {  // [coil, y, x]
    std::vector<at::Tensor> all;
    for (const Coil& coil : coils)
      all.push_back(on_grid(ny, nx, [&](double y, double x) { return coil_scale * coil(y, x, s); }));
    return at::stack(all);
  }

  /// Coefficients of the trigonometric polynomials nearest to functions at the points of the fit.
  at::Tensor fitted(const std::vector<at::Tensor>& values) const {  // [point y, point x] each -> [function, m_y, m_x]
    return at::matmul(at::matmul(fit_y, at::stack(values)), fit_y.t());
  }
  template <class F>
  at::Tensor at_fit_points(F f) const {
    const auto u = fit_points();
    at::Tensor result = at::empty({kFitPoints, kFitPoints}, at::kComplexDouble);
    auto* to = static_cast<Complex*>(result.mutable_data_ptr());
    for (const double y : u)
      for (const double x : u) *to++ = f(y, x);
    return result;
  }

  /// Real signal on the fine grid, [echo, y, x] float64.
  at::Tensor object(int64_t slice, int64_t ny, int64_t nx) const {
    if (!images.defined()) return ellipse_image(sections(anatomy, along(slice)), options.echoes, {ny, nx});
    const int64_t which = (options.first_image + slice) % images.size(0);
    const at::Tensor image = at::_upsample_bilinear2d_aa(images[which].view({1, 1, images.size(1), images.size(2)}),
                                                         {ny, nx}, false, c10::nullopt, c10::nullopt)[0][0];
    std::vector<at::Tensor> echoes;
    for (const double time : times) echoes.push_back(image * at::exp(-(time - times[0]) / (30 + 70 * image)));
    return at::stack(echoes);
  }

  /// Sensitivities [coil, y, x] and k-space without noise [echo, coil, y, x], complex128.
  std::pair<at::Tensor, at::Tensor> rastered(int64_t slice) const {
    const auto [ny, nx] = options.matrix;
    const double s = along(slice);
    const at::Tensor fine = object(slice, kFine * ny, kFine * nx) * factors(kFine * ny, kFine * nx, s);
    const at::Tensor maps = coil_maps(kFine * ny, kFine * nx, s);
    std::vector<at::Tensor> kspace;
    for (int64_t e = 0; e < options.echoes; ++e) {
      kspace.push_back(to_kspace((fine[e] * maps).unsqueeze(1))
                           .squeeze(1)
                           .narrow(1, kFine * ny / 2 - ny / 2, ny)
                           .narrow(2, kFine * nx / 2 - nx / 2, nx) /
                       static_cast<double>(kFine));
    }
    return {coil_maps(ny, nx, s), at::stack(kspace)};
  }

  std::pair<at::Tensor, at::Tensor> exact(int64_t slice) const {
    const auto [ny, nx] = options.matrix;
    const double s = along(slice);
    std::vector<at::Tensor> coil_values, echo_values;
    for (const Coil& coil : coils)
      coil_values.push_back(at_fit_points([&](double y, double x) { return coil_scale * coil(y, x, s); }));
    for (int64_t e = 0; e < options.echoes; ++e)
      echo_values.push_back(at_fit_points([&](double y, double x) { return factor(e, y, x, s); }));
    const at::Tensor coil_modes = fitted(coil_values), echo_modes = fitted(echo_values);
    // Half cycles apart: from the object to its product with the factor of the echo, to every coil on whole cycles.
    const int64_t my = 2 * ny - 1 + 2 * kOrder, mx = 2 * nx - 1 + 2 * kOrder;
    const at::Tensor spectrum =
        ellipse_spectrum(sections(anatomy, s), options.echoes, {my + 2 * kOrder, mx + 2 * kOrder},
                         {2 * (ny / 2) + 2 * kOrder, 2 * (nx / 2) + 2 * kOrder});
    std::vector<at::Tensor> kspace;
    for (int64_t e = 0; e < options.echoes; ++e) {
      const at::Tensor echo = modulated(spectrum[e], echo_modes[e], 1, my, mx)[0];
      kspace.push_back(modulated(echo, coil_modes, 2, ny, nx));
    }
    const at::Tensor maps =
        at::matmul(at::matmul(wave_matrix(positions(ny)), coil_modes), wave_matrix(positions(nx)).t());
    return {maps, at::stack(kspace) * std::sqrt(static_cast<double>(ny * nx))};
  }
};

SimulatedScan::SimulatedScan(const SimulatedScanOptions& options, uint64_t seed, const std::string& scan_id) {
  check_options(options);
  auto state = std::make_unique<State>();
  state->options = options;
  state->seed = seed;
  state->scan_id = scan_id;
  for (int64_t e = 0; e < options.echoes; ++e)
    state->times.push_back(kFirstEcho + kEchoSpacing * static_cast<double>(e));
  if (options.images.defined())
    state->images = scaled_images(options.images);
  else
    state->anatomy = random_anatomy(seed, scan_id, state->times);
  Rng coils(seed, scan_id + " coils"), smooth(seed, scan_id + " phase");
  state->coils = coil_array(options.coils, coils);
  state->phase.emplace(smooth, 0.8);
  state->field.emplace(smooth, 0.35);
  state->modulation.emplace(smooth);
  const at::Tensor middle = state->coil_maps(16, 16, 0);
  state->coil_scale = 1 / std::sqrt(at::view_as_real(middle).square().sum().item<double>() / 256);
  state->fit_y = at::linalg_pinv(wave_matrix(fit_points()), 1e-8);
  state_ = std::move(state);
}

SimulatedScan::~SimulatedScan() = default;
SimulatedScan::SimulatedScan(SimulatedScan&&) noexcept = default;

SimulatedSlice SimulatedScan::slice(int64_t index) const {
  const State& state = *state_;
  const SimulatedScanOptions& o = state.options;
  check<ShapeError>(index >= 0 && index < o.slices,
                    [&] { return fmt::format("slice {} of a simulated scan that has {}", index, o.slices); });
  const auto [ny, nx] = o.matrix;
  auto [maps, kspace] = o.analytic ? state.exact(index) : state.rastered(index);
  const at::Tensor power = at::view_as_real(maps).square().sum(-1).sum(0);  // [y, x]
  const at::Tensor images = to_image(kspace.unsqueeze(2)).squeeze(2);
  at::Tensor target = (maps.conj() * images).sum(1) / power;
  if (o.normalised_maps) {
    const at::Tensor size = power.sqrt();
    maps = maps / size;
    target = target * size;
  }
  if (o.noise > 0) {
    Rng rng(state.seed, fmt::format("{} noise {}", state.scan_id, index));
    kspace = kspace + o.noise * rng.normal({o.echoes, o.coils, ny, nx}, at::kComplexDouble);
  }
  return {kspace.to(at::kComplexFloat).contiguous(), maps.to(at::kComplexFloat).contiguous().unsqueeze(0),
          target.to(at::kComplexFloat).contiguous().unsqueeze(1)};
}

std::array<double, 3> SimulatedScan::voxel_mm() const {
  const auto& o = state_->options;
  return {kView[1] / static_cast<double>(o.matrix[1]), kView[0] / static_cast<double>(o.matrix[0]),
          kView[2] / static_cast<double>(o.slices)};
}

std::vector<double> SimulatedScan::echo_times_ms() const {
  return state_->times;
}

}  // namespace monarch::mri
