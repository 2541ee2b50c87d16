#pragma once
// Resizing and cropping of images [channel, y, x] of type uint8.

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "monarch/data/images/image_set.hpp"

namespace monarch::data {

enum class Interpolation { bilinear, bicubic };

/// A rectangle of pixels.
struct Box {
  int64_t top = 0, left = 0, height = 0, width = 0;
};

/// Antialiased resize as Pillow's Image.resize: the filter (triangle, or cubic with a = -1/2) is stretched where the
/// image shrinks. Equal to Pillow's to 1 grey level. Throws ShapeError for an empty image or size.
at::Tensor resize(const at::Tensor& image, Extent size, Interpolation interpolation);

/// A view of the pixels in a box that lies within the image. Throws ShapeError.
at::Tensor crop(const at::Tensor& image, const Box& box);

/// As timm's evaluation: the shorter side becomes floor(size / crop_fraction), the longer one in proportion, then the
/// middle size x size is taken. An image of that size already is returned as it is where crop_fraction is 1.
at::Tensor resize_and_crop_centre(const at::Tensor& image, int64_t size, double crop_fraction,
                                  Interpolation interpolation);

}  // namespace monarch::data
