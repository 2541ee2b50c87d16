// Which parameters get weight decay, and at what rate they learn.
#include <ATen/ATen.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include <catch2/catch.hpp>
#include <map>

#include "monarch/operators/nn/parameter_groups.hpp"

using namespace monarch;
using namespace monarch::operators;

namespace {

class Model : public torch::nn::Module, public WithoutWeightDecay {
 public:
  Model() {
    register_module("words", torch::nn::Embedding(5, 4));
    register_module("norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({3, 4})));
    register_module("fc", torch::nn::Linear(4, 6));
    register_parameter("pos_embed", at::zeros({1, 3, 4}));
    register_parameter("filter", at::zeros({3, 4}));
  }
  std::vector<std::string> without_weight_decay() const override { return {"pos_embed"}; }
};

std::map<std::string, ParameterGroup> groups_of(const torch::nn::Module& module,
                                                const ParameterGroupOptions& options = {}) {
  std::map<std::string, ParameterGroup> groups;
  for (auto& group : parameter_groups(module, options)) groups[group.name] = group;
  return groups;
}

}  // namespace

TEST_CASE("biases, norms of any shape, embeddings and what a module names get no weight decay") {
  const Model model;
  const auto groups = groups_of(model);
  REQUIRE(groups.size() == 7);
  for (const char* name : {"fc.bias", "norm.weight", "norm.bias", "words.weight", "pos_embed"}) {
    INFO(name);
    REQUIRE_FALSE(groups.at(name).weight_decay);
  }
  for (const char* name : {"fc.weight", "filter"}) {
    INFO(name);
    REQUIRE(groups.at(name).weight_decay);
  }
  const auto decayed = groups_of(model, {.decay_embeddings = true});
  REQUIRE(decayed.at("words.weight").weight_decay);
  REQUIRE_FALSE(decayed.at("norm.weight").weight_decay);
}

TEST_CASE("a base width scales the rate of wide layers down and leaves the rest") {
  const Model model;
  const auto groups = groups_of(model, {.base_in = 2});
  REQUIRE(groups.at("fc.weight").lr_multiplier == 0.5);
  for (const char* name : {"fc.bias", "words.weight", "pos_embed", "filter"}) REQUIRE(groups.at(name).lr_multiplier == 1);
}
