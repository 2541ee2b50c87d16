#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>

#include "monarch/core/error.hpp"
#include "monarch/core/log.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/mri/calibration_region.hpp"
#include "monarch/mri/grappa.hpp"
#include "support/phantom.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::mri;
using Catch::Matchers::Contains;

namespace {

using Index3 = std::array<int64_t, 3>;

// A block around DC of the fully sampled data, `lines` wide along undersampled axes and whole along the others.
at::Tensor calibration(const at::Tensor& kspace, const at::Tensor& mask, int64_t lines) {
  const Index3 r = sampling_lattice(mask).acceleration;
  data::Extent3 extent{};
  for (size_t axis = 0; axis < 3; ++axis) {
    const int64_t n = kspace.size(3 - static_cast<int64_t>(axis));
    extent[axis] = r[2 - axis] > 1 ? std::min(lines, n) : n;
  }
  return centre_block(kspace, extent).contiguous();
}

}  // namespace

TEST_CASE("the sampling lattice is found whatever its axis and offset and centre") {
  const int64_t r = GENERATE(2, 3, 4, 5), centre = GENERATE(0, 1, 24), axis = GENERATE(1, 2), n = GENERATE(96, 101);
  for (int64_t offset = 0; offset < r; ++offset) {
    const std::vector<int64_t> shape = axis == 1 ? std::vector<int64_t>{1, n, 16} : std::vector<int64_t>{1, 16, n};
    const SamplingLattice lattice = sampling_lattice(test::line_mask(shape, axis, r, offset, centre));
    Index3 expected{1, 1, 1};
    expected[static_cast<size_t>(axis)] = r;
    CAPTURE(offset, lattice.text());
    REQUIRE(lattice.acceleration == expected);
    REQUIRE(lattice.offset[static_cast<size_t>(axis)] == offset);
    REQUIRE(lattice.first[static_cast<size_t>(axis)] == offset);
    REQUIRE(lattice.last[static_cast<size_t>(axis)] == n - 1 - (n - 1 - offset) % r);
  }
}

TEST_CASE("sampling that is not regular is refused with the distances found") {
  at::Tensor mask = test::line_mask({1, 64, 8}, 1, 2, 0, 12);
  SECTION("a missing line") {
    mask.select(1, 6).fill_(false);
    REQUIRE_THROWS_WITH(sampling_lattice(mask), Contains("along y is not regular") && Contains("are 2, 4"));
  }
  SECTION("a missing sample") {
    mask[0][6][3] = false;
    REQUIRE_THROWS_WITH(sampling_lattice(mask), Contains("1 of its samples are missing"));
  }
  SECTION("nothing at all") {
    REQUIRE_THROWS_WITH(sampling_lattice(at::zeros_like(mask)), Contains("nothing was acquired"));
  }
  SECTION("a full mask is a lattice with distance 1") {
    REQUIRE(sampling_lattice(at::ones_like(mask)).text() == "fully sampled");
  }
}

TEST_CASE("GRAPPA restores the phantom from every R-th line") {
  struct Case {
    int64_t axis, r, offset;
    double error;
  };
  const Case c =
      GENERATE(Case{1, 2, 0, .005}, Case{1, 2, 1, .005}, Case{2, 2, 1, .005}, Case{1, 3, 2, .015}, Case{2, 4, 1, .05});
  const int64_t n = GENERATE(96, 91);
  const test::Phantom phantom = test::make_phantom({.coils = 8, .y = n, .x = n, .taper = 3});
  const at::Tensor mask = test::line_mask({1, n, n}, c.axis, c.r, c.offset, 24);
  const at::Tensor input = phantom.kspace * mask, before = input.clone();
  const Grappa found = grappa(input, mask, calibration(phantom.kspace, mask, 24));
  CAPTURE(c.axis, c.r, c.offset, n);
  const double error = test::relative_error(found.combined.abs(), phantom.image.abs());
  const double zero_filled =
      test::relative_error(at::linalg_vector_norm(test::centred_ifft(input), 2, {0}), phantom.image.abs());
  REQUIRE(error <= c.error);
  REQUIRE(error <= zero_filled / 4);
  REQUIRE(at::equal(input, before));
  REQUIRE(at::equal(found.kspace * mask, input));
  REQUIRE(found.g_factor.sizes() == phantom.image.sizes());
}

TEST_CASE("GRAPPA along x is GRAPPA along y of the transposed scan") {
  const test::Phantom phantom = test::make_phantom({.coils = 4, .y = 60, .x = 48});
  const at::Tensor mask = test::line_mask({1, 60, 48}, 1, 3, 1, 20);
  const at::Tensor block = calibration(phantom.kspace, mask, 20);
  const auto swap = [](const at::Tensor& t) { return t.transpose(-1, -2).contiguous(); };
  const Grappa y = grappa(phantom.kspace * mask, mask, block);
  const Grappa x = grappa(swap(phantom.kspace * mask), swap(mask), swap(block));
  REQUIRE(test::relative_error(swap(x.kspace), y.kspace) <= 1e-4);
  REQUIRE(test::relative_error(swap(x.g_factor), y.g_factor) <= 1e-3);
}

TEST_CASE("GRAPPA restores a volume undersampled along two axes") {
  const test::Phantom phantom = test::make_phantom({.coils = 8, .z = 24, .y = 40, .x = 20, .taper = 3});
  const at::Tensor mask =
      at::logical_and(test::line_mask({24, 40, 20}, 0, 2, 1), test::line_mask({24, 40, 20}, 1, 2, 0));
  const at::Tensor input = phantom.kspace * mask;
  const Grappa found = grappa(input, mask, centre_block(phantom.kspace, {20, 20, 14}).contiguous());
  REQUIRE(found.lattice.total_acceleration() == 4);
  const double error = test::relative_error(found.combined.abs(), phantom.image.abs());
  REQUIRE(error <= 0.05);
}

TEST_CASE("the g-factor map is the noise amplification seen in replicas") {
  const int64_t r = GENERATE(2, 3), axis = GENERATE(1, 2), coils = 6, replicas = 150;
  const test::Phantom phantom = test::make_phantom({.coils = coils, .y = 48, .x = 42});
  const at::Tensor mask = test::line_mask({1, 48, 42}, axis, r, 1);
  const at::Tensor block = calibration(phantom.kspace, mask, 24);
  Rng rng(11, "replicas");
  // The reconstruction is linear in the imaging data for given weights: noise alone will do.
  at::Tensor variance = at::zeros({1, 48, 42}, at::kDouble), g;
  for (int64_t i = 0; i < replicas; ++i) {
    const at::Tensor noise = rng.normal({coils, 1, 48, 42}, at::kComplexFloat) * mask;
    const Grappa found = grappa(noise, mask, block, {}, phantom.sensitivities);
    variance += at::abs(found.combined).to(at::kDouble).square() / static_cast<double>(replicas);
    g = found.g_factor;
  }
  // Full sampling would give variance 1, since the sensitivities have unit norm.
  const at::Tensor replica = at::sqrt(variance / static_cast<double>(r)).to(at::kFloat);
  const at::Tensor inside = phantom.support;
  REQUIRE(g.masked_select(inside).min().item<double>() >= 0.8);
  REQUIRE(g.masked_select(inside).mean().item<double>() >= 1);
  REQUIRE(std::abs((replica / g).masked_select(inside).mean().item<double>() - 1) <= 0.03);
  REQUIRE(test::relative_error(replica * inside, g * inside) <= 2.0 / std::sqrt(static_cast<double>(replicas)));
  SECTION("control: a constant is not") {
    const at::Tensor flat = at::full_like(g, g.mean().item<double>());
    if (r == 3)
      REQUIRE(test::relative_error(replica * inside, flat * inside) > 2.0 / std::sqrt(static_cast<double>(replicas)));
  }
}

TEST_CASE("GRAPPA leaves fully sampled data alone with a g-factor of one") {
  const test::Phantom phantom = test::make_phantom({.coils = 3, .y = 32, .x = 30});
  const Grappa found = grappa(phantom.kspace, at::ones({1, 32, 30}, at::kBool), {});
  REQUIRE(at::equal(found.kspace, phantom.kspace));
  REQUIRE(test::relative_error(found.g_factor, at::ones_like(found.g_factor)) <= 1e-6);
  REQUIRE(test::relative_error(found.combined.abs(), phantom.image.abs()) <= 1e-4);
}

TEST_CASE("GRAPPA does not invent the lines that partial Fourier left out") {
  const test::Phantom phantom = test::make_phantom({.coils = 4, .y = 64, .x = 32});
  at::Tensor mask = test::line_mask({1, 64, 32}, 1, 2, 0, 16);
  mask.narrow(1, 0, 20).fill_(false);
  const Grappa found = grappa(phantom.kspace * mask, mask, calibration(phantom.kspace, mask, 16));
  REQUIRE(found.kspace.narrow(2, 0, 20).abs().max().item<double>() == 0);
  REQUIRE(found.kspace.select(2, 21).abs().max().item<double>() > 0);
  REQUIRE(found.kspace.select(2, 63).abs().max().item<double>() > 0);
}

TEST_CASE("GRAPPA refuses calibration data and options that cannot work") {
  log::set_level(log::Level::error);
  const test::Phantom phantom = test::make_phantom({.coils = 2, .y = 32, .x = 32});
  const at::Tensor mask = test::line_mask({1, 32, 32}, 1, 4, 0), input = phantom.kspace * mask;
  const at::Tensor block = calibration(phantom.kspace, mask, 16);
  REQUIRE_THROWS_WITH(grappa(input, mask, block.narrow(2, 0, 10)),
                      Contains("10 samples along y") && Contains("spans 13"));
  REQUIRE_THROWS_WITH(grappa(input, mask, at::zeros_like(block)), Contains("no signal"));
  REQUIRE_THROWS_AS(grappa(input, mask, {}), ShapeError);
  REQUIRE_THROWS_AS(grappa(input, mask, block.narrow(0, 0, 1)), ShapeError);
  REQUIRE_THROWS_AS(grappa(input, mask[0], block), ShapeError);
  REQUIRE_THROWS_AS(grappa(input, mask, block, {.kernel_phase = 3}), ConfigError);
  REQUIRE_THROWS_AS(grappa(input * std::nan(""), mask, block), DataError);
  REQUIRE_THROWS_AS(grappa(input, mask, block, {}, phantom.image), ShapeError);
}
