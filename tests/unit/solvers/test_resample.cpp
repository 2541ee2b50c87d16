// Trigonometric resampling, by values.
#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include "monarch/core/error.hpp"
#include "monarch/operators/resample.hpp"
#include "neural_models.hpp"

using namespace monarch;
using monarch::operators::resample;
using monarch::test::band_limited;
using monarch::test::distance;

namespace {

using Resampler = std::function<at::Tensor(const at::Tensor&, const std::vector<int64_t>&)>;

/// The worst error over grids in 1 to 3 dimensions, odd and even, up, down and mixed, against the field's own values.
double worst_error(const Resampler& f) {
  double worst = 0;
  const std::vector<std::pair<std::vector<int64_t>, std::vector<int64_t>>> cases{{{16}, {32}},
                                                                                 {{15}, {32}},
                                                                                 {{32}, {15}},
                                                                                 {{16}, {17}},
                                                                                 {{17}, {16}},
                                                                                 {{32, 32}, {64, 64}},
                                                                                 {{64, 64}, {32, 32}},
                                                                                 {{15, 16}, {31, 22}},
                                                                                 {{31, 14}, {16, 33}},
                                                                                 {{64, 32}, {128, 32}},
                                                                                 {{12, 13}, {12, 26}},
                                                                                 {{12, 13, 14}, {24, 25, 13}},
                                                                                 {{13, 12, 11}, {11, 24, 16}}};
  for (const auto& [from, to] : cases)
    worst = std::max(worst, distance(f(band_limited(2, 3, from, 5), to), band_limited(2, 3, to, 5)));
  return worst;
}

}  // namespace

TEST_CASE("resampling a band-limited field gives its values on the other grid") {
  REQUIRE(worst_error([](const at::Tensor& x, const std::vector<int64_t>& grid) { return resample(x, grid); }) <=
          1e-12);
  // What a zero-padded spectrum gives whose negative frequencies stay where the old size had them: the checker sees it.
  REQUIRE_FALSE(worst_error([](const at::Tensor& x, const std::vector<int64_t>& grid) {
                  std::vector<int64_t> axes;
                  double scale = 1;
                  for (size_t a = 0; a < grid.size(); ++a) {
                    axes.push_back(static_cast<int64_t>(a) + 2);
                    scale *= static_cast<double>(grid[a]) / static_cast<double>(x.size(axes.back()));
                  }
                  return at::fft_irfftn(at::fft_rfftn(x, {}, axes), grid, axes) * scale;
                }) <= 1e-2);
  // Linear interpolation is no trigonometric one.
  REQUIRE_FALSE(worst_error([](const at::Tensor& x, const std::vector<int64_t>& grid) {
                  if (grid.size() == 1) return at::upsample_linear1d(x, grid, false);
                  if (grid.size() == 2) return at::upsample_bilinear2d(x, grid, false);
                  return at::upsample_trilinear3d(x, grid, false);
                }) <= 1e-2);
}

TEST_CASE("a finer grid and back is the identity, also for the Nyquist frequency") {
  at::manual_seed(1);
  for (const auto& [n, fine] :
       {std::array<int64_t, 2>{16, 32}, {16, 17}, {15, 16}, {15, 45}, {16, 24}, {2, 4}, {1, 5}}) {
    const at::Tensor x = at::randn({3, n, n}, at::kDouble);  // all frequencies up to n/2
    REQUIRE(distance(resample(resample(x, {fine, fine}), {n, n}), x) <= 1e-12);
    // The values at common points stay.
    if (fine % n == 0)
      REQUIRE(distance(resample(x, {fine, fine}).slice(1, 0, fine, fine / n).slice(2, 0, fine, fine / n), x) <= 1e-12);
  }
}

TEST_CASE("the Nyquist frequency counts half on each side") {
  const at::Tensor x = at::cos(M_PI * at::arange(8, at::kDouble));
  const at::Tensor fine = at::cos(8 * M_PI * at::arange(24, at::kDouble) / 24);
  REQUIRE(distance(resample(x, {24}), fine) <= 1e-12);
  const at::Tensor both = resample(at::complex(x, 2 * x), {24});
  REQUIRE(distance(at::real(both), fine) <= 1e-12);
  REQUIRE(distance(at::imag(both), 2 * fine) <= 1e-12);
  // A frequency that the coarse grid cannot hold goes; one at its Nyquist frequency keeps its values there.
  const at::Tensor points = at::arange(24, at::kDouble) / 24;
  REQUIRE(resample((2 * M_PI * 5 * points).cos(), {8}).abs().max().item<double>() <= 1e-13);
  REQUIRE(distance(resample(fine, {8}), x) <= 1e-12);
}

TEST_CASE("resampling is differentiable and refuses what it cannot take") {
  const at::Tensor x = at::randn({2, 6, 5}, at::kDouble).requires_grad_();
  const at::Tensor g = at::randn({2, 9, 4}, at::kDouble);
  (resample(x, {9, 4}) * g).sum().backward();
  const at::Tensor direction = at::randn_like(x);
  const double expected = (resample(direction.detach(), {9, 4}) * g).sum().item<double>();
  REQUIRE(std::abs((x.grad() * direction).sum().item<double>() - expected) <= 1e-12 * (1 + std::abs(expected)));
  REQUIRE_THROWS_AS(resample(x, {0, 4}), ShapeError);
  REQUIRE_THROWS_AS(resample(x, {2, 2, 2, 2}), ShapeError);
  REQUIRE_THROWS_AS(resample(at::zeros({4}, at::kLong), {2}), DtypeError);
}
