#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>

#include "monarch/core/error.hpp"
#include "monarch/mri/partial_fourier.hpp"
#include "support/phantom.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::mri;
using Catch::Matchers::Contains;

namespace {

at::Tensor range_mask(const std::vector<int64_t>& shape, int64_t axis, int64_t first, int64_t last) {
  at::Tensor mask = at::zeros(shape, at::kBool);
  mask.narrow(axis, first, last - first + 1).fill_(true);
  return mask;
}

}  // namespace

TEST_CASE("partial Fourier is detected with axis and side and fraction") {
  const int64_t axis = GENERATE(0, 1, 2), n = GENERATE(64, 65);
  std::vector<int64_t> shape{8, 8, 8};
  shape[static_cast<size_t>(axis)] = n;
  SECTION("low side missing") {
    const auto found = detect_partial_fourier(range_mask(shape, axis, 16, n - 1));
    REQUIRE(found.size() == 1);
    REQUIRE(found[0].axis == axis);
    REQUIRE(found[0].missing_low);
    REQUIRE(found[0].full_first == 0);
    REQUIRE(std::abs(found[0].fraction - static_cast<double>(n - 16) / static_cast<double>(n)) <= 1e-12);
    REQUIRE_THAT(found[0].text(), Contains("16 of " + std::to_string(n) + " lines missing on the low side"));
  }
  SECTION("high side missing") {
    const auto found = detect_partial_fourier(range_mask(shape, axis, 0, 40));
    REQUIRE(found.size() == 1);
    REQUIRE_FALSE(found[0].missing_low);
    REQUIRE(found[0].full_last == n - 1);
  }
  SECTION("in a zero-padded matrix") {
    const auto found = detect_partial_fourier(range_mask(shape, axis, n / 2 - 8, n / 2 + 20));
    REQUIRE(found.size() == 1);
    REQUIRE(found[0].full_first == n / 2 - 20);
  }
}

TEST_CASE("sampling that is as wide on both sides is not partial") {
  const int64_t n = GENERATE(64, 65);
  REQUIRE(detect_partial_fourier(at::ones({1, n, n}, at::kBool)).empty());
  REQUIRE(detect_partial_fourier(range_mask({1, n, 8}, 1, n / 2 - 20, n / 2 + 20)).empty());
  REQUIRE(detect_partial_fourier(range_mask({1, n, 8}, 1, n / 2 - 20, n / 2 + 19)).empty());
  for (int64_t offset = 0; offset < 4; ++offset) {
    REQUIRE(detect_partial_fourier(test::line_mask({1, n, 8}, 1, 4, offset, 12)).empty());
  }
  REQUIRE_THROWS_AS(detect_partial_fourier(at::zeros({1, n, 8}, at::kBool)), DataError);
}

TEST_CASE("POCS restores an object with smooth phase far better than zero filling") {
  const int64_t axis = GENERATE(1, 2), n = GENERATE(96, 91);
  const bool low = GENERATE(false, true);
  const test::Phantom phantom = test::make_phantom({.coils = 4, .y = n, .x = n});
  const int64_t cut = 3 * n / 8;  // 5/8 partial Fourier
  const at::Tensor mask = low ? range_mask({1, n, n}, axis, cut, n - 1) : range_mask({1, n, n}, axis, 0, n - 1 - cut);
  const at::Tensor input = phantom.kspace * mask, before = input.clone();
  const at::Tensor full = test::centred_ifft(phantom.kspace);
  const double zero_filled = test::relative_error(test::centred_ifft(input), full);
  const at::Tensor found = pocs(input, mask);
  const double error = test::relative_error(test::centred_ifft(found), full);
  CAPTURE(axis, n, low, zero_filled, error);
  REQUIRE(error <= 0.6 * zero_filled);
  REQUIRE(at::equal(input, before));
  SECTION("and keeps what was measured outside of the transition") {
    const int64_t begin = low ? cut + 8 : 0, length = n - cut - 8;
    REQUIRE(at::equal(found.narrow(axis + 1, begin, length), input.narrow(axis + 1, begin, length)));
  }
  SECTION("control: with a rough phase symmetry does not hold") {
    const at::Tensor rough = at::polar(at::ones({n, n}), at::arange(n * n).view({n, n}).to(at::kFloat) * 2.4f);
    const at::Tensor kspace = test::centred_fft(full * rough);
    const double worse = test::relative_error(pocs(kspace * mask, mask), kspace);
    REQUIRE(worse > 0.6 * test::relative_error(kspace * mask, kspace));
  }
}

TEST_CASE("POCS of a real object converges to it") {
  const test::Phantom phantom = test::make_phantom({.coils = 1, .y = 64, .x = 64, .phase_rad = 0});
  const at::Tensor kspace = test::centred_fft(phantom.image.unsqueeze(0));
  const at::Tensor mask = range_mask({1, 64, 64}, 1, 24, 63);
  const at::Tensor found = pocs(kspace * mask, mask, {.iterations = 60, .tolerance = 0, .transition = 0});
  REQUIRE(test::relative_error(found, kspace) <= 0.25 * test::relative_error(kspace * mask, kspace));
}

TEST_CASE("POCS leaves symmetric sampling alone and refuses what it cannot use") {
  const test::Phantom phantom = test::make_phantom({.coils = 2, .y = 32, .x = 32});
  const at::Tensor full = at::ones({1, 32, 32}, at::kBool), partial = range_mask({1, 32, 32}, 1, 10, 31);
  REQUIRE(at::equal(pocs(phantom.kspace, full), phantom.kspace));
  REQUIRE_THROWS_WITH(pocs(phantom.kspace, range_mask({1, 32, 32}, 1, 15, 31)),
                      Contains("too little beyond the centre"));
  REQUIRE_THROWS_AS(pocs(phantom.kspace * std::nan(""), partial), DataError);
  REQUIRE_THROWS_AS(pocs(phantom.kspace, partial[0]), ShapeError);
  REQUIRE_THROWS_AS(pocs(phantom.kspace, partial, {.iterations = 0}), ConfigError);
}
