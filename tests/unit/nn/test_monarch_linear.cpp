#include "monarch/operators/nn/monarch_linear.hpp"

#include <ATen/ATen.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/optim/sgd.h>
#include <torch/serialize.h>

#include <catch2/catch.hpp>
#include <sstream>

#include "monarch/core/error.hpp"
#include "monarch/operators/nn/activate.hpp"
#include "monarch/operators/nn/linear_layer.hpp"
#include "monarch/operators/nn/parameter_groups.hpp"
#include "monarch/operators/nn/sizes.hpp"
#include "support/contract.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::operators;
using namespace monarch::test;

namespace {

/// Square, wide, narrow, not divisible, k != l.
std::vector<MonarchLinearOptions> shapes(at::ScalarType dtype) {
  std::vector<MonarchLinearOptions> all = {{.in = 16, .out = 16},
                                           {.in = 16, .out = 48},
                                           {.in = 48, .out = 16},
                                           {.in = 13, .out = 22},
                                           {.in = 30, .out = 7, .nblocks = 3},
                                           {.in = 1, .out = 1, .nblocks = 1},
                                           {.in = 11, .out = 9, .sizes = MonarchSizes{3, 4, 4, 2, 5, 6}}};
  for (auto& options : all) options.dtype = dtype;
  return all;
}

/// A loss that every output enters, with every output in a different way.
at::Tensor loss_of(const at::Tensor& y) {
  const at::Tensor weights = at::linspace(0.5, 1.5, y.numel(), at::kDouble).reshape(y.sizes());
  const at::Tensor power = y.is_complex() ? at::view_as_real(y).square().sum(-1) : y.square();
  return (power * weights).sum();
}

}  // namespace

TEST_CASE("Monarch layer: forward is act(densify() x + bias), real and complex, any shape") {
  at::manual_seed(11);
  for (const auto dtype : {at::kFloat, at::kDouble, at::kComplexFloat, at::kComplexDouble}) {
    for (auto options : shapes(dtype)) {
      for (const auto activation : {Activation::none, Activation::gelu}) {
        if (activation != Activation::none && at::isComplexType(dtype)) continue;
        options.activation = activation;
        for (const bool norm : {false, true}) {
          options.weight_norm = norm;
          MonarchLinear layer(options);
          const at::Tensor x = at::randn({2, 3, options.in}, dtype);
          const at::Tensor y = layer->forward(x);
          REQUIRE(y.sizes() == at::IntArrayRef({2, 3, options.out}));
          REQUIRE(layer->densify().sizes() == at::IntArrayRef({options.out, options.in}));
          const at::Tensor expected =
              activate(at::matmul(x, layer->densify().transpose(0, 1)) + layer->bias, activation);
          REQUIRE(relative_error(y, expected) <= tolerance(dtype, 64));
          REQUIRE_FALSE(relative_error(y + 0.01, expected) <= tolerance(dtype, 64));
        }
      }
    }
  }
}

TEST_CASE("Monarch layer: sizes, names and counts are those of the paper") {
  const MonarchLinear layer(MonarchLinearOptions{.in = 768, .out = 3072});
  REQUIRE(layer->weights() == 737280);
  REQUIRE(layer->macs() == 737280);
  REQUIRE(layer->parameter_fraction() == 0.3125);
  const auto named = layer->named_parameters();
  REQUIRE(named.keys() == std::vector<std::string>{"blkdiag1", "blkdiag2", "bias"});
  REQUIRE(named["blkdiag1"].sizes() == at::IntArrayRef({4, 192, 192}));
  REQUIRE(named["blkdiag2"].sizes() == at::IntArrayRef({4, 768, 192}));
  REQUIRE(named["bias"].sizes() == at::IntArrayRef({3072}));
  REQUIRE(MonarchLinear(MonarchLinearOptions{.in = 8, .out = 8, .bias = false})->named_parameters().size() == 2);
  REQUIRE(MonarchLinear(768, 768)->parameter_fraction() == 0.5);
}

TEST_CASE("Monarch layer: a Monarch matrix comes back from its dense weight, with and without weight norm") {
  at::manual_seed(12);
  for (const auto dtype : {at::kDouble, at::kComplexDouble}) {
    for (auto options : shapes(dtype)) {
      for (const bool norm : {false, true}) {
        options.weight_norm = norm;
        const MonarchLinear source(options);
        const at::Tensor weight = source->densify().detach() * 7;  // large enough for the norm to act
        double error = -1;
        const MonarchLinear layer(MonarchLinearImpl::from_dense(weight, source->bias, options, &error));
        REQUIRE(error <= 1e-12);
        REQUIRE(relative_error(layer->densify(), weight) <= 1e-12);
        REQUIRE(relative_error(layer->bias, source->bias) == 0);
        REQUIRE(layer->bias.requires_grad());
      }
    }
  }
  // A weight that is no Monarch matrix does not come back.
  double error = 0;
  MonarchLinearImpl::from_dense(at::randn({16, 16}), {}, {}, &error);
  REQUIRE(error > 0.1);
}

TEST_CASE("Monarch layer: the dense layer of it computes the same") {
  at::manual_seed(13);
  for (const auto& options : shapes(at::kDouble)) {
    MonarchLinear layer(options);
    layer->eval();
    torch::nn::Linear dense = layer->to_linear();
    const at::Tensor x = at::randn({5, options.in}, at::kDouble);
    REQUIRE(relative_error(dense->forward(x), layer->forward(x)) <= tolerance(at::kDouble, 64));
    REQUIRE_FALSE(dense->is_training());
    REQUIRE(dense->weight.requires_grad());
    REQUIRE(dense->options.out_features() == options.out);
  }
  const MonarchLinear active(MonarchLinearOptions{.in = 8, .out = 8, .activation = Activation::relu});
  REQUIRE_THROWS_WITH(active->to_linear(), Catch::Contains("relu"));
}

TEST_CASE("Monarch layer: its operator keeps the contract and is the layer without bias and activation") {
  at::manual_seed(19);
  for (const auto dtype : {at::kFloat, at::kDouble, at::kComplexFloat, at::kComplexDouble}) {
    for (auto options : shapes(dtype)) {
      options.weight_norm = options.in == 13;
      const MonarchLinear layer(options);
      const OperatorPtr map = layer->as_operator();
      const auto violations = contract_violations(*map);
      INFO(map->describe() << ": " << (violations.empty() ? "" : violations.front()));
      REQUIRE(violations.empty());
      const at::Tensor x = at::randn({3, options.in}, dtype);
      const at::Tensor expected = at::matmul(x, layer->densify().transpose(0, 1));
      REQUIRE(relative_error(map->apply(x), expected) <= tolerance(dtype, 64));
      const c10::NoGradGuard no_gradient;
      layer->blkdiag1.zero_();  // the operator stays what it was
      REQUIRE(relative_error(map->apply(x), expected) <= tolerance(dtype, 64));
    }
  }
}

TEST_CASE("Monarch layer: gradients reach every parameter and equal finite differences") {
  at::manual_seed(14);
  for (const auto dtype : {at::kDouble, at::kComplexDouble}) {
    for (const bool norm : {false, true}) {
      for (const bool recompute : {false, true}) {
        MonarchLinear layer(
            MonarchLinearOptions{.in = 13, .out = 10, .weight_norm = norm, .recompute = recompute, .dtype = dtype});
        if (norm) {
          const c10::NoGradGuard no_gradient;
          layer->blkdiag1.mul_(3);  // beyond the bound; blkdiag2 stays within
          layer->blkdiag2.mul_(0.2);
        }
        const at::Tensor x = at::randn({4, 13}, dtype);
        loss_of(layer->forward(x)).backward();
        for (const auto& item : layer->named_parameters()) {
          const at::Tensor& parameter = item.value();
          REQUIRE(parameter.grad().defined());
          REQUIRE(parameter.grad().abs().max().item<double>() > 0);
          const at::Tensor direction = at::randn_like(parameter).detach();
          const c10::NoGradGuard no_gradient;
          const double step = 1e-5;
          const auto at_step = [&](double h) {
            parameter.add_(direction, h);
            const double value = loss_of(layer->forward(x)).item<double>();
            parameter.add_(direction, -h);
            return value;
          };
          const double numeric = (at_step(step) - at_step(-step)) / (2 * step);
          const at::Tensor product = parameter.grad().conj() * direction;
          const double analytic = (product.is_complex() ? at::real(product) : product).sum().item<double>();
          INFO(item.key() << (norm ? " with" : " without") << " weight norm");
          REQUIRE(std::abs(numeric - analytic) <= 1e-6 * (1 + std::abs(analytic)));
        }
      }
    }
  }
}

TEST_CASE("Monarch layer: weight norm bounds the factors, leaves small ones alone, and is smooth at zero") {
  at::manual_seed(15);
  for (const auto dtype : {at::kDouble, at::kComplexDouble}) {
    const MonarchLinear layer(MonarchLinearOptions{.in = 64, .out = 32, .weight_norm = true, .dtype = dtype});
    const c10::NoGradGuard no_gradient;
    const auto rms = [](const at::Tensor& w) { return w.abs().square().mean().sqrt().item<double>(); };
    layer->blkdiag1.mul_(100);
    layer->blkdiag2.mul_(0.01);
    const MonarchFactors w = layer->factors();
    REQUIRE(rms(w.w1) == Approx(mup_deviation(16, 8)).epsilon(1e-12));
    REQUIRE(relative_error(w.w2, layer->blkdiag2) <= 1e-15);
    layer->gain1.fill_(2.5);
    REQUIRE(rms(layer->factors().w1) == Approx(2.5 * mup_deviation(16, 8)).epsilon(1e-12));
  }
  MonarchLinear zero(MonarchLinearOptions{.in = 8, .out = 8, .zero_second = true, .weight_norm = true});
  REQUIRE(zero->blkdiag2.abs().max().item<double>() == 0);
  loss_of(zero->forward(at::randn({3, 8}))).backward();
  REQUIRE(zero->blkdiag2.grad().isfinite().all().item<bool>());
  REQUIRE(zero->blkdiag2.grad().abs().max().item<double>() > 0);
}

TEST_CASE("Monarch layer: training on a small regression reduces the loss tenfold") {
  at::manual_seed(16);
  const at::Tensor x = at::randn({64, 16}), target = at::linear(x, at::randn({8, 16}) / 4);
  for (const bool norm : {false, true}) {
    for (const auto init : {MonarchInit::fly, MonarchInit::dense_matching, MonarchInit::mup}) {
      MonarchLinearOptions options{.in = 16, .out = 32, .nblocks = 2, .init = init, .weight_norm = norm};
      options.activation = Activation::gelu;
      MonarchLinear hidden(options);
      options.in = 32;
      options.out = 8;
      options.activation = Activation::none;
      torch::nn::Sequential model(hidden, MonarchLinear(options));
      torch::optim::SGD optimiser(model->parameters(), torch::optim::SGDOptions(0.1).momentum(0.9));
      double first = 0, last = 0;
      for (int step = 0; step < 200; ++step) {
        const at::Tensor loss = (model->forward(x) - target).square().mean();
        if (step == 0) first = loss.item<double>();
        last = loss.item<double>();
        optimiser.zero_grad();
        loss.backward();
        optimiser.step();
      }
      INFO(monarch_init_name(init) << (norm ? " with weight norm: " : ": ") << first << " -> " << last);
      REQUIRE(last <= 0.1 * first);
    }
  }
}

TEST_CASE("Monarch layer: eval without gradients may use a cached dense weight, and gives the same") {
  at::manual_seed(17);
  for (const auto dtype : {at::kDouble, at::kComplexDouble}) {
    for (auto options : shapes(dtype)) {
      options.activation = at::isComplexType(dtype) ? Activation::none : Activation::gelu_tanh;
      MonarchLinear layer(options);
      const at::Tensor x = at::randn({3, options.in}, dtype);
      const at::Tensor expected = layer->forward(x).detach();
      layer->dense_cache().set_path(InferencePath::dense);
      layer->forward(x);
      REQUIRE_FALSE(layer->dense_cache().holds_weight());  // training
      layer->eval();
      layer->forward(x);
      REQUIRE_FALSE(layer->dense_cache().holds_weight());  // the factors want gradients
      const c10::NoGradGuard no_gradient;
      REQUIRE(relative_error(layer->forward(x), expected) <= tolerance(dtype, 64));
      REQUIRE(layer->dense_cache().holds_weight());
      layer->blkdiag1.mul_(2);  // a step of an optimiser
      const at::Tensor after = layer->forward(x);
      layer->dense_cache().set_path(InferencePath::monarch);
      REQUIRE(relative_error(after, layer->forward(x)) <= tolerance(dtype, 64));
      REQUIRE_FALSE(relative_error(after, expected) <= tolerance(dtype, 64));
      layer->train();
      REQUIRE_FALSE(layer->dense_cache().holds_weight());
    }
  }
}

TEST_CASE("Monarch layer: the measured choice drives forward") {
  MonarchLinear layer(32, 32);
  layer->eval();
  const c10::NoGradGuard no_gradient;
  const at::Tensor x = at::randn({1, 32});
  int call = 0;
  // Dense is timed first, then Monarch, by turns.
  layer->dense_cache().set_stopwatch([&call](const std::function<void()>& work) {
    work();
    return call++ % 2 == 0 ? 1.0 : 2.0;
  });
  layer->forward(x);
  REQUIRE(layer->dense_cache().holds_weight());
  layer->dense_cache().forget();
  layer->dense_cache().set_stopwatch([&call](const std::function<void()>& work) {
    work();
    return call++ % 2 == 0 ? 2.0 : 1.0;
  });
  layer->forward(x);
  REQUIRE_FALSE(layer->dense_cache().holds_weight());
}

TEST_CASE("Monarch layer: copies, element types and checkpoints") {
  at::manual_seed(18);
  MonarchLinear layer(MonarchLinearOptions{.in = 10, .out = 14, .weight_norm = true});
  const at::Tensor x = at::randn({3, 10});
  const auto copy = std::dynamic_pointer_cast<MonarchLinearImpl>(layer->clone());
  REQUIRE(relative_error(copy->forward(x), layer->forward(x)) == 0);
  REQUIRE_FALSE(copy->blkdiag1.is_same(layer->blkdiag1));
  {
    const c10::NoGradGuard no_gradient;
    copy->blkdiag1.zero_();
  }
  REQUIRE(layer->blkdiag1.abs().max().item<double>() > 0);

  layer->to(at::kDouble);
  REQUIRE(layer->forward(x.to(at::kDouble)).scalar_type() == at::kDouble);
  REQUIRE(std::dynamic_pointer_cast<MonarchLinearImpl>(layer->clone())->blkdiag1.scalar_type() == at::kDouble);
  layer->to(at::kFloat);

  std::stringstream file;
  torch::serialize::OutputArchive out;
  layer->save(out);
  out.save_to(file);
  MonarchLinear other(MonarchLinearOptions{.in = 10, .out = 14, .weight_norm = true});
  torch::serialize::InputArchive in;
  in.load_from(file);
  other->load(in);
  REQUIRE(relative_error(other->forward(x), layer->forward(x)) == 0);
}

TEST_CASE("Monarch layer: wrong arguments are named") {
  REQUIRE_THROWS_AS(MonarchLinear(0, 4), ShapeError);
  REQUIRE_THROWS_AS(MonarchLinear(MonarchLinearOptions{.in = 8, .out = 8, .dtype = at::kInt}), DtypeError);
  REQUIRE_THROWS_AS(MonarchLinear(MonarchLinearOptions{
                        .in = 8, .out = 8, .activation = Activation::relu, .dtype = at::kComplexFloat}),
                    ConfigError);
  REQUIRE_THROWS_AS(MonarchLinear(MonarchLinearOptions{.in = 9, .out = 8, .sizes = MonarchSizes{2, 2, 4, 2, 4, 2}}),
                    ShapeError);
  MonarchLinear layer(MonarchLinearOptions{.in = 13, .out = 8});
  // 14 columns would fit the padded factors, but not the layer.
  REQUIRE_THROWS_WITH(layer->forward(at::zeros({2, 14})), Catch::Contains("expected [..., 13], got [2, 14]"));
  REQUIRE_THROWS_AS(MonarchLinearImpl::from_dense(at::zeros({3})), ShapeError);
  REQUIRE_THROWS_AS(MonarchLinearImpl::from_dense(at::zeros({8, 8}), at::zeros({7})), ShapeError);
}

TEST_CASE("parameter groups: multipliers of mup, no decay on vectors, frozen and shared tensors once or not") {
  torch::nn::Sequential model;
  model->push_back(
      "first", MonarchLinear(MonarchLinearOptions{.in = 64, .out = 32, .init = MonarchInit::mup, .weight_norm = true}));
  model->push_back("second", monarch_layers({.init = MonarchInit::mup})({.in = 32, .out = 32}));
  const torch::nn::Linear shared(32, 32);
  model->push_back("third", shared);
  model->push_back("fourth", shared);
  model->push_back("fifth", MonarchLinear(32, 32));
  model->push_back("sixth", LinearLayer(32, 16));
  shared->bias.set_requires_grad(false);
  std::map<std::string, ParameterGroup> groups;
  for (const auto& group : parameter_groups(*model, {.base_in = 16})) REQUIRE(groups.emplace(group.name, group).second);
  REQUIRE(groups.size() == 5 + 3 + 1 + 3 + 2);
  REQUIRE(groups.at("first.blkdiag1").lr_multiplier == 16.0 / 16 / 2);
  REQUIRE(groups.at("first.blkdiag2").lr_multiplier == 16.0 / 8 / 2);
  REQUIRE(groups.at("first.gain1").lr_multiplier == 1);
  REQUIRE_FALSE(groups.at("first.gain1").weight_decay);
  REQUIRE(groups.at("second.blkdiag1").lr_multiplier == 16.0 / 8 / 2);
  REQUIRE(groups.at("second.blkdiag1").weight_decay);
  REQUIRE_FALSE(groups.at("second.bias").weight_decay);
  REQUIRE(groups.at("third.weight").lr_multiplier == 0.5);
  REQUIRE(groups.at("fifth.blkdiag1").lr_multiplier == 1);
  REQUIRE(groups.at("sixth.weight").lr_multiplier == 0.5);
  REQUIRE(parameter_groups(*model).front().lr_multiplier == 2);
  REQUIRE_THROWS_AS(parameter_groups(*model, {.base_in = -1}), ConfigError);
}
