#include "monarch/data/images/rand_augment.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>

#include "monarch/core/error.hpp"

namespace monarch::data {

double op_argument(AugmentOp op, double level, bool increasing, bool negate) {
  const double strength = level / 10, sign = negate ? -1 : 1;
  switch (op) {
    case AugmentOp::rotate:
      return sign * 30 * strength;
    case AugmentOp::posterize: {
      const double bits = std::trunc(4 * strength);
      return increasing ? 4 - bits : bits;
    }
    case AugmentOp::solarize: {
      const double threshold = std::min(256.0, std::trunc(256 * strength));
      return increasing ? 256 - threshold : threshold;
    }
    case AugmentOp::solarize_add:
      return std::min(128.0, std::trunc(110 * strength));
    case AugmentOp::colour:
    case AugmentOp::contrast:
    case AugmentOp::brightness:
    case AugmentOp::sharpness:
      return increasing ? std::max(0.1, 1 + sign * 0.9 * strength) : 1.8 * strength + 0.1;
    case AugmentOp::shear_x:
    case AugmentOp::shear_y:
      return sign * 0.3 * strength;
    case AugmentOp::translate_x:
    case AugmentOp::translate_y:
      return sign * 0.45 * strength;
    default:
      return 0;
  }
}

at::Tensor apply_op(const at::Tensor& image, AugmentOp op, double argument, Interpolation interpolation,
                    const Fill& fill) {
  switch (op) {
    case AugmentOp::auto_contrast:
      return auto_contrast(image);
    case AugmentOp::equalize:
      return equalize(image);
    case AugmentOp::invert:
      return invert(image);
    case AugmentOp::rotate:
      return rotate(image, argument, interpolation, fill);
    case AugmentOp::posterize:
      return posterize(image, static_cast<int>(argument));
    case AugmentOp::solarize:
      return solarize(image, static_cast<int>(argument));
    case AugmentOp::solarize_add:
      return solarize_add(image, static_cast<int>(argument));
    case AugmentOp::colour:
      return enhance_colour(image, argument);
    case AugmentOp::contrast:
      return enhance_contrast(image, argument);
    case AugmentOp::brightness:
      return enhance_brightness(image, argument);
    case AugmentOp::sharpness:
      return enhance_sharpness(image, argument);
    case AugmentOp::shear_x:
      return warp(image, {1, argument, 0, 0, 1, 0}, interpolation, fill);
    case AugmentOp::shear_y:
      return warp(image, {1, 0, 0, argument, 1, 0}, interpolation, fill);
    case AugmentOp::translate_x:
      return warp(image, {1, 0, argument * static_cast<double>(image.size(2)), 0, 1, 0}, interpolation, fill);
    case AugmentOp::translate_y:
      return warp(image, {1, 0, 0, 0, 1, argument * static_cast<double>(image.size(1))}, interpolation, fill);
  }
  fail<ConfigError>("an operation of RandAugment that does not exist");
}

RandAugment RandAugment::parse(const std::string& text) {
  RandAugment result;
  const auto refuse = [&](std::string_view part) {
    fail<ConfigError>(fmt::format("RandAugment '{}': '{}' is not understood", text, part),
                      "write it as timm does: rand-m9-mstd0.5-inc1, with m, n, p, mstd, mmax, inc");
  };
  size_t at = 0;
  for (bool first = true; at <= text.size(); first = false) {
    const size_t end = std::min(text.find('-', at), text.size());
    const std::string part = text.substr(at, end - at);
    at = end + 1;
    if (first) {
      if (part != "rand") refuse(part);
      continue;
    }
    const size_t digit = std::min(part.find_first_of("0123456789"), part.size());
    const std::string key = part.substr(0, digit), number = part.substr(digit);
    size_t used = 0;
    double value = 0;
    try {
      value = std::stod(number, &used);
    } catch (const std::exception&) {
    }
    if (number.empty() || used != number.size() || !std::isfinite(value)) refuse(part);
    const bool whole = value == std::trunc(value);
    if (key == "m" && whole)
      result.level = value;
    else if (key == "n" && whole && value <= 100)
      result.layers = static_cast<int64_t>(value);
    else if (key == "p" && value <= 1)
      result.probability = value;
    else if (key == "mstd")
      result.deviation = value;
    else if (key == "mmax" && whole && value >= 1)
      result.most_level = value;
    else if (key == "inc")
      result.increasing = value != 0;
    else
      refuse(part);
  }
  return result;
}

at::Tensor RandAugment::operator()(const at::Tensor& image, Rng& rng, std::optional<Interpolation> interpolation,
                                   const Fill& fill) const {
  at::Tensor result = image;
  for (int64_t layer = 0; layer < layers; ++layer) {
    const auto op = static_cast<AugmentOp>(rng.below(kAugmentOps));
    const bool made = rng.uniform() < probability;
    const double noise = deviation > 100 ? level * rng.uniform() - level : deviation * rng.normal();
    const bool negate = rng.uniform() < 0.5, cubic = rng.uniform() < 0.5;
    if (!made) continue;
    const double drawn = std::clamp(level + noise, 0.0, most_level);
    result = apply_op(result, op, op_argument(op, drawn, increasing, negate),
                      interpolation.value_or(cubic ? Interpolation::bicubic : Interpolation::bilinear), fill);
  }
  return result;
}

}  // namespace monarch::data
