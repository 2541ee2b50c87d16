#include "monarch/solvers/numerical/burgers.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <cmath>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/solvers/numerical/convective_flow.hpp"
#include "monarch/solvers/numerical/recording.hpp"

namespace monarch::solvers {

BurgersOptions burgers_set(std::string_view name) {
  BurgersOptions o;
  if (name == "r10") return o;
  if (name == "v1000") {
    o.viscosity = 1e-3;
    o.initial = {.alpha = 2.5, .tau = 7, .scale = 49, .length = 1};
    o.points = 1024;
    o.grid = 4096;  // 1024 points do not resolve every shock at this viscosity
    o.times = 200;
    o.layout = BurgersLayout::trajectory;
    return o;
  }
  if (name == "space-time") {
    o.viscosity = 0.01;
    o.initial = {.alpha = 4, .tau = 5, .scale = 625, .length = 1};
    o.points = 16;
    o.grid = 128;
    o.final_time = 0.96;
    o.times = 16;
    o.layout = BurgersLayout::space_time;
    return o;
  }
  const std::string near = closest_match(name, {"r10", "v1000", "space-time"});
  fail<ConfigError>(fmt::format("Burgers data set '{}' is none of r10, v1000 or space-time", name),
                    near.empty() ? "" : fmt::format("did you mean {}?", near));
}

BurgersSimulation::BurgersSimulation(BurgersOptions options) : options_(std::move(options)) {
  const auto& o = options_;
  check<ConfigError>(o.viscosity > 0 && o.final_time > 0 && o.step >= 0 && std::isfinite(o.viscosity + o.final_time),
                     [&] {
                       return fmt::format("Burgers: viscosity {}, final time {} and step {} must be positive",
                                          o.viscosity, o.final_time, o.step);
                     });
  check<ConfigError>(o.points >= 1 && o.grid >= o.points && o.grid % o.points == 0, [&] {
    return fmt::format("Burgers: {} points of a grid of {}; the grid must be a multiple of the points", o.points,
                       o.grid);
  });
  check<ConfigError>(o.initial.length == 1, "Burgers: the initial field's length must be 1");
  check<ConfigError>(o.times >= 1 && (o.layout != BurgersLayout::final || o.times == 1), [&] {
    return fmt::format("Burgers: {} moments; the layout with the final state alone has 1, the others at least 1",
                       o.times);
  });
  standard_deviation(o.initial, 1, 4);  // checks the law
}

std::vector<double> BurgersSimulation::times() const {
  return recording_times(options_.final_time, options_.times, options_.layout == BurgersLayout::space_time);
}

std::string BurgersSimulation::describe() const {
  const auto& o = options_;
  return fmt::format(
      "Burgers u_t + (u^2/2)_x = {} u_xx, period 1, initial states N(0, {}^2 (-Laplace + {}^2)^-{}), {} of {} points, "
      "{}, "
      "pseudo-spectral (2/3 rule), ETDRK4 with {} steps",
      o.viscosity, o.initial.scale, o.initial.tau, o.initial.alpha, o.points, o.grid,
      o.layout == BurgersLayout::final        ? fmt::format("final state at {}", o.final_time)
      : o.layout == BurgersLayout::trajectory ? fmt::format("{} moments up to {}", o.times, o.final_time)
                                              : fmt::format("{} moments from 0 to {}", o.times + 1, o.final_time),
      o.step > 0 ? fmt::format("{}", o.step) : "automatic");
}

std::vector<SampleVariable> BurgersSimulation::variables() const {
  const auto& o = options_;
  switch (o.layout) {
    case BurgersLayout::final:
      return {{"a", {o.points}}, {"u", {o.points}}};
    case BurgersLayout::trajectory:
      return {{"a", {o.points}}, {"u", {o.points, o.times}}};
    default:
      return {{"x", {o.points}}, {"y", {o.times + 1, o.points}}};
  }
}

std::map<std::string, at::Tensor> BurgersSimulation::constants() const {
  const at::Tensor t = constant_row(times());
  if (options_.layout == BurgersLayout::space_time) return {{"t", t}};  // x names the initial state there
  return {{"t", t}, {"x", constant_row(grid_points(options_.points, 1 / static_cast<double>(options_.points)))}};
}

std::map<std::string, double> BurgersSimulation::parameters() const {
  return {{"nu", options_.viscosity}};
}

std::vector<at::Tensor> BurgersSimulation::samples(uint64_t seed, int64_t first, int64_t count) const {
  const auto& o = options_;
  const at::Tensor initial = gaussian_random_field(o.initial, 1, o.grid, seed, first, count);
  const at::Tensor solution =
      solve_convective_flow({.length = 1, .advection = 1, .diffusion = o.viscosity}, initial, times(), o.step, first);
  const int64_t stride = o.grid / o.points;
  const at::Tensor a = initial.slice(1, 0, o.grid, stride).contiguous();
  at::Tensor u = solution.slice(1, 0, o.grid, stride);
  if (o.layout == BurgersLayout::final) u = u.select(2, 0);
  if (o.layout == BurgersLayout::space_time) u = u.transpose(1, 2);
  return {a, u.contiguous()};
}

int64_t BurgersSimulation::preferred_batch() const {
  // A hundred megabytes at most, and a few rows for every thread.
  const int64_t row = options_.grid * (options_.times + 2) * 8;
  return std::clamp<int64_t>(100'000'000 / row, 1, 8 * at::get_num_threads());
}

}  // namespace monarch::solvers
