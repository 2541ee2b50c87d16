#include "monarch/solvers/numerical/diffusion_reaction.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/core/text.hpp"
#include "monarch/solvers/numerical/etdrk4.hpp"
#include "monarch/solvers/numerical/grid_transforms.hpp"
#include "monarch/solvers/numerical/recording.hpp"

namespace monarch::solvers {
namespace {

void check_equation(const DiffusionReaction& e) {
  check<ConfigError>(e.length > 0 && e.diffusion_u >= 0 && e.diffusion_v >= 0 && std::isfinite(e.k + e.reaction), [&] {
    return fmt::format(
        "diffusion-reaction: length {} must be positive, diffusion {} and {} not negative, k {} and reaction {} finite",
        e.length, e.diffusion_u, e.diffusion_v, e.k, e.reaction);
  });
}

/// The eigenvalues of the finite-volume Laplacian times the diffusion, for u and then v.
std::vector<double> linear_part(const DiffusionReaction& e, int64_t n) {
  std::vector<double> axis, linear;
  const double h = e.length / static_cast<double>(n);
  for (int64_t k = 0; k < n; ++k) {
    axis.push_back(
        std::pow(2 / h * std::sin(std::numbers::pi * static_cast<double>(k) / (2.0 * static_cast<double>(n))), 2));
  }
  for (const double diffusion : {e.diffusion_u, e.diffusion_v}) {
    for (const double p : axis) {
      for (const double q : axis) linear.push_back(-diffusion * (p + q));
    }
  }
  return linear;
}

}  // namespace

at::Tensor solve_diffusion_reaction(const DiffusionReaction& equation, const at::Tensor& initial,
                                    std::span<const double> times, double step, int64_t first) {
  check_equation(equation);
  check<ShapeError>(
      initial.dim() == 4 && initial.size(1) == 2 && initial.size(2) == initial.size(3) && initial.size(2) >= 1, [&] {
        return fmt::format("diffusion-reaction: initial states of shape {}; expected [sample, 2, n, n]",
                           shape_text(initial.sizes()));
      });
  check<ConfigError>(step > 0, [&] { return fmt::format("time step {}; expected a positive number", step); });
  double before = 0;
  for (const double t : times) {
    check<ConfigError>(t >= before && std::isfinite(t), "the recorded times must increase from 0 or later");
    before = t;
  }
  const at::Tensor start = initial.to(at::kCPU, at::kDouble).contiguous();
  const int64_t count = start.size(0), n = start.size(2), cells = n * n, moments = static_cast<int64_t>(times.size());
  at::Tensor result = at::empty({count, 2, n, n, moments}, at::kDouble);
  const double* from = start.const_data_ptr<double>();
  double* to = result.mutable_data_ptr<double>();
  const CosineTransform2d transform(n);
  const std::vector<double> linear = linear_part(equation, n);
  const double reaction = equation.reaction, k = equation.k;
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    Etdrk4<double> scheme(linear);
    std::vector<double> state(static_cast<size_t>(2 * cells)), field(state.size());
    const auto to_points = [&](const double* modes) {
      for (int64_t c : {int64_t{0}, cells}) transform.inverse(modes + c, field.data() + c);
    };
    const auto nonlinear = [&](const double* modes, double* out) {
      to_points(modes);
      for (int64_t i = 0; i < cells; ++i) {
        const double u = field[static_cast<size_t>(i)], v = field[static_cast<size_t>(cells + i)];
        out[i] = reaction * (u - u * u * u - k - v);
        out[cells + i] = reaction * (u - v);
      }
      for (int64_t c : {int64_t{0}, cells}) transform.forward(out + c, out + c);
    };
    for (int64_t s = begin; s < end; ++s) {
      const double* given = from + s * 2 * cells;
      check_finite(given, 2 * cells, "diffusion-reaction", first + s, 0);
      for (int64_t c : {int64_t{0}, cells}) transform.forward(given + c, state.data() + c);
      double now = 0;
      for (int64_t m = 0; m < moments; ++m) {
        const double time = times[static_cast<size_t>(m)];
        if (time > now) scheme.advance(state.data(), time - now, steps_in(time - now, step), nonlinear);
        to_points(state.data());
        if (time == 0) std::copy_n(given, 2 * cells, field.begin());
        now = time;
        check_finite(field.data(), 2 * cells, "diffusion-reaction", first + s, time);
        double* place = to + s * 2 * cells * moments + m;
        for (int64_t i = 0; i < 2 * cells; ++i) place[i * moments] = field[static_cast<size_t>(i)];
      }
    }
  });
  return result;
}

DiffusionReactionSimulation::DiffusionReactionSimulation(DiffusionReactionOptions options)
    : options_(std::move(options)) {
  const auto& o = options_;
  check_equation(o.equation);
  check<ConfigError>(o.points >= 1 && o.times >= 1 && o.final_time > 0 && o.step > 0 && o.noise > 0, [&] {
    return fmt::format(
        "diffusion-reaction: {} points, {} moments, final time {}, step {} and noise {} must be positive", o.points,
        o.times, o.final_time, o.step, o.noise);
  });
}

std::string DiffusionReactionSimulation::describe() const {
  const auto& o = options_;
  return fmt::format(
      "diffusion-reaction u_t = {} Laplace u + u - u^3 - {} - v, v_t = {} Laplace v + u - v, square of side {}, "
      "Neumann, "
      "initial values N(0, {}^2) at every point, {} x {} cells, {} moments from 0 to {}, finite volumes, ETDRK4 with "
      "steps "
      "of {}",
      o.equation.diffusion_u, o.equation.k, o.equation.diffusion_v, o.equation.length, o.noise, o.points, o.points,
      o.times + 1, o.final_time, o.step);
}

std::vector<SampleVariable> DiffusionReactionSimulation::variables() const {
  if (options_.channels) return {{"data", {options_.times + 1, options_.points, options_.points, 2}}};
  const std::vector<int64_t> shape = {options_.points, options_.points, options_.times + 1};
  return {{"u", shape}, {"v", shape}};
}

std::map<std::string, at::Tensor> DiffusionReactionSimulation::constants() const {
  const auto& o = options_;
  const double h = o.equation.length / static_cast<double>(o.points);
  const at::Tensor x = constant_row(grid_points(o.points, h, (h - o.equation.length) / 2));
  return {{"t", constant_row(recording_times(o.final_time, o.times, true))}, {"x", x}, {"y", x}};
}

std::map<std::string, double> DiffusionReactionSimulation::parameters() const {
  return {{"Du", options_.equation.diffusion_u}, {"Dv", options_.equation.diffusion_v}, {"k", options_.equation.k}};
}

std::vector<at::Tensor> DiffusionReactionSimulation::samples(uint64_t seed, int64_t first, int64_t count) const {
  const auto& o = options_;
  std::vector<at::Tensor> initial;
  for (int64_t s = 0; s < count; ++s) {
    Rng rng(seed, fmt::format("diffusion-reaction/{}", first + s));
    initial.push_back(rng.normal({2, o.points, o.points}, at::kDouble) * o.noise);
  }
  const at::Tensor start = count ? at::stack(initial) : at::empty({0, 2, o.points, o.points}, at::kDouble);
  const at::Tensor states =
      solve_diffusion_reaction(o.equation, start, recording_times(o.final_time, o.times, true), o.step, first);
  if (o.channels) return {states.permute({0, 4, 2, 3, 1}).contiguous()};
  return {states.select(1, 0).contiguous(), states.select(1, 1).contiguous()};
}

int64_t DiffusionReactionSimulation::preferred_batch() const {
  return 2 * at::get_num_threads();
}

}  // namespace monarch::solvers
