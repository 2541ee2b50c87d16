#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>

#include "equations.hpp"
#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/solvers/numerical/etdrk4.hpp"
#include "monarch/solvers/numerical/grid_transforms.hpp"
#include "monarch/solvers/numerical/neumann_random_field.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::solvers;
using namespace monarch::test;

namespace {

/// phi_n(z) = sum over j of z^j/(n + j)!, for small z; in long double by its recurrence for others.
long double phi(int n, long double z) {
  if (std::abs(z) < 1) {
    long double term = 1, sum = 0;
    for (int j = 1; j <= n; ++j) term /= j;
    for (int j = 0; j < 40; ++j) {
      sum += term;
      term *= z / (n + j + 1);
    }
    return sum;
  }
  long double value = std::exp(z), factorial = 1;
  for (int j = 0; j < n; ++j) {
    value = (value - 1 / factorial) / z;
    factorial *= j + 1;
  }
  return value;
}

double error(double found, long double exact) {
  return found == exact ? 0 : static_cast<double>(std::abs(found - exact) / std::abs(exact));
}

}  // namespace

TEST_CASE("ETDRK4: the coefficients are the phi functions, where the quotients cancel as well") {
  const double h = 0.1;
  for (const double z : {0.0, -1e-9, -1e-5, -1e-3, -0.1, -1.0, -7.0, -100.0, -1e6, 1e-4, 0.5, 3.0}) {
    INFO("z = " << z);
    const std::vector<double> linear = {z / h};
    const auto c = etdrk4_coefficients(linear, h);
    const long double p1 = phi(1, z), p2 = phi(2, z), p3 = phi(3, z);
    REQUIRE(error(c.full[0], std::exp(static_cast<long double>(z))) <= 1e-13);
    REQUIRE(error(c.half[0], std::exp(static_cast<long double>(z) / 2)) <= 1e-13);
    REQUIRE(error(c.q[0], h / 2 * phi(1, z / 2)) <= 1e-12);
    REQUIRE(error(c.f1[0], h * (p1 - 3 * p2 + 4 * p3)) <= 1e-12);
    REQUIRE(error(c.f2[0], h * (p2 - 2 * p3)) <= 1e-12);
    REQUIRE(error(c.f3[0], h * (4 * p3 - p2)) <= 1e-12);
  }
  const double z = -1e-5;  // the quotient itself would not pass
  REQUIRE(error((-4 - z + std::exp(z) * (4 - 3 * z + z * z)) / (z * z * z), phi(1, z) - 3 * phi(2, z) + 4 * phi(3, z)) >
          1e-3);
}

TEST_CASE("ETDRK4: exact without a nonlinear part, of fourth order with one") {
  Etdrk4<double> linear({-3.0, 0.0, -1e4});
  std::vector<double> v = {1, 2, 3};
  linear.advance(v.data(), 0.7, 3, [](const double*, double* n) { std::fill_n(n, 3, 0.0); });
  REQUIRE(std::abs(v[0] - std::exp(-2.1)) <= 1e-15);
  REQUIRE(v[1] == 2);
  REQUIRE(v[2] == 0);

  // v' = -v + v² has v(t) = 1/(1 + c e^t).
  std::vector<double> errors;
  for (const int64_t steps : {8, 16, 32}) {
    Etdrk4<std::complex<double>> scheme({-1.0});
    std::complex<double> u = 1 / 1.5;
    scheme.advance(&u, 0.5, steps / 2, [](const auto* from, auto* to) { *to = *from * *from; });
    scheme.advance(&u, 0.5, steps / 2, [](const auto* from, auto* to) { *to = *from * *from; });
    errors.push_back(std::abs(u - 1 / (1 + 0.5 * std::exp(1.0))));
  }
  INFO(errors[0] << " " << errors[1] << " " << errors[2]);
  REQUIRE(std::abs(observed_order(errors) - 4) <= 0.15);
}

TEST_CASE("the solvers' Fourier and cosine transforms are their definitions and inverses") {
  for (const int64_t n : {1, 2, 7, 12, 53}) {
    INFO("n = " << n);
    const at::Tensor x = Rng(1).normal({n}, at::kDouble);
    const RealFft fft(n);
    at::Tensor v = at::empty({fft.modes()}, at::kComplexDouble);
    auto* modes = reinterpret_cast<std::complex<double>*>(v.data_ptr());
    fft.forward(x.const_data_ptr<double>(), modes);
    REQUIRE(relative_error(v, at::fft_rfft(x)) <= tolerance(at::kDouble, n));
    at::Tensor back = at::empty_like(x);
    fft.inverse(modes, back.mutable_data_ptr<double>());
    REQUIRE(relative_error(back, x) <= tolerance(at::kDouble, n));

    const CosineTransform2d cosine(n);
    const at::Tensor j = (at::arange(n, at::kDouble) + 0.5) / static_cast<double>(n), k = at::arange(n, at::kDouble);
    at::Tensor matrix = at::cos(M_PI * k.unsqueeze(1) * j) * std::sqrt(2.0 / static_cast<double>(n));
    matrix[0] /= std::sqrt(2.0);
    const at::Tensor f = Rng(2).normal({n, n}, at::kDouble);
    at::Tensor c = at::empty_like(f), again = f.clone();
    cosine.forward(f.const_data_ptr<double>(), c.mutable_data_ptr<double>());
    REQUIRE(relative_error(c, matrix.matmul(f).matmul(matrix.t())) <= tolerance(at::kDouble, n * n));
    cosine.forward(again.const_data_ptr<double>(), again.mutable_data_ptr<double>());
    REQUIRE(at::equal(again, c));
    cosine.inverse(again.const_data_ptr<double>(), again.mutable_data_ptr<double>());
    REQUIRE(relative_error(again, f) <= tolerance(at::kDouble, n * n));
  }
  REQUIRE_THROWS_AS(RealFft(0), ShapeError);
  REQUIRE_THROWS_AS(CosineTransform2d(0), ShapeError);
}

TEST_CASE("Neumann random fields: variance and spectrum are the law's within three standard errors") {
  const NeumannFieldLaw law{2, 3};
  const int64_t n = 12, samples = 3000;
  const at::Tensor w = neumann_random_field(law, n, 5, 0, samples);
  const auto deviation = [](const at::Tensor& each, double expected) {
    const double standard_error = each.std().item<double>() / std::sqrt(static_cast<double>(each.size(0)));
    return std::abs(each.mean().item<double>() - expected) / standard_error;
  };
  const at::Tensor squares = w.square().mean({1, 2});
  REQUIRE(deviation(squares, mean_variance(law, n)) <= 3);
  REQUIRE(deviation(squares, 1.15 * mean_variance(law, n)) > 3);
  REQUIRE(at::abs(w.mean({1, 2})).max().item<double>() <= 1e-14);

  const CosineTransform2d transform(n);
  at::Tensor modes = at::empty_like(w);
  for (int64_t s = 0; s < samples; ++s) {
    transform.forward(w.const_data_ptr<double>() + s * n * n, modes.mutable_data_ptr<double>() + s * n * n);
  }
  modes /= static_cast<double>(n);
  for (const auto& [p, q] : {std::pair{1, 0}, {0, 1}, {1, 1}, {3, 2}, {11, 11}}) {
    INFO("mode " << p << ", " << q);
    const double power = 9 * std::pow(M_PI * M_PI * (p * p + q * q) + 9.0, -2);
    REQUIRE(deviation(modes.select(1, p).select(1, q).square(), power) <= 3.5);
  }
}

TEST_CASE("Neumann random fields: a sample is the same function on every grid, and one of seed and index") {
  const NeumannFieldLaw law{2, 3};
  const int64_t n = 8, fine = 24;
  const at::Tensor coarse = neumann_random_field(law, n, 3, 4, 2), dense = neumann_random_field(law, fine, 3, 4, 2);
  const CosineTransform2d small(n), large(fine);
  at::Tensor a = at::empty({n, n}, at::kDouble), b = at::empty({fine, fine}, at::kDouble);
  small.forward(coarse[1].contiguous().const_data_ptr<double>(), a.mutable_data_ptr<double>());
  large.forward(dense[1].contiguous().const_data_ptr<double>(), b.mutable_data_ptr<double>());
  const at::Tensor low = b.narrow(0, 0, n).narrow(1, 0, n) * (static_cast<double>(n) / static_cast<double>(fine));
  REQUIRE((a - low).abs().max().item<double>() <= 1e-14);
  REQUIRE(at::equal(neumann_random_field(law, n, 3, 5, 1)[0], coarse[1]));
  REQUIRE_FALSE(at::equal(neumann_random_field(law, n, 4, 5, 1)[0], coarse[1]));
  REQUIRE_THROWS_AS(neumann_random_field(law, 0, 3, 0, 1), ShapeError);
  REQUIRE_THROWS_AS(neumann_random_field({2, -3}, n, 3, 0, 1), ConfigError);
}
