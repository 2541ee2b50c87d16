#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>

#include "equations.hpp"
#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/solvers/numerical/darcy.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::solvers;
using namespace monarch::test;
using Catch::Matchers::Contains;

namespace {

at::Tensor centres(int64_t n) {
  return (at::arange(n, at::kDouble) + 0.5) / static_cast<double>(n);
}

at::Tensor ones(int64_t n) {
  return at::ones({n, n}, at::kDouble);
}

at::Tensor random_coefficient(int64_t n, uint64_t seed) {
  return at::exp(Rng(seed).normal({1, n, n}, at::kDouble));
}

/// Every cell has a neighbour with a smaller value, the boundary counted as 0: no minimum inside.
bool has_no_inner_minimum(const at::Tensor& u) {
  const int64_t n = u.size(0);
  const at::Tensor padded = at::constant_pad_nd(u, {1, 1, 1, 1}, 0);
  at::Tensor least = at::full_like(u, INFINITY);
  for (const auto& [i, j] : {std::pair{0, 1}, {2, 1}, {1, 0}, {1, 2}}) {
    least = at::minimum(least, padded.narrow(0, i, n).narrow(1, j, n));
  }
  return (least < u).all().item<bool>();
}

}  // namespace

TEST_CASE("Darcy: a constant coefficient has the sines as eigenfunctions") {
  const int64_t n = 21;
  const double h = 1.0 / n;
  const at::Tensor x = centres(n);
  const at::Tensor u = at::sin(2 * M_PI * x).unsqueeze(1) * at::sin(3 * M_PI * x);
  const double eigenvalue = 4 / (h * h) * (std::pow(std::sin(M_PI * h), 2) + std::pow(std::sin(1.5 * M_PI * h), 2));
  for (const FaceMean mean : {FaceMean::arithmetic, FaceMean::harmonic}) {
    const at::Tensor a = 2.5 * ones(n).unsqueeze(0);
    REQUIRE(relative_error(darcy_operator(a, u.unsqueeze(0), mean)[0], 2.5 * eigenvalue * u) <= 1e-12);
    REQUIRE(relative_error(solve_darcy(a, 2.5 * eigenvalue * u, mean)[0], u) <= 1e-12);
  }
}

TEST_CASE("Darcy: second order on a smooth manufactured solution") {
  for (const FaceMean mean : {FaceMean::arithmetic, FaceMean::harmonic}) {
    std::vector<double> errors;
    for (const int64_t n : {32, 64, 128}) {
      const at::Tensor x = centres(n).unsqueeze(1), y = centres(n).unsqueeze(0);
      const at::Tensor a = 2 + at::sin(M_PI * x + 1) * at::cos(2 * M_PI * y);
      const at::Tensor ax = M_PI * at::cos(M_PI * x + 1) * at::cos(2 * M_PI * y);
      const at::Tensor ay = -2 * M_PI * at::sin(M_PI * x + 1) * at::sin(2 * M_PI * y);
      const at::Tensor u = at::sin(M_PI * x) * at::sin(2 * M_PI * y);
      const at::Tensor ux = M_PI * at::cos(M_PI * x) * at::sin(2 * M_PI * y);
      const at::Tensor uy = 2 * M_PI * at::sin(M_PI * x) * at::cos(2 * M_PI * y);
      const at::Tensor f = 5 * M_PI * M_PI * a * u - ax * ux - ay * uy;
      errors.push_back(relative_error(solve_darcy(a.unsqueeze(0), f, mean)[0], u));
    }
    INFO(errors[0] << " " << errors[1] << " " << errors[2]);
    REQUIRE(std::abs(observed_order(errors) - 2) <= 0.05);
  }
}

TEST_CASE("Darcy: the operator is symmetric and positive, for any coefficient") {
  const int64_t n = 17;
  for (const FaceMean mean : {FaceMean::arithmetic, FaceMean::harmonic}) {
    const at::Tensor a = random_coefficient(n, 1);
    const at::Tensor u = Rng(2).normal({1, n, n}, at::kDouble), v = Rng(3).normal({1, n, n}, at::kDouble);
    const double left = (darcy_operator(a, u, mean) * v).sum().item<double>();
    const double right = (u * darcy_operator(a, v, mean)).sum().item<double>();
    REQUIRE(std::abs(left - right) <= 1e-12 * (darcy_operator(a, u, mean).norm() * v.norm()).item<double>());
    REQUIRE((darcy_operator(a, u, mean) * u).sum().item<double>() > 0);
  }
}

TEST_CASE("Darcy: where the coefficient jumps on a face, the harmonic mean keeps the second order") {
  const auto total = [](int64_t n, FaceMean mean) {
    at::Tensor a = at::full({1, n, n}, 12.0, at::kDouble);
    a.narrow(1, 0, n / 2).fill_(3);
    return solve_darcy(a, ones(n), mean).mean().item<double>();
  };
  const auto order = [&](FaceMean mean) {
    const double coarse = total(32, mean), medium = total(64, mean), fine = total(128, mean);
    return std::log2(std::abs((coarse - medium) / (medium - fine)));
  };
  INFO(order(FaceMean::harmonic) << " and " << order(FaceMean::arithmetic));
  REQUIRE(std::abs(order(FaceMean::harmonic) - 2) <= 0.2);
  REQUIRE(std::abs(order(FaceMean::arithmetic) - 1) <= 0.2);
}

TEST_CASE("Darcy: the published coefficient is solved to a residual of 1e-10, positive, without a minimum inside") {
  DarcyOptions options = darcy_set("paper");
  options.points = 85;
  const auto samples = DarcySimulation(options).samples(1, 0, 3);
  const at::Tensor &a = samples[0], &u = samples[1];
  REQUIRE(((a == 12) | (a == 3)).all().item<bool>());
  REQUIRE((a == 12).any().item<bool>());
  REQUIRE((a == 3).any().item<bool>());
  const at::Tensor f = at::ones_like(u);
  REQUIRE(relative_error(darcy_operator(a, u), f) <= 1e-10);
  REQUIRE(relative_error(darcy_operator(a, u * 1.000001), f) > 1e-10);
  const double low = solve_darcy(12 * ones(85).unsqueeze(0), ones(85)).sum().item<double>();
  const double high = solve_darcy(3 * ones(85).unsqueeze(0), ones(85)).sum().item<double>();
  for (int64_t s = 0; s < 3; ++s) {
    REQUIRE((u[s] > 0).all().item<bool>());
    REQUIRE(has_no_inner_minimum(u[s]));
    REQUIRE(u[s].sum().item<double>() >= low);  // the compliance falls with the coefficient
    REQUIRE(u[s].sum().item<double>() <= high);
  }
  at::Tensor dented = u[0].clone();
  dented[40][40] = 0.5 * dented.min();
  REQUIRE_FALSE(has_no_inner_minimum(dented));
}

TEST_CASE("Darcy: coefficient turned, solution turned") {
  const at::Tensor a = random_coefficient(20, 4);
  const at::Tensor u = solve_darcy(a, ones(20));
  REQUIRE(relative_error(solve_darcy(a.transpose(1, 2), ones(20)), u.transpose(1, 2)) <= 1e-11);
  REQUIRE(relative_error(solve_darcy(a.flip({2}), ones(20)), u.flip({2})) <= 1e-11);
  REQUIRE(relative_error(solve_darcy(a.flip({2}), ones(20)), u) > 1e-3);
}

TEST_CASE("Darcy simulation: functions of seed and index; named sets; a log-normal medium") {
  DarcyOptions options = darcy_set("script");
  options.points = 24;
  REQUIRE(options.lower == 4);
  require_pure(DarcySimulation(options));
  options = darcy_set("lognormal");
  options.points = 24;
  options.amplitude = 8;  // a contrast of several thousand
  require_pure(DarcySimulation(options));
  const auto samples = DarcySimulation(options).samples(2, 0, 2);
  REQUIRE((samples[0].amax() / samples[0].amin()).item<double>() > 1000);
  REQUIRE(relative_error(darcy_operator(samples[0], samples[1]), at::ones_like(samples[1])) <= 1e-10);
  REQUIRE_THROWS_WITH(darcy_set("papper"), Contains("did you mean paper"));
}

TEST_CASE("Darcy: coefficients that are not positive and shapes that do not fit are refused") {
  at::Tensor a = at::ones({2, 8, 8}, at::kDouble);
  a[1][2][3] = 0;
  REQUIRE_THROWS_WITH(solve_darcy(a, ones(8), FaceMean::arithmetic, 10), Contains("sample 11") && Contains("[2, 3]"));
  a[1][2][3] = NAN;
  REQUIRE_THROWS_AS(solve_darcy(a, ones(8)), DataError);
  REQUIRE_THROWS_AS(solve_darcy(at::ones({8, 8}, at::kDouble), ones(8)), ShapeError);
  REQUIRE_THROWS_AS(solve_darcy(at::ones({1, 8, 8}, at::kDouble), ones(9)), ShapeError);
  REQUIRE_THROWS_AS(darcy_operator(at::ones({1, 8, 8}), at::ones({2, 8, 8})), ShapeError);
}
