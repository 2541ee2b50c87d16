// The fused spectral and pointwise kernels against the composites in double precision: values and every gradient.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/autograd.h>

#include <fstream>
#include <limits>
#include <string>

#include "catch2/catch.hpp"
#include "monarch/operators/nn/spectral.hpp"
#include "monarch/operators/nn/spectral_autograd.hpp"

using namespace monarch;
using namespace monarch::operators;

namespace {

double relative(const at::Tensor& a, const at::Tensor& b) {
  REQUIRE(a.sizes() == b.sizes());
  const auto wide = [](const at::Tensor& t) { return t.to(t.is_complex() ? at::kComplexDouble : at::kDouble); };
  return ((wide(a) - wide(b)).norm() / wide(b).norm().clamp_min(1e-30)).item<double>();
}

at::Tensor leaf(const at::Tensor& t, bool wide) {
  const auto type =
      t.is_complex() ? (wide ? at::kComplexDouble : at::kComplexFloat) : (wide ? at::kDouble : at::kFloat);
  return t.detach().to(type, false, true).requires_grad_();
}

struct Case {
  std::vector<int64_t> grid, modes;
  int64_t batch = 3, in = 4, out = 5;
  Activation activation = Activation::gelu;
  bool pointwise = true, bias = true;
  std::vector<int64_t> out_grid = {};
};

/// Every tensor of a layer as a leaf: x, weight, transforms, pointwise, bias.
struct Layer {
  Layer(const Case& c, bool wide) {
    at::manual_seed(7);
    std::vector<int64_t> shape{c.batch, c.in}, weight_shape{c.in, c.out};
    shape.insert(shape.end(), c.grid.begin(), c.grid.end());
    weight_shape.insert(weight_shape.end(), c.modes.begin(), c.modes.end());
    const auto add = [&](const at::Tensor& t) { return leaves.emplace_back(leaf(t, wide)); };
    x = add(at::randn(shape, at::kDouble));
    w.weight = add(at::randn(weight_shape, at::kComplexDouble));
    const auto& points = c.out_grid.empty() ? c.grid : c.out_grid;
    for (size_t a = 0; a < c.grid.size(); ++a) {
      const double scale = 1 / std::sqrt(static_cast<double>(c.grid[a]));
      const at::Tensor forward = add(scale * at::randn({c.modes[a], c.grid[a]}, at::kComplexDouble));
      const at::Tensor inverse = add(scale * at::randn({points[a], c.modes[a]}, at::kComplexDouble));
      w.axes.push_back({forward, inverse});
    }
    const at::Tensor pointwise = at::randn({c.out, c.in}, at::kDouble), bias = at::randn({c.out}, at::kDouble);
    if (c.pointwise) w.pointwise = add(pointwise);
    if (c.bias) w.bias = add(bias);
    w.activation = c.activation;
  }
  at::Tensor x;
  SpectralWeights w;
  std::vector<at::Tensor> leaves;
};

std::vector<at::Tensor> gradients(const at::Tensor& y, const std::vector<at::Tensor>& leaves) {
  at::manual_seed(11);
  const at::Tensor direction = at::randn(y.sizes(), at::kDouble).to(y.scalar_type());
  return torch::autograd::grad({y}, leaves, {direction}, false, false, true);
}

const std::vector<Case> cases{
    {.grid = {64, 64}, .modes = {24, 12}, .batch = 2, .in = 20, .out = 20},
    {.grid = {16, 16}, .modes = {12, 7}},
    {.grid = {17, 15}, .modes = {5, 3}, .in = 3, .out = 7},  // tails everywhere
    {.grid = {9, 33}, .modes = {4, 17}, .batch = 1, .activation = Activation::relu},
    {.grid = {12, 20}, .modes = {3, 11}, .activation = Activation::gelu_tanh, .bias = false},
    {.grid = {12, 20}, .modes = {3, 11}, .activation = Activation::none, .pointwise = false},
    {.grid = {8, 8}, .modes = {4, 2}, .pointwise = false, .bias = false},
    {.grid = {8, 12}, .modes = {4, 5}, .pointwise = false, .out_grid = {15, 31}},
    {.grid = {2, 2}, .modes = {1, 1}, .batch = 1, .in = 1, .out = 1},
    {.grid = {64}, .modes = {16}, .in = 8, .out = 6},
    {.grid = {101}, .modes = {13}, .batch = 5, .activation = Activation::none},
    {.grid = {24}, .modes = {13}, .pointwise = false, .out_grid = {37}},
};

}  // namespace

TEST_CASE("fused spectral layers equal the composite in double precision, values and gradients") {
  for (const Case& c : cases) {
    CAPTURE(c.grid, c.modes, activation_name(c.activation));
    Layer narrow(c, false), wide(c, true);
    REQUIRE(spectral_fused(narrow.x, narrow.w));
    REQUIRE_FALSE(spectral_fused(wide.x, wide.w));
    const at::Tensor y = spectral_layer(narrow.x, narrow.w), expected = spectral_layer(wide.x, wide.w);
    CHECK(relative(y, expected) <= 2e-6);
    {
      const at::NoGradGuard off;
      CHECK(at::equal(spectral_layer(narrow.x, narrow.w), y));
    }
    const auto g = gradients(y, narrow.leaves), g_expected = gradients(expected, wide.leaves);
    for (size_t i = 0; i < g.size(); ++i) {
      CAPTURE(i);
      CHECK(relative(g[i], g_expected[i]) <= 5e-6);
    }
  }
}

TEST_CASE("only the gradients that are asked for are made, and each is the same alone") {
  const Case c = cases[1];
  Layer all(c, false);
  const auto expected = gradients(spectral_layer(all.x, all.w), all.leaves);
  for (size_t i = 0; i < all.leaves.size(); ++i) {
    CAPTURE(i);
    for (size_t j = 0; j < all.leaves.size(); ++j) all.leaves[j].requires_grad_(j == i);
    const auto one = gradients(spectral_layer(all.x, all.w), {all.leaves[i]});
    CHECK(at::equal(one[0], expected[i]));
  }
}

TEST_CASE("fused spectral gradients do not depend on the number of threads") {
  const int threads = at::get_num_threads();
  for (const Case& c : {cases[0], cases[3], cases[9]}) {
    CAPTURE(c.grid, c.batch);
    Layer layer(c, false);
    std::vector<std::vector<at::Tensor>> found;
    for (const int n : {1, 2, 4}) {
      at::set_num_threads(n);
      const at::Tensor y = spectral_layer(layer.x, layer.w);
      found.push_back(gradients(y, layer.leaves));
      found.back().push_back(y.detach());
    }
    at::set_num_threads(threads);
    for (size_t n = 1; n < found.size(); ++n)
      for (size_t i = 0; i < found[0].size(); ++i) CHECK(at::equal(found[0][i], found[n][i]));
  }
}

TEST_CASE("second derivatives of a fused spectral layer equal the composite's") {
  const Case c{.grid = {8, 10}, .modes = {4, 3}, .batch = 2, .in = 2, .out = 3};
  const auto second = [&](bool wide) {
    Layer layer(c, wide);
    const at::Tensor y = spectral_layer(layer.x, layer.w);
    const auto first = torch::autograd::grad({y.square().sum()}, {layer.x}, {}, true, true);
    return torch::autograd::grad({first[0].square().sum()}, layer.leaves, {}, false, false, true);
  };
  const auto narrow = second(false), wide = second(true);
  for (size_t i = 0; i < narrow.size(); ++i) CHECK(relative(narrow[i], wide[i]) <= 2e-5);
}

TEST_CASE("fused pointwise networks equal the composite in double precision, values and gradients") {
  struct Net {
    int64_t batch, in, hidden, out;
    std::vector<int64_t> points;
    Activation activation;
    bool biases;
  };
  for (const Net& n : {Net{2, 20, 128, 1, {64, 64}, Activation::gelu, true},
                       {3, 3, 5, 7, {17, 9}, Activation::relu, true},
                       {1, 4, 33, 2, {5, 6, 7}, Activation::gelu_tanh, false},
                       {1, 1, 1, 1, {1}, Activation::none, true},
                       {1, 12, 40, 3, {3001}, Activation::gelu, true}}) {
    CAPTURE(n.points, n.hidden);
    const auto run = [&](bool wide, bool two) {
      at::manual_seed(3);
      std::vector<int64_t> shape{n.batch, n.in};
      shape.insert(shape.end(), n.points.begin(), n.points.end());
      std::vector<at::Tensor> t{at::randn(shape, at::kDouble), at::randn({n.hidden, n.in}, at::kDouble),
                                at::randn({n.out, n.hidden}, at::kDouble), at::randn({n.hidden}, at::kDouble),
                                at::randn({n.out}, at::kDouble)};
      if (!two) t = {t[0], t[1], t[3]};
      if (!n.biases) t.resize(two ? 3 : 2);
      for (auto& leaf_tensor : t) leaf_tensor = leaf(leaf_tensor, wide);
      const auto bias = [&](size_t i) { return n.biases ? t[i] : at::Tensor(); };
      const at::Tensor y =
          two ? pointwise_mlp(t[0], t[1], bias(3), t[2], bias(4), n.activation) : pointwise_linear(t[0], t[1], bias(2));
      auto result = gradients(y, t);
      result.push_back(y.detach());
      return result;
    };
    for (const bool two : {true, false}) {
      const auto narrow = run(false, two), wide = run(true, two);
      for (size_t i = 0; i < narrow.size(); ++i) {
        CAPTURE(two, i);
        CHECK(relative(narrow[i], wide[i]) <= 5e-6);
      }
    }
  }
}

TEST_CASE("the hidden values of a pointwise network are never held as a whole") {
  // 64 MiB of hidden values in a process whose peak may grow by a quarter of that.
  const at::Tensor x = at::randn({1, 4, 1 << 17}), w1 = at::randn({128, 4}), w2 = at::randn({1, 128});
  const auto peak = [] {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);)
      if (line.rfind("VmHWM:", 0) == 0) return std::stoll(line.substr(6));
    return 0LL;
  };
  const int64_t before = peak();
  const at::Tensor leaf_w = w1.clone().requires_grad_();
  pointwise_mlp(x, leaf_w, {}, w2, {}, Activation::gelu).sum().backward();
  REQUIRE(before > 0);
  CHECK(peak() - before <= (16 << 10));
  CHECK(leaf_w.grad().defined());
}

TEST_CASE("what is not a number in a sample stays in that sample") {
  const Case c = cases[1];
  Layer layer(c, false);
  const at::NoGradGuard off;
  at::Tensor x = layer.x.detach().clone();
  x[1][0][3][2] = std::numeric_limits<float>::quiet_NaN();
  const at::Tensor y = spectral_layer(x, layer.w), clean = spectral_layer(layer.x, layer.w);
  CHECK(y[1].isnan().all().item<bool>());
  CHECK(at::equal(y[0], clean[0]));
  CHECK(at::equal(y[2], clean[2]));
}

TEST_CASE("layers that the kernels do not know go through the composite") {
  Layer planes({.grid = {8, 8}, .modes = {4, 3}}, false);
  REQUIRE(spectral_fused(planes.x, planes.w));
  Layer volume({.grid = {6, 6, 8}, .modes = {4, 4, 3}}, false), wide({.grid = {6, 6, 8}, .modes = {4, 4, 3}}, true);
  REQUIRE_FALSE(spectral_fused(volume.x, volume.w));
  CHECK(relative(spectral_layer(volume.x, volume.w), spectral_layer(wide.x, wide.w)) <= 2e-6);
  const at::Tensor turned = planes.x.transpose(2, 3);  // strided input
  CHECK(relative(spectral_layer(turned, planes.w), spectral_layer_composite(turned, planes.w)) <= 2e-6);
  CHECK(spectral_layer(planes.x.narrow(0, 0, 0), planes.w).size(0) == 0);
}
