#pragma once
// A trained classifier of images, with what it needs beside its weights.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "monarch/data/images/transform.hpp"
#include "monarch/experiments/vision/vision_model.hpp"
#include "monarch/training/checkpoint.hpp"

namespace monarch::experiments {

/// Images as they are stored, and their classes.
struct ImageFormat {
  int64_t channels = 3;
  std::optional<data::Extent> extent;  ///< none where images differ
  std::vector<std::string> classes;

  /// As tensors of a checkpoint, and back. Throws DataError.
  std::map<std::string, at::Tensor> constants() const;
  static ImageFormat restore(const training::NamedTensors& constants, const std::string& origin);
};

class ImageClassifier {
 public:
  /// From a checkpoint of `monarch train` with task.kind = "image-classification". Throws DataError.
  static ImageClassifier restore(const training::TrainingCheckpoint& checkpoint, const std::string& origin);

  /// Probabilities [class], float32, of an image as stored [channel, y, x], uint8; `name` is for messages.
  at::Tensor probabilities(const at::Tensor& image, const std::string& name) const;

  const ImageFormat& format() const { return format_; }
  VisionModel& model() const { return *model_; }

 private:
  ImageClassifier(ImageFormat format, data::ImageTransform transform, std::shared_ptr<VisionModel> model);
  ImageFormat format_;
  data::ImageTransform transform_;
  std::shared_ptr<VisionModel> model_;
};

}  // namespace monarch::experiments
