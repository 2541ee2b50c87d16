#pragma once
// From stored images to what a network sees: crop, flip, colour, normalisation, erasing.

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "monarch/core/config.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/data/images/image_set.hpp"
#include "monarch/data/images/rand_augment.hpp"
#include "monarch/data/images/resize.hpp"

namespace monarch::data {

enum class TrainingCrop {
  centre,          ///< as evaluation
  random_resized,  ///< a random part of random shape, resized (Inception, torchvision, timm)
  shift            ///< resized as evaluation, padded with zeros by `pad` pixels on each side, cut out anywhere
};

/// Random changes of training images, tables [data.augment]; defaults change nothing.
struct AugmentOptions {
  TrainingCrop crop = TrainingCrop::centre;
  std::array<double, 2> scale = {0.08, 1};           ///< of the image's area
  std::array<double, 2> ratio = {3.0 / 4, 4.0 / 3};  ///< width over height
  std::optional<Interpolation> interpolation;        ///< none: drawn for each image and each warp
  int64_t pad = 4;
  double flip = 0;    ///< probability of mirroring left to right
  double jitter = 0;  ///< brightness, contrast and saturation by factors 1 ± jitter, in random order
  std::optional<RandAugment> rand;
  double erase = 0;  ///< probability of filling a random rectangle with normal noise (timm's "pixel")
  static AugmentOptions from_config(const Config& config);
};

/// How images are brought to the network's form, table [data].
struct TransformOptions {
  int64_t size = 0;          ///< pixels of each side; 0: as the images are
  double crop_fraction = 1;  ///< of the shorter side that evaluation keeps
  Interpolation interpolation = Interpolation::bicubic;
  std::array<double, 3> mean = {0.5, 0.5, 0.5}, deviation = {0.5, 0.5, 0.5};  ///< of values in 0 … 1
  AugmentOptions augment;
  /// `extent` of the images, none where they differ. Default of size: 224 for those without; of mean and deviation:
  /// ImageNet's for three channels. Throws ConfigError.
  static TransformOptions from_config(const Config& config, int64_t channels, const std::optional<Extent>& extent);
};

class ImageTransform {
 public:
  ImageTransform(const TransformOptions& options, int64_t channels);
  const TransformOptions& options() const { return options_; }

  /// Image i of a set, uint8 as stored to [channel, y, x], float32. Without `rng` as for evaluation, from the image
  /// decoded whole; with it, random as for training, and JPEGs are decoded at 1/2, 1/4 or 1/8 where the cropped part
  /// keeps at least the size needed.
  at::Tensor operator()(const ImageSet& set, int64_t i, Rng* rng) const;
  /// The same for an image in memory, uint8 [channel, y, x], as for evaluation; `name` is for messages. Throws
  /// DataError for an image more than 100 times as long as wide, whose resized version would be huge.
  at::Tensor evaluate(const at::Tensor& image, const std::string& name) const;
  /// Values in 0 … 1 again, [.., channel, y, x].
  at::Tensor denormalise(const at::Tensor& images) const;

 private:
  at::Tensor middle(const at::Tensor& image, Interpolation interpolation, const std::string& name) const;
  at::Tensor training_pixels(const ImageSet& set, int64_t i, Rng& rng) const;
  at::Tensor normalise(const at::Tensor& pixels) const;

  TransformOptions options_;
  at::Tensor mean_, deviation_;  // [channel, 1, 1]
  Fill fill_ = {};
};

/// torchvision's and timm's draw of a part of an image: area a fraction in `scale`, log-uniform shape in `ratio`; the
/// middle after ten parts that do not fit.
Box random_part(Extent image, const std::array<double, 2>& scale, const std::array<double, 2>& ratio, Rng& rng);

/// timm's random erasing, in place, of a normalised image [channel, y, x]: a rectangle of 2 % to 33 % of the area and
/// shape 0.3 to 1/0.3 becomes standard normal noise.
void erase(at::Tensor& image, Rng& rng);

}  // namespace monarch::data
