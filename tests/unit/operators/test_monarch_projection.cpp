// Projection: the nearest Monarch matrix, against the measured distance and the Eckart-Young optimum.
#include "monarch/operators/monarch/projection.hpp"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::operators;
using Catch::Matchers::Contains;
using test::relative_error;

namespace {

at::Tensor noise(std::vector<int64_t> shape, at::ScalarType dtype = at::kDouble, uint64_t seed = 1) {
  return Rng(seed, "projection").normal(std::move(shape), dtype);
}

MonarchFactors random_factors(const MonarchSizes& z, at::ScalarType dtype) {
  return {noise({z.k, z.q, z.p}, dtype, 11), noise({z.l, z.s, z.r}, dtype, 12)};
}

/// The distance that Eckart and Young allow, slice by slice and without the library's bookkeeping: the rank of slice
/// (k, j) is counted in the definition of the product.
double optimum(const at::Tensor& a, const MonarchSizes& z) {
  at::Tensor padded = at::zeros({z.out(), z.in()}, a.options());
  padded.narrow(0, 0, a.size(0)).narrow(1, 0, a.size(1)).copy_(a);
  double left_over = 0;
  for (int64_t k = 0; k < z.k; ++k) {
    for (int64_t j = 0; j < z.l; ++j) {
      int64_t rank = 0;
      for (int64_t q = 0; q < z.q; ++q) rank += (k * z.q + q) % z.l == j ? 1 : 0;
      const at::Tensor slice = padded.slice(0, j, std::nullopt, z.l).narrow(1, k * z.p, z.p);
      const at::Tensor sigma = at::linalg_svdvals(slice);
      for (int64_t c = rank; c < sigma.numel(); ++c) left_over += std::pow(sigma[c].item<double>(), 2);
    }
  }
  return std::sqrt(left_over) / at::linalg_norm(a).item<double>();
}

at::Tensor dense(const Projection& p, const at::Tensor& a) {
  return monarch_dense(p.factors.w1, p.factors.w2).narrow(0, 0, a.size(0)).narrow(1, 0, a.size(1));
}

/// l does and does not divide q; square, wide and tall; one block; many blocks; ranks 0, 1 and more.
const std::vector<MonarchSizes> shapes = {
    {4, 4, 4, 4, 4, 4}, {3, 4, 5, 4, 6, 3},   {4, 6, 12, 4, 12, 6}, {2, 6, 7, 3, 5, 4}, {5, 4, 4, 2, 9, 10},
    {1, 3, 6, 3, 2, 1}, {6, 2, 3, 1, 15, 12}, {4, 3, 5, 6, 7, 2},   {1, 4, 7, 1, 5, 4}, {8, 16, 24, 8, 9, 16}};

}  // namespace

TEST_CASE("Projection recovers a Monarch matrix to rounding, whatever its sizes") {
  const auto dtype = GENERATE(at::kDouble, at::kComplexDouble);
  for (const MonarchSizes& z : shapes) {
    const MonarchFactors f = random_factors(z, dtype);
    const at::Tensor a = monarch_dense(f.w1, f.w2);
    const Projection p = monarch_project(a, z);
    INFO(z.k << " " << z.q << " " << z.p << ", " << z.l << " " << z.s << " " << z.r);
    CHECK(monarch_sizes(p.factors.w1, p.factors.w2) == z);
    CHECK(p.factors.w1.scalar_type() == dtype);
    CHECK(p.relative_error <= 1e-14);
    CHECK(relative_error(dense(p, a), a) <= 1e-13);
    // Another matrix is not recovered, unless the sizes give every slice its full rank.
    const at::Tensor other = noise({z.out(), z.in()}, dtype);
    const bool full = z.q / z.l >= std::min(z.s, z.p);
    CHECK((relative_error(dense(monarch_project(other, z), other), other) >= 0.05) == !full);
  }
}

TEST_CASE("Projection: the stated error is the measured one and the Eckart-Young optimum") {
  const auto dtype = GENERATE(at::kDouble, at::kComplexDouble);
  for (const MonarchSizes& z : shapes) {
    // With missing rows and columns too.
    for (const int64_t missing : {0, 1}) {
      const int64_t rows = z.out() - std::min(missing, z.l - 1), columns = z.in() - std::min(missing, z.k - 1);
      const at::Tensor a = noise({rows, columns}, dtype);
      const Projection p = monarch_project(a, z);
      const at::Tensor whole = monarch_dense(p.factors.w1, p.factors.w2);
      const double measured = at::linalg_norm(dense(p, a) - a).item<double>() / at::linalg_norm(a).item<double>();
      INFO(z.k << " " << z.q << " " << z.p << ", " << z.l << " " << z.s << " " << z.r << ", missing " << missing);
      CHECK(std::abs(p.relative_error - measured) <= 1e-12);
      CHECK(std::abs(p.relative_error - optimum(a, z)) <= 1e-12);
      // Padding costs nothing: what lies outside of the matrix is zero.
      CHECK(at::linalg_norm(whole.narrow(0, rows, z.out() - rows)).item<double>() <= 1e-12);
      CHECK(at::linalg_norm(whole.narrow(1, columns, z.in() - columns)).item<double>() <= 1e-12);
      CHECK(p.spectrum.sizes() == at::IntArrayRef({z.k, z.l, std::min(z.s, z.p)}));
      CHECK(p.spectrum.diff(1, -1).le(0).all().item<bool>());
    }
  }
}

TEST_CASE("Projection: no Monarch matrix of the same sizes is nearer") {
  const MonarchSizes uneven{3, 6, 5, 4, 4, 4};
  const MonarchSizes even{2, 6, 7, 3, 5, 4};
  const at::Tensor a = noise({even.out(), even.in()});
  const Projection p = monarch_project(a, even);
  for (const double step : {1e-3, 1e-2, 0.3}) {
    const MonarchFactors f{p.factors.w1 + step * noise({2, 6, 7}, at::kDouble, 5),
                           p.factors.w2 + step * noise({3, 5, 4}, at::kDouble, 6)};
    CHECK(relative_error(monarch_dense(f.w1, f.w2), a) > p.relative_error);
  }
  // Rows that only reach some of the residues: k q = 18 is no multiple of l = 4.
  CHECK_THROWS_AS(monarch_project(noise({16, 15}), uneven), ShapeError);
}

TEST_CASE("Projection: sizes of a rank cover the matrix and give each slice that rank") {
  const MonarchSizes z = monarch_sizes_of_rank(3072, 768, 4, 4, 48);
  CHECK(z == MonarchSizes{4, 192, 192, 4, 768, 192});
  CHECK(z.parameters() == 737280);
  // Rectangular and with k and l far from the root, which the authors' projection refuses.
  const MonarchSizes odd = monarch_sizes_of_rank(37, 50, 3, 7, 2);
  CHECK(odd == MonarchSizes{3, 14, 17, 7, 6, 6});
  const at::Tensor a = noise({37, 50}, at::kComplexFloat);
  const Projection p = monarch_project(a, odd);
  CHECK(p.factors.w1.scalar_type() == at::kComplexFloat);
  CHECK(std::abs(relative_error(dense(p, a), a) - p.relative_error) <= 1e-6);
  // With all of the rank it is exact.
  CHECK(monarch_project(a, monarch_sizes_of_rank(37, 50, 3, 7, 6)).relative_error <= 1e-14);
}

TEST_CASE("Projection: zero, tiny and huge matrices") {
  const MonarchSizes z = monarch_sizes_of_rank(6, 6, 2, 2, 1);
  const Projection zero = monarch_project(at::zeros({6, 6}, at::kDouble), z);
  CHECK(zero.relative_error == 0);
  CHECK(monarch_dense(zero.factors.w1, zero.factors.w2).abs().max().item<double>() == 0);
  const at::Tensor a = noise({6, 6});
  const double error = monarch_project(a, z).relative_error;
  CHECK(error > 0.1);
  CHECK(std::abs(monarch_project(a * 1e200, z).relative_error - error) <= 1e-12);
  CHECK(std::abs(monarch_project(a * 1e-200, z).relative_error - error) <= 1e-12);
}

TEST_CASE("Projection refuses what it cannot do, and says what was found") {
  const MonarchSizes z = monarch_sizes_of_rank(8, 6, 2, 2, 1);
  at::Tensor a = noise({8, 6});
  CHECK_THROWS_AS(monarch_project(at::Tensor(), z), ShapeError);
  CHECK_THROWS_AS(monarch_project(noise({8}), z), ShapeError);
  CHECK_THROWS_AS(monarch_project(noise({0, 6}), z), ShapeError);
  CHECK_THROWS_AS(monarch_project(at::ones({8, 6}, at::kLong), z), DtypeError);
  CHECK_THROWS_WITH(monarch_project(noise({9, 6}), z), Contains("7 to 8 rows") && Contains("[9, 6]"));
  CHECK_THROWS_WITH(monarch_project(noise({8, 4}), z), Contains("5 to 6 columns") && Contains("[8, 4]"));
  CHECK_THROWS_WITH(monarch_project(a, {2, 3, 3, 2, 4, 2}), Contains("k*q = 6, l*r = 4"));
  CHECK_THROWS_WITH(monarch_project(a, {2, 8, 3, 2, 4, 8}), Contains("rank 4 of slices 4 x 3"));
  CHECK_THROWS_WITH(monarch_project(a, {2, 0, 3, 2, 4, 0}), Contains("an extent below 1"));
  CHECK_THROWS_WITH(monarch_sizes_of_rank(8, 6, 2, 2, 4), Contains("rank 4") && Contains("at most rank 3"));
  CHECK_THROWS_AS(monarch_sizes_of_rank(8, 0, 2, 2, 1), ShapeError);
  a[2][3] = std::numeric_limits<double>::quiet_NaN();
  a[5][0] = -std::numeric_limits<double>::infinity();
  CHECK_THROWS_AS(monarch_project(a, z), DataError);
  CHECK_THROWS_WITH(monarch_project(a, z), Contains("2 of 48 elements") && Contains("[2, 3]"));
}
