#include "monarch/operators/nn/convert.hpp"

#include <ATen/ATen.h>
#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/serialize.h>

#include <catch2/catch.hpp>
#include <sstream>

#include "monarch/core/error.hpp"
#include "monarch/operators/nn/activate.hpp"
#include "monarch/operators/nn/linear_layer.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::operators;
using namespace monarch::test;

namespace {

/// A block with layers from a factory, a nested Sequential, and a typed child that cannot be exchanged.
struct BlockImpl : torch::nn::Cloneable<BlockImpl> {
  explicit BlockImpl(LinearFactory given) : make(std::move(given)) { reset(); }
  void reset() override {
    fc1 = register_module("fc1", make({.in = 12, .out = 24, .activation = Activation::gelu}));
    fc2 = register_module("fc2", make({.in = 24, .out = 12, .bias = false}));
    tail = register_module(
        "tail", torch::nn::Sequential(torch::nn::Linear(12, 12), torch::nn::ReLU(), torch::nn::Linear(12, 8)));
    typed = register_module("typed", torch::nn::Linear(8, 8));
  }
  at::Tensor forward(const at::Tensor& x) { return typed->forward(tail->forward(fc2->forward(fc1->forward(x)))); }

  LinearFactory make;
  LinearLayer fc1{nullptr}, fc2{nullptr};
  torch::nn::Sequential tail{nullptr};
  torch::nn::Linear typed{nullptr};
};
TORCH_MODULE(Block);

std::vector<std::string> names(const ConversionReport& report) {
  std::vector<std::string> all;
  for (const auto& layer : report.changed) all.push_back(layer.name);
  return all;
}

std::vector<std::string> keys(const torch::nn::Module& module) {
  std::vector<std::string> all;
  for (const auto& item : module.named_parameters()) all.push_back(item.key());
  return all;
}

}  // namespace

TEST_CASE("convert: the whole tree becomes Monarch where forward can be reached, and the rest is reported") {
  at::manual_seed(31);
  Block model(dense_layers());
  model->to(at::kDouble);
  const auto report = to_monarch(*model, ".*", {.layer = {.nblocks = 2}});
  REQUIRE(names(report) == std::vector<std::string>{"fc1", "fc2", "tail.0", "tail.2"});
  REQUIRE(report.kept.size() == 1);
  REQUIRE(report.kept[0].first == "typed");
  REQUIRE(report.kept[0].second.find("LinearLayer") != std::string::npos);
  REQUIRE(keys(*model) == std::vector<std::string>{"fc1.blkdiag1", "fc1.blkdiag2", "fc1.bias", "fc2.blkdiag1",
                                                   "fc2.blkdiag2", "tail.0.blkdiag1", "tail.0.blkdiag2", "tail.0.bias",
                                                   "tail.2.blkdiag1", "tail.2.blkdiag2", "tail.2.bias", "typed.weight",
                                                   "typed.bias"});
  REQUIRE(report.changed[0].before == "dense");
  REQUIRE(report.changed[0].after == "Monarch");
  REQUIRE(report.changed[0].in == 12);
  REQUIRE(report.changed[0].out == 24);
  REQUIRE(report.changed[0].parameters_before == 12 * 24 + 24);
  REQUIRE(report.changed[0].parameters_after == 2 * 6 * 6 + 2 * 12 * 6 + 24);
  REQUIRE(report.text().find("fc1") != std::string::npos);
  // What forward calls is what was put in: zeroed factors silence the model up to the typed layer's bias.
  const at::Tensor x = at::randn({3, 12}, at::kDouble);
  const at::Tensor before = model->forward(x);
  const c10::NoGradGuard no_gradient;
  for (const auto& item : model->named_parameters()) {
    if (item.key().find("tail.2") == 0) item.value().zero_();
  }
  REQUIRE(relative_error(model->forward(x), model->typed->bias.expand({3, 8})) == 0);
  REQUIRE(relative_error(before, model->forward(x)) > 1e-3);
}

TEST_CASE("convert: Monarch and back to dense computes the same, activations included") {
  at::manual_seed(32);
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    Block model(dense_layers());
    model->to(dtype);
    to_monarch(*model, ".*");
    const at::Tensor x = at::randn({3, 12}, dtype);
    const at::Tensor monarch = model->forward(x);
    const auto report = to_dense(*model);
    REQUIRE(names(report) == std::vector<std::string>{"fc1", "fc2", "tail.0", "tail.2"});
    REQUIRE(relative_error(model->forward(x), monarch) <= tolerance(dtype, 256));
    REQUIRE(keys(*model)[0] == "fc1.weight");
    // The dense weights are Monarch matrices now: projecting them again is exact.
    const auto again = to_monarch(*model, "fc1|tail\\.0");
    for (const auto& layer : again.changed) REQUIRE(layer.relative_error <= 100 * tolerance(dtype, 64));
    REQUIRE(relative_error(model->forward(x), monarch) <= 100 * tolerance(dtype, 256));
  }
}

TEST_CASE("convert: the projection's error is reported, and fresh layers have none") {
  at::manual_seed(33);
  Block model(dense_layers());
  const auto projected = to_monarch(*model, "fc1");
  REQUIRE(projected.changed[0].relative_error > 0.1);
  REQUIRE(projected.changed[0].relative_error < 1);
  const at::Tensor old = model->fc2->densify().clone();
  const auto fresh = to_monarch(*model, "fc2", {.layer = {.init = MonarchInit::fly}, .project = false});
  REQUIRE(std::isnan(fresh.changed[0].relative_error));
  REQUIRE(relative_error(model->fc2->densify(), old) > 0.5);
}

TEST_CASE("convert: mode, type and requires_grad carry over") {
  torch::nn::Sequential model(torch::nn::Linear(8, 8), torch::nn::Linear(8, 8), LinearLayer(8, 8));
  model->to(at::kDouble);
  model->eval();
  model[0]->parameters()[0].set_requires_grad(false);
  for (const bool project : {true, false}) {
    to_monarch(*model, ".*", {.layer = {.weight_norm = true}, .project = project});
    const auto parameters = model->named_parameters();
    REQUIRE(parameters["0.blkdiag1"].scalar_type() == at::kDouble);
    REQUIRE_FALSE(parameters["0.blkdiag1"].requires_grad());
    REQUIRE_FALSE(parameters["0.gain2"].requires_grad());
    REQUIRE(parameters["0.bias"].requires_grad());
    REQUIRE(parameters["1.blkdiag1"].requires_grad());
    for (const auto& child : model->children()) REQUIRE_FALSE(child->is_training());
    REQUIRE_FALSE(std::get<MonarchLinear>(model->ptr<LinearLayerImpl>(2)->content())->is_training());
    to_dense(*model);
    REQUIRE_FALSE(model->named_parameters()["0.weight"].requires_grad());
    REQUIRE(model->named_parameters()["1.weight"].requires_grad());
    for (const auto& child : model->children()) REQUIRE_FALSE(child->is_training());
  }
}

TEST_CASE("convert: a layer with an activation of its own keeps it in a Sequential") {
  at::manual_seed(34);
  torch::nn::Sequential model(MonarchLinear(MonarchLinearOptions{.in = 8, .out = 8, .activation = Activation::gelu}),
                              torch::nn::Linear(8, 8));
  const at::Tensor x = at::randn({3, 8}), before = model->forward(x);
  to_dense(*model, "0");
  REQUIRE(relative_error(model->forward(x), before) <= tolerance(at::kFloat, 64));
  REQUIRE(keys(*model) == std::vector<std::string>{"0.weight", "0.bias", "1.weight", "1.bias"});
}

TEST_CASE("convert: a shared layer stays shared") {
  const LinearLayer layer(8, 8);
  const torch::nn::Linear dense(8, 8);
  torch::nn::Sequential model(layer, layer, dense, dense);
  const auto report = to_monarch(*model, ".*");
  REQUIRE(report.changed.size() == 4);
  REQUIRE(model->ptr(0) == model->ptr(1));
  REQUIRE(model->ptr(2) == model->ptr(3));
  REQUIRE(std::dynamic_pointer_cast<MonarchLinearImpl>(model->ptr(2)) != nullptr);
}

TEST_CASE("convert: adapters start at the dense model, train alone among their layer, and merge") {
  at::manual_seed(35);
  Block model(dense_layers());
  const at::Tensor x = at::randn({3, 12}), before = model->forward(x);
  const auto report = add_adapters(*model, "fc.|tail.*", {.rank = 2});
  REQUIRE(report.changed.size() == 4);
  REQUIRE(relative_error(model->forward(x), before) <= tolerance(at::kFloat, 64));
  REQUIRE_FALSE(model->named_parameters()["fc1.weight"].requires_grad());
  REQUIRE(model->named_parameters()["fc1.blkdiag1"].requires_grad());
  REQUIRE(add_adapters(*model, "fc1").kept[0].second == "already adapter");
  REQUIRE(to_monarch(*model, "fc1").kept[0].second == "already adapter");
  to_dense(*model);
  REQUIRE(keys(*model)[0] == "fc1.weight");
  REQUIRE(model->named_parameters()["fc1.weight"].requires_grad());
  REQUIRE(relative_error(model->forward(x), before) <= tolerance(at::kFloat, 64));
  REQUIRE(to_dense(*model).changed.empty());
}

TEST_CASE("convert: patterns match whole names; wrong ones are refused") {
  Block model(dense_layers());
  REQUIRE(names(to_monarch(*model, "tail\\.2")) == std::vector<std::string>{"tail.2"});
  REQUIRE_THROWS_WITH(to_monarch(*model, "fc"), Catch::Contains("matches none of the 5 linear layers, such as fc1"));
  REQUIRE_THROWS_WITH(to_monarch(*model, "fc("), Catch::Contains("not a regular expression"));
  LinearLayer root(8, 8);
  REQUIRE(names(to_monarch(*root, "")) == std::vector<std::string>{""});
  REQUIRE(std::holds_alternative<MonarchLinear>(root->content()));
}

TEST_CASE("linear layer: dense against Monarch is one factory, with the parameter names of the content") {
  at::manual_seed(36);
  Block dense(dense_layers()), monarch(monarch_layers({.nblocks = 2, .init = MonarchInit::fly}));
  REQUIRE(dense->forward(at::randn({2, 12})).sizes() == monarch->forward(at::randn({2, 12})).sizes());
  REQUIRE(keys(*monarch)[0] == "fc1.blkdiag1");
  REQUIRE(keys(*dense)[0] == "fc1.weight");
  REQUIRE_FALSE(monarch->named_parameters().contains("fc2.bias"));
  const at::Tensor x = at::randn({2, 12});
  const at::Tensor expected =
      at::gelu(at::linear(x, monarch->fc1->densify(), monarch->fc1->named_parameters()["bias"]));
  REQUIRE(relative_error(monarch->fc1->forward(x), expected) <= tolerance(at::kFloat, 64));
}

TEST_CASE("linear layer: copies are deep, checkpoints load, types change and modes reach the content") {
  at::manual_seed(37);
  for (const auto& make : {dense_layers(), monarch_layers({.nblocks = 2})}) {
    Block model(make);
    model->fc1->parameters()[0].set_requires_grad(false);
    const at::Tensor x = at::randn({2, 12}), y = model->fc1->forward(x);
    const auto copy = std::dynamic_pointer_cast<LinearLayerImpl>(model->fc1->clone());
    REQUIRE(relative_error(copy->forward(x), y) == 0);
    REQUIRE_FALSE(copy->parameters()[0].requires_grad());
    {
      const c10::NoGradGuard no_gradient;
      copy->parameters()[0].zero_();
    }
    REQUIRE(relative_error(model->fc1->forward(x), y) == 0);
    REQUIRE(relative_error(copy->forward(x), y) > 0.1);
    // A whole model's copy.
    const auto twin = std::dynamic_pointer_cast<BlockImpl>(model->clone());
    REQUIRE(relative_error(twin->forward(x), model->forward(x)) == 0);
    {
      const c10::NoGradGuard no_gradient;
      for (auto& p : twin->parameters()) p.zero_();
    }
    REQUIRE(relative_error(model->fc1->forward(x), y) == 0);
    REQUIRE(twin->forward(x).abs().max().item<double>() == 0);

    std::stringstream file;
    torch::serialize::OutputArchive out;
    model->save(out);
    out.save_to(file);
    torch::serialize::InputArchive in;
    in.load_from(file);
    Block other(make);
    other->load(in);
    REQUIRE(relative_error(other->forward(x), model->forward(x)) == 0);

    model->to(at::kDouble);
    REQUIRE(model->fc1->forward(x.to(at::kDouble)).scalar_type() == at::kDouble);
    model->eval();
    std::visit([](const auto& content) { REQUIRE_FALSE(content->is_training()); }, model->fc1->content());
    model->fc1->forward(x.to(at::kDouble)).sum().backward();
    REQUIRE(model->fc1->parameters()[1].grad().defined());
  }
}

TEST_CASE("linear layer: content of other extents is refused") {
  LinearLayer layer(8, 12);
  REQUIRE_THROWS_WITH(layer->replace(MonarchLinear(8, 8)), Catch::Contains("8 -> 12: cannot become one 8 -> 8"));
  REQUIRE_NOTHROW(layer->replace(MonarchLinear(8, 12)));
  REQUIRE(layer->in() == 8);
  REQUIRE(layer->out() == 12);
}
