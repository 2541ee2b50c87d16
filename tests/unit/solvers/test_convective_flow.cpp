#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>

#include "equations.hpp"
#include "monarch/core/error.hpp"
#include "monarch/solvers/numerical/advection.hpp"
#include "monarch/solvers/numerical/burgers.hpp"
#include "monarch/solvers/numerical/convective_flow.hpp"
#include "monarch/solvers/numerical/kuramoto_sivashinsky.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::solvers;
using namespace monarch::test;
using Catch::Matchers::Contains;

namespace {

at::Tensor circle(int64_t n, double length = 1) {
  return at::arange(n, at::kDouble) * (length / static_cast<double>(n));
}

/// The solution of u_t + (u²/2)_x = ν u_xx by Hopf and Cole with φ = 2 + e^(-4π²νt) cos 2πx.
at::Tensor hopf_cole(const at::Tensor& x, double viscosity, double time) {
  const double decay = std::exp(-4 * M_PI * M_PI * viscosity * time);
  return 4 * M_PI * viscosity * decay * at::sin(2 * M_PI * x) / (2 + decay * at::cos(2 * M_PI * x));
}

at::Tensor solve_one(const ConvectiveFlow& flow, const at::Tensor& initial, std::vector<double> times,
                     double step = 0) {
  return solve_convective_flow(flow, initial.unsqueeze(0), times, step)[0];
}

}  // namespace

TEST_CASE("Burgers: the solution of Hopf and Cole") {
  const at::Tensor x = circle(64);
  const at::Tensor u = solve_one({.diffusion = 0.05}, hopf_cole(x, 0.05, 0), {0, 0.25, 1}, 5e-4);
  REQUIRE(relative_error(u.select(1, 0), hopf_cole(x, 0.05, 0)) <= 1e-14);
  REQUIRE(relative_error(u.select(1, 1), hopf_cole(x, 0.05, 0.25)) <= 1e-11);
  REQUIRE(relative_error(u.select(1, 2), hopf_cole(x, 0.05, 1)) <= 1e-11);
  REQUIRE(relative_error(u.select(1, 2), hopf_cole(x, 0.0501, 1)) > 1e-3);
}

TEST_CASE("Burgers: fourth order in the time step") {
  const at::Tensor x = circle(128);
  const at::Tensor start = at::sin(2 * M_PI * x) + 0.5 * at::cos(4 * M_PI * x);
  const ConvectiveFlow flow{.diffusion = 0.02};
  const at::Tensor reference = solve_one(flow, start, {0.3}, 0.3 / 2048);
  std::vector<double> errors;
  for (const int64_t steps : {32, 64, 128}) {
    errors.push_back(relative_error(solve_one(flow, start, {0.3}, 0.3 / static_cast<double>(steps)), reference));
  }
  INFO(errors[0] << " " << errors[1] << " " << errors[2]);
  REQUIRE(std::abs(observed_order(errors) - 4) <= 0.3);
}

TEST_CASE("Burgers: the mean is kept, the energy falls by what viscosity takes") {
  const int64_t n = 256, intervals = 200;
  const at::Tensor x = circle(n);
  const at::Tensor start = 0.3 + at::sin(2 * M_PI * x) + 0.5 * at::cos(6 * M_PI * x);
  std::vector<double> times;
  for (int64_t k = 0; k <= intervals; ++k) times.push_back(0.5 * static_cast<double>(k) / intervals);
  const double viscosity = 0.01;
  const at::Tensor u = solve_one({.diffusion = viscosity}, start, times);
  REQUIRE((u.mean(0) - 0.3).abs().max().item<double>() <= 1e-14);
  const at::Tensor energy = 0.5 * u.square().mean(0);
  REQUIRE((energy.diff() < 0).all().item<bool>());

  at::Tensor v = at::fft_rfft(u, std::nullopt, 0);
  v = v * at::complex(at::zeros({n / 2 + 1}, at::kDouble), 2 * M_PI * at::arange(n / 2 + 1, at::kDouble)).unsqueeze(1);
  const at::Tensor loss = viscosity * at::fft_irfft(v, n, 0).square().mean(0);
  at::Tensor weights = at::full({intervals + 1}, 2.0, at::kDouble);  // Simpson's rule
  weights.slice(0, 1, intervals, 2).fill_(4);
  weights[0] = 1;
  weights[intervals] = 1;
  const double taken = (weights * loss).sum().item<double>() * 0.5 / intervals / 3;
  const double fallen = (energy[0] - energy[intervals]).item<double>();
  REQUIRE(fallen > 0.1);
  REQUIRE(std::abs(fallen - taken) <= 1e-6 * fallen);
}

TEST_CASE("Burgers: a moving frame sees the same flow") {
  const at::Tensor x = circle(96);
  const at::Tensor start = at::sin(2 * M_PI * x) + 0.2 * at::cos(4 * M_PI * x);
  const std::vector<double> times = {0.2};
  const at::Tensor still = solve_one({.diffusion = 0.03}, start, times, 1e-4);
  const at::Tensor moving = solve_one({.diffusion = 0.03}, start + 0.7, times, 1e-4);
  const at::Tensor shifted = advect(still.t(), 0.7, times)[0];
  REQUIRE(relative_error(moving - 0.7, shifted) <= 1e-9);
  REQUIRE(relative_error(moving - 0.7, still) > 0.1);
}

TEST_CASE("Burgers and Kuramoto-Sivashinsky: the automatic time step's error is below that of float32") {
  for (const char* name : {"r10", "v1000", "space-time"}) {
    BurgersOptions options = burgers_set(name);
    options.layout = BurgersLayout::final;
    options.times = 1;
    if (std::string(name) == "r10") options.points = options.grid = 1024;  // high modes vanish at once
    options.final_time = std::string(name) == "v1000" ? 0.2 : options.final_time;
    const at::Tensor u0 = gaussian_random_field(options.initial, 1, options.grid, 1, 0, 1);
    const std::vector<double> times = {options.final_time};
    const ConvectiveFlow flow{.diffusion = options.viscosity};
    const double automatic = convective_time_step(flow, u0.abs().max().item<double>());
    const at::Tensor found = solve_convective_flow(flow, u0, times);
    const at::Tensor finer = solve_convective_flow(flow, u0, times, automatic / 6);
    const double error = relative_error(found, finer);
    WARN("automatic step of " << name << ": " << automatic << ", error " << error);
    REQUIRE(error <= 6e-8);
  }
  const ConvectiveFlow chaos{100, 1, -1, -1};
  const at::Tensor u0 = at::cos(circle(256, 100) * (2 * M_PI / 100)).unsqueeze(0);
  const std::vector<double> times = {20};
  const double error =
      relative_error(solve_convective_flow(chaos, u0, times), solve_convective_flow(chaos, u0, times, 0.01));
  WARN("automatic step of Kuramoto-Sivashinsky: error " << error);
  REQUIRE(error <= 1e-6);
}

TEST_CASE("Kuramoto-Sivashinsky: small waves grow and decay as the linear equation says") {
  const int64_t n = 64;
  const double length = 20, beta = 1.3, gamma = 0.7;
  const at::Tensor x = circle(n, length);
  for (const int wave : {1, 3, 6}) {
    const double q = 2 * M_PI * wave / length, rate = beta * q * q - gamma * q * q * q * q;
    const at::Tensor start = 1e-9 * at::cos(q * x);
    const at::Tensor u = solve_one({length, 1, -beta, -gamma}, start, {1.5}).select(1, 0);
    REQUIRE(relative_error(u, std::exp(1.5 * rate) * start) <= 1e-8);
  }
}

TEST_CASE("convective flow: what cannot be solved is refused, what blows up is named with its sample and moment") {
  const at::Tensor start = at::sin(2 * M_PI * circle(32)).unsqueeze(0);
  const std::vector<double> times = {1};
  REQUIRE_THROWS_WITH(solve_convective_flow({.diffusion = -1}, start, times), Contains("amplifies its shortest waves"));
  REQUIRE_THROWS_AS(solve_convective_flow({.diffusion = 1}, start[0], times), ShapeError);
  REQUIRE_THROWS_AS(solve_convective_flow({.diffusion = 1}, start, std::vector<double>{1, 0.5}), ConfigError);
  at::Tensor two = at::cat({start, start * 1e6});
  REQUIRE_THROWS_WITH(solve_convective_flow({.diffusion = 0.1}, two, times, 0.01, 40), Contains("sample 41"));
  two = at::cat({start, start});  // one that is broken: which of two is met first is up to the threads
  two[0][3] = NAN;
  REQUIRE_THROWS_WITH(solve_convective_flow({.diffusion = 0.1}, two, times, 0.01, 40), Contains("sample 40"));
}

TEST_CASE("Burgers simulation: the three layouts hold the same solutions, functions of seed and index") {
  BurgersOptions options = burgers_set("space-time");
  const BurgersSimulation space_time(options);
  require_pure(space_time);
  REQUIRE(space_time.variables()[0].name == "x");
  REQUIRE(space_time.variables()[1].shape == std::vector<int64_t>{17, 16});
  REQUIRE(space_time.constants().at("t")[0][16].item<double>() == 0.96);
  options.layout = BurgersLayout::trajectory;
  const BurgersSimulation trajectory(options);
  options.layout = BurgersLayout::final;
  options.times = 1;
  const BurgersSimulation final(options);
  const auto a = space_time.samples(3, 0, 2), b = trajectory.samples(3, 0, 2), c = final.samples(3, 0, 2);
  REQUIRE((a[1].select(1, 0) - a[0]).abs().max().item<double>() <= 1e-14);
  REQUIRE(at::equal(a[1].narrow(1, 1, 16).transpose(1, 2), b[1]));
  REQUIRE(relative_error(c[1], b[1].select(2, 15)) <= 1e-8);
  REQUIRE(at::equal(a[0], c[0]));

  REQUIRE_THROWS_WITH(burgers_set("r1O"), Contains("did you mean"));
  options.grid = 100;
  REQUIRE_THROWS_WITH(BurgersSimulation(options), Contains("multiple"));
}

TEST_CASE("Burgers: the published sets are named with their values") {
  const auto r10 = burgers_set("r10");
  REQUIRE(r10.viscosity == 0.1);
  REQUIRE(r10.points == 8192);
  REQUIRE(r10.initial.scale * r10.initial.scale == 625);
  const BurgersSimulation v1000(burgers_set("v1000"));
  REQUIRE(v1000.variables()[1].shape == std::vector<int64_t>{1024, 200});
  REQUIRE(v1000.parameters().at("nu") == 1e-3);
}

TEST_CASE("Kuramoto-Sivashinsky simulation: functions of seed and index, from the attractor") {
  KuramotoSivashinskyOptions options;
  options.length = 22;
  options.points = 32;
  options.grid = 64;
  options.times = 5;
  options.final_time = 10;
  require_pure(KuramotoSivashinskySimulation(options));
  const auto samples = KuramotoSivashinskySimulation(options).samples(1, 0, 8);
  REQUIRE(samples[0].mean(1).abs().max().item<double>() <= 1e-13);
  const double energy = samples[1].square().mean().item<double>();
  REQUIRE(energy >= 0.5);
  REQUIRE(energy <= 4);
  options.length = 200;
  REQUIRE_THROWS_WITH(KuramotoSivashinskySimulation(options), Contains("does not resolve"));
}

TEST_CASE("advection: exact shifts, whole periods, and the wave n/2 as a cosine") {
  const std::vector<double> times = {0, 0.3, 2.5, 1e6};
  for (const int64_t n : {15, 16}) {
    const at::Tensor x = circle(n);
    const auto wave = [&](double t) {
      const at::Tensor y = x - 0.8 * t;
      return 1 + at::sin(2 * M_PI * y) + 0.25 * at::cos(14 * M_PI * y);
    };
    const at::Tensor u = advect(wave(0).unsqueeze(0), 0.8, times)[0];
    for (size_t m = 0; m < times.size(); ++m) {
      REQUIRE(relative_error(u.select(1, static_cast<int64_t>(m)), wave(times[m])) <= (m == 3 ? 1e-8 : 1e-13));
    }
    REQUIRE(relative_error(u.select(1, 1), wave(0)) > 0.1);
  }
  const at::Tensor nyquist = at::cos(16 * M_PI * circle(16)).unsqueeze(0);
  const at::Tensor moved = advect(nyquist, 1, std::vector<double>{1.0 / 32, 1.0 / 48})[0];
  REQUIRE(moved.select(1, 0).abs().max().item<double>() <= 1e-14);
  REQUIRE(relative_error(moved.select(1, 1), 0.5 * nyquist[0]) <= 1e-13);
  AdvectionOptions options;
  options.points = 64;
  options.trajectory = true;
  options.times = 3;
  require_pure(AdvectionSimulation(options));
  options.trajectory = false;
  REQUIRE_THROWS_AS(AdvectionSimulation(options), ConfigError);
}
