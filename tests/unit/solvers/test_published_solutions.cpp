// The solvers beside reference solutions computed by others (test data).
#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>

#include "monarch/data/fields.hpp"
#include "monarch/solvers/numerical/burgers.hpp"
#include "monarch/solvers/numerical/convective_flow.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::solvers;
using namespace monarch::test;

namespace {

/// A field of one sample, its real part as [time, x].
at::Tensor time_space(const std::string& file, const std::string& name) {
  return data::open_fields(data_file(file))->read(name).select(2, 0)[0].to(at::kDouble);
}

std::vector<double> moments(const std::string& file, const std::string& name = "t") {
  const at::Tensor t = data::open_fields(data_file(file))->coordinates().at(name).contiguous();
  return {t.const_data_ptr<double>(), t.const_data_ptr<double>() + t.numel()};
}

/// [time, x] from one initial state.
at::Tensor solve(const ConvectiveFlow& flow, const at::Tensor& initial, const std::vector<double>& times,
                 double step = 0) {
  return solve_convective_flow(flow, initial.unsqueeze(0), times, step)[0].t();
}

at::Tensor axis(double start, double length, int64_t n) {
  return start + at::arange(n, at::kDouble) * (length / static_cast<double>(n));
}

}  // namespace

TEST_CASE("Burgers: the shock of Raissi et al. (burgers_shock.mat, ν = 0.01/π)") {
  const std::string file = "pde/burgers_shock.mat";
  const at::Tensor given = time_space(file, "usol");
  REQUIRE(given.sizes().vec() == std::vector<int64_t>{100, 256});
  // The walls at ±1 of an odd state are invisible to a periodic solver; 256 points with both ends are each 8th of 2040.
  const at::Tensor start = -at::sin(M_PI * axis(-1, 2, 2040));
  const auto run = [&](double viscosity) {
    const at::Tensor u = solve({.length = 2, .diffusion = viscosity}, start, moments(file)).slice(1, 0, 2040, 8);
    return relative_error(at::cat({u, u.narrow(1, 0, 1)}, 1), given);
  };
  const double error = run(0.01 / M_PI);
  WARN("burgers_shock.mat: relative error " << error);
  REQUIRE(error <= 1e-8);
  REQUIRE(run(0.0105 / M_PI) > 1e-3);
}

TEST_CASE("Burgers: pysindy's pulse (burgers.mat, ν = 0.1, period 16)") {
  const std::string file = "pde/burgers.mat";
  const at::Tensor given = time_space(file, "usol");
  REQUIRE(given.sizes().vec() == std::vector<int64_t>{101, 256});
  const at::Tensor start = at::exp(-(axis(-8, 16, 256) + 2).square());
  const double error = relative_error(solve({.length = 16, .diffusion = 0.1}, start, moments(file)), given);
  WARN("burgers.mat: relative error " << error);
  REQUIRE(error <= 2e-8);
}

TEST_CASE("Kuramoto-Sivashinsky: Raissi's KS.mat, whose coefficients are 5/π, (5/3)/π² and (5/27)/π⁴") {
  const std::string file = "pde/KS.mat";
  const at::Tensor given = time_space(file, "uu");
  REQUIRE(given.sizes().vec() == std::vector<int64_t>{201, 513});
  const at::Tensor start = -at::sin(M_PI * axis(-1, 2, 512));
  const ConvectiveFlow flow{2, 5 / M_PI, -5.0 / 3 / std::pow(M_PI, 2), -5.0 / 27 / std::pow(M_PI, 4)};
  const double error = relative_error(solve(flow, start, moments(file), 1e-4), given.narrow(1, 0, 512));
  const double automatic = relative_error(solve(flow, start, moments(file)), given.narrow(1, 0, 512));
  WARN("KS.mat: relative error " << error << " with steps of 1e-4, " << automatic << " with automatic ones");
  REQUIRE(error <= 2e-9);
  REQUIRE(automatic <= 1e-6);
}

TEST_CASE("Kuramoto-Sivashinsky: pysindy's chaos on 32π up to t = 100, where errors have grown ten thousandfold") {
  const std::string file = "pde/kuramoto_sivishinky.mat";
  const at::Tensor given = time_space(file, "uu");
  REQUIRE(given.sizes().vec() == std::vector<int64_t>{251, 1024});
  const double length = 32 * M_PI;
  const at::Tensor x = axis(length / 1024, length, 1024);
  const at::Tensor start = at::cos(x / 16) * (1 + at::sin(x / 16));
  const at::Tensor u = solve({length, 1, -1, -1}, start, moments(file), 0.05);
  const double early = relative_error(u.narrow(0, 0, 51), given.narrow(0, 0, 51)), all = relative_error(u, given);
  WARN("kuramoto_sivishinky.mat: relative error " << early << " up to t = 20, " << all << " up to t = 100");
  REQUIRE(early <= 1e-7);
  REQUIRE(all <= 2e-4);
}

TEST_CASE("Burgers: neuraloperator's space-time data are solutions of the set space-time, of the same law") {
  const auto source = data::open_fields(data_file("pde/burgers_test_16.pt"));
  const at::Tensor x = source->read("x").reshape({-1, 16}).to(at::kDouble);
  const at::Tensor y = source->read("y").reshape({-1, 17, 16}).to(at::kDouble);
  const BurgersOptions set = burgers_set("space-time");
  const auto error = [&](double moment) {
    // 16 of 128 points are known: the waves beyond the eighth are not, and fold into those below.
    at::Tensor v = at::fft_rfft(x);
    v.select(1, 8) *= 0.5;
    const at::Tensor start = at::fft_irfft(at::constant_pad_nd(v, {0, 65 - 9}), 128) * 8;
    std::vector<double> times;
    for (int k = 0; k <= 16; ++k) times.push_back(moment * k);
    const at::Tensor u = solve_convective_flow({.diffusion = set.viscosity}, start, times).slice(1, 0, 128, 8);
    const at::Tensor difference = (u.transpose(1, 2) - y).square().sum({1, 2}).sqrt() / y.square().sum({1, 2}).sqrt();
    return std::pair{difference.median().item<double>(), difference.max().item<double>()};
  };
  const auto [median, largest] = error(set.final_time / 16);
  WARN("burgers_test_16.pt: relative error of 400 samples, median " << median << ", largest " << largest);
  REQUIRE(median <= 3e-4);
  REQUIRE(largest <= 1e-2);
  REQUIRE(error(1.0 / 16).first > 5e-3);  // moments up to 1, as one might think

  const at::Tensor each = x.square().mean(1);
  const double variance = std::pow(standard_deviation(set.initial, 1, 128), 2);
  const double standard_error = each.std().item<double>() / std::sqrt(static_cast<double>(each.size(0)));
  WARN("its initial states: variance " << each.mean().item<double>() << " ± " << standard_error << ", law "
                                       << variance);
  REQUIRE(std::abs(each.mean().item<double>() - variance) <= 3 * standard_error);
  const double printed = std::pow(standard_deviation({.alpha = 2, .tau = 5, .scale = 25}, 1, 128), 2);
  REQUIRE(std::abs(each.mean().item<double>() - printed) > 3 * standard_error);
}
