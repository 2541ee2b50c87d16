#pragma once
// How well images are classified: errors, confusions, and pictures of both.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "monarch/training/task.hpp"

namespace monarch::experiments {

/// What a model said about one image.
struct Verdict {
  int64_t image = 0;  ///< in its set
  int64_t label = 0, predicted = 0;
  double probability = 0;  ///< of the predicted class
};

class ClassificationScores {
 public:
  explicit ClassificationScores(int64_t classes);

  /// logits [image, class] and labels [image], int64, of the images `ids` of a set. Throws ShapeError.
  void add(const at::Tensor& logits, const at::Tensor& labels, const std::vector<int64_t>& ids);

  /// "loss" (mean cross-entropy with the label), "error1" and "accuracy1" (percent), and "error5" and "accuracy5" (the
  /// label is none, or one, of the five likeliest) where there are more than five classes. NaN without images.
  training::Metrics metrics() const;
  int64_t images() const { return static_cast<int64_t>(verdicts_.size()); }
  /// How often an image of a class (row) was taken for another one (column), int64.
  const at::Tensor& confusion() const { return confusion_; }
  const std::vector<Verdict>& verdicts() const { return verdicts_; }

 private:
  int64_t classes_, right_ = 0, among_five_ = 0;
  double loss_ = 0;
  at::Tensor confusion_;
  std::vector<Verdict> verdicts_;
};

/// `most` verdicts worth showing: half of them spread evenly over the set, then the wrong ones of highest probability.
std::vector<Verdict> examples(const std::vector<Verdict>& verdicts, size_t most);

/// Images [image, channel, y, x] with values in 0 … 1 in a grid of eight columns, each with the class it was taken for,
/// the probability, and the true class where that differs -> [y, x, 3], uint8.
at::Tensor draw_verdicts(const at::Tensor& images, const std::vector<Verdict>& verdicts,
                         const std::vector<std::string>& classes);

/// Rows of the confusion matrix as shares of their class, in colours -> [y, x, 3], uint8.
at::Tensor draw_confusion(const at::Tensor& confusion, const std::string& title);

/// The matrix with names of classes, as CSV.
std::string confusion_csv(const at::Tensor& confusion, const std::vector<std::string>& classes);

}  // namespace monarch::experiments
