#include "monarch/data/images/resize.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "monarch/core/error.hpp"

namespace monarch::data {
namespace {

void check_image(const at::Tensor& image) {
  check<ShapeError>(image.dim() == 3 && image.numel() > 0,
                    "an image needs axes [channel, y, x] and at least one pixel");
  check<DtypeError>(image.scalar_type() == at::kByte, "an image needs uint8");
}

}  // namespace

at::Tensor resize(const at::Tensor& image, Extent size, Interpolation interpolation) {
  check_image(image);
  check<ShapeError>(size.height >= 1 && size.width >= 1,
                    [&] { return fmt::format("cannot resize an image to {} x {} pixels", size.width, size.height); });
  if (image.size(1) == size.height && image.size(2) == size.width) return image;
  // Interleaved channels take ATen's integer path, which is Pillow's arithmetic.
  const at::Tensor interleaved = image.unsqueeze(0).contiguous(at::MemoryFormat::ChannelsLast);
  const std::vector<int64_t> extent{size.height, size.width};
  const at::Tensor resized = interpolation == Interpolation::bicubic
                                 ? at::_upsample_bicubic2d_aa(interleaved, extent, false)
                                 : at::_upsample_bilinear2d_aa(interleaved, extent, false);
  return resized.squeeze(0);
}

at::Tensor crop(const at::Tensor& image, const Box& box) {
  check_image(image);
  check<ShapeError>(box.top >= 0 && box.left >= 0 && box.height >= 1 && box.width >= 1 &&
                        box.top + box.height <= image.size(1) && box.left + box.width <= image.size(2),
                    [&] {
                      return fmt::format("a crop of {} x {} pixels at ({}, {}) does not lie within {} x {}", box.width,
                                         box.height, box.left, box.top, image.size(2), image.size(1));
                    });
  return image.narrow(1, box.top, box.height).narrow(2, box.left, box.width);
}

at::Tensor resize_and_crop_centre(const at::Tensor& image, int64_t size, double crop_fraction,
                                  Interpolation interpolation) {
  check_image(image);
  const int64_t height = image.size(1), width = image.size(2);
  const auto shorter = static_cast<int64_t>(std::floor(static_cast<double>(size) / crop_fraction));
  const auto longer = shorter * std::max(height, width) / std::min(height, width);
  const Extent extent = height <= width ? Extent{shorter, longer} : Extent{longer, shorter};
  const at::Tensor resized = resize(image, extent, interpolation);
  // Rounds half to even, as Python does.
  const auto start = [&](int64_t side) {
    return static_cast<int64_t>(std::nearbyint(static_cast<double>(side - size) / 2));
  };
  return crop(resized, {start(extent.height), start(extent.width), size, size});
}

}  // namespace monarch::data
