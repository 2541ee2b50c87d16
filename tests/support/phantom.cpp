#include "support/phantom.hpp"

#include <ATen/ATen.h>

#include <array>
#include <cmath>
#include <numbers>

#include "monarch/core/rng.hpp"

namespace monarch::test {
namespace {

struct Ellipsoid {
  double intensity, a, b, c, x, y, z, angle_deg;
};

// Toft's contrast: differences that are visible without windowing.
constexpr std::array<Ellipsoid, 10> head{{{1.0, .69, .92, .81, 0, 0, 0, 0},
                                          {-.8, .6624, .874, .78, 0, -.0184, 0, 0},
                                          {-.2, .11, .31, .22, .22, 0, 0, -18},
                                          {-.2, .16, .41, .28, -.22, 0, 0, 18},
                                          {.1, .21, .25, .41, 0, .35, -.15, 0},
                                          {.1, .046, .046, .05, 0, .1, .25, 0},
                                          {.1, .046, .046, .05, 0, -.1, .25, 0},
                                          {.1, .046, .023, .05, -.08, -.605, 0, 0},
                                          {.1, .023, .023, .02, 0, -.605, 0, 0},
                                          {.1, .023, .046, .02, .06, -.605, 0, 0}}};

// Coordinates in [-1, 1) with zero at index floor(n/2).
at::Tensor axis(int64_t n, std::vector<int64_t> view) {
  if (n == 1) return at::zeros({1, 1, 1}, at::kDouble);
  return ((at::arange(n, at::kDouble) - static_cast<double>(n / 2)) * (2.0 / static_cast<double>(n))).view(view);
}

at::Tensor inside(const Ellipsoid& e, const at::Tensor& x, const at::Tensor& y, const at::Tensor& z) {
  const double angle = e.angle_deg * std::numbers::pi / 180, cosine = std::cos(angle), sine = std::sin(angle);
  const at::Tensor u = ((x - e.x) * cosine + (y - e.y) * sine) / e.a;
  const at::Tensor v = ((y - e.y) * cosine - (x - e.x) * sine) / e.b;
  return (u.square() + v.square() + ((z - e.z) / e.c).square()) <= 1;
}

}  // namespace

at::Tensor centred_fft(const at::Tensor& image) {
  const std::vector<int64_t> axes{-3, -2, -1};
  return at::fft_fftshift(at::fft_fftn(at::fft_ifftshift(image, axes), c10::nullopt, axes, "ortho"), axes);
}

at::Tensor centred_ifft(const at::Tensor& kspace) {
  const std::vector<int64_t> axes{-3, -2, -1};
  return at::fft_fftshift(at::fft_ifftn(at::fft_ifftshift(kspace, axes), c10::nullopt, axes, "ortho"), axes);
}

at::Tensor line_mask(const std::vector<int64_t>& shape, int64_t along, int64_t acceleration, int64_t offset,
                     int64_t calibration) {
  const int64_t n = shape.at(static_cast<size_t>(along));
  const at::Tensor line = at::arange(n, at::kLong);
  at::Tensor keep = at::remainder(line - offset, acceleration) == 0;
  const int64_t start = n / 2 - calibration / 2;
  keep = at::logical_or(keep, at::logical_and(line >= start, line < start + calibration));
  std::vector<int64_t> view(shape.size(), 1);
  view[static_cast<size_t>(along)] = n;
  return keep.view(view).expand(shape).contiguous();
}

Phantom make_phantom(const PhantomOptions& options) {
  const at::Tensor x = axis(options.x, {1, 1, -1}), y = axis(options.y, {1, -1, 1}), z = axis(options.z, {-1, 1, 1});
  at::Tensor magnitude = at::zeros({options.z, options.y, options.x}, at::kDouble);
  Phantom phantom;
  for (const Ellipsoid& ellipsoid : head) magnitude = magnitude + ellipsoid.intensity * inside(ellipsoid, x, y, z);
  phantom.support = inside(head[0], x, y, z).expand(magnitude.sizes()).contiguous();
  const at::Tensor phase = options.phase_rad * (at::sin(1.7 * x + 0.4) * at::cos(1.3 * y) + 0.5 * y + 0.3 * z);
  phantom.image = at::polar(magnitude.clamp_min(0), phase.expand_as(magnitude)).to(at::kComplexFloat);
  if (options.taper > 0) {
    const at::Tensor window = at::exp(-options.taper * (x.square() + y.square() + z.square())).to(at::kFloat);
    phantom.image = centred_ifft(centred_fft(phantom.image) * window).contiguous();
  }

  std::vector<at::Tensor> maps;
  for (int64_t coil = 0; coil < options.coils; ++coil) {
    const double angle = 2 * std::numbers::pi * static_cast<double>(coil) / static_cast<double>(options.coils);
    const double height = options.z > 1 ? (coil % 2 ? 0.5 : -0.5) : 0;
    const at::Tensor dx = x - 1.1 * std::cos(angle), dy = y - 1.1 * std::sin(angle), dz = z - height;
    const at::Tensor strength = at::exp(-(dx.square() + dy.square() + dz.square()) / 1.6);
    const at::Tensor turn = angle + 0.9 * (std::cos(angle) * y - std::sin(angle) * x) + 0.4 * z * std::cos(3 * angle);
    maps.push_back(at::polar(strength, turn.expand_as(strength)));
  }
  const at::Tensor raw = at::stack(maps);
  const at::Tensor combined = at::sqrt(at::abs(raw).square().sum(0, true));
  phantom.sensitivities = (raw / combined).to(at::kComplexFloat).contiguous();
  phantom.kspace = centred_fft(phantom.sensitivities * phantom.image).contiguous();
  if (options.noise > 0) {
    Rng rng(options.seed, "phantom noise");
    phantom.kspace += options.noise * rng.normal(phantom.kspace.sizes().vec(), at::kComplexFloat);
  }
  return phantom;
}

}  // namespace monarch::test
