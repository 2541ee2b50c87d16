#pragma once
// Vision transformers (Dosovitskiy et al., ICLR 2021).

#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/normalization.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "monarch/experiments/transformer/structure.hpp"
#include "monarch/experiments/transformer/weights.hpp"
#include "monarch/experiments/vision/vision_model.hpp"
#include "monarch/operators/nn/linear_layer.hpp"
#include "monarch/operators/nn/parameter_groups.hpp"

namespace monarch::experiments {

struct VitOptions {
  int64_t width = 768, depth = 12, heads = 12, patch = 16;
  double mlp_ratio = 4;  ///< inner width of the MLP over width
  bool qkv_bias = true;
  double norm_eps = 1e-6;
  double dropout = 0, attention_dropout = 0;  ///< of embeddings and residual branches; of attention weights
  double drop_path = 0;                       ///< stochastic depth, at the last block
  bool recompute = false;                     ///< blocks keep their input only, and run again in backward

  /// [model] name = "vit-s16": 768 wide, 8 deep, 8 heads, MLP of 3, no bias of q, k, v, eps 1e-5 (the paper's, not
  /// DeiT-S); "vit-b16": 768, 12, 12, MLP of 4; "vit" needs width, depth, heads and patch. Keys: width, depth, heads,
  /// patch, mlp_ratio, qkv_bias, dropout, attention_dropout, drop_path, recompute. Throws ConfigError.
  static VitOptions from_config(const Config& config);
};

class VitBlock;

/// Patches and a class token with learned positions; in every block x += proj(attend(q, k, v of norm1(x))), x +=
/// fc2(gelu(fc1(norm2(x)))); norm; head of the class token. Parameters have timm's names with qkv split: cls_token,
/// pos_embed, patch_embed.proj, blocks.N.{norm1, attn.{q, k, v, proj}, norm2, mlp.{fc1, fc2}}, norm, head.
/// Linear weights and positions start N(0, 0.02²), the class token N(0, 1e-12), biases 0, as timm's.
class Vit final : public VisionModel, public operators::WithoutWeightDecay {
 public:
  Vit(const VitOptions& options, const ImageShape& shape, int64_t classes);

  at::Tensor forward(const at::Tensor& images) override;
  int64_t macs() const override;
  std::string describe() const override;
  std::vector<std::string> without_weight_decay() const override { return {"cls_token", "pos_embed"}; }
  const VitOptions& options() const { return options_; }

  static const StructurePresets& structure_presets();
  /// timm's names (qkv packed) and our own. Positions of another grid are resized bicubically, as timm does; the head
  /// may be missing or have other classes.
  static WeightNames weight_names(const data::Checkpoint& checkpoint);

 private:
  VitOptions options_;
  ImageShape shape_;
  int64_t patches_;
  at::Tensor cls_token_, pos_embed_;
  torch::nn::Conv2d embedding_{nullptr};
  std::vector<std::shared_ptr<VitBlock>> blocks_;
  torch::nn::LayerNorm norm_{nullptr};
  operators::LinearLayer head_{nullptr};
};

}  // namespace monarch::experiments
