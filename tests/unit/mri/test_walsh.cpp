#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>

#include "monarch/core/error.hpp"
#include "monarch/mri/calibration_region.hpp"
#include "monarch/mri/walsh.hpp"
#include "support/phantom.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::mri;
using Catch::Matchers::Contains;

namespace {

double map_difference(const at::Tensor& maps, const at::Tensor& truth, const at::Tensor& where) {
  const at::Tensor dot = (maps.conj() * truth).sum(0, true);
  const at::Tensor size = at::abs(dot);
  const at::Tensor phase = at::where(size > 0, dot / size, at::ones_like(dot));
  return test::relative_error(maps * phase * where, truth * where);
}

}  // namespace

TEST_CASE("Walsh maps of fully sampled images are the sensitivities up to a phase") {
  const bool volume = GENERATE(false, true);
  const test::Phantom phantom = test::make_phantom({.coils = 5, .z = volume ? 9 : 1, .y = 50, .x = 45});
  const at::Tensor images = test::centred_ifft(phantom.kspace);
  const at::Tensor maps = walsh_maps(images);
  const at::Tensor inside = at::abs(phantom.image) > 0.05;
  REQUIRE(map_difference(maps, phantom.sensitivities, inside) <= 0.12);
  const at::Tensor norms = at::linalg_vector_norm(maps, 2, {0});
  REQUIRE((norms.masked_select(inside) - 1).abs().max().item<double>() <= 1e-5);
  SECTION("exactly without a window") {
    REQUIRE(map_difference(walsh_maps(images, {.window = 1}), phantom.sensitivities, inside) <= 1e-4);
  }
  SECTION("independent of the unit") {
    REQUIRE(map_difference(walsh_maps(images * 1e-22), maps, inside) <= 1e-4);
  }
  SECTION("control: conjugated maps are not") {
    REQUIRE(map_difference(maps.conj().resolve_conj(), phantom.sensitivities, inside) > 0.3);
  }
}

TEST_CASE("Walsh covariance is averaged over the window cut off at the edges") {
  const test::Phantom phantom = test::make_phantom({.coils = 3, .z = 3, .y = 8, .x = 19});
  const at::Tensor images = test::centred_ifft(phantom.kspace) + 0.05;
  const at::Tensor maps = walsh_maps(images, {.window = 5, .iterations = 200});
  const std::array<int64_t, 3> pixel = GENERATE(std::array<int64_t, 3>{0, 0, 0}, std::array<int64_t, 3>{1, 4, 9},
                                                std::array<int64_t, 3>{2, 7, 18}, std::array<int64_t, 3>{1, 1, 17});
  at::Tensor near = images;
  for (size_t axis = 0; axis < 3; ++axis) {
    const int64_t n = images.size(static_cast<int64_t>(axis) + 1);
    const int64_t begin = std::max<int64_t>(0, pixel[axis] - 2), end = std::min(n, pixel[axis] + 3);
    near = near.narrow(static_cast<int64_t>(axis) + 1, begin, end - begin);
  }
  const at::Tensor flat = near.reshape({3, -1}).to(at::kComplexDouble);
  const at::Tensor vectors = std::get<1>(at::linalg_eigh(at::mm(flat, flat.mH())));
  const at::Tensor found = maps.select(1, pixel[0]).select(1, pixel[1]).select(1, pixel[2]).to(at::kComplexDouble);
  REQUIRE(std::abs(1 - at::abs((vectors.select(1, 2).conj() * found).sum()).item<double>()) <= 1e-4);
}

TEST_CASE("Walsh maps come from a calibration block as well") {
  const test::Phantom phantom = test::make_phantom({.y = 64, .x = 64});
  const at::Tensor block = centre_block(phantom.kspace, {24, 24, 1});
  const at::Tensor images = low_resolution_images(block, {64, 64, 1});
  REQUIRE(images.sizes() == phantom.kspace.sizes());
  REQUIRE(map_difference(walsh_maps(images), phantom.sensitivities, at::abs(phantom.image) > 0.05) <= 0.1);
  REQUIRE_THROWS_AS(low_resolution_images(block, {20, 64, 1}), ShapeError);
}

TEST_CASE("Walsh method refuses images and options that cannot work") {
  const at::Tensor images = at::ones({2, 1, 8, 8}, at::kComplexFloat);
  REQUIRE(at::abs(walsh_maps(at::zeros_like(images))).max().item<double>() == 0);
  REQUIRE_THROWS_AS(walsh_maps(images, {.window = 4}), ConfigError);
  REQUIRE_THROWS_AS(walsh_maps(images, {.iterations = 0}), ConfigError);
  REQUIRE_THROWS_AS(walsh_maps(images[0]), ShapeError);
  REQUIRE_THROWS_WITH(walsh_maps(images * std::nan("")), Contains("not a finite number"));
}
