#pragma once
// MLP-Mixer (Tolstikhin et al., NeurIPS 2021).

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

namespace monarch::experiments {

struct MixerOptions {
  int64_t width = 512, depth = 8, patch = 16;
  double token_ratio = 0.5, mlp_ratio = 4;  ///< inner width of the token MLP and of the channel MLP over width
  double norm_eps = 1e-6;
  double dropout = 0;      ///< inside the MLPs
  double drop_path = 0;    ///< stochastic depth, at the last block
  bool recompute = false;  ///< blocks keep their input only, and run again in backward

  /// [model] name = "mixer-s16": 512 wide, 8 deep; "mixer-b16": 768, 12; "mixer" needs width, depth and patch. Keys:
  /// width, depth, patch, token_ratio, mlp_ratio, dropout, drop_path, recompute. Throws ConfigError.
  static MixerOptions from_config(const Config& config);
};

class MixerBlock;

/// In every block x += mlp_tokens(norm1(x)^T)^T, x += mlp_channels(norm2(x)), each MLP fc2(gelu(fc1(·))); norm; head of
/// the mean over patches. Parameters have timm's names: stem.proj, blocks.N.{norm1, mlp_tokens.{fc1, fc2}, norm2,
/// mlp_channels.{fc1, fc2}}, norm, head. They start as timm's: Xavier-uniform weights, biases of the MLPs N(0, 1e-12),
/// a stem of LeCun's normal, a head of zeros.
class Mixer final : public VisionModel {
 public:
  Mixer(const MixerOptions& options, const ImageShape& shape, int64_t classes);

  at::Tensor forward(const at::Tensor& images) override;
  int64_t macs() const override;
  std::string describe() const override;
  const MixerOptions& options() const { return options_; }

  static const StructurePresets& structure_presets();
  /// timm's names, which are ours; the head may be missing or have other classes.
  static WeightNames weight_names(const data::Checkpoint& checkpoint);

 private:
  MixerOptions options_;
  ImageShape shape_;
  int64_t patches_;
  torch::nn::Conv2d stem_{nullptr};
  std::vector<std::shared_ptr<MixerBlock>> blocks_;
  torch::nn::LayerNorm norm_{nullptr};
  operators::LinearLayer head_{nullptr};
};

}  // namespace monarch::experiments
