#include <ATen/ATen.h>
#include <torch/optim/sgd.h>

#include <catch2/catch.hpp>

#include "monarch/core/error.hpp"
#include "monarch/operators/nn/monarch_adapter.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::operators;
using namespace monarch::test;

namespace {

struct Case {
  int64_t in, out;
  MonarchAdapterOptions options;
};

const std::vector<Case> cases = {{32, 32, {}},
                                 {32, 48, {}},
                                 {48, 32, {}},
                                 {30, 41, {}},
                                 {30, 41, {.nblocks = 3, .rank = 5}},
                                 {32, 32, {.nblocks = 2, .rank = 1}}};

}  // namespace

TEST_CASE("adapter: the start equals the dense layer, zero and principal, real and complex") {
  at::manual_seed(21);
  for (const auto dtype : {at::kDouble, at::kComplexDouble}) {
    for (auto [in, out, options] : cases) {
      const at::Tensor weight = at::randn({out, in}, dtype), bias = at::randn({out}, dtype);
      const at::Tensor x = at::randn({5, in}, dtype);
      for (const bool principal : {false, true}) {
        options.principal = principal;
        MonarchAdapter layer(weight, bias, options);
        REQUIRE(layer->weights() <= options.rank * (in + out + 2 * options.nblocks));
        REQUIRE(relative_error(layer->forward(x), at::linear(x, weight, bias)) <= tolerance(dtype, 64));
        // Zero leaves the weight; principal takes the largest part of it out.
        const double left = relative_error(layer->weight, weight);
        if (principal) {
          REQUIRE(left > 0.05);
          REQUIRE(layer->weight.norm().item().toComplexDouble().real() < weight.norm().item().toComplexDouble().real());
        } else {
          REQUIRE(left == 0);
          REQUIRE(layer->blkdiag2.abs().max().item<double>() == 0);
        }
      }
    }
  }
}

TEST_CASE("adapter: only the factors train, and they do") {
  at::manual_seed(22);
  const at::Tensor weight = at::randn({24, 16}), bias = at::randn({24}), x = at::randn({32, 16});
  const at::Tensor target = at::linear(x, weight + 0.3 * at::randn({24, 16}), bias);
  for (const bool principal : {false, true}) {
    MonarchAdapter layer(weight, bias, MonarchAdapterOptions{.principal = principal});
    const at::Tensor frozen = layer->weight.clone();
    torch::optim::SGD optimiser(layer->parameters(), torch::optim::SGDOptions(0.3).weight_decay(1e-3));
    double first = 0, last = 0;
    for (int step = 0; step < 300; ++step) {
      const at::Tensor loss = (layer->forward(x) - target).square().mean();
      if (step == 0) first = loss.item<double>();
      last = loss.item<double>();
      optimiser.zero_grad();
      loss.backward();
      optimiser.step();
    }
    REQUIRE(last < 0.9 * first);
    REQUIRE_FALSE(layer->weight.grad().defined());
    REQUIRE_FALSE(layer->bias.grad().defined());
    REQUIRE(relative_error(layer->weight, frozen) == 0);
    REQUIRE(relative_error(layer->bias, bias) == 0);
    REQUIRE(layer->blkdiag1.grad().abs().max().item<double>() > 0);
    REQUIRE(layer->blkdiag2.abs().max().item<double>() > 0);
  }
}

TEST_CASE("adapter: merged equals unmerged to rounding, and unmerging is exact") {
  at::manual_seed(23);
  for (const auto dtype : {at::kDouble, at::kComplexDouble}) {
    for (const auto& [in, out, options] : cases) {
      MonarchAdapter layer(at::randn({out, in}, dtype), at::randn({out}, dtype), options);
      const c10::NoGradGuard no_gradient;
      layer->blkdiag2.normal_();
      const at::Tensor x = at::randn({5, in}, dtype), before = layer->forward(x);
      REQUIRE_THROWS_AS(layer->merge(), ConfigError);  // training mode
      layer->eval();
      layer->merge();
      const at::Tensor merged = layer->forward(x);
      REQUIRE(relative_error(merged, before) <= tolerance(dtype, 64));
      REQUIRE(relative_error(layer->to_linear()->forward(x), before) <= tolerance(dtype, 64));
      REQUIRE(layer->to_linear()->weight.requires_grad());
      // A changed factor shows in a merged layer as well.
      layer->blkdiag2.mul_(2);
      const at::Tensor changed = layer->forward(x);
      layer->unmerge();
      REQUIRE(relative_error(changed, layer->forward(x)) <= tolerance(dtype, 64));
      REQUIRE_FALSE(relative_error(changed, before) <= tolerance(dtype, 64));
      layer->blkdiag2.mul_(0.5);
      REQUIRE(relative_error(layer->forward(x), before) == 0);
      layer->merge();
      layer->train();
      REQUIRE_FALSE(layer->merged());
    }
  }
}

TEST_CASE("adapter: a copy is frozen where the original is") {
  MonarchAdapter layer(at::randn({16, 16}));
  const auto copy = std::dynamic_pointer_cast<MonarchAdapterImpl>(layer->clone());
  REQUIRE(relative_error(copy->weight, layer->weight) == 0);
  REQUIRE_FALSE(copy->weight.requires_grad());
  REQUIRE(copy->blkdiag1.requires_grad());
  REQUIRE(relative_error(copy->blkdiag1, layer->blkdiag1) == 0);
  REQUIRE_FALSE(copy->bias.defined());
}

TEST_CASE("adapter: ranks beyond a block and wrong shapes are refused") {
  REQUIRE_THROWS_WITH(MonarchAdapter(at::zeros({8, 12}), at::Tensor(), MonarchAdapterOptions{.rank = 3}),
                      Catch::Contains("rank 3 exceeds a block, 2 x 3"));
  REQUIRE_THROWS_AS(MonarchAdapter(at::zeros({8, 12}), at::Tensor(), MonarchAdapterOptions{.rank = 0}), ShapeError);
  REQUIRE_THROWS_AS(MonarchAdapter(at::zeros({8})), ShapeError);
  REQUIRE_THROWS_AS(MonarchAdapter(at::zeros({8, 12}), at::zeros({12}), MonarchAdapterOptions{.rank = 1}), ShapeError);
  MonarchAdapter layer(at::zeros({16, 30}));
  REQUIRE_THROWS_AS(layer->forward(at::zeros({2, 32})), ShapeError);
}
