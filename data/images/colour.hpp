#pragma once
// Changes of single pixels, and of pixels by their neighbours, with Pillow's arithmetic. Images are [channel, y, x],
// uint8, of 1 or 3 channels; results are new tensors.

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>

#include "monarch/data/images/resize.hpp"

namespace monarch::data {

/// ImageOps.autocontrast: each channel stretched to 0 … 255.
at::Tensor auto_contrast(const at::Tensor& image);
/// ImageOps.equalize: each channel's histogram made even.
at::Tensor equalize(const at::Tensor& image);
at::Tensor invert(const at::Tensor& image);
/// The upper `bits` bits of each value (0: black, 8 and more: all).
at::Tensor posterize(const at::Tensor& image, int bits);
/// Values from `threshold` on inverted.
at::Tensor solarize(const at::Tensor& image, int threshold);
/// `add` to the values below 128.
at::Tensor solarize_add(const at::Tensor& image, int add);

/// ImageEnhance: factor 1 leaves the image, 0 gives the degenerate one, beyond 1 the difference grows. Degenerate:
/// luma, the mean of the luma, black, the image smoothed (3 x 3 weights 1, centre 5; the rim stays).
at::Tensor enhance_colour(const at::Tensor& image, double factor);
at::Tensor enhance_contrast(const at::Tensor& image, double factor);
at::Tensor enhance_brightness(const at::Tensor& image, double factor);
at::Tensor enhance_sharpness(const at::Tensor& image, double factor);

using Fill = std::array<uint8_t, 3>;
/// Image.transform with an affine map: the value at (x, y) comes from (a x + b y + c, d x + e y + f), pixel centres
/// lying at halves; `fill` where that is outside. map: a, b, c, d, e, f. The cubic has a = -1 here, as Pillow's.
at::Tensor warp(const at::Tensor& image, const std::array<double, 6>& map, Interpolation interpolation,
                const Fill& fill);
/// Image.rotate about the middle, counter-clockwise.
at::Tensor rotate(const at::Tensor& image, double degrees, Interpolation interpolation, const Fill& fill);

}  // namespace monarch::data
