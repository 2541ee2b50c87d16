// MM* and M*M: products, propositions of the paper, and factorisation.
#include "monarch/operators/monarch/mm_star.hpp"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/operators/composition.hpp"
#include "monarch/operators/monarch/transform.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::operators;
using Catch::Matchers::Contains;
using test::relative_error;

namespace {

at::Tensor noise(std::vector<int64_t> shape, at::ScalarType dtype = at::kDouble, uint64_t seed = 1) {
  return Rng(seed, "mm star").normal(std::move(shape), dtype);
}

MonarchFactors square(int64_t n, int64_t b, at::ScalarType dtype, uint64_t seed) {
  return {noise({n / b, b, b}, dtype, seed), noise({b, n / b, n / b}, dtype, seed + 100)};
}

at::Tensor dense(const MonarchFactors& f) {
  return monarch_dense(f.w1, f.w2);
}
at::Tensor eye_like(const at::Tensor& w, int64_t n) {
  return at::eye(n, w.options());
}
at::Tensor mm_star_dense(const ThreeFactors& f) {
  return mm_star_multiply(eye_like(f.left, f.left.size(0) * f.left.size(1)), f).transpose(0, 1);
}
at::Tensor m_star_m_dense(const ThreeFactors& f) {
  return m_star_m_multiply(eye_like(f.left, f.left.size(0) * f.left.size(1)), f).transpose(0, 1);
}

/// The paper's permutation P_(b,n): P[sigma(i), i] = 1 with sigma(i) = (i mod b) n/b + i div b.
at::Tensor permutation(int64_t b, int64_t n, at::ScalarType dtype) {
  at::Tensor p = at::zeros({n, n}, dtype);
  for (int64_t i = 0; i < n; ++i) p[i % b * (n / b) + i / b][i] = 1;
  return p;
}

at::Tensor block_diagonal(const at::Tensor& w) {
  std::vector<at::Tensor> blocks;
  for (int64_t i = 0; i < w.size(0); ++i) blocks.push_back(w[i]);
  return at::block_diag(blocks);
}

}  // namespace

TEST_CASE("MM* and M*M are the products of the dense matrices, rectangular ones too") {
  const auto dtype = GENERATE(at::kDouble, at::kComplexDouble);
  const MonarchFactors a{noise({3, 4, 5}, dtype, 1), noise({2, 7, 6}, dtype, 2)};   // 14 x 15
  const MonarchFactors b{noise({5, 4, 3}, dtype, 3), noise({10, 2, 2}, dtype, 4)};  // 20 x 15
  const MonarchFactors c{noise({4, 5, 3}, dtype, 5), noise({2, 7, 10}, dtype, 6)};  // 14 x 12
  const at::Tensor x = noise({2, 20}, dtype), z = noise({2, 12}, dtype);
  CHECK(relative_error(mm_star_multiply(x, a, b), at::matmul(x, at::matmul(dense(a), dense(b).mH()).t())) <= 1e-14);
  CHECK(relative_error(m_star_m_multiply(z, a, c), at::matmul(z, at::matmul(dense(a).mH(), dense(c)).t())) <= 1e-14);
  CHECK(relative_error(mm_star(a, b)->apply(x), mm_star_multiply(x, a, b)) <= 1e-15);
  CHECK(relative_error(m_star_m(a, c)->apply(z), m_star_m_multiply(z, a, c)) <= 1e-15);
  // Leading parts.
  const at::Tensor part = mm_star(a, b, 13, 12)->apply(x.narrow(1, 0, 12));
  const at::Tensor matrix = at::matmul(dense(a), dense(b).mH()).narrow(0, 0, 13).narrow(1, 0, 12);
  CHECK(relative_error(part, at::matmul(x.narrow(1, 0, 12), matrix.t())) <= 1e-14);
  CHECK_THROWS_WITH(mm_star(a, c), Contains("15 and 12"));
  CHECK_THROWS_WITH(m_star_m_multiply(x, a, b), Contains("14 and 20"));
  CHECK_THROWS_AS(mm_star_multiply(z, a, b), ShapeError);
  CHECK_THROWS_AS(mm_star_factors(a, b), ShapeError);
}

TEST_CASE("Proposition 13: a member of MM* is (P^T L1 P) R (P^T L2 P)") {
  const auto dtype = GENERATE(at::kDouble, at::kComplexDouble);
  for (const auto& [n, b] : {std::pair<int64_t, int64_t>{64, 8}, {96, 8}, {12, 4}, {12, 1}, {12, 12}}) {
    const MonarchFactors m1 = square(n, b, dtype, 1), m2 = square(n, b, dtype, 2);
    const at::Tensor product = at::matmul(dense(m1), dense(m2).mH());
    const ThreeFactors f = mm_star_factors(m1, m2);
    const at::Tensor p = permutation(b, n, dtype), inner = block_diagonal(f.middle);
    const at::Tensor left = at::matmul(p.t(), at::matmul(block_diagonal(f.left), p));
    const at::Tensor right = at::matmul(p.t(), at::matmul(block_diagonal(f.right), p));
    CHECK(relative_error(at::matmul(left, at::matmul(inner, right)), product) <= 1e-13);
    CHECK(relative_error(mm_star_dense(f), product) <= 1e-13);
    CHECK(f.left.numel() + f.middle.numel() + f.right.numel() == 2 * n * n / b + n * b);
  }
}

TEST_CASE("Proposition 14: P maps M*M with b to MM* with n/b") {
  const auto dtype = GENERATE(at::kDouble, at::kComplexDouble);
  for (const auto& [n, b] : {std::pair<int64_t, int64_t>{64, 8}, {96, 8}, {12, 4}, {12, 3}}) {
    const MonarchFactors m1 = square(n, b, dtype, 1), m2 = square(n, b, dtype, 2);
    const at::Tensor product = at::matmul(dense(m1).mH(), dense(m2));
    const ThreeFactors f = m_star_m_factors(m1, m2);
    CHECK(relative_error(m_star_m_dense(f), product) <= 1e-13);
    const at::Tensor p = permutation(b, n, dtype);
    CHECK(relative_error(mm_star_dense(f), at::matmul(p, at::matmul(product, p.t()))) <= 1e-13);
    if (b * b != n) CHECK(relative_error(mm_star_dense(f), at::matmul(p.t(), at::matmul(product, p))) > 0.5);
  }
}

TEST_CASE("Algorithm 2 factors members of MM* and M*M to 1e-9, real and complex") {
  const auto dtype = GENERATE(at::kDouble, at::kComplexDouble);
  for (const auto& [n, b] : {std::pair<int64_t, int64_t>{64, 8},
                             {96, 8},
                             {96, 12},
                             {144, 12},
                             {144, 9},
                             {256, 16},
                             {256, 32},
                             {12, 1},
                             {12, 12},
                             {12, 6}}) {
    for (uint64_t seed = 1; seed <= (n <= 96 ? 2u : 1u); ++seed) {
      const MonarchFactors m1 = square(n, b, dtype, 10 * seed), m2 = square(n, b, dtype, 10 * seed + 1);
      const at::Tensor one = at::matmul(dense(m1), dense(m2).mH()), two = at::matmul(dense(m1).mH(), dense(m2));
      const Factorisation f = factor_mm_star(one, b), g = factor_m_star_m(two, b);
      INFO("n " << n << ", b " << b << ", seed " << seed);
      CHECK(f.factors.left.scalar_type() == dtype);
      CHECK(f.factors.left.sizes() == at::IntArrayRef({b, n / b, n / b}));
      CHECK(g.factors.left.sizes() == at::IntArrayRef({n / b, b, b}));
      CHECK(f.relative_error <= 1e-9);
      CHECK(relative_error(mm_star_dense(f.factors), one) <= 1e-9);
      CHECK(relative_error(m_star_m_dense(g.factors), two) <= 1e-9);
      CHECK(std::abs(relative_error(mm_star_dense(f.factors), one) - f.relative_error) <= 1e-12);
    }
  }
}

TEST_CASE("Algorithm 2 finds complex factors of a real matrix, and works around zeros of the middle factor") {
  // A circulant matrix is F^H D F, in MM* for b = sqrt(n); its eigenvectors are complex.
  const at::Tensor kernel = noise({36}), index = at::arange(36, at::kLong);
  const at::Tensor circulant =
      kernel.index_select(0, at::remainder(index.unsqueeze(1) - index, 36).flatten()).view({36, 36});
  const Factorisation real = factor_mm_star(circulant, 6);
  CHECK(real.relative_error <= 1e-9);
  CHECK(real.factors.left.scalar_type() == at::kComplexDouble);
  // Zeros of the middle factor off the best row and column do no harm.
  const MonarchFactors m1 = square(64, 8, at::kDouble, 4), m2 = square(64, 8, at::kDouble, 5);
  ThreeFactors three = mm_star_factors(m1, m2);
  three.middle = three.middle.clone();
  three.middle[3][2][5] = 0;
  three.middle[0][2][1] = 0;
  CHECK(factor_mm_star(mm_star_dense(three), 8).relative_error <= 1e-9);
}

TEST_CASE("Algorithm 2 says where its assumptions fail") {
  const MonarchFactors m1 = square(64, 8, at::kDouble, 1), m2 = square(64, 8, at::kDouble, 2);
  const at::Tensor a = at::matmul(dense(m1), dense(m2).mH());
  CHECK_THROWS_WITH(factor_mm_star(a.narrow(0, 0, 32), 8), Contains("square") && Contains("[32, 64]"));
  CHECK_THROWS_WITH(factor_mm_star(a, 7), Contains("b = 7 does not divide n = 64"));
  CHECK_THROWS_AS(factor_mm_star(a, 0), ShapeError);
  CHECK_THROWS_AS(factor_m_star_m(a.to(at::kLong), 8), DtypeError);
  // Another b, another class: not a member.
  CHECK_THROWS_AS(factor_mm_star(a, 16), DataError);
  CHECK_THROWS_WITH(factor_mm_star(noise({64, 64}), 8), Contains("relative error") && Contains("not in the class"));
  // A singular block of the left factor makes a whole row of blocks singular.
  ThreeFactors f = mm_star_factors(m1, m2);
  f.left = f.left.clone();
  f.left[3].select(1, 2).copy_(f.left[3].select(1, 5));
  CHECK_THROWS_AS(factor_mm_star(mm_star_dense(f), 8), DataError);
  CHECK_THROWS_WITH(factor_mm_star(mm_star_dense(f), 8), Contains("singular") && Contains("block (3, "));
  // Zeros in every row and column of the middle factor.
  f = mm_star_factors(m1, m2);
  f.middle = f.middle.clone();
  for (int64_t i = 0; i < 8; ++i) f.middle[1][i][i] = 0;
  CHECK_THROWS_WITH(factor_mm_star(mm_star_dense(f), 8), Contains("singular"));
  CHECK_THROWS_AS(factor_mm_star(at::zeros({64, 64}, at::kDouble), 8), DataError);
  at::Tensor broken = a.clone();
  broken[5][6] = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_WITH(factor_mm_star(broken, 8), Contains("NaN"));
}
