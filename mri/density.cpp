#include "monarch/mri/density.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <complex>
#include <numbers>
#include <numeric>
#include <vector>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/operators/kernels/nufft.hpp"

namespace monarch::mri {
namespace {

constexpr std::array<std::pair<Density, const char*>, 3> density_names = {
    {{Density::pipe_menon, "pipe-menon"}, {Density::ramp, "ramp"}, {Density::none, "none"}}};

}  // namespace

std::string density_name(Density density) {
  for (const auto& [value, name] : density_names) {
    if (value == density) return name;
  }
  return "unknown";
}

Density parse_density(const std::string& text) {
  for (const auto& [value, name] : density_names) {
    if (name == text) return value;
  }
  fail<ConfigError>(fmt::format("--density: '{}' is not pipe-menon, ramp or none", text));
}

at::Tensor pipe_menon_density(const at::Tensor& trajectory, const data::Extent3& matrix, int64_t iterations) {
  const c10::NoGradGuard no_grad;
  check<ShapeError>(
      trajectory.dim() == 2 && trajectory.size(0) > 0 && trajectory.size(1) >= 1 && trajectory.size(1) <= 3, [&] {
        return fmt::format("density: the trajectory has shape {}, expected [sample, axis]",
                           shape_text(trajectory.sizes()));
      });
  const auto axes = static_cast<int>(trajectory.size(1));
  const int64_t samples = trajectory.size(0);
  // A grid of half a cycle: the kernel's square then reaches as far as the field of view is wide in image space.
  constexpr double oversampling = 2;
  const auto kernel = operators::kernels::gridding_kernel(false, 1e-4, oversampling);
  at::Tensor positions = trajectory.to(at::kDouble).clone(at::MemoryFormat::Contiguous);
  std::array<int64_t, 3> grid{1, 1, 1};
  double cell = 1, integral = 1;
  for (int a = 0; a < axes; ++a) {
    const int64_t n = matrix[static_cast<size_t>(a)];
    grid[static_cast<size_t>(2 - a)] = std::max<int64_t>(2 * n, 2 * kernel.width);
    const double step = static_cast<double>(n) / static_cast<double>(grid[static_cast<size_t>(2 - a)]);
    positions.select(1, a).div_(step);
    cell *= step;
    integral *= kernel.transform(0);
  }
  const operators::kernels::cpu::Gridding<float> gridding(positions.const_data_ptr<double>(), samples, axes, grid,
                                                          kernel);
  std::vector<std::complex<float>> weights(static_cast<size_t>(samples), 1.0f), around(weights.size());
  std::vector<std::complex<float>> grid_values(static_cast<size_t>(grid[0] * grid[1] * grid[2]));
  const auto target = static_cast<float>(integral * integral);
  for (int64_t iteration = 0; iteration < iterations; ++iteration) {
    gridding.spread(weights.data(), grid_values.data(), 1);
    gridding.interpolate(grid_values.data(), around.data(), 1);
    for (size_t s = 0; s < weights.size(); ++s) weights[s] = weights[s].real() * target / around[s].real();
  }
  at::Tensor result = at::empty({samples}, at::kDouble);
  double* to = result.mutable_data_ptr<double>();
  for (const auto& weight : weights) *to++ = cell * static_cast<double>(weight.real());
  return result;
}

at::Tensor ramp_density(const at::Tensor& trajectory) {
  const c10::NoGradGuard no_grad;
  check<DataError>(
      trajectory.dim() == 3 && trajectory.size(0) > 1 && trajectory.size(1) > 2 && trajectory.size(2) == 2,
      [&] {
        return fmt::format("ramp density: the trajectory has shape {}, expected [spoke, sample, 2]",
                           shape_text(trajectory.sizes()));
      },
      "choose --density pipe-menon");
  const at::Tensor k = trajectory.to(at::kDouble).contiguous();
  const int64_t spokes = k.size(0), samples = k.size(1);
  const double* values = k.const_data_ptr<double>();
  const auto point = [&](int64_t spoke, int64_t sample) {
    const double* p = values + 2 * (spoke * samples + sample);
    return std::complex<double>(p[0], p[1]);
  };
  std::vector<double> angle(static_cast<size_t>(spokes)), step(angle.size()), share(angle.size());
  for (int64_t i = 0; i < spokes; ++i) {
    const std::complex<double> along = point(i, samples - 1) - point(i, 0);
    step[i] = std::abs(along) / static_cast<double>(samples - 1);
    double off = 0;  // distance from the line through the centre
    for (int64_t s = 0; s < samples; ++s) {
      off = std::max(off, std::abs((point(i, s) * std::conj(along)).imag()) / std::abs(along));
    }
    check<DataError>(
        off <= 2 * step[i] + 1,
        [&] { return fmt::format("ramp density: readout {} is no spoke through the centre", i); },
        "choose --density pipe-menon");
    // A spoke from the centre covers one direction, a diameter two.
    const bool half = (std::conj(point(i, samples - 1)) * point(i, 0)).real() >= 0;
    check<DataError>(
        !half, [&] { return fmt::format("ramp density: readout {} does not pass the centre", i); },
        "choose --density pipe-menon");
    angle[i] = std::fmod(std::arg(along) + 2 * std::numbers::pi, std::numbers::pi);
  }
  std::vector<int64_t> order(angle.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return angle[a] < angle[b]; });
  for (int64_t i = 0; i < spokes; ++i) {
    const double before = angle[order[(i + spokes - 1) % spokes]] - (i == 0 ? std::numbers::pi : 0);
    const double after = angle[order[(i + 1) % spokes]] + (i + 1 == spokes ? std::numbers::pi : 0);
    share[order[i]] = (after - before) / 2;
  }
  at::Tensor result = at::empty({spokes, samples}, at::kDouble);
  double* to = result.mutable_data_ptr<double>();
  for (int64_t i = 0; i < spokes; ++i) {
    const double inner = step[i] / 2;
    int64_t within = 0;
    for (int64_t s = 0; s < samples; ++s) within += std::abs(point(i, s)) < inner;
    // The sectors of a diameter, on both sides, have Δθ each.
    for (int64_t s = 0; s < samples; ++s) {
      const double radius = std::abs(point(i, s));
      *to++ = radius < inner ? inner * inner * share[i] / static_cast<double>(within) : radius * step[i] * share[i];
    }
  }
  return result;
}

}  // namespace monarch::mri
