#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include "golden.hpp"
#include "monarch/experiments/language/bert.hpp"
#include "monarch/experiments/language/gpt2.hpp"
#include "monarch/experiments/transformer/recompute.hpp"
#include "monarch/experiments/vision/vision_model.hpp"
#include "monarch/operators/nn/linear_layer.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::experiments;

namespace {

/// Loss and gradients of one training step from a fixed seed.
struct StepResult {
  at::Tensor loss;
  std::vector<at::Tensor> gradients;
  at::Tensor after;  ///< the next number of the generator
};

template <class Model, class Call>
StepResult step(Model& model, const Call& call) {
  at::manual_seed(5);
  model.zero_grad();
  StepResult result;
  const at::Tensor loss = call().square().mean();
  loss.backward();
  result.loss = loss.detach();
  for (const auto& p : model.parameters()) result.gradients.push_back(p.grad().clone());
  result.after = at::rand({1});
  return result;
}

bool same(const StepResult& a, const StepResult& b) {
  bool equal = at::equal(a.loss, b.loss) && at::equal(a.after, b.after);
  for (size_t i = 0; i < a.gradients.size(); ++i) equal = equal && at::equal(a.gradients[i], b.gradients[i]);
  return equal;
}

}  // namespace

TEST_CASE("recomputation: gradients are those of the plain step bit for bit, dropout and Monarch layers included") {
  const std::string keys = "dropout = 0.3\n",
                    table = "[model.layers]\nkind = \"monarch\"\nnblocks = 3\nproject = true\n";
  const at::Tensor ids = test::golden_file("gpt2")->load("ids");
  const auto plain = make_gpt2(test::golden_config("gpt2", keys + table), 61);
  const auto again = make_gpt2(test::golden_config("gpt2", keys + "recompute = true\n" + table), 61);
  const StepResult expected = step(*plain, [&] { return plain->forward(ids); });
  REQUIRE(same(step(*again, [&] { return again->forward(ids); }), expected));
  at::manual_seed(6);  // another seed is told apart
  REQUIRE_FALSE(at::equal(plain->forward(ids).square().mean(), expected.loss));
}

TEST_CASE("recomputation: the same holds for BERT with a mask and for a ViT with stochastic depth") {
  const auto golden = test::golden_file("bert");
  const auto bert = [&](const char* more) {
    const auto model =
        make_bert_for_classification(test::golden_config("bert", std::string("dropout = 0.2\n") + more), 53, 3);
    at::manual_seed(1);
    for (auto& p : model->named_parameters()) {
      if (p.key().starts_with("classifier")) at::NoGradGuard{}, p.value().detach().normal_();
    }
    return step(*model,
                [&] { return model->forward(golden->load("ids"), golden->load("types"), golden->load("mask")); });
  };
  REQUIRE(same(bert("recompute = true"), bert("")));
  const at::Tensor images = test::golden_file("vit")->load("images");
  const auto vit = [&](const std::string& more) {
    const auto model = make_vision_model(
        test::golden_config("vit", test::vit_keys + std::string("drop_path = 0.5\ndropout = 0.1\n") + more),
        {3, 16, 12}, 5);
    return step(*model, [&] { return model->forward(images); });
  };
  REQUIRE(same(vit("recompute = true"), vit("")));
}

TEST_CASE("recomputation: only the input of a block is kept, and no graph") {
  operators::LinearLayer layer(4, 4);
  const at::Tensor x = at::rand({2, 4});
  int runs = 0;
  const auto call = [&](const at::Tensor& input) {
    ++runs;
    REQUIRE(at::GradMode::is_enabled() == (runs == 2));
    return layer->forward(input);
  };
  const at::Tensor y = recompute(*layer, call, x);
  REQUIRE(runs == 1);
  REQUIRE(y.requires_grad());  // of the parameters, though x is a constant
  y.sum().backward();
  REQUIRE(runs == 2);
  for (const auto& p : layer->parameters()) REQUIRE(p.grad().defined());
}
