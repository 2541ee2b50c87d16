#include "monarch/experiments/models.hpp"

#include <fmt/format.h>

#include <array>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/operators/nn/sizes.hpp"

namespace monarch::experiments {
namespace {

Layer norm(const std::string& name, int64_t copies, int64_t width) {
  return {.name = name, .role = Role::norm, .copies = copies, .other_parameters = 2 * width};
}

Layer embedding(const std::string& name, int64_t entries, int64_t width) {
  return {.name = name, .role = Role::embedding, .other_parameters = entries * width};
}

Layer linear(const std::string& name, Role role, int64_t copies, int64_t in, int64_t out, int64_t rows) {
  return {.name = name, .role = role, .copies = copies, .in = in, .out = out, .rows = rows};
}

/// softmax(Q K^T) V: two products of tokens × tokens × width over all heads.
Layer attention(int64_t copies, int64_t tokens, int64_t width) {
  return {.name = "attention", .role = Role::attention, .copies = copies, .other_macs = 2 * tokens * tokens * width};
}

/// The layers of `depth` transformer blocks.
void add_blocks(std::vector<Layer>& layers, int64_t depth, int64_t width, int64_t hidden, int64_t tokens,
                bool qkv_bias = true) {
  Layer qkv = linear("attention.qkv", Role::attention_projection, depth, width, width, tokens);
  qkv.parts = 3;
  qkv.bias = qkv_bias;
  layers.push_back(qkv);
  layers.push_back(attention(depth, tokens, width));
  layers.push_back(linear("attention.out", Role::attention_projection, depth, width, width, tokens));
  layers.push_back(linear("mlp.fc1", Role::mlp, depth, width, hidden, tokens));
  layers.push_back(linear("mlp.fc2", Role::mlp, depth, hidden, width, tokens));
  layers.push_back(norm("norms", 2 * depth, width));
}

constexpr int64_t patches = 14 * 14, patch_numbers = 16 * 16 * 3, classes = 1000;

/// MLP-Mixer (Tolstikhin et al., 2021): token MLP 0.5 × width, channel MLP 4 × width.
Model mixer(const std::string& name, const std::string& title, int64_t depth, int64_t width) {
  Model model{name, title, "image of 224 x 224", {}};
  auto& layers = model.layers;
  layers.push_back(linear("stem", Role::stem, 1, patch_numbers, width, patches));
  layers.push_back(linear("token_mlp.fc1", Role::token_mlp, depth, patches, width / 2, width));
  layers.push_back(linear("token_mlp.fc2", Role::token_mlp, depth, width / 2, patches, width));
  layers.push_back(linear("channel_mlp.fc1", Role::mlp, depth, width, 4 * width, patches));
  layers.push_back(linear("channel_mlp.fc2", Role::mlp, depth, 4 * width, width, patches));
  layers.push_back(norm("norms", 2 * depth + 1, width));
  layers.push_back(linear("head", Role::head, 1, width, classes, 1));
  return model;
}

/// ViT (Dosovitskiy et al., 2021) with a class token.
Model vit(const std::string& name, const std::string& title, int64_t depth, int64_t width, int64_t hidden,
          bool qkv_bias) {
  Model model{name, title, "image of 224 x 224", {}};
  auto& layers = model.layers;
  const int64_t tokens = patches + 1;
  layers.push_back(linear("stem", Role::stem, 1, patch_numbers, width, patches));
  layers.push_back(embedding("class token and positions", 1 + tokens, width));
  add_blocks(layers, depth, width, hidden, tokens, qkv_bias);
  layers.push_back(norm("final norm", 1, width));
  layers.push_back(linear("head", Role::head, 1, width, classes, 1));
  return model;
}

Model gpt2(const std::string& name, const std::string& title, int64_t depth, int64_t width) {
  const int64_t tokens = 1024;
  Model model{name, title, "1024 tokens, without the output embedding", {}};
  auto& layers = model.layers;
  layers.push_back(embedding("token embedding (tied with the output)", 50257, width));
  layers.push_back(embedding("positions", 1024, width));
  add_blocks(layers, depth, width, 4 * width, tokens);
  layers.push_back(norm("final norm", 1, width));
  return model;
}

Model bert(const std::string& name, const std::string& title, int64_t depth, int64_t width) {
  const int64_t tokens = 128;
  Model model{name, title, "128 tokens, with the pooler", {}};
  auto& layers = model.layers;
  layers.push_back(embedding("token embedding", 30522, width));
  layers.push_back(embedding("positions and token types", 512 + 2, width));
  layers.push_back(norm("embedding norm", 1, width));
  add_blocks(layers, depth, width, 4 * width, tokens);
  layers.push_back(linear("pooler", Role::head, 1, width, width, 1));
  return model;
}

bool is_monarch(const Layer& layer, Choice choice) {
  if (layer.in == 0) return false;
  switch (layer.role) {
    case Role::mlp:
      return true;
    case Role::attention_projection:
      return choice != Choice::mlp_only;
    case Role::token_mlp:
      return choice == Choice::all;
    default:
      return false;
  }
}

Count count(const Model& model, const MonarchForm* form) {
  Count total;
  for (const Layer& layer : model.layers) {
    LayerCount c{&layer, form && is_monarch(layer, form->choice), 0, 0};
    const bool packed = c.monarch && form->packed_qkv;
    const int64_t matrices = packed ? 1 : layer.parts, out = packed ? layer.out * layer.parts : layer.out;
    const int64_t weights =
        matrices *
        (c.monarch ? operators::monarch_layer_sizes(layer.in, out, form->nblocks).parameters() : layer.in * out);
    const int64_t biases = layer.bias ? layer.parts * layer.out : 0;
    c.parameters = layer.copies * (weights + biases + layer.other_parameters);
    c.macs = layer.copies * (weights * layer.rows + layer.other_macs);
    total.parameters += c.parameters;
    total.macs += c.macs;
    total.layers.push_back(c);
  }
  return total;
}

}  // namespace

std::string role_name(Role role) {
  static const std::array<const char*, 8> names = {
      "embedding", "stem", "attention projection", "attention", "mlp", "token mlp", "norm", "head"};
  return names.at(static_cast<size_t>(role));
}

const std::vector<Model>& models() {
  static const std::vector<Model> all = {
      mixer("mixer-s16", "MLP-Mixer-S/16", 8, 512), mixer("mixer-b16", "MLP-Mixer-B/16", 12, 768),
      // The authors' ViT-S is timm's old one, 768 wide and 8 deep with an MLP of factor 3, not DeiT-S.
      vit("vit-s16", "ViT-S/16 (768 wide, 8 deep)", 8, 768, 3 * 768, false),
      vit("vit-b16", "ViT-B/16", 12, 768, 4 * 768, true), gpt2("gpt2-small", "GPT-2 small", 12, 768),
      gpt2("gpt2-medium", "GPT-2 medium", 24, 1024), bert("bert-base", "BERT base", 12, 768),
      bert("bert-large", "BERT large", 24, 1024)};
  return all;
}

const Model& model_named(const std::string& name) {
  std::vector<std::string> names;
  for (const Model& model : models()) {
    if (model.name == name) return model;
    names.push_back(model.name);
  }
  const std::string near = closest_match(name, names);
  fail<ConfigError>(fmt::format("unknown model '{}'; expected {}", name, join_or(names)),
                    near.empty() ? "" : fmt::format("did you mean {}?", near));
}

Choice choice_from_name(const std::string& name) {
  if (name == "paper") return Choice::paper;
  if (name == "mlp-only") return Choice::mlp_only;
  if (name == "all") return Choice::all;
  fail<ConfigError>(fmt::format("unknown choice of layers '{}'; expected paper, mlp-only or all", name));
}

Count count_dense(const Model& model) {
  return count(model, nullptr);
}
Count count_monarch(const Model& model, const MonarchForm& form) {
  return count(model, &form);
}

}  // namespace monarch::experiments
