#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <catch2/catch.hpp>

#include "monarch/experiments/language/bert.hpp"
#include "monarch/experiments/language/gpt2.hpp"
#include "monarch/experiments/models.hpp"
#include "monarch/experiments/vision/vision_model.hpp"
#include "monarch/operators/nn/linear_layer.hpp"

using namespace monarch;
using namespace monarch::experiments;

namespace {

int64_t parameters(const torch::nn::Module& module) {
  int64_t count = 0;
  for (const auto& p : module.parameters()) count += p.numel();
  return count;
}

struct Built {
  int64_t parameters = 0, macs = 0;
};

Built build(const Config& config, const std::string& name) {
  if (name.starts_with("gpt2")) {
    const auto model = make_gpt2(config, 50257);
    return {parameters(*model), model->macs(1024)};
  }
  if (name.starts_with("bert")) {
    const auto bert = make_bert_for_classification(config, 30522, 2)->bert;
    return {parameters(*bert), bert->macs(128)};
  }
  const auto model = make_vision_model(config, {3, 224, 224}, 1000);
  return {parameters(*model), model->macs()};
}

}  // namespace

TEST_CASE(
    "model counts: parameters and multiplications of the modules are those of `monarch count`, dense and Monarch") {
  const c10::NoGradGuard no_gradient;
  for (const Model& counted : models()) {
    for (const bool monarch : {false, true}) {
      INFO(counted.name << (monarch ? ", Monarch" : ", dense"));
      Config config = Config::parse("[model]\nname = \"" + counted.name + "\"\n" +
                                    (monarch ? "[model.layers]\nkind = \"monarch\"\ninit = \"fly\"\n" : ""));
      const Built built = build(config, counted.name);
      config.finish();
      const Count expected = monarch ? count_monarch(counted) : count_dense(counted);
      REQUIRE(built.parameters == expected.parameters);
      REQUIRE(built.macs == expected.macs);
    }
  }
}
