#include "monarch/experiments/vision/patches.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace monarch::experiments {

int64_t patch_count(const char* model, const ImageShape& shape, int64_t patch) {
  check<ConfigError>(
      patch >= 1 && shape.channels >= 1 && shape.height >= patch && shape.width >= patch && shape.height % patch == 0 &&
          shape.width % patch == 0,
      [&] {
        return fmt::format("{}: images of {} x {} and {} channels do not divide into patches of {} x {}", model,
                           shape.height, shape.width, shape.channels, patch, patch);
      },
      "set model.patch to a divisor of both sides, or resize the images");
  return (shape.height / patch) * (shape.width / patch);
}

void check_images(const at::Tensor& images, const ImageShape& shape) {
  check<ShapeError>(images.defined() && images.dim() == 4 && images.size(1) == shape.channels &&
                        images.size(2) == shape.height && images.size(3) == shape.width,
                    [&] {
                      return fmt::format("images: expected [batch, {}, {}, {}], got {}", shape.channels, shape.height,
                                         shape.width,
                                         images.defined() ? shape_text(images.sizes()) : "an undefined tensor");
                    });
}

torch::nn::Conv2d patch_embedding(const ImageShape& shape, int64_t patch, int64_t width) {
  return torch::nn::Conv2d(torch::nn::Conv2dOptions(shape.channels, width, patch).stride(patch));
}

at::Tensor embed_patches(torch::nn::Conv2d& embedding, const at::Tensor& images) {
  return embedding(images).flatten(2).transpose(1, 2);
}

WeightNames vision_weight_names() {
  WeightNames names;
  names.plain = [](const std::string& name) -> std::optional<std::string> {
    const std::string plain = without_prefixes(name, {"module.", "model."});
    if (plain.starts_with("constants.")) return std::nullopt;
    return plain;
  };
  names.source = [](const std::string& module) { return ModuleSource{module}; };
  names.optional = [](const std::string& name) { return name.starts_with("head."); };
  return names;
}

}  // namespace monarch::experiments
