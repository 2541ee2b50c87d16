#include "monarch/training/losses.hpp"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <numbers>

#include "golden.hpp"
#include "monarch/core/error.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::test;
using namespace monarch::training;

namespace {

constexpr double kPi = std::numbers::pi;

at::Tensor wave(int64_t n, double k, double phase = 0) {
  return at::sin(2 * kPi * k / static_cast<double>(n) * at::arange(n, at::kDouble) + phase);
}

struct Fields {
  at::Tensor prediction, truth;
};

Fields golden_fields(const std::vector<int64_t>& shape) {
  const at::Tensor truth = golden_uniform(shape, 0) - 0.4;
  return {0.9 * truth + 0.2 * (golden_uniform(shape, 1) - 0.5), truth};
}

/// Largest difference between the gradient and central differences of the summed loss, relative to the gradient.
double gradient_error(const Loss& loss, const std::vector<int64_t>& shape) {
  const Fields f = golden_fields(shape);
  const at::Tensor p = f.prediction.clone().requires_grad_(true);
  loss(p, f.truth).sum().backward();
  const at::Tensor analytic = p.grad();
  at::Tensor numeric = at::empty_like(analytic);
  at::Tensor moved = f.prediction.clone();
  double* x = moved.data_ptr<double>();
  constexpr double kStep = 1e-6;
  for (int64_t i = 0; i < moved.numel(); ++i) {
    const double value = x[i];
    x[i] = value + kStep;
    const double up = loss(moved, f.truth).sum().item<double>();
    x[i] = value - kStep;
    const double down = loss(moved, f.truth).sum().item<double>();
    x[i] = value;
    numeric.data_ptr<double>()[i] = (up - down) / (2 * kStep);
  }
  return ((analytic - numeric).abs().max() / analytic.abs().max()).item<double>();
}

}  // namespace

TEST_CASE("losses equal NumPy's in one, two and three dimensions") {
  for (const nlohmann::json& entry : golden_measures()["losses"]) {
    const auto shape = entry["shape"].get<std::vector<int64_t>>();
    const auto lengths = entry["lengths"].get<std::vector<double>>();
    const Fields f = golden_fields(shape);
    CAPTURE(shape);
    const auto agrees = [&](const char* name, const at::Tensor& value) {
      CAPTURE(name);
      REQUIRE(value.sizes() == at::IntArrayRef{shape[0]});
      REQUIRE(relative_error(value, tensor_of(entry[name])) <= 1e-12);
    };
    agrees("l2", relative_l2(f.prediction, f.truth));
    agrees("mse", mean_square(f.prediction, f.truth));
    agrees("h1", relative_h1(f.prediction, f.truth, Derivative::spectral, lengths));
    agrees("h1-periodic", relative_h1(f.prediction, f.truth, Derivative::periodic, lengths));
    agrees("h1-bounded", relative_h1(f.prediction, f.truth, Derivative::bounded, lengths));
    agrees("spectral", relative_l2_bands(f.prediction, f.truth, {1.5, 4}));
    agrees("log-spectrum", log_spectrum(f.prediction, f.truth));
    // The comparison itself rejects a neighbour.
    REQUIRE_FALSE(relative_error(relative_l2(f.prediction, f.truth), tensor_of(entry["h1"])) <= 1e-6);
  }
}

TEST_CASE("every loss has the gradient that differences show, and none at the truth") {
  for (const std::string& name : loss_names()) {
    const Loss loss = make_loss(name);
    for (const std::vector<int64_t>& shape :
         {std::vector<int64_t>{2, 1, 9}, std::vector<int64_t>{2, 2, 4, 5}, std::vector<int64_t>{1, 1, 4, 3, 4}}) {
      CAPTURE(name, shape);
      REQUIRE(gradient_error(loss, shape) <= 1e-6);
      const at::Tensor truth = golden_fields(shape).truth;
      const at::Tensor p = truth.clone().requires_grad_(true);
      const at::Tensor value = loss(p, truth);
      value.sum().backward();
      REQUIRE(value.abs().max().item<double>() <= 1e-12);
      REQUIRE(p.grad().abs().max().item<double>() <= 1e-9);
    }
  }
  // A loss whose gradient is cut off is noticed.
  const Loss cut = [](const at::Tensor& p, const at::Tensor& t) { return relative_l2(0.5 * p + 0.5 * p.detach(), t); };
  REQUIRE_FALSE(gradient_error(cut, {2, 1, 9}) <= 1e-6);
}

TEST_CASE("H1 weighs a wave by the root of 1 plus its squared wave number") {
  const int64_t n = 32;
  const double length = 2;
  const at::Tensor truth = wave(n, 1).view({1, 1, n}), error = 0.01 * wave(n, 5, 0.3).view({1, 1, n});
  const auto weight = [&](double k) { return std::sqrt(1 + std::pow(2 * kPi * k / length, 2)); };
  const double h1 = relative_h1(truth + error, truth, Derivative::spectral, {length}).item<double>();
  REQUIRE(std::abs(h1 - 0.01 * weight(5) / weight(1)) <= 1e-12);
  // Central differences see sin(2 pi k/n) n / (2 pi) in the place of k.
  const auto seen = [&](double k) { return weight(std::sin(2 * kPi * k / n) * n / (2 * kPi)); };
  const double difference = relative_h1(truth + error, truth, Derivative::periodic, {length}).item<double>();
  REQUIRE(std::abs(difference - 0.01 * seen(5) / seen(1)) <= 1e-12);
}

TEST_CASE("differences at boundaries are exact for parabolas, which periodic ones are not") {
  const at::Tensor x = at::linspace(0, 1, 11, at::kDouble);
  const at::Tensor truth = (3 * x * x - x).view({1, 1, 11}), slope = 6 * x - 1;
  const double exact = std::sqrt(((0.1 * truth).square().sum() + (0.1 * slope).square().sum()).item<double>() /
                                 (truth.square().sum() + slope.square().sum()).item<double>());
  REQUIRE(std::abs(relative_h1(1.1 * truth, truth, Derivative::bounded).item<double>() - exact) <= 1e-12);
  const at::Tensor line = x.view({1, 1, 11});
  const at::Tensor both = at::cat({truth, line}, 1);  // relative weights differ between truth and error
  const at::Tensor off = both + 0.1 * at::cat({at::zeros_like(truth), line}, 1);
  const double right = std::sqrt(0.01 * (x.square().sum().item<double>() + 11) /
                                 (both.square().sum() + slope.square().sum() + 11).item<double>());
  REQUIRE(std::abs(relative_h1(off, both, Derivative::bounded).item<double>() - right) <= 1e-12);
  REQUIRE_FALSE(std::abs(relative_h1(off, both, Derivative::periodic).item<double>() - right) <= 1e-3);
}

TEST_CASE("the spectral loss gives every band the same say, and counts negative wave numbers") {
  const int64_t n = 16;
  const at::Tensor x = at::arange(n, at::kDouble).view({n, 1}), y = at::arange(n, at::kDouble).view({1, n});
  const auto plane = [&](double kx, double ky) {
    return at::cos(2 * kPi / static_cast<double>(n) * (kx * x + ky * y)).view({1, 1, n, n});
  };
  const at::Tensor truth = plane(1, 0) + 1e-3 * plane(6, -3);
  // The weak fine wave is missing: one of two bands is wrong by 100 %. L2 hardly sees it.
  REQUIRE(std::abs(relative_l2_bands(plane(1, 0), truth, {4}).item<double>() - 0.5) <= 1e-9);
  REQUIRE(relative_l2(plane(1, 0), truth).item<double>() <= 1.1e-3);
  // Mirrored, it has the same spectrum, but is another field.
  const at::Tensor mirrored = plane(1, 0) + 1e-3 * plane(6, 3);
  REQUIRE(std::abs(relative_l2_bands(mirrored, truth, {4}).item<double>() - std::sqrt(2.0) / 2) <= 1e-9);
  REQUIRE(log_spectrum(mirrored, truth).item<double>() <= 1e-3);
  // One of the shells 0 … 8 is 1 decade up.
  const at::Tensor louder = std::sqrt(10.0) * plane(1, 0) + 1e-3 * plane(6, -3);
  REQUIRE(std::abs(log_spectrum(louder, truth).item<double>() - 1 / 3.0) <= 1e-5);
}

TEST_CASE("half precision is summed in float32") {
  const at::Tensor truth = at::ones({1, 1, 64, 64}, at::kBFloat16);
  const at::Tensor l2 = relative_l2(truth * 1.5, truth);
  REQUIRE(l2.scalar_type() == at::kFloat);
  REQUIRE(std::abs(l2.item<double>() - 0.5) <= 1e-6);
}

TEST_CASE("losses say what does not fit") {
  const at::Tensor field = at::ones({2, 1, 8});
  REQUIRE_THROWS_AS(relative_l2(field, at::ones({2, 8, 1})), ShapeError);
  REQUIRE_THROWS_WITH(relative_l2(field, at::ones({2, 1, 9})),
                      Catch::Contains("[2, 1, 8]") && Catch::Contains("[2, 1, 9]"));
  REQUIRE_THROWS_AS(mean_square(at::ones({2, 8}), at::ones({2, 8})), ShapeError);
  REQUIRE_THROWS_AS(mean_square(field.to(at::kLong), field.to(at::kLong)), DtypeError);
  REQUIRE_THROWS_AS(relative_h1(field, field, Derivative::spectral, {1, 1}), ShapeError);
  REQUIRE_THROWS_AS(relative_h1(field, field, Derivative::spectral, {-1}), ConfigError);
  REQUIRE_THROWS_AS(relative_h1(at::ones({1, 1, 2}), at::ones({1, 1, 2}), Derivative::bounded), ShapeError);
  REQUIRE_THROWS_AS(relative_l2_bands(field, field, {4, 4}), ConfigError);
  REQUIRE_THROWS_WITH(make_loss("log_spectrum"), Catch::Contains("log-spectrum"));
  REQUIRE_FALSE(std::isfinite(relative_l2(field, at::zeros({2, 1, 8})).sum().item<double>()));
}
