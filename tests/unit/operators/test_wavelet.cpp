// Wavelet against a direct sum written here, and the laws of an orthogonal transform.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "monarch/core/error.hpp"
#include "monarch/operators/wavelet.hpp"
#include "support/support.hpp"

namespace {

using monarch::operators::daubechies_filter;
using monarch::operators::Space;
using monarch::operators::Wavelet;
using monarch::operators::WaveletOptions;
using monarch::test::relative_error;
using monarch::test::tolerance;
using Shape = std::vector<int64_t>;

at::Tensor noise(const Shape& shape, at::ScalarType dtype, int64_t seed = 1) {
  at::manual_seed(seed);
  return at::randn(shape, at::TensorOptions(dtype));
}

Wavelet make(const Shape& shape, at::ScalarType dtype, WaveletOptions options) {
  return Wavelet(Space{shape, dtype, at::kCPU}, std::move(options));
}

std::vector<double> high_pass(const std::vector<double>& h) {
  std::vector<double> g(h.size());
  for (size_t t = 0; t < h.size(); ++t) g[t] = (t % 2 == 0 ? 1 : -1) * h[h.size() - 1 - t];
  return g;
}

/// One level along one axis, sample by sample: low before high.
at::Tensor split(const at::Tensor& x, int64_t axis, const std::vector<double>& h) {
  const std::vector<double> g = high_pass(h);
  const int64_t n = x.size(axis);
  at::Tensor y = at::zeros_like(x);
  for (int64_t k = 0; k < n / 2; ++k) {
    for (size_t t = 0; t < h.size(); ++t) {
      const at::Tensor sample = x.select(axis, (2 * k + static_cast<int64_t>(t)) % n);
      y.select(axis, k).add_(sample, h[t]);
      y.select(axis, n / 2 + k).add_(sample, g[t]);
    }
  }
  return y;
}

/// Shift, pad, and levels of split() on the leading corner, in double precision.
at::Tensor oracle(const Wavelet& wavelet, const at::Tensor& x) {
  const auto& levels = wavelet.levels();
  const auto& shift = wavelet.options().shift;
  const auto rank = static_cast<int64_t>(levels.size());
  at::Tensor rolled = x.to(x.is_complex() ? at::kComplexDouble : at::kDouble);
  for (size_t i = 0; i < shift.size(); ++i) {
    rolled = at::roll(rolled, shift[i], static_cast<int64_t>(i) - wavelet.options().dimensions);
  }
  at::Tensor y = at::zeros(wavelet.codomain().shape, rolled.options());
  at::Tensor corner = y;
  for (int64_t a = 0; a < rank; ++a) corner = corner.narrow(a, 0, x.size(a));
  corner.copy_(rolled);
  for (int64_t level = 0; level < 20; ++level) {
    at::Tensor block = y;
    for (int64_t a = 0; a < rank; ++a) block = block.narrow(a, 0, y.size(a) >> std::min(level, levels[a]));
    at::Tensor done = block.clone();
    for (int64_t a = 0; a < rank; ++a) {
      if (level < levels[a]) done = split(done, a, daubechies_filter(wavelet.options().order));
    }
    block.copy_(done);
  }
  return y;
}

bool same(const at::Tensor& a, const at::Tensor& b) { return a.equal(b); }

}  // namespace

TEST_CASE("Daubechies filters are orthonormal with vanishing moments and minimum phase") {
  const int64_t order = GENERATE(range(1, 11));
  CAPTURE(order);
  const std::vector<double>& h = daubechies_filter(order);
  REQUIRE(h.size() == static_cast<size_t>(2 * order));
  double sum = 0;
  for (const double v : h) sum += v;
  REQUIRE(std::abs(sum - std::sqrt(2.0)) <= 1e-14);
  for (size_t k = 0; k < h.size(); k += 2) {
    double product = 0;
    for (size_t t = 0; t + k < h.size(); ++t) product += h[t] * h[t + k];
    REQUIRE(std::abs(product - (k == 0)) <= 1e-14);
  }
  const std::vector<double> g = high_pass(h);
  const auto moment = [&](int64_t p) {
    double value = 0;
    for (size_t t = 0; t < g.size(); ++t) value += g[t] * std::pow(static_cast<double>(t) / order, p);
    return std::abs(value);
  };
  for (int64_t p = 0; p < order; ++p) REQUIRE(moment(p) <= 1e-12 * std::pow(2.0, p));
  REQUIRE(moment(order) >= 1e-4);  // the next one does not vanish
  double front = 0, back = 0;  // minimum phase: no filter of this spectrum has its energy earlier
  for (size_t t = 0; t < h.size(); ++t) {
    front += h[t] * h[t], back += h[h.size() - 1 - t] * h[h.size() - 1 - t];
    REQUIRE(front >= back - 1e-14);
  }
}

TEST_CASE("Daubechies filters have the published coefficients") {
  const double r3 = std::sqrt(3.0), r10 = std::sqrt(10.0), r = std::sqrt(5 + 2 * r10), r2 = std::sqrt(2.0);
  const std::vector<double> two{(1 + r3) / (4 * r2), (3 + r3) / (4 * r2), (3 - r3) / (4 * r2), (1 - r3) / (4 * r2)};
  const std::vector<double> three{(1 + r10 + r) / (16 * r2),         (5 + r10 + 3 * r) / (16 * r2),
                                  (10 - 2 * r10 + 2 * r) / (16 * r2), (10 - 2 * r10 - 2 * r) / (16 * r2),
                                  (5 + r10 - 3 * r) / (16 * r2),      (1 + r10 - r) / (16 * r2)};
  // Daubechies, Ten Lectures on Wavelets (1992), table 6.1.
  const std::vector<double> four{.2303778133088964,  .7148465705529154, .6308807679298587, -.0279837694168599,
                                 -.1870348117190931, .0308413818355607, .0328830116668852, -.0105974017850690};
  for (const auto& [expected, limit] : {std::pair{two, 1e-15}, {three, 1e-15}, {four, 1e-11}}) {
    const auto& h = daubechies_filter(static_cast<int64_t>(expected.size()) / 2);
    for (size_t t = 0; t < h.size(); ++t) REQUIRE(std::abs(h[t] - expected[t]) <= limit);
  }
  REQUIRE(std::abs(daubechies_filter(1)[0] - 1 / r2) <= 1e-15);
  REQUIRE(std::abs(daubechies_filter(10)[0] - .0266700579005546) <= 1e-12);
}

TEST_CASE("Wavelet equals the direct sum") {
  struct Case {
    Shape shape;
    int64_t dimensions, levels;
    Shape shift;
  };
  const auto c = GENERATE(values<Case>({{{64}, 1, 3, {}},         {{37}, 1, 2, {5}},           {{3}, 1, 1, {}},
                                        {{2}, 1, 3, {1}},         {{5, 31}, 1, 2, {-3}},       {{16, 24}, 2, 3, {}},
                                        {{7, 5}, 2, 1, {3, 4}},   {{13, 40}, 2, 2, {-50, 7}},  {{66, 9}, 2, 0, {2, 3}},
                                        {{9, 66}, 2, 0, {2, 3}},  {{1, 33}, 2, 2, {1, 1}},     {{33, 1}, 2, 2, {4, 0}},
                                        {{1, 1}, 2, 2, {}},       {{2, 3, 17, 12}, 2, 2, {}},  {{8, 6, 10}, 3, 1, {}},
                                        {{5, 16, 9}, 3, 2, {3, 1, 8}}, {{2, 6, 1, 20}, 3, 2, {1, 0, 2}},
                                        {{34, 4, 40}, 3, 0, {1, 2, 3}}, {{40, 34, 4}, 3, 0, {}}}));
  const int64_t order = GENERATE(1, 2, 4, 10);
  CAPTURE(c.shape, c.levels, c.shift, order);
  for (const auto dtype : {at::kFloat, at::kDouble, at::kComplexFloat, at::kComplexDouble}) {
    const Wavelet wavelet = make(c.shape, dtype, {order, c.levels, c.dimensions, c.shift});
    const at::Tensor x = noise(c.shape, dtype), kept = x.clone();
    const at::Tensor y = wavelet.apply(x), expected = oracle(wavelet, x);
    REQUIRE(y.sizes() == at::IntArrayRef(wavelet.codomain().shape));
    REQUIRE(relative_error(y, expected) <= tolerance(dtype, 20));
    REQUIRE(relative_error(wavelet.adjoint(y), x) <= tolerance(dtype, 20));
    REQUIRE(same(x, kept));
  }
  // Negative control: the next order is another transform wherever anything is transformed.
  const Wavelet other = make(c.shape, at::kDouble, {order == 1 ? 3 : order - 1, c.levels, c.dimensions, c.shift});
  const Wavelet wavelet = make(c.shape, at::kDouble, {order, c.levels, c.dimensions, c.shift});
  const at::Tensor x = noise(c.shape, at::kDouble);
  const bool transforms = wavelet.coarse_shape() != wavelet.codomain().shape;
  if (wavelet.domain().numel() > 4 && other.levels() == wavelet.levels() && transforms) {
    REQUIRE(relative_error(other.apply(x), oracle(wavelet, x)) > 1e-3);
  }
}

TEST_CASE("Wavelet is an isometry for every order and any size") {
  const int64_t order = GENERATE(range(1, 11));
  const auto shape = GENERATE(values<Shape>({{3, 5}, {17, 13}, {31, 64}, {101, 97}, {4, 4}, {1, 257}}));
  CAPTURE(order, shape);
  const Wavelet wavelet = make(shape, at::kComplexDouble, {order, 3, 2, {}});
  const at::Tensor x = noise(shape, at::kComplexDouble), y = wavelet.apply(x);
  const double energy = x.abs().square().sum().item<double>();
  REQUIRE(std::abs(y.abs().square().sum().item<double>() / energy - 1) <= 1e-13);
  REQUIRE(relative_error(wavelet.adjoint(y), x) <= 1e-13);
  REQUIRE(same(wavelet.normal(x), x));
  const at::Tensor v = noise(wavelet.codomain().shape, at::kComplexDouble, 2);
  const auto left = at::vdot(v.flatten(), y.flatten()), right = at::vdot(wavelet.adjoint(v).flatten(), x.flatten());
  const double scale = std::sqrt(energy) * v.norm().item<double>();
  REQUIRE(at::abs(left - right).item<double>() <= 1e-14 * scale);
  if (wavelet.codomain().shape == shape) REQUIRE(relative_error(wavelet.apply(wavelet.adjoint(v)), v) <= 1e-13);
}

TEST_CASE("Wavelet details of polynomials vanish below the order") {
  const int64_t order = GENERATE(range(1, 11));
  CAPTURE(order);
  const int64_t n = 64, safe = (n - 2 * order) / 2 + 1;  // filters beyond wrap around
  const Wavelet wavelet = make({n}, at::kDouble, {order, 1, 1, {}});
  for (int64_t degree = 0; degree <= order; ++degree) {
    const at::Tensor x = at::linspace(-1, 1, n, at::kDouble).pow(degree);
    const double detail = wavelet.apply(x).narrow(0, n / 2, safe).abs().max().item<double>();
    if (degree < order) REQUIRE(detail <= 1e-13);
    // Below order 7 the first moment left lies well above rounding.
    if (degree == order && order <= 6) REQUIRE(detail >= 1e-8);
  }
}

TEST_CASE("Wavelet sends a constant to the coarsest band alone") {
  const int64_t order = GENERATE(1, 2, 5, 10);
  const Wavelet wavelet = make({64, 32}, at::kDouble, {order, 2, 2, {}});
  const at::Tensor y = wavelet.apply(at::ones({64, 32}, at::kDouble));
  REQUIRE(wavelet.coarse_shape() == Shape{16, 8});
  REQUIRE((y.narrow(0, 0, 16).narrow(1, 0, 8) - 4).abs().max().item<double>() <= 1e-13);
  REQUIRE(wavelet.detail_norm(y).item<double>() <= 1e-11);
  REQUIRE(wavelet.detail_norm(y + 1).item<double>() >= 1);
}

TEST_CASE("Wavelet chooses levels that leave a coarsest band of sixteen or of the filter") {
  const auto levels = [](const Shape& shape, int64_t order) {
    return make(shape, at::kFloat, {order, 0, static_cast<int64_t>(shape.size()), {}}).levels();
  };
  REQUIRE(levels({256, 256}, 2) == Shape{4, 4});
  REQUIRE(levels({256, 256}, 10) == Shape{3, 3});
  REQUIRE(levels({8, 320, 31}, 2) == Shape{0, 4, 0});
  REQUIRE(levels({32, 1}, 4) == Shape{1, 0});
  REQUIRE(make({250, 100}, at::kFloat, {2, 0, 2, {}}).codomain().shape == Shape{256, 100});
  REQUIRE(make({3, 9, 9}, at::kFloat, {2, 2, 2, {}}).coarse_shape() == Shape{3, 3, 3});
}

TEST_CASE("Wavelet takes batches and any strides and lazily conjugated input") {
  const Wavelet wavelet = make({20, 33}, at::kComplexFloat, {3, 2, 2, {}});
  const at::Tensor x = noise({2, 3, 20, 33}, at::kComplexFloat);
  const at::Tensor y = wavelet.apply(x);
  REQUIRE(y.sizes() == at::IntArrayRef({2, 3, 20, 36}));
  REQUIRE(same(y.select(0, 1).select(0, 2), wavelet.apply(x.select(0, 1).select(0, 2))));
  const at::Tensor turned = x.transpose(-1, -2).contiguous().transpose(-1, -2);
  REQUIRE_FALSE(turned.is_contiguous());
  REQUIRE(same(wavelet.apply(turned), y));
  REQUIRE(same(wavelet.adjoint(y.transpose(0, 1)), wavelet.adjoint(y).transpose(0, 1)));
  REQUIRE(same(wavelet.apply(x.conj()), wavelet.apply(x.conj().resolve_conj())));
  REQUIRE(wavelet.apply(x.narrow(0, 0, 0)).sizes() == at::IntArrayRef({0, 3, 20, 36}));
}

TEST_CASE("Wavelet shifted equals the transform of the rolled image") {
  const auto shape = GENERATE(values<Shape>({{32, 48}, {31, 47}, {40, 9}}));
  const auto shift = GENERATE(values<Shape>({{0, 0}, {1, 0}, {0, 1}, {5, -7}, {-100, 333}}));
  CAPTURE(shape, shift);
  const Wavelet wavelet = make(shape, at::kComplexFloat, {2, 0, 2, {}}), moved = wavelet.shifted(shift);
  const at::Tensor x = noise(shape, at::kComplexFloat);
  const at::Tensor y = moved.apply(x);
  REQUIRE(same(y, wavelet.apply(at::roll(x, shift, {0, 1}))));
  REQUIRE(same(moved.adjoint(y), at::roll(wavelet.adjoint(y), {-shift[0], -shift[1]}, {0, 1})));
  if (shift[1] == -7) REQUIRE(relative_error(y, wavelet.apply(x)) > 0.1);
}

TEST_CASE("Wavelet without levels is the shift alone") {
  const Wavelet wavelet = make({4, 6}, at::kFloat, {2, 0, 2, {1, -2}});
  const at::Tensor x = noise({3, 4, 6}, at::kFloat);
  REQUIRE(wavelet.coarse_shape() == Shape{4, 6});
  REQUIRE(same(wavelet.apply(x), at::roll(x, {1, -2}, {1, 2})));
  REQUIRE(same(wavelet.adjoint(wavelet.apply(x)), x));
  REQUIRE(same(wavelet.shrink(x, 5), x));
}

TEST_CASE("Wavelet shrinking equals its three steps") {
  const auto dtype = GENERATE(at::kFloat, at::kDouble, at::kComplexFloat, at::kComplexDouble);
  const auto shape = GENERATE(values<Shape>({{64, 48}, {5, 37, 29}}));
  const int64_t dimensions = static_cast<int64_t>(shape.size());
  const Wavelet wavelet = make(shape, dtype, {2, 2, dimensions, Shape(shape.size(), 3)});
  Shape batched = shape;
  batched.insert(batched.begin(), 2);
  const at::Tensor x = noise(batched, dtype), y = wavelet.apply(x);
  const double threshold = 0.7;
  const at::Tensor modulus = y.abs();
  at::Tensor shrunk = y * at::where(modulus <= threshold, at::zeros_like(modulus), 1 - threshold / modulus);
  at::Tensor coarse = shrunk, from = y;
  for (int64_t a = 0; a < dimensions; ++a) {
    coarse = coarse.narrow(a + 1, 0, wavelet.coarse_shape()[a]);
    from = from.narrow(a + 1, 0, wavelet.coarse_shape()[a]);
  }
  REQUIRE(wavelet.detail_norm(shrunk).sizes() == at::IntArrayRef({2}));
  REQUIRE((wavelet.detail_norm(shrunk) < wavelet.detail_norm(y)).all().item<bool>());
  coarse.copy_(from);
  REQUIRE(relative_error(wavelet.shrink(x, threshold), wavelet.adjoint(shrunk)) <= tolerance(dtype, 20));
  REQUIRE(relative_error(wavelet.shrink(x, 0.6), wavelet.adjoint(shrunk)) > 1e-3);
  REQUIRE(relative_error(wavelet.shrink(x, 0), x) <= tolerance(dtype, 20));
  REQUIRE(relative_error(wavelet.apply(wavelet.shrink(x, 1e9)), y) > 0.1);
  REQUIRE(same(wavelet.shrink(at::zeros_like(x), 0), at::zeros_like(x)));
}

TEST_CASE("Wavelet spreads NaN and never hides it") {
  const Wavelet wavelet = make({32, 32}, at::kComplexFloat, {2, 1, 2, {}});
  at::Tensor x = noise({32, 32}, at::kComplexFloat);
  REQUIRE_FALSE(wavelet.shrink(x, 0.1).isnan().any().item<bool>());
  x[7][9] = std::numeric_limits<double>::quiet_NaN();
  REQUIRE(wavelet.apply(x).isnan().any().item<bool>());
  REQUIRE(wavelet.shrink(x, 0.1)[7][9].isnan().item<bool>());
}

TEST_CASE("Wavelet gives the same bits with any number of threads") {
  const auto shape = GENERATE(values<Shape>({{300, 260}, {4, 256, 256}, {24, 100, 90}}));
  const int64_t dimensions = shape.size() == 3 && shape[0] == 4 ? 2 : static_cast<int64_t>(shape.size());
  const Wavelet wavelet = make(shape, at::kComplexFloat, {4, 2, dimensions, {}});
  const at::Tensor x = noise(shape, at::kComplexFloat);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor y = wavelet.apply(x), back = wavelet.adjoint(y);
  at::set_num_threads(4);
  REQUIRE(same(wavelet.apply(x), y));
  REQUIRE(same(wavelet.adjoint(y), back));
  at::set_num_threads(threads);
}

TEST_CASE("Wavelet passes gradients through its adjoint") {
  const Space space{{20, 13}, at::kDouble, at::kCPU};
  const auto wavelet = std::make_shared<const Wavelet>(space, WaveletOptions{3, 2, 2, {}});
  const at::Tensor x = noise({2, 20, 13}, at::kDouble).requires_grad_(true);
  const at::Tensor v = noise({2, 20, 16}, at::kDouble, 2);
  (wavelet->apply(x) * v).sum().backward();
  REQUIRE(same(x.grad(), wavelet->adjoint(v)));
  REQUIRE_FALSE(wavelet->shrink(x, 0.1).requires_grad());
}

TEST_CASE("Wavelet refuses options that make no sense") {
  using monarch::ConfigError;
  REQUIRE_THROWS_AS(daubechies_filter(0), ConfigError);
  REQUIRE_THROWS_AS(daubechies_filter(11), ConfigError);
  REQUIRE_THROWS_AS(make({8, 8}, at::kFloat, {11, 1, 2, {}}), ConfigError);
  REQUIRE_THROWS_AS(make({8, 8}, at::kFloat, {2, -1, 2, {}}), ConfigError);
  REQUIRE_THROWS_AS(make({8, 8}, at::kFloat, {2, 1, 3, {}}), ConfigError);
  REQUIRE_THROWS_AS(make({8, 8}, at::kFloat, {2, 1, 0, {}}), ConfigError);
  REQUIRE_THROWS_AS(make({8, 8}, at::kFloat, {2, 1, 2, {1}}), ConfigError);
  REQUIRE_THROWS_AS(make({8, 0}, at::kFloat, {2, 1, 2, {}}), ConfigError);
  REQUIRE_THROWS_AS(make({64, 64, 64}, at::kFloat, {2, 20, 3, {}}), ConfigError);
  REQUIRE_THROWS_AS(make({8, 8}, at::kLong, {2, 1, 2, {}}), monarch::DtypeError);
  const Wavelet wavelet = make({8, 8}, at::kFloat, {2, 1, 2, {}});
  REQUIRE_THROWS_AS(wavelet.shrink(at::zeros({8, 8}), -1), ConfigError);
  REQUIRE_THROWS_AS(wavelet.shrink(at::zeros({8, 8}), std::nan("")), ConfigError);
  REQUIRE_THROWS_AS(wavelet.shrink(at::zeros({8, 7}), 1), monarch::ShapeError);
  REQUIRE_THROWS_AS(wavelet.shrink(at::zeros({8, 8}, at::kDouble), 1), monarch::DtypeError);
  REQUIRE_THROWS_AS(wavelet.apply(at::zeros({8, 7})), monarch::ShapeError);
  REQUIRE_THROWS_AS(wavelet.detail_norm(at::zeros({8, 7})), monarch::ShapeError);
}
