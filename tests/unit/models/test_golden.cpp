#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include "golden.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/experiments/language/bert.hpp"
#include "monarch/experiments/language/gpt2.hpp"
#include "monarch/experiments/vision/mixer.hpp"
#include "monarch/experiments/vision/vit.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::experiments;
using test::golden_config;
using test::golden_file;

namespace {

constexpr double tolerance = 1e-5;

/// Gradients of `model` against the fixture's, which the importer brings into the shape of `holder`'s parameters. The
/// largest ||a - b|| / ||b||.
double gradient_error(torch::nn::Module& model, torch::nn::Module& holder, const WeightNames& names,
                      const std::string& family) {
  const ImportReport report = import_weights(holder, *golden_file(family, "gradient"), names);
  REQUIRE(report.fresh.empty());
  REQUIRE(report.unused.empty());
  const auto expected = holder.named_parameters();
  double worst = 0;
  for (const auto& item : model.named_parameters()) {
    INFO(item.key());
    REQUIRE(item.value().grad().defined());
    // A key's bias moves all scores of a query alike: its gradient is zero but for rounding.
    const at::Tensor& b = expected[item.key()];
    const double size = at::linalg_vector_norm(b).item<double>();
    const double difference = at::linalg_vector_norm(item.value().grad() - b).item<double>();
    CHECK(difference <= tolerance * size + 1e-4);
    if (size > 1e-2) worst = std::max(worst, difference / size);
  }
  return worst;
}

}  // namespace

TEST_CASE("golden: GPT-2's logits and gradients are those of HuggingFace's transformers") {
  const auto golden = golden_file("gpt2");
  const auto model = make_gpt2(golden_config("gpt2", "dropout = 0.0"), 61);
  const at::Tensor logits = model->forward(golden->load("ids"));
  REQUIRE(test::relative_error(logits, golden->load("output.logits")) <= tolerance);
  (logits * golden->load("probe.logits")).sum().backward();
  const auto holder = make_gpt2(golden_config("gpt2"), 61);
  const auto names = Gpt2Impl::weight_names(*golden_file("gpt2", "gradient"));
  REQUIRE(gradient_error(*model, *holder, names, "gpt2") <= tolerance);
}

TEST_CASE("golden: scores divided by the layer's number are those of HuggingFace's transformers") {
  const auto golden = golden_file("gpt2");
  const auto model = make_gpt2(golden_config("gpt2", "scale_by_layer = true"), 61);
  model->eval();
  const at::Tensor logits = model->forward(golden->load("ids"));
  REQUIRE(test::relative_error(logits, golden->load("scaled_logits")) <= tolerance);
  REQUIRE(test::relative_error(logits, golden->load("output.logits")) > 1e-3);  // the two can be told apart
}

TEST_CASE(
    "golden: BERT's predictions and gradients are those of HuggingFace's transformers, padding and types included") {
  const auto golden = golden_file("bert");
  const auto model = make_bert_for_pretraining(golden_config("bert", "dropout = 0.0"), 53);
  const at::Tensor mask = golden->load("mask");
  const at::Tensor features = model->bert->features(golden->load("ids"), golden->load("types"), mask);
  const at::Tensor chosen = model->masked_features(features.index({mask}));
  const at::Tensor predictions = at::linear(chosen, model->decoder_weight(), model->decoder_bias());
  const at::Tensor next = model->next_sentence(model->bert->pooled(features));
  REQUIRE(test::relative_error(predictions, golden->load("output.predictions")) <= tolerance);
  REQUIRE(test::relative_error(next, golden->load("output.next_sentence")) <= tolerance);
  ((predictions * golden->load("probe.predictions")).sum() + (next * golden->load("probe.next_sentence")).sum())
      .backward();
  const auto holder = make_bert_for_pretraining(golden_config("bert"), 53);
  const auto names = BertImpl::weight_names(*golden);
  REQUIRE(gradient_error(*model, *holder, names, "bert") <= tolerance);
}

TEST_CASE("golden: ViT's logits and gradients are those of timm") {
  const auto golden = golden_file("vit");
  const ImageShape shape{3, 16, 12};
  const auto make = [&] { return make_vision_model(golden_config("vit", test::vit_keys), shape, 5); };
  const auto model = make(), holder = make();
  const at::Tensor logits = model->forward(golden->load("images"));
  REQUIRE(test::relative_error(logits, golden->load("output.logits")) <= tolerance);
  (logits * golden->load("probe.logits")).sum().backward();
  const auto names = Vit::weight_names(*golden_file("vit", "gradient"));
  REQUIRE(gradient_error(*model, *holder, names, "vit") <= tolerance);
}

TEST_CASE("golden: MLP-Mixer's logits and gradients are those of timm") {
  const auto golden = golden_file("mixer");
  const ImageShape shape{3, 16, 12};
  const auto make = [&] { return make_vision_model(golden_config("mixer", test::mixer_keys), shape, 5); };
  const auto model = make(), holder = make();
  const at::Tensor logits = model->forward(golden->load("images"));
  REQUIRE(test::relative_error(logits, golden->load("output.logits")) <= tolerance);
  (logits * golden->load("probe.logits")).sum().backward();
  const auto names = Mixer::weight_names(*golden);
  REQUIRE(gradient_error(*model, *holder, names, "mixer") <= tolerance);
}
