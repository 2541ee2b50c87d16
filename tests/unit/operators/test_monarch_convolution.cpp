// Circulants, Toeplitz matrices, shifts, convolutions and products of order p.
#include "monarch/operators/monarch/convolution.hpp"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <numbers>

#include "fftw_truth.hpp"
#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/operators/monarch/order.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::operators;
using Catch::Matchers::Contains;
using test::fftw_dft;
using test::relative_error;

namespace {

at::Tensor noise(std::vector<int64_t> shape, at::ScalarType dtype = at::kDouble, uint64_t seed = 1) {
  return Rng(seed, "convolution").normal(std::move(shape), dtype);
}

at::Tensor circulant_dense(const at::Tensor& column) {
  const int64_t n = column.size(0);
  const at::Tensor i = at::arange(n, at::kLong);
  return column.index_select(0, at::remainder(i.unsqueeze(1) - i, n).flatten()).view({n, n});
}

at::Tensor toeplitz_dense(const at::Tensor& column, const at::Tensor& row) {
  at::Tensor t = at::empty({column.size(0), row.size(0)}, column.options());
  for (int64_t i = 0; i < column.size(0); ++i) {
    for (int64_t j = 0; j < row.size(0); ++j) t[i][j] = i >= j ? column[i - j] : row[j - i];
  }
  return t;
}

at::Tensor dense(const MonarchPair& pair) {
  return pair_multiply(at::eye(pair.columns, pair.right.w1.options()), pair).transpose(0, 1);
}

/// The sum of the definition.
at::Tensor direct(const at::Tensor& x, const at::Tensor& kernel, ConvolutionMode mode) {
  at::Tensor y = at::zeros_like(x);
  const int64_t n = x.size(-1), m = kernel.size(1);
  for (int64_t t = 0; t < n; ++t) {
    for (int64_t s = 0; s < m; ++s) {
      if (mode == ConvolutionMode::causal && s > t) continue;
      y.select(-1, t) += kernel.select(1, s) * x.select(-1, (t - s + n) % n);
    }
  }
  return y;
}

/// The same by FFTW, zero-padded to twice the length where it is causal.
at::Tensor by_fftw(const at::Tensor& x, const at::Tensor& kernel, ConvolutionMode mode) {
  const int64_t n = x.size(-1), length = mode == ConvolutionMode::causal ? 2 * n : n;
  const auto spectrum = [&](const at::Tensor& t) {
    return fftw_dft(at::constant_pad_nd(t, {0, length - t.size(-1)}), false);
  };
  const at::Tensor y = fftw_dft(spectrum(x) * spectrum(kernel), true).narrow(-1, 0, n) / static_cast<double>(length);
  return x.is_complex() ? y : at::real(y);
}

const auto modes = {ConvolutionMode::circular, ConvolutionMode::causal};

}  // namespace

TEST_CASE("Circulant matrices are MM*, exactly, for any length") {
  for (const int64_t n : {1, 2, 3, 4, 7, 12, 15, 36, 61, 64, 97, 100}) {
    for (const auto dtype : {at::kDouble, at::kComplexDouble}) {
      const at::Tensor column = noise({n}, dtype), expected = circulant_dense(column);
      INFO("n " << n);
      CHECK(relative_error(dense(monarch_circulant(column)), expected.to(at::kComplexDouble)) <= 1e-13);
      if (n > 2) CHECK(relative_error(dense(monarch_circulant(column)), expected.t().to(at::kComplexDouble)) > 0.1);
      if (dtype == at::kDouble) {
        const MonarchPair real = monarch_circulant(column, true);
        CHECK(real.left.w1.scalar_type() == at::kDouble);
        CHECK(relative_error(dense(real), expected) <= 1e-13);
        const at::Tensor x = noise({2, n});
        CHECK(relative_error(pair_operator(real)->apply(x), at::matmul(x, expected.t())) <= 1e-13);
        CHECK(relative_error(pair_operator(real)->adjoint(x), at::matmul(x, expected)) <= 1e-13);
      }
    }
  }
  // Square sizes without padding: the number of weights of a member of MM* in two pairs.
  const MonarchPair pair = monarch_circulant(noise({64}));
  CHECK(monarch_sizes(pair.left.w1, pair.left.w2) == MonarchSizes{8, 8, 8, 8, 8, 8});
  CHECK_THROWS_AS(monarch_circulant(noise({3, 3})), ShapeError);
  CHECK_THROWS_AS(monarch_circulant(noise({4}, at::kComplexDouble), true), DtypeError);
  at::Tensor broken = noise({4});
  broken[1] = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_AS(monarch_circulant(broken), DataError);
}

TEST_CASE("Toeplitz matrices are corners of MM*, square and rectangular") {
  for (const auto& [m, n] : {std::pair<int64_t, int64_t>{1, 1}, {5, 5}, {12, 7}, {7, 30}, {1, 9}, {9, 1}, {33, 32}}) {
    for (const auto dtype : {at::kDouble, at::kComplexDouble}) {
      const at::Tensor column = noise({m}, dtype, 1), row = noise({n}, dtype, 2);
      const at::Tensor expected = toeplitz_dense(column, row);
      INFO(m << " x " << n);
      CHECK(relative_error(dense(monarch_toeplitz(column, row)), expected.to(at::kComplexDouble)) <= 1e-13);
      if (dtype == at::kDouble) CHECK(relative_error(dense(monarch_toeplitz(column, row, true)), expected) <= 1e-13);
    }
  }
  CHECK_THROWS_AS(monarch_toeplitz(noise({3}), noise({3}, at::kFloat)), DtypeError);
}

TEST_CASE("Fractional shifts: whole ones roll, they add up, and a sampled wave moves") {
  for (const int64_t n : {4, 7, 12, 15, 64}) {
    const at::Tensor x = noise({n});
    for (const int64_t steps : {0, 1, -3, 5, 1000003}) {
      const auto pair = monarch_fractional_shift(n, static_cast<double>(steps), true);
      CHECK(relative_error(pair_multiply(x, pair), at::roll(x, steps % n, 0)) <= 1e-13);
    }
    for (const double shift : {0.25, -2.7, 11.4}) {
      const at::Tensor t = at::arange(n, at::kDouble) * (2 * std::numbers::pi / static_cast<double>(n));
      const auto moved = [&](double by) {
        return at::cos(t - 2 * std::numbers::pi / static_cast<double>(n) * by + 0.3);
      };
      const auto pair = monarch_fractional_shift(n, shift, true);
      CHECK(relative_error(pair_multiply(moved(0), pair), moved(shift)) <= 1e-13);
      CHECK(relative_error(pair_multiply(moved(0), pair), moved(-shift)) > 0.03);
      // The complex factors say the same.
      CHECK(relative_error(pair_multiply(x, monarch_fractional_shift(n, shift)),
                           pair_multiply(x, pair).to(at::kComplexDouble)) <= 1e-13);
      if (n % 2 == 1) {
        const auto back = monarch_fractional_shift(n, -shift, true);
        CHECK(relative_error(pair_multiply(pair_multiply(x, pair), back), x) <= 1e-13);
      }
    }
  }
  CHECK_THROWS_AS(monarch_fractional_shift(8, std::nan("")), DataError);
  CHECK_THROWS_AS(monarch_fractional_shift(0, 1), ShapeError);
}

TEST_CASE("Monarch convolution equals the direct sum and FFTW, real and complex, circular and causal") {
  for (const auto dtype : {at::kDouble, at::kComplexDouble}) {
    for (const auto mode : modes) {
      for (const auto& [n, m] : {std::pair<int64_t, int64_t>{1, 1},
                                 {2, 2},
                                 {3, 2},
                                 {13, 13},
                                 {16, 16},
                                 {30, 7},
                                 {64, 64},
                                 {61, 5},
                                 {210, 210}}) {
        for (const int64_t batch : {1, 2, 5}) {
          const at::Tensor x = noise({batch, 3, n}, dtype), kernel = noise({3, m}, dtype, 2);
          const at::Tensor y = monarch_convolution(x, kernel, mode);
          INFO("n " << n << ", m " << m << ", batch " << batch);
          CHECK(y.scalar_type() == dtype);
          CHECK(relative_error(y, direct(x, kernel, mode)) <= 1e-13);
          CHECK(relative_error(y, by_fftw(x, kernel, mode)) <= 1e-13);
        }
      }
    }
    const at::Tensor x = noise({2, 1000}, dtype), kernel = noise({2, 1000}, dtype, 2);
    for (const auto mode : modes) {
      CHECK(relative_error(monarch_convolution(x, kernel, mode), by_fftw(x, kernel, mode)) <= 1e-13);
    }
    // The two modes are told apart.
    CHECK(relative_error(monarch_convolution(x, kernel, ConvolutionMode::causal),
                         by_fftw(x, kernel, ConvolutionMode::circular)) > 0.1);
  }
  const at::Tensor x = noise({3, 2, 64}, at::kFloat), kernel = noise({2, 64}, at::kFloat, 2);
  CHECK(relative_error(monarch_convolution(x, kernel, ConvolutionMode::causal),
                       by_fftw(x, kernel, ConvolutionMode::causal)) <= 1e-6);
  CHECK(ConvolutionPlan(64, 64, ConvolutionMode::circular, at::kFloat).transform_length() == 64);
  CHECK(ConvolutionPlan(64, 64, ConvolutionMode::causal, at::kFloat).transform_length() == 128);
}

TEST_CASE("Monarch convolution: gradients are those of the direct sum") {
  for (const auto dtype : {at::kDouble, at::kComplexDouble}) {
    for (const auto mode : modes) {
      const auto gradients = [&](auto&& convolve) {
        const at::Tensor x = noise({3, 2, 15}, dtype).set_requires_grad(true);
        const at::Tensor kernel = noise({2, 6}, dtype, 2).set_requires_grad(true);
        const at::Tensor y = convolve(x, kernel), weight = noise({3, 2, 15}, dtype, 3);
        at::real(y * y.conj() * weight).sum().backward();
        return at::cat({x.grad().flatten(), kernel.grad().flatten()});
      };
      const at::Tensor ours = gradients([&](auto&& x, auto&& k) { return monarch_convolution(x, k, mode); });
      const at::Tensor truth = gradients([&](auto&& x, auto&& k) {
        at::Tensor y = at::zeros({3, 2, 15}, x.options().requires_grad(false));
        for (int64_t s = 0; s < 6; ++s) {
          const at::Tensor moved = mode == ConvolutionMode::circular
                                       ? at::roll(x, s, 2)
                                       : at::constant_pad_nd(x.narrow(2, 0, 15 - s), {s, 0});
          y = y + k.narrow(1, s, 1) * moved;
        }
        return y;
      });
      CHECK(relative_error(ours, truth) <= 1e-13);
    }
  }
}

TEST_CASE("Monarch convolution refuses what does not fit") {
  const at::Tensor x = noise({2, 3, 8});
  CHECK_THROWS_WITH(monarch_convolution(x, noise({3, 9}), ConvolutionMode::causal), Contains("9 elements"));
  CHECK_THROWS_WITH(monarch_convolution(x, noise({2, 8}), ConvolutionMode::causal), Contains("[..., 2, 8]"));
  CHECK_THROWS_AS(monarch_convolution(x, noise({3, 8}, at::kFloat), ConvolutionMode::causal), DtypeError);
  CHECK_THROWS_AS(monarch_convolution(x.to(at::kHalf), noise({3, 8}).to(at::kHalf), ConvolutionMode::causal),
                  DtypeError);
  CHECK_THROWS_AS(monarch_convolution(noise({8}), noise({1, 8}), ConvolutionMode::causal), ShapeError);
  CHECK_THROWS_AS(monarch_convolution(x, noise({8}), ConvolutionMode::causal), ShapeError);
}

TEST_CASE("Order-p DFT equals FFTW for every factorisation of the length") {
  const std::vector<std::vector<int64_t>> all = {
      {4, 4},  {2, 3, 5},  {5, 3, 2},    {4, 4, 4},    {2, 2, 2, 2, 2}, {7, 1, 3},       {1, 11},
      {13, 2}, {8, 16, 8}, {3, 3, 3, 3}, {10, 10, 10}, {6, 5, 4, 3},    {2, 3, 2, 5, 7}, {16, 16, 16}};
  for (const auto& digits : all) {
    int64_t n = 1;
    for (const int64_t d : digits) n *= d;
    const at::Tensor x = noise({2, n}, at::kComplexDouble);
    for (const bool inverse : {false, true}) {
      for (const bool centred : {false, true}) {
        for (const auto normalisation : {Normalisation::none, Normalisation::ortho, Normalisation::inverse}) {
          const TransformOptions options{inverse, centred, normalisation};
          const OrderFactors f = order_dft(digits, options);
          INFO("n " << n << ", order " << digits.size());
          REQUIRE(f.factors.size() == digits.size());
          REQUIRE(relative_error(order_multiply(x.index_select(1, f.input), f.factors), fftw_dft(x, options)) <= 1e-13);
        }
      }
    }
  }
  // Order 3 needs fewer weights than order 2.
  const auto weights = [](const OrderFactors& f) {
    int64_t sum = 0;
    for (const at::Tensor& w : f.factors) sum += w.numel();
    return sum;
  };
  CHECK(weights(order_dft({16, 16, 16})) == 4096 * 48);
  CHECK(weights(order_dft({64, 64})) == 4096 * 128);
  CHECK_THROWS_AS(order_dft({16}), ShapeError);
  CHECK_THROWS_AS(order_dft({4, 0}), ShapeError);
}

TEST_CASE("Order 2 is the Monarch product, and order p is its dense factors") {
  for (const auto dtype : {at::kDouble, at::kComplexDouble}) {
    const at::Tensor w1 = noise({3, 4, 5}, dtype, 1), w2 = noise({4, 6, 3}, dtype, 2), x = noise({2, 15}, dtype);
    CHECK(relative_error(order_multiply(x, {w1, w2}), monarch_multiply(x, w1, w2)) == 0);
    // Against a loop over a grid [2, 3, 5] -> [4, 2, 3].
    const std::vector<at::Tensor> w = {noise({6, 3, 5}, dtype, 3), noise({6, 2, 3}, dtype, 4),
                                       noise({6, 4, 2}, dtype, 5)};
    const at::Tensor grid = noise({2, 3, 5}, dtype, 6);
    const at::Tensor a = at::einsum("abmc,abc->abm", {w[0].view({2, 3, 3, 5}), grid});  // axis 3: 5 -> 3
    const at::Tensor b = at::einsum("manb,abm->anm", {w[1].view({3, 2, 2, 3}), a});     // axis 2: 3 -> 2
    const at::Tensor c = at::einsum("nmka,anm->knm", {w[2].view({2, 3, 4, 2}), b});     // axis 1: 2 -> 4
    CHECK(relative_error(order_multiply(grid.flatten(), w), c.flatten()) <= 1e-14);
    const at::Tensor y = noise({24}, dtype, 7);
    const auto inner = [](const at::Tensor& p, const at::Tensor& q) { return (p * q.conj()).sum(); };
    CHECK(relative_error(inner(order_multiply(grid.flatten(), w), y), inner(grid.flatten(), order_adjoint(y, w))) <=
          1e-13);
  }
  CHECK_THROWS_WITH(order_multiply(noise({15}), {noise({3, 4, 5}), noise({5, 6, 3})}), Contains("12 rows, 15 columns"));
  CHECK_THROWS_WITH(order_multiply(noise({14}), {noise({3, 4, 5})}), Contains("[..., 15]") && Contains("[14]"));
  CHECK_THROWS_AS(order_multiply(noise({14}), {}), ShapeError);
}
