#include "monarch/solvers/field_metrics.hpp"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <numbers>

#include "golden.hpp"
#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::test;
using namespace monarch::solvers;

namespace {

constexpr double kPi = std::numbers::pi;

/// cos 2π(kx x + ky y) on an ny × nx grid [y, x].
at::Tensor plane_wave(int64_t ny, int64_t nx, double ky, double kx) {
  const at::Tensor y = at::arange(ny, at::kDouble).view({ny, 1}) / static_cast<double>(ny);
  const at::Tensor x = at::arange(nx, at::kDouble).view({1, nx}) / static_cast<double>(nx);
  return at::cos(2 * kPi * (ky * y + kx * x));
}

/// 1 where only shell `shell` holds something.
double share(const at::Tensor& spectrum, int64_t shell) {
  return (spectrum[shell] / spectrum.sum()).item<double>();
}

}  // namespace

TEST_CASE("spectra, energy and enstrophy equal NumPy's") {
  for (const nlohmann::json& entry : golden_measures()["flows"]) {
    const auto shape = entry["shape"].get<std::vector<int64_t>>();
    const auto length = entry["length"].get<double>();
    const at::Tensor w = golden_uniform({2, shape[0], shape[1]}, 5) - 0.3;
    CAPTURE(shape);
    for (int64_t i = 0; i < 2; ++i) {
      const auto k = static_cast<size_t>(i);
      REQUIRE(relative_error(spectrum(w, 2)[i], tensor_of(entry["spectrum"][k])) <= 1e-12);
      REQUIRE(relative_error(energy_spectrum(w, length)[i], tensor_of(entry["energy_spectrum"][k])) <= 1e-12);
    }
    REQUIRE(relative_error(energy(w, length), tensor_of(entry["energy"])) <= 1e-12);
    REQUIRE(relative_error(enstrophy(w), tensor_of(entry["enstrophy"])) <= 1e-12);
    REQUIRE_FALSE(relative_error(energy(w, 1.01 * length), tensor_of(entry["energy"])) <= 1e-12);
  }
  REQUIRE(relative_error(spectrum(golden_uniform({5, 6, 4}, 6), 3), tensor_of(golden_measures()["volume"])) <= 1e-12);
}

TEST_CASE("a single wave lies in the shell of its length, whatever the signs of its wave numbers") {
  for (const auto& [ky, kx] : {std::pair{3.0, 4.0}, {3.0, -4.0}, {-3.0, 4.0}, {0.0, 5.0}, {5.0, 0.0}}) {
    CAPTURE(ky, kx);
    const at::Tensor w = plane_wave(16, 20, ky, kx);
    REQUIRE(std::abs(share(spectrum(w, 2), 5) - 1) <= 1e-12);
    REQUIRE(std::abs(share(energy_spectrum(w), 5) - 1) <= 1e-12);
    REQUIRE(std::abs(enstrophy(w).item<double>() - 0.25) <= 1e-12);
    // |u|² = |w|²/(2π·5)²
    REQUIRE(std::abs(energy(w).item<double>() * std::pow(10 * kPi, 2) - 0.25) <= 1e-12);
  }
  // Taking one quadrant only would lose this wave altogether: the whole of it is there.
  REQUIRE(std::abs(spectrum(plane_wave(16, 16, 3, -4), 2).sum().item<double>() - 0.25) <= 1e-12);
}

TEST_CASE("spectra sum to the mean square (Parseval), in float32 input and with leading axes") {
  Rng rng(3, "fields");
  for (const int64_t axes : {1, 2, 3}) {
    std::vector<int64_t> shape = {2, 3};
    for (int64_t i = 0; i < axes; ++i) shape.push_back(7 + 3 * i);
    const at::Tensor f = rng.normal(shape, at::kFloat);
    const at::Tensor s = spectrum(f, axes);
    REQUIRE(s.dim() == 3);
    REQUIRE(s.scalar_type() == at::kDouble);
    const at::Tensor square = 0.5 * f.to(at::kDouble).square().flatten(2).mean(-1);
    REQUIRE(relative_error(s.sum(-1), square) <= 1e-12);
  }
  const at::Tensor w = rng.normal({2, 12, 12}, at::kDouble);
  REQUIRE(relative_error(energy_spectrum(w, 3).sum(-1), energy(w, 3)) <= 1e-12);
  REQUIRE(relative_error(energy_spectrum(w + 5, 3), energy_spectrum(w, 3)) <= 1e-12);  // a mean carries no velocity
  REQUIRE_FALSE(relative_error(spectrum(w + 5, 2), spectrum(w, 2)) <= 1e-3);
}

TEST_CASE("errors, correlations and their times equal NumPy's") {
  for (const nlohmann::json& entry : golden_measures()["trajectories"]) {
    const auto shape = entry["shape"].get<std::vector<int64_t>>();
    const at::Tensor truth = golden_uniform(shape, 7) - 0.4;
    const at::Tensor grow = at::linspace(0.02, 1.2, shape[1], at::kDouble).view({1, -1, 1}) *
                            (1 + at::arange(shape[0], at::kDouble)).view({-1, 1, 1});
    const at::Tensor prediction = truth + (golden_uniform(shape, 8) - 0.5) * grow;
    REQUIRE(relative_error(relative_l2_full(prediction, truth), tensor_of(entry["l2_full"])) <= 1e-12);
    for (int64_t s = 0; s < shape[0]; ++s) {
      const auto k = static_cast<size_t>(s);
      REQUIRE(relative_error(relative_l2_per_time(prediction, truth)[s], tensor_of(entry["l2_per_time"][k])) <= 1e-12);
      REQUIRE(relative_error(correlation(prediction, truth)[s], tensor_of(entry["correlation"][k])) <= 1e-12);
    }
    const auto times = entry["times"].get<std::vector<double>>();
    const CorrelationTime found = correlation_time(prediction, truth, times, entry["start"], entry["threshold"]);
    for (int64_t s = 0; s < shape[0]; ++s) {
      const nlohmann::json& crossing = entry["crossing"][static_cast<size_t>(s)];
      CAPTURE(s);
      REQUIRE(found.crossed[s].item<bool>() == !crossing.is_null());
      const double expected = crossing.is_null() ? times.back() : crossing.get<double>();
      REQUIRE(std::abs(found.time[s].item<double>() - expected) <= 2e-5);  // NumPy looked at 200,001 instants
    }
  }
}

TEST_CASE("correlation time: interpolated between frames, bounded by the last, and a blow-up ends it") {
  // û = a e₁ + b e₂ against e₁: the correlation is a / √(a² + b²).
  const at::Tensor e1 = at::tensor({1.0, -1.0, 1.0, -1.0}), e2 = at::tensor({1.0, 1.0, -1.0, -1.0});
  const auto frame = [&](double c) { return 7 + 2 * (c * e1 + std::sqrt(1 - c * c) * e2); };
  const at::Tensor truth = (e1 + 3).expand({1, 3, 4});
  const std::vector<double> times = {1, 2, 4};
  const auto time = [&](const std::vector<double>& c) {
    const at::Tensor p = at::stack({frame(c[0]), frame(c[1]), frame(c[2])}).unsqueeze(0);
    const CorrelationTime t = correlation_time(p, truth, times, 0, 0.9);
    return std::pair{t.time.item<double>(), t.crossed.item<bool>()};
  };
  REQUIRE(std::abs(time({1, 0.95, 0.85}).first - 3) <= 1e-9);
  REQUIRE(std::abs(time({0.8, 0.95, 0.85}).first - 0.5) <= 1e-9);  // the first crossing, from 1 at the start
  REQUIRE(time({1, 0.95, 0.91}) == std::pair{4.0, false});
  REQUIRE(time({1, 0.95, 0.85}).second);
  at::Tensor blown = at::stack({frame(1), frame(0.95), frame(0.95)}).unsqueeze(0);
  blown[0][2].fill_(std::numeric_limits<double>::quiet_NaN());
  const CorrelationTime t = correlation_time(blown, truth, times, 0, 0.9);
  REQUIRE(t.time.item<double>() == 2);
  REQUIRE(t.crossed.item<bool>());
}

TEST_CASE("bootstrap: the interval has the normal width, covers the mean and narrows with samples") {
  Rng rng(11, "samples");
  const auto draw = [&](int64_t count) {
    std::vector<double> values(static_cast<size_t>(count));
    for (double& value : values) value = 2 + 0.5 * rng.normal();
    return values;
  };
  const std::vector<double> many = draw(400);
  const Interval interval = bootstrap_mean(many);
  // 1.96 σ/√n each side; the spread of σ and of 2,000 resamples leaves some percent.
  REQUIRE(std::abs((interval.high - interval.low) / (2 * 1.96 * 0.5 / 20) - 1) <= 0.12);
  REQUIRE((interval.low <= interval.mean && interval.mean <= interval.high));
  REQUIRE(bootstrap_mean(many).low == interval.low);  // reproducible
  REQUIRE_FALSE(bootstrap_mean(many, 0.95, 2000, 1).low == interval.low);
  REQUIRE(bootstrap_mean(many, 0.5).high - bootstrap_mean(many, 0.5).low <= 0.5 * (interval.high - interval.low));
  int covered = 0;
  for (int trial = 0; trial < 200; ++trial) {
    const Interval i = bootstrap_mean(draw(60), 0.9, 400, static_cast<uint64_t>(trial));
    covered += i.low <= 2 && 2 <= i.high;
  }
  REQUIRE((covered >= 165 && covered <= 193));  // 180 ± 3 standard deviations, a little below for 60 samples
  const Interval point = bootstrap_mean(std::vector<double>{3});
  REQUIRE((point.low == 3 && point.mean == 3 && point.high == 3));
}

TEST_CASE("field metrics say what does not fit") {
  const at::Tensor f = at::ones({2, 3, 4});
  REQUIRE_THROWS_AS(spectrum(f, 4), ShapeError);
  REQUIRE_THROWS_AS(spectrum(at::ones({4}), 2), ShapeError);
  REQUIRE_THROWS_AS(spectrum(at::zeros({4, 4}, at::kComplexDouble), 2), DtypeError);
  REQUIRE_THROWS_AS(relative_l2_per_time(f, at::ones({2, 3, 5})), ShapeError);
  REQUIRE_THROWS_AS(relative_l2_per_time(at::ones({2, 3}), at::ones({2, 3})), ShapeError);
  REQUIRE_THROWS_AS(correlation_time(f, f, std::vector<double>{1, 2}, 0), ShapeError);
  REQUIRE_THROWS_AS(correlation_time(f, f, std::vector<double>{1, 2, 2}, 0), ConfigError);
  REQUIRE_THROWS_AS(bootstrap_mean({}), ShapeError);
  REQUIRE_THROWS_AS(bootstrap_mean(std::vector<double>{1, std::nan("")}), DataError);
  REQUIRE_THROWS_AS(bootstrap_mean(std::vector<double>{1, 2}, 1), ConfigError);
}
