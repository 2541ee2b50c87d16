#pragma once
// Image sets as a config names them, and batches of them.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "monarch/core/config.hpp"
#include "monarch/data/images/image_set.hpp"
#include "monarch/data/images/transform.hpp"

namespace monarch::data {

/// Table [data].
struct ImageDataOptions {
  enum class Kind { folder, mnist, cifar10, cifar100, digits } kind = Kind::folder;
  std::vector<std::filesystem::path> train, validation, test;
  std::vector<std::string> classes;           ///< names, for formats without
  double validation_fraction = 0;             ///< of the training images, where `validation` names no files
  double test_fraction = 0;                   ///< likewise, where `test` names none
  int64_t train_images = 0, test_images = 0;  ///< at most so many, drawn by the seed; 0: all
  uint64_t split_seed = 0;
  bool skip_broken = false;  ///< data.broken = "skip"
  static ImageDataOptions from_config(const Config& config);
};

/// Training, validation and test images with the same classes. Without images set apart for validation, the test
/// images serve.
struct ImageSplits {
  ImageSetPtr train, validation, test;
  static ImageSplits open(const ImageDataOptions& options);
};

/// Images that could not be read, each named once in the log.
class BrokenImages {
 public:
  explicit BrokenImages(bool skip) : skip_(skip) {}
  /// Counts the image and names it in the log, the first time. Thread-safe.
  void add(const std::string& name, const std::string& problem);
  bool skip() const { return skip_; }
  int64_t count() const;

 private:
  bool skip_;
  mutable std::mutex mutex_;
  std::set<std::string> names_;
};

struct ImageBatch {
  at::Tensor images;         ///< [image, channel, y, x], float32
  at::Tensor labels;         ///< [image], int64
  std::vector<int64_t> ids;  ///< those of the images that were read
};

/// Reads, decodes and transforms images of a set in parallel. `stream` names the random draws: image i gets
/// Rng(seed, "<stream> <i>"), so that they do not depend on the batch; empty: as for evaluation. Broken images are left
/// out of the batch, which may become empty. Throws DataError.
ImageBatch load_batch(const ImageSet& set, std::span<const int64_t> ids, const ImageTransform& transform,
                      BrokenImages& broken, uint64_t seed = 0, const std::string& stream = {});

}  // namespace monarch::data
