#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "monarch/core/error.hpp"
#include "monarch/core/log.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/mri/arrays.hpp"
#include "monarch/mri/noise.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::mri;
using Catch::Matchers::Contains;

namespace {

// Correlated noise M n with n white, whose true covariance is M M^H.
at::Tensor mixing(int64_t coils) {
  Rng rng(3, "mixing");
  return at::eye(coils, at::kComplexFloat) + 0.3 * rng.normal({coils, coils}, at::kComplexFloat);
}

}  // namespace

TEST_CASE("noise covariance estimates the true one within its statistical error") {
  const int64_t coils = 6, samples = 40000;
  const at::Tensor m = mixing(coils);
  Rng rng(4);
  const at::Tensor covariance = noise_covariance(at::mm(m, rng.normal({coils, samples}, at::kComplexFloat)));
  const at::Tensor truth = at::mm(m, m.mH()).to(at::kComplexDouble);
  REQUIRE(covariance.scalar_type() == at::kComplexDouble);
  REQUIRE(test::relative_error(covariance, truth) <= 4 * coils / std::sqrt(static_cast<double>(samples)));
  REQUIRE(test::relative_error(covariance, covariance.mH()) <= 1e-14);
  SECTION("with the divisor N - 1 exactly") {
    const at::Tensor ones = at::ones({1, 5}, at::kComplexFloat);
    REQUIRE(std::abs(at::real(noise_covariance(ones)).item<double>() - 1.25) <= 1e-12);
  }
  SECTION("control: the transposed covariance is another matrix") {
    REQUIRE(test::relative_error(covariance.t(), truth) > 0.1);
  }
}

TEST_CASE("whitened noise has unit covariance") {
  const int64_t coils = GENERATE(1, 2, 8, 20);
  const at::Tensor noise = at::mm(mixing(coils), Rng(5).normal({coils, 4000}, at::kComplexFloat)) * 1e-5;
  const at::Tensor covariance = noise_covariance(noise);
  const Whitening whitening = prewhitening(covariance);
  const at::Tensor identity = at::eye(coils, at::kComplexDouble);
  REQUIRE(whitening.regularisation == 0);
  REQUIRE(whitening.condition >= 1);
  REQUIRE(test::relative_error(noise_covariance(mix_coils(whitening.matrix, noise)), identity) <= 1e-4);
  SECTION("the matrix is lower triangular") {
    REQUIRE(whitening.matrix.triu(1).abs().max().item<double>() == 0);
  }
  SECTION("and a scale s gives s squared") {
    const Whitening scaled = prewhitening(covariance, {.scale = 1.5});
    REQUIRE(test::relative_error(noise_covariance(mix_coils(scaled.matrix, noise)), 2.25 * identity) <= 1e-4);
  }
  SECTION("control: unwhitened noise has not") {
    REQUIRE(test::relative_error(covariance, identity) > 0.5);
  }
}

TEST_CASE("noise scale follows dwell times and receiver bandwidth") {
  REQUIRE(std::abs(noise_scale(10, 5, 0.8) - std::sqrt(2 * 2 * 0.8)) <= 1e-12);
  REQUIRE(std::abs(noise_scale(0, 5) - std::sqrt(2 * 0.793)) <= 1e-12);
  REQUIRE_THROWS_AS(noise_scale(-1, 5), DataError);
  REQUIRE_THROWS_AS(noise_scale(1, 5, std::nan("")), DataError);
}

TEST_CASE("a noise scan that cannot give a covariance ends in an error that says why") {
  SECTION("fewer samples than coils") {
    REQUIRE_THROWS_WITH(noise_covariance(Rng(1).normal({8, 8}, at::kComplexFloat)), Contains("8 samples are too few"));
  }
  SECTION("NaN or Inf") {
    at::Tensor noise = Rng(1).normal({2, 30}, at::kComplexFloat);
    noise[1][7] = GENERATE(std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity());
    REQUIRE_THROWS_WITH(noise_covariance(noise), Contains("[1, 7]"));
  }
  SECTION("another shape or type") {
    REQUIRE_THROWS_AS(noise_covariance(at::zeros({3}, at::kComplexFloat)), ShapeError);
    REQUIRE_THROWS_AS(noise_covariance(at::zeros({3, 10})), DtypeError);
    REQUIRE_THROWS_AS(noise_covariance({}), ShapeError);
  }
  SECTION("no noise at all") {
    REQUIRE_THROWS_WITH(prewhitening(at::zeros({3, 3}, at::kComplexDouble)), Contains("no coil has noise"));
  }
  SECTION("NaN in the covariance") {
    const at::Tensor covariance = at::full({2, 2}, std::nan(""), at::kComplexDouble);
    REQUIRE_THROWS_AS(prewhitening(covariance), DataError);
  }
}

TEST_CASE("a dead coil makes the covariance singular and is either regularised or refused") {
  log::set_level(log::Level::error);
  at::Tensor noise = Rng(1).normal({4, 1000}, at::kComplexFloat);
  SECTION("dead") {
    noise[2].zero_();
  }
  SECTION("connected twice") {
    noise[2].copy_(noise[1]);
  }
  const at::Tensor covariance = noise_covariance(noise);
  const Whitening whitening = prewhitening(covariance);
  REQUIRE(whitening.condition > 1e8);
  REQUIRE(whitening.regularisation > 0);
  REQUIRE(at::isfinite(whitening.matrix).all().item<bool>());
  const at::Tensor white = noise_covariance(mix_coils(whitening.matrix, noise));
  REQUIRE(std::abs(at::real(white[0][0]).item<double>() - 1) <= 1e-3);
  REQUIRE_THROWS_WITH(prewhitening(covariance, {.regularise = false}), Contains("singular"));
}
