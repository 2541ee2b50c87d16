#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include "catch2/catch.hpp"
#include "monarch/core/error.hpp"
#include "monarch/operators/nn/spectral.hpp"

using namespace monarch;
using namespace monarch::operators;
using Catch::Matchers::Contains;

namespace {
double relative(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).norm() / b.norm()).item<double>();
}
}  // namespace

TEST_CASE("a spectral layer of exact transforms is rfft2, a matrix per kept mode, irfft2") {
  at::manual_seed(1);
  for (const auto& [ny, nx, m] : {std::array<int64_t, 3>{16, 16, 5}, {15, 12, 4}, {16, 15, 7}, {8, 8, 4}}) {
    const int64_t batch = 3, in = 4, out = 5;
    const at::Tensor x = at::randn({batch, in, ny, nx}, at::kDouble);
    const at::Tensor weight = at::randn({in, out, 2 * m, m}, at::kComplexDouble);
    SpectralWeights w;
    w.weight = weight;
    w.axes = {truncated_fourier(ny, m, KeptModes::low_both, at::kDouble),
              truncated_fourier(nx, m, KeptModes::low_half, at::kDouble)};
    const at::Tensor spectrum = at::fft_rfft2(x);
    at::Tensor filled = at::zeros({batch, out, ny, nx / 2 + 1}, at::kComplexDouble);
    const auto mix = [&](int64_t from, int64_t w_from) {
      filled.slice(2, from, from + m).slice(3, 0, m) = at::einsum(
          "bixy,ioxy->boxy", {spectrum.slice(2, from, from + m).slice(3, 0, m), weight.slice(2, w_from, w_from + m)});
    };
    mix(0, 0);
    mix(ny - m, m);
    const at::Tensor expected = at::fft_irfft2(filled, at::IntArrayRef{ny, nx});
    REQUIRE(relative(spectral_layer_composite(x, w), expected) <= 1e-12);
    REQUIRE(relative(spectral_layer(x, w), expected) <= 1e-12);
    REQUIRE(relative(spectral_layer_fft(x, w), expected) <= 1e-12);
  }
}

TEST_CASE("modes beyond Nyquist are refused with the most that fit") {
  REQUIRE_THROWS_WITH(truncated_fourier(16, 9, KeptModes::low_both, at::kFloat), Contains("at most 8"));
  REQUIRE_THROWS_WITH(truncated_fourier(16, 10, KeptModes::low_half, at::kFloat), Contains("at most 9"));
}

TEST_CASE("an inverse at other points is the trigonometric interpolant") {
  for (const auto& [n, n_out] : {std::array<int64_t, 2>{16, 32}, {16, 31}, {15, 64}, {32, 16}}) {
    const int64_t m = 5;
    const auto t = truncated_fourier(n, m, KeptModes::low_half, at::kDouble, n_out);
    const auto field = [](const at::Tensor& p) {
      return 0.3 + (2 * M_PI * 3 * p).cos() - 0.7 * (2 * M_PI * 4 * p).sin();
    };
    const auto points = [](int64_t count) { return at::arange(count, at::kDouble) / static_cast<double>(count); };
    const at::Tensor y =
        at::real(at::matmul(t.inverse, at::matmul(t.forward, field(points(n)).to(at::kComplexDouble))));
    REQUIRE(relative(y, field(points(n_out))) <= 1e-13);
  }
}

TEST_CASE("FFTs and truncated matrices are the same layer, with every gradient, in one to three dimensions") {
  at::manual_seed(2);
  for (const auto& grid : {std::vector<int64_t>{12}, {15}, {8, 10}, {9, 6, 8}}) {
    std::vector<int64_t> x_shape{2, 3}, w_shape{3, 4};
    SpectralWeights w;
    for (size_t a = 0; a < grid.size(); ++a) {
      const bool last = a + 1 == grid.size();
      const int64_t m = last ? grid[a] / 2 + 1 : grid[a] / 2;  // all that fit, Nyquist too
      w.axes.push_back(truncated_fourier(grid[a], m, last ? KeptModes::low_half : KeptModes::low_both, at::kDouble));
      x_shape.push_back(grid[a]);
      w_shape.push_back(last ? m : 2 * m);
    }
    const at::Tensor x = at::randn(x_shape, at::kDouble).requires_grad_();
    w.weight = at::randn(w_shape, at::kComplexDouble).requires_grad_();
    w.pointwise = at::randn({4, 3}, at::kDouble).requires_grad_();
    w.bias = at::randn({4}, at::kDouble).requires_grad_();
    w.activation = Activation::gelu;
    const auto gradients = [&](const at::Tensor& y) {
      return torch::autograd::grad({y.square().sum()}, {x, w.weight, w.pointwise, w.bias});
    };
    const at::Tensor by_products = spectral_layer_composite(x, w), by_fft = spectral_layer_fft(x, w);
    REQUIRE(relative(by_fft, by_products) <= 1e-12);
    const auto a = gradients(by_fft), b = gradients(by_products);
    for (size_t i = 0; i < a.size(); ++i) REQUIRE(relative(a[i], b[i]) <= 1e-12);
  }
}

TEST_CASE("few modes of a small grid go through products, nearly all of a large one through FFTs") {
  const auto by_fft = [](int64_t n, int64_t m) {
    SpectralWeights w;
    w.weight = at::empty({1, 1, 2 * m, m}, at::kComplexFloat);
    w.axes = {truncated_fourier(n, m, KeptModes::low_both, at::kFloat),
              truncated_fourier(n, m, KeptModes::low_half, at::kFloat)};
    const at::Tensor x = at::empty({1, 1, n, n});
    const bool fft = spectral_by_fft(x, w);
    w.axes[0].fourier.reset();  // a learned transform
    REQUIRE_FALSE(spectral_by_fft(x, w));
    return fft;
  };
  REQUIRE_FALSE(by_fft(64, 12));
  REQUIRE_FALSE(by_fft(256, 16));
  REQUIRE(by_fft(256, 128));
}
