#include "monarch/solvers/numerical/kuramoto_sivashinsky.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include "monarch/core/error.hpp"
#include "monarch/solvers/numerical/convective_flow.hpp"
#include "monarch/solvers/numerical/recording.hpp"

namespace monarch::solvers {

KuramotoSivashinskySimulation::KuramotoSivashinskySimulation(KuramotoSivashinskyOptions options)
    : options_(std::move(options)) {
  const auto& o = options_;
  check<ConfigError>(
      o.length > 0 && o.instability > 0 && o.damping > 0 && o.deviation > 0 && std::isfinite(o.advection), [&] {
        return fmt::format(
            "Kuramoto-Sivashinsky: length {}, instability {}, damping {} and deviation {} must be positive", o.length,
            o.instability, o.damping, o.deviation);
      });
  check<ConfigError>(o.burn_in >= 0 && o.final_time > 0 && o.times >= 1 && o.step >= 0, [&] {
    return fmt::format(
        "Kuramoto-Sivashinsky: burn-in {} and step {} may not be negative, final time {} and {} moments "
        "must be positive",
        o.burn_in, o.step, o.final_time, o.times);
  });
  check<ConfigError>(o.points >= 1 && o.grid >= o.points && o.grid % o.points == 0, [&] {
    return fmt::format("Kuramoto-Sivashinsky: {} points of a grid of {}; the grid must be a multiple of the points",
                       o.points, o.grid);
  });
  // Waves up to three times the neutral one, sqrt(β/γ), below the 2/3 rule's bound.
  const double neutral = std::sqrt(o.instability / o.damping) * o.length / (2 * std::numbers::pi);
  check<ConfigError>(
      static_cast<double>(o.grid) >= 9 * neutral,
      [&] {
        return fmt::format("Kuramoto-Sivashinsky: a grid of {} does not resolve the length {}", o.grid, o.length);
      },
      fmt::format("at least {:.0f} points are needed", std::ceil(9 * neutral)));
  law_ = {.alpha = 4, .tau = std::sqrt(o.instability / o.damping), .scale = 1, .length = o.length};
  law_.scale = o.deviation / standard_deviation(law_, 1, 1 << 14);  // the same law on every grid
}

std::string KuramotoSivashinskySimulation::describe() const {
  const auto& o = options_;
  return fmt::format(
      "Kuramoto-Sivashinsky u_t + {} (u^2/2)_x + {} u_xx + {} u_xxxx = 0, period {:.17g}, initial deviation {}, "
      "burn-in {}, "
      "{} of {} points, {} moments up to {}, pseudo-spectral (2/3 rule), ETDRK4 with {} steps",
      o.advection, o.instability, o.damping, o.length, o.deviation, o.burn_in, o.points, o.grid, o.times, o.final_time,
      o.step > 0 ? fmt::format("{}", o.step) : "automatic");
}

std::vector<SampleVariable> KuramotoSivashinskySimulation::variables() const {
  return {{"a", {options_.points}}, {"u", {options_.points, options_.times}}};
}

std::map<std::string, at::Tensor> KuramotoSivashinskySimulation::constants() const {
  return {{"t", constant_row(recording_times(options_.final_time, options_.times))},
          {"x", constant_row(grid_points(options_.points, options_.length / static_cast<double>(options_.points)))}};
}

std::map<std::string, double> KuramotoSivashinskySimulation::parameters() const {
  return {{"alpha", options_.advection}, {"beta", options_.instability}, {"gamma", options_.damping}};
}

std::vector<at::Tensor> KuramotoSivashinskySimulation::samples(uint64_t seed, int64_t first, int64_t count) const {
  const auto& o = options_;
  const at::Tensor initial = gaussian_random_field(law_, 1, o.grid, seed, first, count);
  std::vector<double> times = recording_times(o.final_time, o.times, true);
  for (double& t : times) t += o.burn_in;
  const ConvectiveFlow flow{o.length, o.advection, -o.instability, -o.damping};
  const at::Tensor solution = solve_convective_flow(flow, initial, times, o.step, first);
  const at::Tensor kept = solution.slice(1, 0, o.grid, o.grid / o.points);
  return {kept.select(2, 0).contiguous(), kept.narrow(2, 1, o.times).contiguous()};
}

int64_t KuramotoSivashinskySimulation::preferred_batch() const {
  const int64_t row = options_.grid * (options_.times + 2) * 8;
  return std::clamp<int64_t>(100'000'000 / row, 1, 8 * at::get_num_threads());
}

}  // namespace monarch::solvers
