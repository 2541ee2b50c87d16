#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "dense_operator.hpp"
#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/mri/kernels/complex_arrays.hpp"
#include "monarch/mri/solvers.hpp"
#include "support/support.hpp"

using namespace monarch;
using monarch::test::DenseOperator;
using monarch::test::relative_error;

namespace {

at::Tensor random(std::vector<int64_t> shape, at::ScalarType dtype, uint64_t seed) {
  return Rng(seed, "solver test").normal(std::move(shape), dtype);
}

// argmin_z ½|z - x|² + t|z| for complex numbers.
at::Tensor shrink(const at::Tensor& x, double t) {
  return x * (1 - t / at::abs(x).clamp_min(1e-30)).clamp_min(0);
}

}  // namespace

TEST_CASE("conjugate gradients: the solution is that of the regularised dense system") {
  const auto dtype = GENERATE(at::kComplexFloat, at::kComplexDouble, at::kFloat, at::kDouble);
  const double lambda = GENERATE(0.0, 0.3);
  const DenseOperator a(random({30, 12}, dtype, 1));
  const auto y = random({30}, dtype, 2);
  const auto b = a.adjoint(y);
  const auto gram = at::matmul(a.matrix().conj().t(), a.matrix());
  const auto expected = at::linalg_solve(gram + lambda * at::eye(12, gram.options()), b);
  // In exact arithmetic CG ends after as many steps as there are unknowns; a few more clear the rounding.
  const auto result = mri::conjugate_gradient(a, b, {.lambda = lambda, .iterations = 20});
  const bool single = dtype == at::kComplexFloat || dtype == at::kFloat;
  REQUIRE(relative_error(result.x, expected) <= (single ? 2e-5 : 1e-12));
  SECTION("an exact start ends at once") {
    const auto again = mri::conjugate_gradient(
        a, b, {.lambda = lambda, .iterations = 20, .tolerance = single ? 1e-4 : 1e-10, .initial = expected});
    REQUIRE(again.iterations <= 1);
    REQUIRE(relative_error(again.x, expected) <= (single ? 1e-4 : 1e-10));
  }
}

TEST_CASE("conjugate gradients: a tolerance ends the run early and the residual history says when") {
  const DenseOperator a(random({40, 25}, at::kComplexFloat, 3));
  const auto b = a.adjoint(random({40}, at::kComplexFloat, 4));
  int64_t calls = 0;
  const auto result = mri::conjugate_gradient(
      a, b, {.iterations = 200, .tolerance = 1e-3, .callback = [&](int64_t iteration, double) { calls = iteration; }});
  REQUIRE(result.converged);
  REQUIRE(result.iterations < 60);
  REQUIRE(calls == result.iterations);
  REQUIRE(static_cast<int64_t>(result.residuals.size()) == result.iterations);
  REQUIRE(result.residuals.back() <= 1e-3);
  REQUIRE(result.residuals[result.residuals.size() - 2] > 1e-3);
  REQUIRE(relative_error(a.normal(result.x), b) <= 2e-3);
}

TEST_CASE("conjugate gradients: a zero right-hand side gives zero and bad arguments are told") {
  const DenseOperator a(random({9, 6}, at::kComplexFloat, 5));
  const auto zero = mri::conjugate_gradient(a, at::zeros({6}, at::kComplexFloat));
  REQUIRE(zero.iterations == 0);
  REQUIRE(zero.converged);
  REQUIRE(zero.x.abs().max().item<float>() == 0);
  const auto b = at::ones({6}, at::kComplexFloat);
  REQUIRE_THROWS_AS(mri::conjugate_gradient(a, at::ones({9}, at::kComplexFloat)), ShapeError);
  REQUIRE_THROWS_AS(mri::conjugate_gradient(a, b, {.lambda = -1}), ConfigError);
  REQUIRE_THROWS_AS(mri::conjugate_gradient(a, b, {.lambda = std::nan("")}), ConfigError);
  REQUIRE_THROWS_AS(mri::conjugate_gradient(a, b, {.iterations = -1}), ConfigError);
  REQUIRE_THROWS_AS(mri::conjugate_gradient(a, b, {.tolerance = -1}), ConfigError);
}

TEST_CASE("solvers: NaN in the data stops every solver with an error") {
  const DenseOperator a(random({9, 6}, at::kComplexFloat, 6));
  auto b = at::ones({6}, at::kComplexFloat);
  const float value = GENERATE(std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity());
  b[2] = value;
  const auto same = [](at::Tensor x, double, int64_t) { return x; };
  REQUIRE_THROWS_AS(mri::conjugate_gradient(a, b), BackendError);
  REQUIRE_THROWS_AS(mri::fista(a, b, same, {.step = 0.01}), BackendError);
  REQUIRE_THROWS_AS(mri::primal_dual(a, a, b, [](at::Tensor u, double) { return u.zero_(); }), BackendError);
}

TEST_CASE("power iteration: the largest eigenvalue is that of the dense Gram matrix") {
  const DenseOperator a(random({30, 12}, at::kComplexDouble, 7));
  const auto exact = at::linalg_svdvals(a.matrix())[0].square().item<double>();
  const double found = mri::largest_eigenvalue(a, 200);
  REQUIRE(std::abs(found - exact) <= 1e-4 * exact);
  REQUIRE(mri::largest_eigenvalue(a, 3) <= exact * (1 + 1e-12));
  REQUIRE(mri::largest_eigenvalue(DenseOperator(at::zeros({4, 3}, at::kComplexDouble))) == 0);
}

TEST_CASE("fista: the minimiser of an l1 problem is that of a long plain thresholding run") {
  const DenseOperator a(random({24, 40}, at::kComplexDouble, 8));
  const auto b = a.adjoint(random({24}, at::kComplexDouble, 9));
  const double lambda = 2.0;
  const double step = 0.95 / mri::largest_eigenvalue(a, 300);
  auto expected = at::zeros({40}, at::kComplexDouble);
  for (int k = 0; k < 20000; ++k) expected = shrink(expected + step * (b - a.normal(expected)), step * lambda);
  const auto proximal = [&](const at::Tensor& x, double t, int64_t) { return shrink(x, t * lambda); };
  const auto result = mri::fista(a, b, proximal, {.iterations = 2000});
  REQUIRE(relative_error(result.x, expected) <= 1e-6);
  REQUIRE(at::abs(result.x).eq(0).sum().item<int64_t>() > 10);  // the problem is a sparse one
  SECTION("a tolerance ends the run early") {
    const auto early = mri::fista(a, b, proximal, {.iterations = 2000, .tolerance = 1e-5});
    REQUIRE(early.converged);
    REQUIRE(early.iterations < 2000);
    REQUIRE(relative_error(early.x, expected) <= 1e-2);
  }
  SECTION("a penalty that kills everything gives zero without an error") {
    const auto nothing = mri::fista(a, b, [](at::Tensor x, double, int64_t) { return x.zero_(); }, {.iterations = 5});
    REQUIRE(at::abs(nothing.x).max().item<double>() == 0);
  }
}

TEST_CASE("primal dual: the minimiser of an l1 analysis problem is that of fista for an orthogonal analysis") {
  const DenseOperator a(random({24, 16}, at::kComplexDouble, 10));
  const auto b = a.adjoint(random({24}, at::kComplexDouble, 11));
  const auto basis = std::get<0>(at::linalg_qr(random({16, 16}, at::kComplexDouble, 12)));
  const DenseOperator k(basis);
  const double lambda = 3.0;
  const auto proximal = [&](const at::Tensor& x, double t, int64_t) {
    return k.adjoint(shrink(k.apply(x), t * lambda));
  };
  const auto expected = mri::fista(a, b, proximal, {.iterations = 3000}).x;
  // The conjugate of lambda |.| is the indicator of the disc of radius lambda.
  const auto projection = [&](const at::Tensor& u, double) { return u / (at::abs(u) / lambda).clamp_min(1.0); };
  const auto result =
      mri::primal_dual(a, k, b, projection, {.iterations = 6000, .data_norm = 1.01 * mri::largest_eigenvalue(a, 200)});
  REQUIRE(relative_error(result.x, expected) <= 1e-5);
}

TEST_CASE("complex kernels: every length agrees with the formula") {
  using mri::kernels::complex64;
  const int64_t n = GENERATE(0, 1, 2, 3, 7, 8, 17, 64, 1000, 5000);
  const auto make = [&](uint64_t seed) { return random({n}, at::kComplexFloat, seed); };
  const auto data = [](const at::Tensor& t) { return reinterpret_cast<complex64*>(t.data_ptr<c10::complex<float>>()); };
  const auto reals = [&](const at::Tensor& t) { return reinterpret_cast<float*>(data(t)); };
  const auto a = make(1), b = make(2), c = make(3);
  const double tolerance = 1e-6;
  const auto close = [&](const at::Tensor& x, const at::Tensor& y) {
    return n == 0 || relative_error(x, y) <= tolerance;
  };

  auto out = make(4);
  mri::kernels::multiply(data(a), data(b), data(out), n);
  REQUIRE(close(out, a * b));
  out = c.clone();
  mri::kernels::multiply_add(data(a), data(b), data(out), n);
  REQUIRE(close(out, c + a * b));
  out = c.clone();
  mri::kernels::conjugate_multiply_add(data(a), data(b), data(out), n);
  REQUIRE(close(out, c + a.conj() * b));
  if (n > 1) REQUIRE_FALSE(close(out, c + a * b));  // a missing conjugate shows

  const auto weights = at::abs(b).contiguous();
  const auto twice = at::stack({weights, weights}, -1).contiguous();
  out = a.clone();
  mri::kernels::scale_pairs(twice.data_ptr<float>(), data(out), n);
  REQUIRE(close(out, a * weights));

  const double dot = mri::kernels::dot(reals(a), reals(b), 2 * n);
  const double expected = at::real(a.conj() * b).sum(at::kDouble).item<double>();
  REQUIRE(std::abs(dot - expected) <= 1e-6 * (1.0 + static_cast<double>(n)));

  auto x = a.clone(), r = b.clone();
  const double norm = mri::kernels::step_and_residual(reals(x), reals(c), reals(r), reals(a), 0.3f, 2 * n);
  REQUIRE(close(x, a + 0.3 * c));
  REQUIRE(close(r, b - 0.3 * a));
  REQUIRE(std::abs(norm - at::abs(r).square().sum(at::kDouble).item<double>()) <= 1e-6 * (1.0 + norm));

  auto p = b.clone();
  mri::kernels::scale_and_add(reals(a), 0.4f, reals(p), 2 * n);
  REQUIRE(close(p, a + 0.4 * b));
  const double distance = mri::kernels::gradient_step(reals(a), reals(b), reals(c), 0.5f, reals(out = make(5)), 2 * n);
  REQUIRE(close(out, a + 0.5 * (b - c)));
  REQUIRE(std::abs(distance - at::abs(b - c).square().sum(at::kDouble).item<double>()) <= 1e-6 * (1.0 + distance));
  const double change = mri::kernels::extrapolate(reals(a), reals(b), 0.5f, reals(out = make(5)), 2 * n);
  REQUIRE(close(out, a + 0.5 * (a - b)));
  REQUIRE(std::abs(change - at::abs(a - b).square().sum(at::kDouble).item<double>()) <= 1e-6 * (1.0 + change));
}
