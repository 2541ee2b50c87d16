#pragma once
// Images as rows of patches.

#include <torch/nn/modules/conv.h>

#include <cstdint>

#include "monarch/experiments/transformer/weights.hpp"
#include "monarch/experiments/vision/vision_model.hpp"

namespace monarch::experiments {

/// How many patches an image has. Throws ConfigError unless the sides are multiples of the patch's; `model` appears in
/// the message.
int64_t patch_count(const char* model, const ImageShape& shape, int64_t patch);

/// Throws ShapeError unless images are [batch, channel, y, x] of that shape.
void check_images(const at::Tensor& images, const ImageShape& shape);

/// A linear map of patches: a convolution whose stride is its kernel.
torch::nn::Conv2d patch_embedding(const ImageShape& shape, int64_t patch, int64_t width);

/// images [batch, channel, y, x] -> [batch, patch, width], patches row by row.
at::Tensor embed_patches(torch::nn::Conv2d& embedding, const at::Tensor& images);

/// Names of timm's models: wrappers' prefixes are taken off, the head is optional.
WeightNames vision_weight_names();

}  // namespace monarch::experiments
