#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include "golden.hpp"
#include "monarch/core/error.hpp"
#include "monarch/data/safetensors.hpp"
#include "monarch/experiments/language/bert.hpp"
#include "monarch/experiments/language/gpt2.hpp"
#include "monarch/experiments/vision/vit.hpp"
#include "monarch/operators/monarch/projection.hpp"
#include "monarch/operators/nn/linear_layer.hpp"
#include "monarch/operators/nn/sizes.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::experiments;
using Tensors = std::vector<std::pair<std::string, at::Tensor>>;

namespace {

/// The fixture's tensors under names that `rename` gives; an empty name drops one.
template <class Rename>
Tensors renamed(const std::string& family, const Rename& rename) {
  const auto file = data::open_checkpoint(test::golden_folder(family));
  Tensors tensors;
  for (const auto& info : file->tensors()) {
    const std::string name = rename(info.name);
    if (!name.empty()) tensors.emplace_back(name, file->load(info.name));
  }
  return tensors;
}

std::string identity(const std::string& name) {
  return name;
}

Config with_weights(const std::string& keys, const std::filesystem::path& path) {
  return Config::parse("[model]\n" + keys + "dropout = 0.0\nweights = \"" + path.string() + "\"\n");
}

const std::string gpt2_keys = "name = \"gpt2\"\nwidth = 24\ndepth = 2\nheads = 3\npositions = 16\n";
const std::string bert_keys = "name = \"bert\"\nwidth = 24\ndepth = 2\nheads = 3\npositions = 16\nhidden = 40\n";

template <class Function>
std::string message_of(const Function& function) {
  try {
    function();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("weights: GPT-2 without prefix, with buffers and with a tied head gives the same model") {
  const test::TemporaryFolder folder;
  Tensors tensors = renamed("gpt2", [](std::string name) { return name.substr(std::string("transformer.").size()); });
  tensors.emplace_back("h.0.attn.bias", at::ones({1, 1, 16, 16}));
  tensors.emplace_back("h.0.attn.masked_bias", at::full({}, -1e4));
  for (const auto& [name, tensor] : Tensors(tensors)) {
    if (name == "wte.weight") tensors.emplace_back("lm_head.weight", tensor.clone());
  }
  data::save_safetensors(folder / "model.safetensors", tensors);
  const auto golden = test::golden_file("gpt2");
  const auto model = make_gpt2(with_weights(gpt2_keys, folder / "model.safetensors"), 61);
  REQUIRE(test::relative_error(model->forward(golden->load("ids")), golden->load("output.logits")) <= 1e-5);
  tensors.back().second.add_(1);
  data::save_safetensors(folder / "model.safetensors", tensors);
  const std::string message = message_of([&] { make_gpt2(with_weights(gpt2_keys, folder.path()), 61); });
  REQUIRE(message.find("lm_head.weight differs from wte.weight") != std::string::npos);
}

TEST_CASE("weights: a model's own parameters come back under their own names") {
  const test::TemporaryFolder folder;
  const auto model =
      make_gpt2(test::golden_config("gpt2", "dropout = 0.0\n[model.layers]\nkind = \"monarch\"\nproject = true\n"), 61);
  Tensors tensors;
  for (const auto& item : model->named_parameters()) tensors.emplace_back(item.key(), item.value().detach());
  data::save_safetensors(folder / "model.safetensors", tensors);
  const auto again = make_gpt2(with_weights(gpt2_keys, folder.path()), 61);  // layers take the file's form
  const at::Tensor ids = test::golden_file("gpt2")->load("ids");
  REQUIRE(at::equal(again->forward(ids), model->forward(ids)));
}

TEST_CASE("weights: a packed Monarch layer of q, k and v becomes three that do the same") {
  const test::TemporaryFolder folder;
  Tensors tensors;
  at::Tensor packed;
  for (const auto& [name, tensor] : renamed("gpt2", identity)) {
    if (name != "transformer.h.0.attn.c_attn.weight") {
      tensors.emplace_back(name, tensor);
      continue;
    }
    const auto nearest = operators::monarch_project(tensor.t().contiguous(), operators::monarch_layer_sizes(24, 72, 4));
    tensors.emplace_back("transformer.h.0.attn.c_attn.blkdiag1", nearest.factors.w1);
    tensors.emplace_back("transformer.h.0.attn.c_attn.blkdiag2", nearest.factors.w2);
    packed = operators::monarch_dense(nearest.factors.w1, nearest.factors.w2);
  }
  data::save_safetensors(folder / "model.safetensors", tensors);
  const auto model = make_gpt2(with_weights(gpt2_keys, folder.path()), 61);
  const auto modules = model->named_modules();
  int64_t part = 0;
  for (const char* name : {"h.0.attn.q", "h.0.attn.k", "h.0.attn.v"}) {
    auto* layer = dynamic_cast<operators::LinearLayerImpl*>(modules[name].get());
    REQUIRE(std::holds_alternative<operators::MonarchLinear>(layer->content()));
    REQUIRE(test::relative_error(layer->densify(), packed.chunk(3)[part++]) <= 1e-6);
  }
}

TEST_CASE("weights: BERT without prefix, with old names of norms and no heads loads, heads start fresh") {
  const test::TemporaryFolder folder;
  Tensors tensors = renamed("bert", [](std::string name) -> std::string {
    if (!name.starts_with("bert.")) return "";
    name = name.substr(5);
    for (const auto& [from, to] :
         {std::pair{"LayerNorm.weight", "LayerNorm.gamma"}, std::pair{"LayerNorm.bias", "LayerNorm.beta"}}) {
      if (name.ends_with(from)) name = name.substr(0, name.size() - std::string(from).size()) + to;
    }
    return name;
  });
  tensors.emplace_back("embeddings.position_ids", at::arange(16).unsqueeze(0));
  data::save_safetensors(folder / "model.safetensors", tensors);
  const auto golden = test::golden_file("bert");
  const auto expected = make_bert_for_pretraining(test::golden_config("bert"), 53);
  const auto model = make_bert_for_classification(with_weights(bert_keys, folder.path()), 53, 3);
  model->eval();
  expected->eval();
  const auto run = [&](BertImpl& bert) {
    return bert.features(golden->load("ids"), golden->load("types"), golden->load("mask"));
  };
  REQUIRE(at::equal(run(*model->bert), run(*expected->bert)));
}

TEST_CASE("weights: every missing, superfluous and mis-shaped tensor is named, and the model stays as it was") {
  const test::TemporaryFolder folder;
  Tensors tensors = renamed("bert", [](const std::string& name) {
    return name == "bert.encoder.layer.1.output.dense.bias" ? std::string() : name;
  });
  tensors.emplace_back("bert.encoder.layer.2.output.dense.bias", at::zeros({24}));
  data::save_safetensors(folder / "model.safetensors", tensors);
  const std::string message =
      message_of([&] { make_bert_for_pretraining(with_weights(bert_keys, folder.path()), 50); });
  for (const char* part : {"bert.encoder.layer.1.output.dense.bias [24] is missing",
                           "bert.encoder.layer.2.output.dense.bias [24] has no place",
                           "bert.embeddings.word_embeddings.weight is float32 [53, 24], expected [50, 24]"}) {
    INFO(message);
    REQUIRE(message.find(part) != std::string::npos);
  }
  BertOptions options{.vocabulary = 50, .positions = 16, .width = 24, .depth = 2, .heads = 3, .hidden = 40};
  BertForPreTrainingImpl model(options);
  std::vector<at::Tensor> before;
  for (const auto& p : model.parameters()) before.push_back(p.detach().clone());
  const auto file = data::open_checkpoint(folder.path());
  REQUIRE_THROWS_AS(import_weights(model, *file, BertImpl::weight_names(*file)), DataError);
  const auto after = model.parameters();
  for (size_t i = 0; i < before.size(); ++i) REQUIRE(at::equal(after[i], before[i]));
}

TEST_CASE(
    "weights: dense files where structure is asked for need a projection, and config.json must be of the family") {
  const auto make = [](const std::string& keys) { return make_gpt2(test::golden_config("gpt2", keys), 61); };
  REQUIRE_THROWS_AS(make("[model.layers]\nkind = \"monarch\"\n"), ConfigError);
  REQUIRE_NOTHROW(make("[model.layers]\nkind = \"monarch\"\nproject = true\n"));
  const Config wrong = Config::parse("[model]\nname = \"gpt2\"\nweights = \"" + test::golden_folder("bert") + "\"\n");
  REQUIRE_THROWS_AS(make_gpt2(wrong, 61), DataError);
}

TEST_CASE("weights: sizes that neither config nor a config.json gives are asked for") {
  const std::string keys = "[model]\nname = \"%\"\nwidth = 24\nheads = 3\n";
  const auto config = [&](const char* name) {
    std::string text = keys;
    return Config::parse(text.replace(text.find('%'), 1, name));
  };
  using Catch::Matchers::Contains;
  REQUIRE_THROWS_WITH(Gpt2Options::from_config(config("gpt2"), 10), Contains("'model.depth' is missing"));
  REQUIRE_THROWS_WITH(BertOptions::from_config(config("bert"), 10),
                      Contains("'model.depth' is missing") && Contains("lay the published config.json beside"));
  REQUIRE(Gpt2Options::from_config(config("gpt2-small"), 10).depth == 12);
}

TEST_CASE("weights: a ViT takes positions of another square grid resized, and a head of other classes fresh") {
  const test::TemporaryFolder folder;
  const std::string keys = "[model]\nname = \"vit\"\nwidth = 24\ndepth = 1\nheads = 3\npatch = 4\n";
  const auto model = make_vision_model(Config::parse(keys), {3, 16, 16}, 5);
  Tensors tensors;
  for (const auto& item : model->named_parameters()) tensors.emplace_back(item.key(), item.value().detach());
  data::save_safetensors(folder / "model.safetensors", tensors);
  const auto larger =
      make_vision_model(Config::parse(keys + "weights = \"" + folder.path().string() + "\"\n"), {3, 32, 32}, 7);
  const at::Tensor before = model->named_parameters()["pos_embed"], after = larger->named_parameters()["pos_embed"];
  REQUIRE(at::equal(after.select(1, 0), before.select(1, 0)));
  REQUIRE(std::abs(after.mean().item<double>() - before.mean().item<double>()) <= 5e-3);
  REQUIRE(at::equal(larger->named_parameters()["norm.weight"], model->named_parameters()["norm.weight"]));
}
