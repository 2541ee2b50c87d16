#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <tuple>

#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/mri/sense.hpp"
#include "monarch/mri/solvers.hpp"
#include "monarch/operators/coils.hpp"
#include "monarch/operators/composition.hpp"
#include "monarch/operators/fourier.hpp"
#include "monarch/operators/sampling.hpp"
#include "support/contract.hpp"
#include "support/phantom.hpp"
#include "support/support.hpp"

using namespace monarch;
using monarch::mri::CartesianSense;
using monarch::test::relative_error;

namespace {

at::Tensor random(std::vector<int64_t> shape, uint64_t seed) {
  return Rng(seed, "sense test").normal(std::move(shape), at::kComplexFloat);
}

// Random sampling that varies along the axes named in `along` only.
at::Tensor random_mask(const std::array<int64_t, 3>& extents, const std::string& along, uint64_t seed) {
  std::vector<int64_t> shape;
  for (size_t axis = 0; axis < 3; ++axis) {
    shape.push_back(along.find("zyx"[axis]) == std::string::npos ? 1 : extents[axis]);
  }
  const auto chosen = Rng(seed, "mask").normal(shape, at::kFloat).gt(0.2);
  return chosen.expand({extents[0], extents[1], extents[2]}).contiguous();
}

// The definition, in double precision: A x for x [map, z, y, x].
at::Tensor encode(const at::Tensor& maps, const at::Tensor& mask, const at::Tensor& x) {
  return test::centred_fft((maps * x.unsqueeze(1)).sum(0).to(at::kComplexDouble)) * mask;
}
at::Tensor encode_adjoint(const at::Tensor& maps, const at::Tensor& mask, const at::Tensor& y) {
  return (maps.conj() * test::centred_ifft((y * mask).to(at::kComplexDouble))).sum(1);
}

}  // namespace

TEST_CASE("cartesian sense: forward and adjoint and normal are the composition for any mask and parity") {
  struct Case {
    std::array<int64_t, 3> extents;
    std::string along;
    int64_t coils, maps;
  };
  const auto c = GENERATE(Case{{1, 16, 12}, "y", 3, 1}, Case{{1, 15, 13}, "y", 4, 1}, Case{{1, 17, 40}, "y", 2, 2},
                          Case{{1, 16, 12}, "x", 3, 1}, Case{{1, 37, 15}, "x", 4, 2}, Case{{1, 15, 14}, "yx", 3, 1},
                          Case{{1, 16, 21}, "yx", 5, 2}, Case{{1, 9, 10}, "", 3, 1}, Case{{6, 7, 20}, "zy", 3, 1},
                          Case{{5, 8, 9}, "zyx", 2, 2}, Case{{6, 5, 7}, "zx", 3, 1}, Case{{4, 6, 9}, "z", 2, 1},
                          Case{{3, 8, 33}, "y", 2, 2}, Case{{3, 5, 16}, "x", 2, 1}, Case{{1, 1, 9}, "x", 1, 1},
                          Case{{1, 1, 1}, "", 1, 1}, Case{{1, 11, 1}, "y", 2, 1}, Case{{2, 23, 50}, "yx", 2, 1});
  CAPTURE(c.extents, c.along, c.coils, c.maps);
  const auto [nz, ny, nx] = c.extents;
  const auto maps = random({c.maps, c.coils, nz, ny, nx}, 1);
  auto mask = random_mask(c.extents, c.along, 2);
  mask.index_put_({nz / 2, ny / 2, nx / 2}, true);
  if (c.along.empty()) mask.fill_(true);
  const CartesianSense a(maps, mask);
  const auto x = random({c.maps, nz, ny, nx}, 3);
  const auto y = random({c.coils, nz, ny, nx}, 4);
  const double tolerance = test::tolerance(at::kFloat, x.numel());

  REQUIRE(relative_error(a.apply(x), encode(maps, mask, x)) <= tolerance);
  REQUIRE(relative_error(a.adjoint(y), encode_adjoint(maps, mask, y)) <= tolerance);
  const auto normal = encode_adjoint(maps, mask, encode(maps, mask, x));
  REQUIRE(relative_error(a.normal(x), normal) <= tolerance);
  // The uncentred mask is what a missing shift would amount to: it must show.
  if (c.along == "y" && ny > 1) {
    REQUIRE(relative_error(CartesianSense(maps, mask.roll(1, 1)).normal(x), normal) > 100 * tolerance);
  }
  SECTION("batches are loops") {
    const auto batch = random({2, 3, c.maps, nz, ny, nx}, 5);
    const auto result = a.normal(batch);
    REQUIRE(relative_error(result[1][2], a.normal(batch[1][2])) <= tolerance);
    REQUIRE(relative_error(a.adjoint(a.apply(batch)), result) <= 4 * tolerance);
  }
  SECTION("the result does not depend on the number of threads") {
    const int before = at::get_num_threads();
    at::set_num_threads(1);
    const auto one = a.normal(x);
    at::set_num_threads(3);
    const auto three = a.normal(x);
    at::set_num_threads(before);
    REQUIRE(relative_error(one, three) <= tolerance);
  }
  SECTION("no eigenvalue exceeds the stated bound") {
    REQUIRE(mri::largest_eigenvalue(a, 50) <= a.norm_bound() * (1 + tolerance));
  }
}

TEST_CASE("cartesian sense: it is sampling times fourier times coils") {
  const std::array<int64_t, 3> extents = GENERATE(std::array<int64_t, 3>{1, 21, 34}, std::array<int64_t, 3>{5, 8, 18});
  const std::string along = GENERATE("y", "x", "yx", "zy");
  const auto [nz, ny, nx] = extents;
  const auto maps = random({2, 3, nz, ny, nx}, 21);
  const auto mask = random_mask(extents, along, 22);
  const CartesianSense fused(maps, mask);
  const auto space = fused.codomain();
  const operators::OperatorPtr coils = std::make_shared<const operators::CoilSensitivities>(maps);
  const operators::OperatorPtr fourier =
      std::make_shared<const operators::Fourier>(space, operators::FourierOptions{.dimensions = 3, .centred = true});
  const operators::OperatorPtr sampling = std::make_shared<const operators::Sampling>(space, mask);
  const auto composed = sampling * fourier * coils;
  REQUIRE(composed->domain() == fused.domain());
  REQUIRE(composed->codomain() == fused.codomain());
  const auto x = random({2, nz, ny, nx}, 23), y = random({3, nz, ny, nx}, 24);
  const double tolerance = test::tolerance(at::kFloat, x.numel());
  REQUIRE(relative_error(fused.apply(x), composed->apply(x)) <= tolerance);
  REQUIRE(relative_error(fused.adjoint(y), composed->adjoint(y)) <= tolerance);
  REQUIRE(relative_error(fused.normal(x), composed->normal(x)) <= tolerance);
}

TEST_CASE("cartesian sense: it keeps every law of the operator contract") {
  const std::string along = GENERATE("y", "x", "yx", "zy", "zyx", "");
  const std::array<int64_t, 3> extents = {along.find('z') == std::string::npos ? 1 : 3, 7, 6};
  auto mask = random_mask(extents, along, 31);
  if (along.empty()) mask.fill_(true);
  const CartesianSense a(random({2, 3, extents[0], 7, 6}, 32), mask);
  CAPTURE(along);
  const auto violations = test::contract_violations(a);
  CAPTURE(violations);
  REQUIRE(violations.empty());
}

TEST_CASE("cartesian sense: masks that sample everything or nothing give the Gram matrix of the maps or zero") {
  const auto maps = random({2, 3, 1, 8, 10}, 6);
  const auto x = random({2, 1, 8, 10}, 7);
  const CartesianSense all(maps, at::ones({1, 8, 10}, at::kBool));
  const auto expected = (maps.conj() * (maps * x.unsqueeze(1)).sum(0)).sum(1);
  REQUIRE(relative_error(all.normal(x), expected) <= test::tolerance(at::kFloat, 6));
  const CartesianSense none(maps, at::zeros({1, 8, 10}, at::kBool));
  REQUIRE(at::abs(none.normal(x)).max().item<float>() == 0);
}

TEST_CASE("cartesian sense: transforms go only along the axes that the mask depends on") {
  const auto maps = at::ones({1, 1, 4, 6, 8}, at::kComplexFloat);
  const auto axes = [&](const std::string& along) {
    auto mask = at::zeros({4, 6, 8}, at::kBool);
    for (size_t axis = 0; axis < 3; ++axis) {
      if (along.find("zyx"[axis]) != std::string::npos) mask.select(static_cast<int64_t>(axis), 0).fill_(true);
    }
    return CartesianSense(maps, mask).transformed_axes();
  };
  REQUIRE(axes("y") == std::array{false, true, false});
  REQUIRE(axes("zy") == std::array{true, true, false});
  REQUIRE(axes("x") == std::array{false, false, true});
  REQUIRE(axes("zx") == std::array{true, true, true});
  REQUIRE(axes("") == std::array{false, false, false});
}

TEST_CASE("cartesian sense: the input is not written and strides and conjugate views are read right") {
  const auto maps = random({1, 3, 1, 12, 9}, 8);
  const auto mask = random_mask({1, 12, 9}, "y", 9);
  const CartesianSense a(maps, mask);
  const auto x = random({1, 1, 12, 9}, 10);
  const auto kept = x.clone();
  const auto expected = a.normal(x).clone();
  REQUIRE(at::equal(x, kept));
  const auto transposed = x.transpose(2, 3).contiguous().transpose(2, 3);
  REQUIRE_FALSE(transposed.is_contiguous());
  REQUIRE(at::equal(a.normal(transposed), expected));
  REQUIRE(at::equal(a.normal(x.conj().resolve_conj().conj()), expected));
}

TEST_CASE("cartesian sense: gradients flow through apply") {
  const CartesianSense a(random({1, 2, 1, 6, 5}, 11), random_mask({1, 6, 5}, "y", 12));
  const auto y = random({2, 1, 6, 5}, 13);
  auto x = random({1, 1, 6, 5}, 14).requires_grad_();
  at::abs(a.apply(x) - y).square().sum().backward();
  const auto expected = 2 * a.adjoint(a.apply(x.detach()) - y);
  REQUIRE(relative_error(x.grad(), expected) <= 1e-5);
}

TEST_CASE("cartesian sense: arguments that do not fit are told") {
  const auto maps = at::ones({1, 2, 1, 4, 4}, at::kComplexFloat);
  const auto mask = at::ones({1, 4, 4}, at::kBool);
  REQUIRE_THROWS_AS(CartesianSense(maps[0], mask), ShapeError);
  REQUIRE_THROWS_AS(CartesianSense(maps, mask[0]), ShapeError);
  REQUIRE_THROWS_AS(CartesianSense(maps, at::ones({1, 4, 5}, at::kBool)), ShapeError);
  REQUIRE_THROWS_AS(CartesianSense(maps.to(at::kComplexDouble), mask), DtypeError);
  REQUIRE_THROWS_AS(CartesianSense(maps, mask.to(at::kFloat)), DtypeError);
  const CartesianSense a(maps, mask);
  REQUIRE_THROWS_AS(a.apply(at::ones({1, 4, 4}, at::kComplexFloat)[0]), ShapeError);
  REQUIRE_THROWS_AS(a.adjoint(at::ones({3, 1, 4, 4}, at::kComplexFloat)), ShapeError);
}
