#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>

#include "monarch/core/error.hpp"
#include "monarch/solvers/numerical/gaussian_random_field.hpp"
#include "monarch/solvers/numerical/kernels/lines.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::solvers;
using namespace monarch::test;

namespace {

at::Tensor frequencies(int64_t n) {
  return at::fft_fftfreq(n, 1.0 / static_cast<double>(n), at::kDouble);
}

/// |mean of the sample variances over the mean they should have − 1|, in standard errors. power: [samples, numbers].
double deviation(const at::Tensor& power, double expected) {
  const at::Tensor each = power.mean(1);
  const double error = each.std().item<double>() / std::sqrt(static_cast<double>(each.size(0)));
  return std::abs(each.mean().item<double>() - expected) / error;
}

}  // namespace

TEST_CASE("lines of every length are transformed as the definition says and back") {
  for (const int64_t n :
       {1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 22, 26, 30, 32, 49, 60, 64, 77, 96, 128, 210, 250, 256, 338}) {
    INFO("n = " << n);
    const kernels::LinePlan<double> plan(n);
    const at::Tensor x = at::randn({3, n}, at::kComplexDouble);
    at::Tensor work = x.clone();
    auto* data = static_cast<double*>(work.data_ptr());
    kernels::transform_lines(plan, data, 3, true);
    const at::Tensor points = at::fft_ifft(x) * static_cast<double>(n);
    const at::Tensor order = at::tensor(plan.order, at::kLong);
    REQUIRE(relative_error(work, points.index_select(1, order)) <= tolerance(at::kDouble, n));
    kernels::transform_lines(plan, data, 3, false);
    REQUIRE(relative_error(work / static_cast<double>(n), x) <= tolerance(at::kDouble, n));
  }
}

TEST_CASE("random fields: the published amplitudes have their published standard deviations") {
  REQUIRE(standard_deviation(navier_stokes_law("2020"), 2, 256) == Approx(0.2620).margin(5e-5));
  REQUIRE(standard_deviation(navier_stokes_law("2022"), 2, 256) == Approx(0.1852).margin(5e-5));
  REQUIRE(standard_deviation(navier_stokes_law("paper"), 2, 256) == Approx(0.0430).margin(5e-5));
  REQUIRE_THROWS_AS(navier_stokes_law("2021"), ConfigError);
}

TEST_CASE("random fields: variance and spectrum are the law's within three standard errors") {
  for (const int64_t n : {15, 16}) {
    for (const int dims : {1, 2}) {
      INFO(n << " points, " << dims << " dimensions");
      RandomFieldLaw law = navier_stokes_law("2020");
      if (dims == 1) law = {2, 5, 25, 2};  // Burgers' law, on an axis of length 2
      const int64_t samples = 3000;
      const at::Tensor w = gaussian_random_field(law, dims, n, 11, 0, samples).reshape({samples, -1});
      const double variance = std::pow(standard_deviation(law, dims, n), 2);
      REQUIRE(deviation(w.square(), variance) <= 3);
      REQUIRE(deviation(w.square(), 1.1 * variance) > 3);  // ten percent would be seen
      REQUIRE(at::abs(w.mean(1)).max().item<double>() <= 1e-14);

      const at::Tensor field = dims == 1 ? w : w.reshape({samples, n, n});
      const at::Tensor spectrum =
          dims == 1 ? at::fft_fft(field) / static_cast<double>(n) : at::fft_fft2(field) / static_cast<double>(n * n);
      for (int64_t k = 1; 2 * k < n; ++k) {
        const double factor = 2 * M_PI / law.length;
        const double square = law.scale * law.scale *
                              std::pow(factor * factor * static_cast<double>(k * k) + law.tau * law.tau, -law.alpha);
        // Complex noise of variance 2, half of which is lost with the imaginary part.
        const at::Tensor power =
            at::abs(dims == 1 ? spectrum.select(1, k) : spectrum.select(1, 0).select(1, k)).square();
        INFO("k = " << k);
        REQUIRE(deviation(power.unsqueeze(1), square) <= 3.5);
      }
    }
  }
}

TEST_CASE("random fields: a sample is a pure function of seed and index") {
  const auto law = navier_stokes_law("2020");
  const at::Tensor all = gaussian_random_field(law, 2, 20, 5, 0, 6);
  REQUIRE(at::equal(gaussian_random_field(law, 2, 20, 5, 4, 2), all.narrow(0, 4, 2)));
  for (int64_t i = 1; i < 6; ++i) REQUIRE_FALSE(at::equal(all[0], all[i]));
  REQUIRE_FALSE(at::equal(gaussian_random_field(law, 2, 20, 6, 0, 1)[0], all[0]));
  REQUIRE(gaussian_random_field(law, 1, 20, 5, 0, 0).size(0) == 0);
}

TEST_CASE("random fields: the modes that a coarse grid holds are the same on a fine one") {
  const auto law = navier_stokes_law("2020");
  for (const int dims : {1, 2}) {
    for (const int64_t fine : {45, 64}) {
      const int64_t coarse = 24;
      const auto modes = [&](int64_t n) {
        const at::Tensor w = gaussian_random_field(law, dims, n, 3, 2, 2);
        const at::Tensor index = at::nonzero(at::abs(frequencies(n)) < static_cast<double>(coarse) / 2).flatten();
        const at::Tensor s =
            dims == 1 ? at::fft_fft(w) / static_cast<double>(n) : at::fft_fft2(w) / static_cast<double>(n * n);
        return dims == 1 ? s.index_select(1, index) : s.index_select(1, index).index_select(2, index);
      };
      INFO(dims << " dimensions, " << fine << " points");
      REQUIRE(relative_error(modes(fine), modes(coarse)) <= 1e-14);
    }
  }
}

TEST_CASE("random fields: impossible laws and grids are refused") {
  const auto law = navier_stokes_law("2020");
  REQUIRE_THROWS_AS(gaussian_random_field(law, 3, 8, 0, 0, 1), ShapeError);
  REQUIRE_THROWS_AS(gaussian_random_field(law, 2, 0, 0, 0, 1), ShapeError);
  REQUIRE_THROWS_AS(gaussian_random_field(law, 2, 8, 0, 0, -1), ShapeError);
  REQUIRE_THROWS_AS(gaussian_random_field({2.5, 0, 1, 1}, 2, 8, 0, 0, 1), ConfigError);
  REQUIRE_THROWS_AS(gaussian_random_field({2.5, 7, -1, 1}, 2, 8, 0, 0, 1), ConfigError);
}
