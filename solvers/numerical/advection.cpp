#include "monarch/solvers/numerical/advection.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/solvers/numerical/grid_transforms.hpp"
#include "monarch/solvers/numerical/recording.hpp"

namespace monarch::solvers {

at::Tensor advect(const at::Tensor& initial, double speed, std::span<const double> times) {
  check<ShapeError>(initial.dim() == 2 && initial.size(1) >= 1, [&] {
    return fmt::format("initial states of shape {}; expected [sample, x]", shape_text(initial.sizes()));
  });
  const at::Tensor start = initial.to(at::kCPU, at::kDouble).contiguous();
  const int64_t count = start.size(0), n = start.size(1), moments = static_cast<int64_t>(times.size());
  at::Tensor result = at::empty({count, n, moments}, at::kDouble);
  const double* from = start.const_data_ptr<double>();
  double* to = result.mutable_data_ptr<double>();
  const RealFft fft(n);
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    std::vector<std::complex<double>> v(static_cast<size_t>(fft.modes())), shifted(v.size());
    std::vector<double> field(static_cast<size_t>(n));
    for (int64_t s = begin; s < end; ++s) {
      fft.forward(from + s * n, v.data());
      for (int64_t m = 0; m < moments; ++m) {
        const double shift = speed * times[static_cast<size_t>(m)];
        const double turn = shift - std::floor(shift);  // whole periods change nothing
        for (size_t k = 0; k < v.size(); ++k) {
          const double angle = -2 * std::numbers::pi * std::remainder(static_cast<double>(k) * turn, 1.0);
          shifted[k] =
              n % 2 == 0 && 2 * static_cast<int64_t>(k) == n ? v[k] * std::cos(angle) : v[k] * std::polar(1.0, angle);
        }
        fft.inverse(shifted.data(), field.data());
        for (int64_t j = 0; j < n; ++j) to[(s * n + j) * moments + m] = field[static_cast<size_t>(j)];
      }
    }
  });
  return result;
}

AdvectionSimulation::AdvectionSimulation(AdvectionOptions options) : options_(std::move(options)) {
  const auto& o = options_;
  check<ConfigError>(std::isfinite(o.speed) && o.final_time > 0 && o.points >= 1, [&] {
    return fmt::format("advection: speed {} must be finite, final time {} and {} points positive", o.speed,
                       o.final_time, o.points);
  });
  check<ConfigError>(o.initial.length == 1, "advection: the initial field's length must be 1");
  check<ConfigError>(o.times >= 1 && (o.trajectory || o.times == 1), [&] {
    return fmt::format("advection: {} moments; the final state alone has 1, a trajectory at least 1", o.times);
  });
  standard_deviation(o.initial, 1, 4);  // checks the law
}

std::string AdvectionSimulation::describe() const {
  const auto& o = options_;
  return fmt::format(
      "advection u_t + {} u_x = 0, period 1, initial states N(0, {}^2 (-Laplace + {}^2)^-{}), {} points, {}, exact "
      "spectral "
      "shift",
      o.speed, o.initial.scale, o.initial.tau, o.initial.alpha, o.points,
      o.trajectory ? fmt::format("{} moments up to {}", o.times, o.final_time)
                   : fmt::format("final state at {}", o.final_time));
}

std::vector<SampleVariable> AdvectionSimulation::variables() const {
  const auto& o = options_;
  if (o.trajectory) return {{"a", {o.points}}, {"u", {o.points, o.times}}};
  return {{"a", {o.points}}, {"u", {o.points}}};
}

std::map<std::string, at::Tensor> AdvectionSimulation::constants() const {
  return {{"t", constant_row(recording_times(options_.final_time, options_.times))},
          {"x", constant_row(grid_points(options_.points, 1 / static_cast<double>(options_.points)))}};
}

std::map<std::string, double> AdvectionSimulation::parameters() const {
  return {{"beta", options_.speed}};
}

std::vector<at::Tensor> AdvectionSimulation::samples(uint64_t seed, int64_t first, int64_t count) const {
  const auto& o = options_;
  const at::Tensor a = gaussian_random_field(o.initial, 1, o.points, seed, first, count);
  const at::Tensor u = advect(a, o.speed, recording_times(o.final_time, o.times));
  return {a, o.trajectory ? u : u.select(2, 0).contiguous()};
}

int64_t AdvectionSimulation::preferred_batch() const {
  const int64_t row = options_.points * (options_.times + 2) * 8;
  return std::clamp<int64_t>(100'000'000 / row, 1, 8 * at::get_num_threads());
}

}  // namespace monarch::solvers
