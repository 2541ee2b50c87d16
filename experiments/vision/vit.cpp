#include "monarch/experiments/vision/vit.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>

#include "monarch/core/error.hpp"
#include "monarch/experiments/transformer/attention.hpp"
#include "monarch/experiments/transformer/drop_path.hpp"
#include "monarch/experiments/transformer/initialise.hpp"
#include "monarch/experiments/transformer/recompute.hpp"
#include "monarch/experiments/vision/patches.hpp"

namespace monarch::experiments {

using operators::Activation;
using operators::LinearLayer;
using torch::nn::LayerNorm;

namespace {

LayerNorm layer_norm(const VitOptions& o) {
  return LayerNorm(torch::nn::LayerNormOptions({o.width}).eps(o.norm_eps));
}

VitOptions small() {
  return {.depth = 8, .heads = 8, .mlp_ratio = 3, .qkv_bias = false, .norm_eps = 1e-5};
}

/// Positions [1, 1 + patches, width] of a square grid for another one, undefined where either is not square.
at::Tensor resize_positions(const at::Tensor& positions, int64_t patches) {
  const auto side = [](int64_t n) { return std::llround(std::sqrt(static_cast<double>(n))); };
  const int64_t from = side(positions.size(1) - 1), to = side(patches);
  if (from < 1 || to < 1 || from * from != positions.size(1) - 1 || to * to != patches) return {};
  const at::Tensor grid =
      positions.narrow(1, 1, from * from).to(at::kFloat).view({1, from, from, -1}).permute({0, 3, 1, 2});
  const at::Tensor resized = at::_upsample_bicubic2d_aa(grid, {to, to}, /*align_corners=*/false);
  return at::cat({positions.narrow(1, 0, 1).to(at::kFloat), resized.flatten(2).transpose(1, 2)}, 1);
}

}  // namespace

class VitBlock : public torch::nn::Module {
 public:
  VitBlock(const VitOptions& o, int64_t layer)
      : dropout_(o.dropout), drop_path_(drop_path_rate(o.drop_path, layer, o.depth)) {
    attention_.heads = o.heads;
    attention_.dropout = o.attention_dropout;
    const int64_t hidden = std::llround(o.mlp_ratio * static_cast<double>(o.width));
    norm1_ = register_module("norm1", layer_norm(o));
    const auto attn = register_module("attn", std::make_shared<torch::nn::Module>());
    q_ = attn->register_module("q", LinearLayer(o.width, o.width, o.qkv_bias));
    k_ = attn->register_module("k", LinearLayer(o.width, o.width, o.qkv_bias));
    v_ = attn->register_module("v", LinearLayer(o.width, o.width, o.qkv_bias));
    proj_ = attn->register_module("proj", LinearLayer(o.width, o.width));
    norm2_ = register_module("norm2", layer_norm(o));
    const auto mlp = register_module("mlp", std::make_shared<torch::nn::Module>());
    fc1_ = mlp->register_module("fc1", LinearLayer(o.width, hidden, true, Activation::gelu));
    fc2_ = mlp->register_module("fc2", LinearLayer(hidden, o.width));
  }

  at::Tensor forward(const at::Tensor& x) {
    AttentionOptions attention = attention_;
    if (!is_training()) attention.dropout = 0;
    const auto branch = [&](const at::Tensor& y) {
      return drop_path(at::dropout(y, dropout_, is_training()), drop_path_, is_training());
    };
    const at::Tensor n = norm1_(x);
    const at::Tensor z = x + branch(proj_(attend(q_(n), k_(n), v_(n), attention)));
    return z + branch(fc2_(at::dropout(fc1_(norm2_(z)), dropout_, is_training())));
  }

  int64_t macs_per_token() const {
    return q_->macs() + k_->macs() + v_->macs() + proj_->macs() + fc1_->macs() + fc2_->macs();
  }

 private:
  AttentionOptions attention_;
  double dropout_, drop_path_;
  LayerNorm norm1_{nullptr}, norm2_{nullptr};
  LinearLayer q_{nullptr}, k_{nullptr}, v_{nullptr}, proj_{nullptr}, fc1_{nullptr}, fc2_{nullptr};
};

VitOptions VitOptions::from_config(const Config& config) {
  VitOptions o = config.choice<VitOptions>(
      "model.name", "vit-s16",
      {{"vit-s16", small()}, {"vit-b16", {}}, {"vit", {.width = 0, .depth = 0, .heads = 0, .patch = 0}}});
  const auto size = [&](const char* key, int64_t fallback) {
    return fallback == 0 ? config.integer(key) : config.integer(key, fallback);
  };
  o.width = size("model.width", o.width);
  o.depth = size("model.depth", o.depth);
  o.heads = size("model.heads", o.heads);
  o.patch = size("model.patch", o.patch);
  o.mlp_ratio = config.number_between("model.mlp_ratio", o.mlp_ratio, 0.01, 100);
  o.qkv_bias = config.boolean("model.qkv_bias", o.qkv_bias);
  o.dropout = config.number_between("model.dropout", o.dropout, 0, 0.99);
  o.attention_dropout = config.number_between("model.attention_dropout", o.attention_dropout, 0, 0.99);
  o.drop_path = config.number_between("model.drop_path", o.drop_path, 0, 0.99);
  o.recompute = config.boolean("model.recompute", o.recompute);
  return o;
}

Vit::Vit(const VitOptions& options, const ImageShape& shape, int64_t classes) : options_(options), shape_(shape) {
  const VitOptions& o = options_;
  check_transformer_sizes("ViT", o.width, o.depth, o.heads);
  check<ConfigError>(classes >= 1, [&] { return fmt::format("ViT: {} classes", classes); });
  patches_ = patch_count("ViT", shape, o.patch);
  cls_token_ = register_parameter("cls_token", at::zeros({1, 1, o.width}));
  pos_embed_ = register_parameter("pos_embed", at::zeros({1, patches_ + 1, o.width}));
  embedding_ = register_module("patch_embed", std::make_shared<torch::nn::Module>())
                   ->register_module("proj", patch_embedding(shape, o.patch, o.width));
  const auto blocks = register_module("blocks", std::make_shared<torch::nn::Module>());
  for (int64_t i = 0; i < o.depth; ++i)
    blocks_.push_back(blocks->register_module(std::to_string(i), std::make_shared<VitBlock>(o, i)));
  norm_ = register_module("norm", layer_norm(o));
  head_ = register_module("head", LinearLayer(o.width, classes));
  initialise_parameters(*this, [](const std::string& name, at::Tensor parameter) {
    if (name.starts_with("patch_embed.")) return;  // a convolution of PyTorch's
    if (name == "cls_token") {
      parameter.normal_(0, 1e-6);
    } else if (name.ends_with(".bias")) {
      parameter.zero_();
    } else if (parameter.dim() >= 2) {
      parameter.normal_(0, 0.02);  // timm cuts at ±2, a hundred deviations away
    }
  });
}

at::Tensor Vit::forward(const at::Tensor& images) {
  check_images(images, shape_);
  at::Tensor x = embed_patches(embedding_, images);
  x = at::cat({cls_token_.expand({x.size(0), 1, -1}), x}, 1) + pos_embed_;
  x = at::dropout(x, options_.dropout, is_training());
  for (const auto& block : blocks_) {
    const auto call = [block](const at::Tensor& input) { return block->forward(input); };
    x = options_.recompute && is_training() ? recompute(*block, call, x) : call(x);
  }
  return head_(norm_(x.select(1, 0)));
}

int64_t Vit::macs() const {
  const int64_t tokens = patches_ + 1;
  int64_t sum = embedding_->weight.numel() * patches_ + head_->macs();
  for (const auto& block : blocks_) sum += block->macs_per_token() * tokens + attention_macs(tokens, options_.width);
  return sum;
}

std::string Vit::describe() const {
  const auto& o = options_;
  return fmt::format("ViT, {} wide, {} deep, {} heads, MLP of {:g}, patches of {} x {}, {} classes", o.width, o.depth,
                     o.heads, o.mlp_ratio, o.patch, o.patch, head_->out());
}

const StructurePresets& Vit::structure_presets() {
  static const StructurePresets presets = {{"paper", R"(blocks\.\d+\.(attn\.(q|k|v|proj)|mlp\.fc[12]))"},
                                           {"all", R"(blocks\.\d+\.(attn\.(q|k|v|proj)|mlp\.fc[12]))"},
                                           {"attention", R"(blocks\.\d+\.attn\.(q|k|v|proj))"},
                                           {"mlp", R"(blocks\.\d+\.mlp\.fc[12])"}};
  return presets;
}

WeightNames Vit::weight_names(const data::Checkpoint& checkpoint) {
  WeightNames names = vision_weight_names();
  bool packed = false;
  for (const auto& info : checkpoint.tensors()) packed = packed || info.name.find(".attn.qkv.") != std::string::npos;
  names.source = [packed](const std::string& module) -> ModuleSource {
    const size_t dot = module.rfind('.');
    if (!packed || dot == std::string::npos || !module.substr(0, dot).ends_with(".attn")) return {module};
    const size_t part = std::string("qkv").find(module.substr(dot + 1));
    if (part == std::string::npos) return {module};
    return {module.substr(0, dot) + ".qkv", false, static_cast<int64_t>(part), 3};
  };
  names.fit = [](const std::string& name, const at::Tensor& found, at::IntArrayRef wanted) -> at::Tensor {
    if (name != "pos_embed" || found.dim() != 3 || found.size(2) != wanted[2]) return {};
    return resize_positions(found, wanted[1] - 1);
  };
  return names;
}

}  // namespace monarch::experiments
