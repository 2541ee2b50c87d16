#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include "monarch/core/error.hpp"
#include "monarch/mri/calibration_region.hpp"
#include "support/phantom.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::mri;
using Catch::Matchers::Contains;
using data::Extent3;

namespace {

data::KSpace scan(const at::Tensor& mask) {
  data::KSpace k;
  const auto shape = mask.sizes();
  k.samples = test::make_phantom({.coils = 2, .z = shape[0], .y = shape[1], .x = shape[2]}).kspace * mask;
  k.mask = mask;
  return k;
}

}  // namespace

TEST_CASE("the calibration region is the largest fully sampled centred block") {
  const int64_t n = GENERATE(64, 65), lines = GENERATE(7, 24, 25);
  SECTION("along y") {
    const at::Tensor mask = test::line_mask({1, n, 50}, 1, 4, (n / 2 + 2) % 4, lines);
    REQUIRE(calibration_extent(mask) == Extent3{50, lines, 1});
    REQUIRE(calibration_extent(mask, 16) == Extent3{16, std::min<int64_t>(16, lines), 1});
  }
  SECTION("along x") {
    const at::Tensor mask = test::line_mask({1, 30, n}, 2, 4, (n / 2 + 2) % 4, lines);
    REQUIRE(calibration_extent(mask) == Extent3{lines, 30, 1});
  }
  SECTION("in a volume") {
    at::Tensor mask = at::zeros({20, n, 12}, at::kBool);
    centre_block(mask, {12, lines, 9}).fill_(true);
    REQUIRE(calibration_extent(mask) == Extent3{12, lines, 9});
  }
}

TEST_CASE("a calibration region of elliptical sampling is inside the ellipse") {
  const at::Tensor z = at::arange(32, at::kDouble) - 16, y = at::arange(40, at::kDouble) - 20;
  const at::Tensor mask =
      ((z.view({-1, 1, 1}) / 8).square() + (y.view({1, -1, 1}) / 12).square() <= 1).expand({32, 40, 6}).contiguous();
  const Extent3 extent = calibration_extent(mask);
  REQUIRE(extent[0] == 6);
  REQUIRE(centre_block(mask, extent).all().item<bool>());
  REQUIRE(extent[1] >= 13);
  REQUIRE(extent[2] >= 11);
  REQUIRE_FALSE(centre_block(mask, {6, extent[1] + 2, extent[2]}).all().item<bool>());
}

TEST_CASE("the sampled centre may reach further on one side than on the other") {
  at::Tensor mask = at::zeros({1, 64, 8}, at::kBool);
  mask.narrow(1, 24, 20).fill_(true);
  REQUIRE(calibration_extent(mask) == Extent3{8, 17, 1});
  const SampledBox box = sampled_centre(mask);
  REQUIRE(box.first == Extent3{0, 24, 0});
  REQUIRE(box.extent == Extent3{8, 20, 1});
}

TEST_CASE("the calibration block comes from marked lines or from imaging lines whichever is larger") {
  data::KSpace k = scan(test::line_mask({1, 64, 32}, 1, 2, 0, 12));
  SECTION("imaging") {
    const CalibrationBlock block = calibration_block(k, 24, 6);
    REQUIRE(block.source == "imaging lines");
    REQUIRE(block.extent[0] == 24);
    REQUIRE(block.extent[1] >= 12);
    REQUIRE(at::equal(block.samples, centre_block(k.samples, block.extent).contiguous()));
  }
  SECTION("marked") {
    k.calibration_mask = test::line_mask({1, 64, 32}, 1, 64, 32, 20);
    k.calibration = k.samples * 2;
    const CalibrationBlock block = calibration_block(k, 0, 6);
    REQUIRE(block.source == "calibration lines");
    REQUIRE(block.extent == Extent3{32, 20, 1});
    REQUIRE(at::equal(block.samples, centre_block(k.calibration, block.extent).contiguous()));
  }
  REQUIRE(has_calibration(k, 6));
}

TEST_CASE("without a calibration region the error says what was found") {
  const data::KSpace k = scan(test::line_mask({1, 64, 32}, 1, 2, 0));
  REQUIRE_FALSE(has_calibration(k, 6));
  REQUIRE_THROWS_WITH(calibration_block(k, 24, 6), Contains("[24, 1, 1]") && Contains("no line is marked"));
  REQUIRE(calibration_extent(at::zeros({1, 8, 8}, at::kBool)) == Extent3{0, 0, 0});
  REQUIRE_THROWS_AS(calibration_extent(at::zeros({8, 8}, at::kBool)), ShapeError);
  REQUIRE_THROWS_AS(calibration_extent(at::zeros({1, 8, 8})), DtypeError);
  REQUIRE_THROWS_AS(centre_block(k.samples, {40, 4, 1}), ShapeError);
  SECTION("a matrix smaller than the kernel can still be calibrated whole along that axis") {
    REQUIRE(has_calibration(scan(at::ones({3, 32, 32}, at::kBool)), 6));
  }
}
