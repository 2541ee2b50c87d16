#pragma once
// RandAugment (Cubuk et al., 2020) in timm's form.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "monarch/core/rng.hpp"
#include "monarch/data/images/colour.hpp"

namespace monarch::data {

/// timm's fifteen operations. Their strength is a level from 0 to 10.
enum class AugmentOp {
  auto_contrast,
  equalize,
  invert,
  rotate,
  posterize,
  solarize,
  solarize_add,
  colour,
  contrast,
  brightness,
  sharpness,
  shear_x,
  shear_y,
  translate_x,
  translate_y
};
constexpr int kAugmentOps = 15;

/// What a level means to an operation: degrees, bits, a threshold, a factor, a slope, a fraction of the side. Those
/// that go both ways (rotate, shear, translate; the factors where `increasing`) are negated where `negate`.
/// increasing: timm's `inc1` set, in which a higher level always changes the image more.
double op_argument(AugmentOp op, double level, bool increasing, bool negate);

/// The operation with its argument on an image [channel, y, x], uint8.
at::Tensor apply_op(const at::Tensor& image, AugmentOp op, double argument, Interpolation interpolation,
                    const Fill& fill);

/// `layers` operations, drawn with replacement, each made with `probability` at a level drawn from a normal
/// distribution, cut to 0 … most_level.
struct RandAugment {
  double level = 10;         ///< m
  int64_t layers = 2;        ///< n
  double probability = 0.5;  ///< p
  double deviation = 0;      ///< mstd; above 100: levels uniform from 0 to `level`
  double most_level = 10;    ///< mmax
  bool increasing = false;   ///< inc

  /// "rand-m9-mstd0.5-inc1" and the like. Throws ConfigError for what timm does not know, and for its other sets of
  /// operations (t…), which are not here.
  static RandAugment parse(const std::string& text);
  /// `interpolation`: none draws bilinear or bicubic for each warp.
  at::Tensor operator()(const at::Tensor& image, Rng& rng, std::optional<Interpolation> interpolation,
                        const Fill& fill) const;
};

}  // namespace monarch::data
