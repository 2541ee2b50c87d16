#include "monarch/data/images/transform.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "monarch/core/error.hpp"

namespace monarch::data {
namespace {

constexpr int64_t kLongest = 100;

std::array<double, 2> range(const Config& config, const std::string& key, const std::array<double, 2>& fallback) {
  const auto values = config.numbers(key, {fallback[0], fallback[1]});
  check<ConfigError>(values.size() == 2 && values[0] > 0 && values[0] <= values[1], [&] {
    return fmt::format("{}: '{}' must be two numbers above 0, the smaller one first", config.name(), key);
  });
  return {values[0], values[1]};
}

double uniform(Rng& rng, double low, double high) {
  return low + (high - low) * rng.uniform();
}

/// As Python's round.
int64_t rounded(double value) {
  return static_cast<int64_t>(std::nearbyint(value));
}

at::Tensor jittered(at::Tensor image, double strength, Rng& rng) {
  using Enhance = at::Tensor (*)(const at::Tensor&, double);
  std::array<Enhance, 3> steps = {enhance_brightness, enhance_contrast, enhance_colour};
  std::swap(steps[2], steps[static_cast<size_t>(rng.below(3))]);
  std::swap(steps[1], steps[static_cast<size_t>(rng.below(2))]);
  for (const Enhance step : steps) image = step(image, uniform(rng, std::max(0.0, 1 - strength), 1 + strength));
  return image;
}

}  // namespace

AugmentOptions AugmentOptions::from_config(const Config& config) {
  AugmentOptions o;
  o.crop = config.choice<TrainingCrop>("data.augment.crop", "centre",
                                       {{"centre", TrainingCrop::centre},
                                        {"random-resized", TrainingCrop::random_resized},
                                        {"shift", TrainingCrop::shift}});
  if (o.crop == TrainingCrop::random_resized) {
    o.scale = range(config, "data.augment.scale", o.scale);
    o.ratio = range(config, "data.augment.ratio", o.ratio);
    check<ConfigError>(o.scale[1] <= 1, config.name() + ": 'data.augment.scale' is a part of the area, at most 1");
  }
  if (o.crop == TrainingCrop::shift) o.pad = config.integer_at_least("data.augment.pad", o.pad, 1);
  o.interpolation = config.choice<std::optional<Interpolation>>(
      "data.augment.interpolation", "random",
      {{"random", std::nullopt}, {"bilinear", Interpolation::bilinear}, {"bicubic", Interpolation::bicubic}});
  o.flip = config.number_between("data.augment.flip", o.flip, 0, 1);
  o.jitter = config.number_between("data.augment.jitter", o.jitter, 0, 10);
  o.erase = config.number_between("data.augment.erase", o.erase, 0, 1);
  const std::string rand = config.text("data.augment.rand", "");
  if (!rand.empty()) o.rand = RandAugment::parse(rand);
  return o;
}

TransformOptions TransformOptions::from_config(const Config& config, int64_t channel_count,
                                               const std::optional<Extent>& extent) {
  TransformOptions o;
  o.size = config.integer_at_least("data.size", extent ? 0 : 224, 0);
  check<ConfigError>(o.size > 0 || (extent && extent->height == extent->width),
                     config.name() + ": 'data.size' is 0, but the images are not square, or differ",
                     "set it, to 224 say");
  if (o.size == 0) o.size = extent->height;
  o.crop_fraction = config.number_between("data.crop_fraction", extent ? 1 : 0.875, 0.05, 1);
  o.interpolation = config.choice<Interpolation>(
      "data.interpolation", "bicubic", {{"bicubic", Interpolation::bicubic}, {"bilinear", Interpolation::bilinear}});
  const auto channels = static_cast<size_t>(channel_count);
  const auto statistic = [&](const std::string& key, const std::vector<double>& fallback, double least) {
    const auto values = config.numbers(key, channels == 3 ? fallback : std::vector<double>{0.5});
    check<ConfigError>(values.size() == channels && *std::min_element(values.begin(), values.end()) >= least, [&] {
      return fmt::format("{}: '{}' needs {} numbers, one a channel, for values in 0 to 1", config.name(), key,
                         channels);
    });
    std::array<double, 3> result{};
    for (size_t c = 0; c < 3; ++c) result[c] = values[std::min(c, channels - 1)];
    return result;
  };
  o.mean = statistic("data.mean", {0.485, 0.456, 0.406}, 0);
  o.deviation = statistic("data.deviation", {0.229, 0.224, 0.225}, 1e-6);
  o.augment = AugmentOptions::from_config(config);
  return o;
}

ImageTransform::ImageTransform(const TransformOptions& options, int64_t channels) : options_(options) {
  const auto column = [&](const std::array<double, 3>& values) {
    return at::tensor(std::vector<double>(values.begin(), values.begin() + channels)).to(at::kFloat).view({-1, 1, 1});
  };
  mean_ = column(options.mean);
  deviation_ = column(options.deviation);
  for (size_t c = 0; c < 3; ++c)
    fill_[c] = static_cast<uint8_t>(std::clamp(rounded(255 * options.mean[c]), int64_t{0}, int64_t{255}));
}

at::Tensor ImageTransform::normalise(const at::Tensor& pixels) const {
  return ((pixels.to(at::kFloat) / 255 - mean_) / deviation_).contiguous();
}

at::Tensor ImageTransform::denormalise(const at::Tensor& images) const {
  return images * deviation_.to(images.device()) + mean_.to(images.device());
}

at::Tensor ImageTransform::middle(const at::Tensor& image, Interpolation interpolation, const std::string& name) const {
  const int64_t height = image.size(1), width = image.size(2);
  check<DataError>(std::max(height, width) <= kLongest * std::min(height, width), [&] {
    return fmt::format("{}: {} x {} pixels, more than {} times as long as wide", name, width, height, kLongest);
  });
  return resize_and_crop_centre(image, options_.size, options_.crop_fraction, interpolation);
}

at::Tensor ImageTransform::evaluate(const at::Tensor& image, const std::string& name) const {
  return normalise(middle(image, options_.interpolation, name));
}

at::Tensor ImageTransform::training_pixels(const ImageSet& set, int64_t i, Rng& rng) const {
  const AugmentOptions& augment = options_.augment;
  const int64_t size = options_.size;
  const auto interpolation =
      augment.interpolation.value_or(rng.uniform() < 0.5 ? Interpolation::bilinear : Interpolation::bicubic);
  if (augment.crop == TrainingCrop::random_resized) {
    Box part;
    Extent whole;
    bool chosen = false;
    const auto choose = [&](Extent extent) {
      part = random_part(extent, augment.scale, augment.ratio, rng);
      whole = extent;
      chosen = true;
      return static_cast<double>(std::min(part.height, part.width)) / static_cast<double>(size);
    };
    const at::Tensor image = set.image(i, choose);
    if (!chosen) choose({image.size(1), image.size(2)});
    const auto scaled = [](int64_t at, int64_t whole_side, int64_t side) {
      return rounded(static_cast<double>(at) * static_cast<double>(side) / static_cast<double>(whole_side));
    };
    Box box;
    box.top = std::min(scaled(part.top, whole.height, image.size(1)), image.size(1) - 1);
    box.left = std::min(scaled(part.left, whole.width, image.size(2)), image.size(2) - 1);
    box.height = std::max<int64_t>(scaled(part.top + part.height, whole.height, image.size(1)) - box.top, 1);
    box.width = std::max<int64_t>(scaled(part.left + part.width, whole.width, image.size(2)) - box.left, 1);
    return resize(crop(image, box), {size, size}, interpolation);
  }
  const auto fraction = options_.crop_fraction;
  const at::Tensor image = set.image(i, [&](Extent extent) {
    return static_cast<double>(std::min(extent.height, extent.width)) * fraction / static_cast<double>(size);
  });
  const at::Tensor kept = middle(image, interpolation, set.name(i));
  if (augment.crop == TrainingCrop::centre) return kept;
  const int64_t top = rng.below(2 * augment.pad + 1), left = rng.below(2 * augment.pad + 1);
  return crop(at::constant_pad_nd(kept, {augment.pad, augment.pad, augment.pad, augment.pad}), {top, left, size, size});
}

at::Tensor ImageTransform::operator()(const ImageSet& set, int64_t i, Rng* rng) const {
  if (!rng) return evaluate(set.image(i), set.name(i));
  const AugmentOptions& augment = options_.augment;
  at::Tensor pixels = training_pixels(set, i, *rng);
  if (rng->uniform() < augment.flip) pixels = pixels.flip(2);
  if (augment.jitter > 0) pixels = jittered(pixels, augment.jitter, *rng);
  if (augment.rand) pixels = (*augment.rand)(pixels, *rng, augment.interpolation, fill_);
  at::Tensor image = normalise(pixels);
  if (rng->uniform() < augment.erase) erase(image, *rng);
  return image;
}

Box random_part(Extent image, const std::array<double, 2>& scale, const std::array<double, 2>& ratio, Rng& rng) {
  const auto height = static_cast<double>(image.height), width = static_cast<double>(image.width);
  for (int attempt = 0; attempt < 10; ++attempt) {
    const double area = uniform(rng, scale[0], scale[1]) * height * width;
    const double shape = std::exp(uniform(rng, std::log(ratio[0]), std::log(ratio[1])));
    const int64_t w = rounded(std::sqrt(area * shape)), h = rounded(std::sqrt(area / shape));
    if (w >= 1 && h >= 1 && w <= image.width && h <= image.height)
      return {rng.below(image.height - h + 1), rng.below(image.width - w + 1), h, w};
  }
  int64_t h = image.height, w = image.width;
  if (width / height < ratio[0]) h = std::max<int64_t>(std::min(rounded(width / ratio[0]), h), 1);
  if (width / height > ratio[1]) w = std::max<int64_t>(std::min(rounded(height * ratio[1]), w), 1);
  return {(image.height - h) / 2, (image.width - w) / 2, h, w};
}

void erase(at::Tensor& image, Rng& rng) {
  constexpr double kLeast = 0.02, kMost = 1.0 / 3, kShape = 0.3;
  const int64_t height = image.size(1), width = image.size(2);
  for (int attempt = 0; attempt < 10; ++attempt) {
    const double area = uniform(rng, kLeast, kMost) * static_cast<double>(height * width);
    const double shape = std::exp(uniform(rng, std::log(kShape), -std::log(kShape)));
    const int64_t h = rounded(std::sqrt(area * shape)), w = rounded(std::sqrt(area / shape));
    if (h < 1 || w < 1 || h >= height || w >= width) continue;
    const int64_t top = rng.below(height - h + 1), left = rng.below(width - w + 1);
    image.narrow(1, top, h).narrow(2, left, w).copy_(rng.normal({image.size(0), h, w}, at::kFloat));
    return;
  }
}

}  // namespace monarch::data
