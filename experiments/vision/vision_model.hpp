#pragma once
// Classifiers of images.

#include <torch/nn/module.h>

#include <cstdint>
#include <memory>
#include <string>

#include "monarch/core/config.hpp"

namespace monarch::experiments {

struct ImageShape {
  int64_t channels = 3, height = 224, width = 224;
};

class VisionModel : public torch::nn::Module {
 public:
  /// images [batch, channel, y, x] -> logits [batch, class]. Throws ShapeError for images of another shape than the
  /// model's.
  virtual at::Tensor forward(const at::Tensor& images) = 0;
  /// Multiplications per image.
  virtual int64_t macs() const = 0;
  /// "ViT, 768 wide, 8 deep, 8 heads, patches of 16 x 16".
  virtual std::string describe() const = 0;
};

/// [model] name = "vit-s16", "vit-b16", "mixer-s16", "mixer-b16" (docs/transformers.md has their sizes), or "vit" and
/// "mixer", which need width, depth and patch; with the structure of [model.layers]. Throws ConfigError.
std::shared_ptr<VisionModel> make_vision_model(const Config& config, const ImageShape& shape, int64_t classes);

}  // namespace monarch::experiments
