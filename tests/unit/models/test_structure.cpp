#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>

#include "monarch/core/error.hpp"
#include "monarch/experiments/language/bert.hpp"
#include "monarch/experiments/language/gpt2.hpp"
#include "monarch/experiments/transformer/drop_path.hpp"
#include "monarch/experiments/vision/vision_model.hpp"
#include "monarch/operators/nn/convert.hpp"
#include "monarch/operators/nn/linear_layer.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::experiments;
using operators::LinearLayerImpl;

namespace {

const char* const small = "[model]\nname = \"gpt2\"\nwidth = 64\ndepth = 2\nheads = 4\npositions = 16\ndropout = 0.0\n";

std::shared_ptr<Gpt2Impl> gpt2(const std::string& layers) {
  at::manual_seed(3);
  const Config config = Config::parse(small + layers);
  const auto model = make_gpt2(config, 100);
  config.finish();
  return model;
}

std::map<std::string, LinearLayerImpl*> linear_layers(torch::nn::Module& model) {
  std::map<std::string, LinearLayerImpl*> layers;
  for (const auto& item : model.named_modules("", false)) {
    if (auto* layer = dynamic_cast<LinearLayerImpl*>(item.value().get())) layers[item.key()] = layer;
  }
  return layers;
}

}  // namespace

TEST_CASE("structure: fresh structured layers stand for weights of the dense layers' variance, with their biases") {
  const auto dense_model = gpt2("");
  const auto dense = linear_layers(*dense_model);
  for (const std::string kind : {"monarch", "block-diagonal", "low-rank"}) {
    const auto model = gpt2("[model.layers]\nkind = \"" + kind + "\"\n");
    for (const auto& [name, layer] : linear_layers(*model)) {
      INFO(kind << " " << name);
      REQUIRE(layer->content().index() != 0);
      const double expected = dense.at(name)->densify().square().mean().item<double>();
      const double found = layer->densify().square().mean().item<double>();
      REQUIRE(std::abs(found / expected - 1) <= 0.25);  // few numbers: 4096 entries of products
      REQUIRE(layer->macs() < dense.at(name)->macs());
    }
  }
}

TEST_CASE("structure: patterns choose layers by name, and one that matches none is refused") {
  for (const auto& [pattern, count] :
       std::map<std::string, int>{{"paper", 12}, {"mlp", 4}, {"attention", 8}, {"h\\\\.0\\\\..*", 6}}) {
    const auto model = gpt2("[model.layers]\nkind = \"monarch\"\npattern = \"" + pattern + "\"\n");
    int structured = 0;
    for (const auto& [name, layer] : linear_layers(*model)) structured += layer->content().index() != 0;
    INFO(pattern);
    REQUIRE(structured == count);
  }
  REQUIRE_THROWS_AS(gpt2("[model.layers]\nkind = \"monarch\"\npattern = \"mpl\"\n"), ConfigError);
  REQUIRE_THROWS_AS(gpt2("[model.layers]\nkind = \"low-rank\"\ninit = \"mup\"\n"), ConfigError);
}

TEST_CASE(
    "structure: projection at full rank changes nothing, dense again gives the same function, and lower ranks lose") {
  const at::Tensor ids = at::randint(100, {2, 9}, at::kLong);
  const auto dense = gpt2("");
  const at::Tensor expected = dense->forward(ids);
  const auto full = gpt2("[model.layers]\nkind = \"low-rank\"\nrank = 64\nproject = true\n");
  REQUIRE(test::relative_error(full->forward(ids), expected) <= 1e-5);
  for (const std::string kind : {"monarch", "block-diagonal", "low-rank"}) {
    const auto model = gpt2("[model.layers]\nkind = \"" + kind + "\"\nproject = true\n");
    const at::Tensor projected = model->forward(ids);
    INFO(kind);
    REQUIRE(test::relative_error(projected, expected) > 1e-3);
    operators::to_dense(*model);
    for (const auto& [name, layer] : linear_layers(*model)) REQUIRE(layer->content().index() == 0);
    REQUIRE(test::relative_error(model->forward(ids), projected) <= 1e-5);
  }
}

TEST_CASE("block-diagonal and low-rank layers: forward is the dense weight's, odd extents and gradients included") {
  for (const auto& content : {LinearLayerImpl::Content(operators::BlockDiagonalLinear(10, 7, 3)),
                              LinearLayerImpl::Content(operators::LowRankLinear(10, 7, 2)),
                              LinearLayerImpl::Content(operators::BlockDiagonalLinear(8, 12, 4, false))}) {
    operators::LinearLayer layer(content, operators::Activation::relu);
    const at::Tensor x = at::randn({2, 3, layer->in()}, at::kDouble).requires_grad_();
    layer->to(at::kDouble);
    const auto parameters = layer->named_parameters();
    const at::Tensor bias = parameters.contains("bias") ? parameters["bias"] : at::Tensor();
    const at::Tensor expected = at::relu(at::linear(x, layer->densify(), bias));
    REQUIRE(test::relative_error(layer->forward(x), expected) <= 1e-12);
    const at::Tensor probe = at::randn_like(expected);
    (layer->forward(x) * probe).sum().backward();
    const at::Tensor gradient = x.grad().clone();
    x.mutable_grad().reset();
    (expected * probe).sum().backward();
    REQUIRE(test::relative_error(gradient, x.grad()) <= 1e-12);
    REQUIRE_THROWS_AS(layer->forward(at::zeros({2, layer->in() + 1}, at::kDouble)), ShapeError);
  }
}

TEST_CASE("stochastic depth: rates rise linearly, samples survive whole and keep their mean") {
  REQUIRE(drop_path_rate(0.2, 0, 5) == 0);
  REQUIRE(drop_path_rate(0.2, 4, 5) == 0.2);
  REQUIRE(std::abs(drop_path_rate(0.2, 1, 5) - 0.05) <= 1e-12);
  at::manual_seed(0);
  const at::Tensor x = at::ones({4000, 3});
  const at::Tensor y = drop_path(x, 0.25, true);
  REQUIRE(at::equal(y.select(1, 0), y.select(1, 2)));
  const at::Tensor kept = y.select(1, 0) != 0;
  REQUIRE(std::abs(kept.to(at::kDouble).mean().item<double>() - 0.75) <= 0.03);
  REQUIRE(at::allclose(y.index({kept}), at::full({1}, 1 / 0.75f)));
  REQUIRE(at::equal(drop_path(x, 0.25, false), x));
}

TEST_CASE("models: ids, sequences and images that do not fit are refused with what was found and expected") {
  const auto model = gpt2("");
  REQUIRE_THROWS_AS(model->forward(at::full({1, 3}, 100, at::kLong)), DataError);
  REQUIRE_THROWS_AS(model->forward(at::full({1, 3}, -1, at::kLong)), DataError);
  REQUIRE_THROWS_AS(model->forward(at::zeros({1, 17}, at::kLong)), ShapeError);
  REQUIRE_THROWS_AS(model->forward(at::zeros({1, 3}, at::kInt)), DtypeError);
  const Config vit = Config::parse("[model]\nname = \"vit\"\nwidth = 24\ndepth = 1\nheads = 3\npatch = 4\n");
  REQUIRE_THROWS_AS(make_vision_model(vit, {3, 18, 16}, 5), ConfigError);
  const auto vision = make_vision_model(vit, {3, 16, 16}, 5);
  REQUIRE_THROWS_AS(vision->forward(at::zeros({1, 3, 16, 12})), ShapeError);
  REQUIRE_THROWS_AS(make_gpt2(Config::parse("[model]\nname = \"gpt2\"\nwidth = 10\ndepth = 1\nheads = 3\n"), 5),
                    ConfigError);
}

TEST_CASE("GPT-2: logits do not depend on later tokens") {
  const auto model = gpt2("[model.layers]\nkind = \"monarch\"\n");
  model->eval();
  at::Tensor ids = at::randint(100, {1, 12}, at::kLong);
  const at::Tensor before = model->forward(ids).narrow(1, 0, 7).clone();
  ids.narrow(1, 7, 5).random_(100);
  REQUIRE(test::relative_error(model->forward(ids).narrow(1, 0, 7), before) <= 1e-5);
  ids.narrow(1, 0, 1).random_(100);
  REQUIRE(test::relative_error(model->forward(ids).narrow(1, 0, 7), before) > 1e-3);
}
