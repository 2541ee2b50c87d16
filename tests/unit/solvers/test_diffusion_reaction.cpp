#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>

#include "equations.hpp"
#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/solvers/numerical/diffusion_reaction.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::solvers;
using namespace monarch::test;
using Catch::Matchers::Contains;

namespace {

at::Tensor wave(int64_t n, int p, int q) {
  const at::Tensor x = (at::arange(n, at::kDouble) + 0.5) / static_cast<double>(n);
  return at::cos(M_PI * p * x).unsqueeze(1) * at::cos(M_PI * q * x);
}

}  // namespace

TEST_CASE(
    "diffusion-reaction: diffusion alone decays as its eigenvalues say, and in the limit as the analytic solution") {
  DiffusionReaction equation;
  equation.reaction = 0;
  equation.diffusion_u = 0.02;
  equation.diffusion_v = 0.05;
  const std::vector<double> times = {0.5, 2};
  std::vector<double> errors;
  for (const int64_t n : {16, 32, 64}) {
    const at::Tensor start = at::stack({1 + wave(n, 2, 3), wave(n, 1, 0)}).unsqueeze(0);
    const at::Tensor end = solve_diffusion_reaction(equation, start, times, 1)[0].select(3, 1);
    const double h = 2.0 / static_cast<double>(n);
    const auto square = [&](int k) { return std::pow(2 / h * std::sin(M_PI * k / (2.0 * static_cast<double>(n))), 2); };
    const double rate_u = 0.02 * (square(2) + square(3)), rate_v = 0.05 * square(1);
    REQUIRE(relative_error(end[0], 1 + std::exp(-2 * rate_u) * wave(n, 2, 3)) <= 1e-13);
    REQUIRE(relative_error(end[1], std::exp(-2 * rate_v) * wave(n, 1, 0)) <= 1e-13);
    const double exact = std::exp(-2 * 0.02 * std::pow(M_PI / 2, 2) * 13);
    errors.push_back(relative_error(end[0] - 1, exact * wave(n, 2, 3)));
  }
  INFO(errors[0] << " " << errors[1] << " " << errors[2]);
  REQUIRE(std::abs(observed_order(errors) - 2) <= 0.05);
}

TEST_CASE("diffusion-reaction: uniform states follow the ordinary differential equations") {
  DiffusionReaction equation;
  equation.k = 0.1;
  double u = 0.3, v = -0.2;
  const double h = 1e-3;
  const auto f = [](double a, double b) { return std::pair{a - a * a * a - 0.1 - b, a - b}; };
  for (int i = 0; i < 3000; ++i) {  // the classical Runge-Kutta method
    const auto [a1, b1] = f(u, v);
    const auto [a2, b2] = f(u + h / 2 * a1, v + h / 2 * b1);
    const auto [a3, b3] = f(u + h / 2 * a2, v + h / 2 * b2);
    const auto [a4, b4] = f(u + h * a3, v + h * b3);
    u += h / 6 * (a1 + 2 * a2 + 2 * a3 + a4);
    v += h / 6 * (b1 + 2 * b2 + 2 * b3 + b4);
  }
  const at::Tensor start =
      at::stack({at::full({8, 8}, 0.3, at::kDouble), at::full({8, 8}, -0.2, at::kDouble)}).unsqueeze(0);
  const std::vector<double> times = {0, 3};
  const at::Tensor end = solve_diffusion_reaction(equation, start, times, 0.01)[0];
  REQUIRE(at::equal(end.select(3, 0), start[0]));
  REQUIRE((end[0].select(2, 1) - u).abs().max().item<double>() <= 1e-9);
  REQUIRE((end[1].select(2, 1) - v).abs().max().item<double>() <= 1e-9);
}

TEST_CASE("diffusion-reaction: fourth order in the time step; the default's error from noise is printed") {
  const int64_t n = 24;
  const at::Tensor smooth = at::stack({wave(n, 1, 2), 0.5 * wave(n, 2, 0)}).unsqueeze(0);
  const std::vector<double> times = {1};
  const at::Tensor reference = solve_diffusion_reaction({}, smooth, times, 1.0 / 512);
  std::vector<double> errors;
  for (const int64_t steps : {8, 16, 32}) {
    errors.push_back(
        relative_error(solve_diffusion_reaction({}, smooth, times, 1.0 / static_cast<double>(steps)), reference));
  }
  INFO(errors[0] << " " << errors[1] << " " << errors[2]);
  REQUIRE(std::abs(observed_order(errors) - 4) <= 0.3);

  const at::Tensor noise = Rng(1).normal({1, 2, 64, 64}, at::kDouble);
  const std::vector<double> first = {0.05, 1};
  const at::Tensor found = solve_diffusion_reaction({}, noise, first, DiffusionReactionOptions().step);
  const at::Tensor finer = solve_diffusion_reaction({}, noise, first, DiffusionReactionOptions().step / 5);
  const double early = relative_error(found.select(4, 0), finer.select(4, 0));
  const double late = relative_error(found.select(4, 1), finer.select(4, 1));
  WARN("diffusion-reaction from noise: error " << early << " at t = 0.05, " << late << " at t = 1");
  REQUIRE(early <= 1e-4);
  REQUIRE(late <= 1e-4);
}

TEST_CASE("diffusion-reaction: fields turned, solution turned; without sources the mean is kept") {
  const at::Tensor noise = Rng(2).normal({1, 2, 12, 12}, at::kDouble);
  const std::vector<double> times = {0.5};
  const at::Tensor u = solve_diffusion_reaction({}, noise, times, 0.01);
  REQUIRE(relative_error(solve_diffusion_reaction({}, noise.transpose(2, 3), times, 0.01), u.transpose(2, 3)) <= 1e-12);
  REQUIRE(relative_error(solve_diffusion_reaction({}, noise.flip({2}), times, 0.01), u.flip({2})) <= 1e-12);
  REQUIRE(relative_error(u.flip({2}), u) > 0.1);
  DiffusionReaction diffusion;
  diffusion.reaction = 0;
  const at::Tensor spread = solve_diffusion_reaction(diffusion, noise, times, 0.01).select(4, 0);
  REQUIRE((spread.mean({2, 3}) - noise.mean({2, 3})).abs().max().item<double>() <= 1e-14);
}

TEST_CASE("diffusion-reaction simulation: functions of seed and index; both layouts hold the same numbers") {
  DiffusionReactionOptions options;
  options.points = 16;
  options.times = 4;
  options.final_time = 1;
  const DiffusionReactionSimulation fields(options);
  require_pure(fields);
  options.channels = true;
  const DiffusionReactionSimulation channels(options);
  require_pure(channels);
  const auto a = fields.samples(1, 0, 2);
  const at::Tensor data = channels.samples(1, 0, 2)[0];
  REQUIRE(data.sizes().vec() == std::vector<int64_t>{2, 5, 16, 16, 2});
  REQUIRE(at::equal(data.select(4, 0).permute({0, 2, 3, 1}), a[0]));
  REQUIRE(at::equal(data.select(4, 1).permute({0, 2, 3, 1}), a[1]));
  REQUIRE(fields.constants().at("t").size(1) == 5);
  REQUIRE(fields.constants().at("x")[0][0].item<double>() == Approx(-1 + 1.0 / 16));
}

TEST_CASE("diffusion-reaction: what is not possible is refused, what blows up is named") {
  const at::Tensor start = at::zeros({1, 2, 8, 8}, at::kDouble);
  const std::vector<double> times = {1};
  REQUIRE_THROWS_AS(solve_diffusion_reaction({}, start[0], times, 0.1), ShapeError);
  REQUIRE_THROWS_AS(solve_diffusion_reaction({}, start, times, 0), ConfigError);
  REQUIRE_THROWS_WITH(solve_diffusion_reaction({}, start + 100, times, 0.5, 3), Contains("sample 3"));
  DiffusionReactionOptions options;
  options.noise = -1;
  REQUIRE_THROWS_AS(DiffusionReactionSimulation(options), ConfigError);
}
