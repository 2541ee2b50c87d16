#pragma once
// Learning to classify images: what training::train is given.

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "monarch/data/images/image_data.hpp"
#include "monarch/data/images/mix.hpp"
#include "monarch/data/images/transform.hpp"
#include "monarch/experiments/vision/classification_scores.hpp"
#include "monarch/experiments/vision/image_classifier.hpp"
#include "monarch/experiments/vision/vision_model.hpp"
#include "monarch/training/task.hpp"

namespace monarch::experiments {

/// Table [task], and mixing from [data.augment].
struct ClassificationOptions {
  double label_smoothing = 0;
  int64_t evaluation_batch = 128;
  bool pictures = true;  ///< of test images and of the confusion matrix, in results/
  data::MixOptions mix;
  static ClassificationOptions from_config(const Config& config);
};

/// The loss of an image is the cross-entropy between the softmax of its logits and its (mixed, smoothed) target.
/// Images are mixed with others of the same micro-batch. A micro-batch without readable images counts as 0.
class ClassificationTask final : public training::Task {
 public:
  ClassificationTask(const ClassificationOptions& options, data::ImageSplits splits,
                     const data::TransformOptions& transform, bool skip_broken, std::shared_ptr<VisionModel> model,
                     at::Device device = at::kCPU);

  torch::nn::Module& module() override { return *model_; }
  int64_t training_size() const override { return splits_.train->size(); }
  double accumulate_gradients(std::span<const int64_t> ids, double weight, const training::Step& step) override;
  /// Names as ClassificationScores::metrics.
  training::Metrics evaluate() override;
  std::string selection_metric() const override { return "error1"; }
  std::map<std::string, at::Tensor> constants() const override { return format_.constants(); }
  /// metrics.json, confusion.csv, confusion.png (up to 64 classes) and examples.png, of the test images.
  void write_results(const std::filesystem::path& folder) override;
  std::string describe_samples(std::span<const int64_t> ids) const override;

  const VisionModel& model() const { return *model_; }
  const data::ImageSplits& splits() const { return splits_; }
  /// Of the test images, which are used here for the first time.
  const training::Metrics& test_metrics();
  /// Of the model alone for an image of the test batches, without reading and transforming it.
  double milliseconds_per_image() const { return milliseconds_; }
  /// Images that could not be read and were left out so far.
  int64_t broken_images() const { return broken_.count(); }

 private:
  ClassificationScores score(const data::ImageSet& set, double* milliseconds);

  ClassificationOptions options_;
  data::ImageSplits splits_;
  ImageFormat format_;
  data::ImageTransform transform_;
  data::BrokenImages broken_;
  std::shared_ptr<VisionModel> model_;
  at::Device device_;
  std::optional<ClassificationScores> test_scores_;
  training::Metrics test_metrics_;
  double milliseconds_ = 0;
};

}  // namespace monarch::experiments
