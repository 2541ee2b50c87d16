#include "monarch/mri/calibration_region.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/mri/arrays.hpp"

namespace monarch::mri {
namespace {

using Shape3 = std::array<int64_t, 3>;  // [z, y, x]

// Number of samples acquired in any box, from the table of sums of the mask.
class BoxCounter {
 public:
  explicit BoxCounter(const at::Tensor& mask)
      : sums_(at::constant_pad_nd(mask.to(at::kLong).cumsum(0).cumsum(1).cumsum(2), {1, 0, 1, 0, 1, 0}).contiguous()),
        row_(sums_.size(2)),
        plane_(sums_.size(1) * sums_.size(2)) {}

  int64_t operator()(const Shape3& first, const Shape3& extent) const {
    const int64_t* s = sums_.data_ptr<int64_t>();
    int64_t count = 0;
    for (int corner = 0; corner < 8; ++corner) {
      int64_t at = 0, high = 0;
      const Shape3 strides{plane_, row_, 1};
      for (size_t axis = 0; axis < 3; ++axis) {
        const bool end = corner >> axis & 1;
        high += end;
        at += (first[axis] + (end ? extent[axis] : 0)) * strides[axis];
      }
      count += high % 2 ? s[at] : -s[at];
    }
    return count;
  }

 private:
  at::Tensor sums_;
  int64_t row_, plane_;
};

int64_t volume(const data::Extent3& e) {
  return e[0] * e[1] * e[2];
}

CalibrationBlock find_block(const data::KSpace& kspace, int64_t limit) {
  CalibrationBlock block;
  block.extent = calibration_extent(kspace.mask, limit);
  block.samples = kspace.samples;
  block.source = "imaging lines";
  if (kspace.calibration.defined() && kspace.calibration_mask.defined()) {
    const data::Extent3 separate = calibration_extent(kspace.calibration_mask, limit);
    if (volume(separate) >= volume(block.extent)) {
      block.extent = separate;
      block.samples = kspace.calibration;
      block.source = "calibration lines";
    }
  }
  return block;
}

bool large_enough(const data::Extent3& extent, const at::Tensor& mask, int64_t smallest) {
  for (size_t axis = 0; axis < 3; ++axis) {
    const int64_t n = mask.size(2 - static_cast<int64_t>(axis));
    if (extent[axis] < std::min(n, smallest)) return false;
  }
  return true;
}

}  // namespace

data::Extent3 calibration_extent(const at::Tensor& mask, int64_t limit) {
  const at::Tensor sampled = mask_array(mask, {}, "sampling mask");
  check<ConfigError>(limit >= 0, [&] { return fmt::format("calibration size must be 0 or more, found {}", limit); });
  const BoxCounter count(sampled);
  Shape3 extent{1, 1, 1};
  const auto full = [&](const Shape3& e) {
    Shape3 first{};
    for (size_t axis = 0; axis < 3; ++axis) first[axis] = sampled.size(static_cast<int64_t>(axis)) / 2 - e[axis] / 2;
    return count(first, e) == e[0] * e[1] * e[2];
  };
  if (!full(extent)) return {0, 0, 0};
  for (bool grown = true; grown;) {
    grown = false;
    for (size_t axis = 0; axis < 3; ++axis) {
      const int64_t n = sampled.size(static_cast<int64_t>(axis));
      if (extent[axis] >= (limit > 0 ? std::min(limit, n) : n)) continue;
      Shape3 larger = extent;
      ++larger[axis];
      if (!full(larger)) continue;
      extent = larger;
      grown = true;
    }
  }
  return {extent[2], extent[1], extent[0]};
}

SampledBox sampled_centre(const at::Tensor& mask) {
  const at::Tensor sampled = mask_array(mask, {}, "sampling mask");
  const data::Extent3 block = calibration_extent(sampled);
  const BoxCounter count(sampled);
  Shape3 first{}, extent{block[2], block[1], block[0]};
  for (size_t axis = 0; axis < 3; ++axis) first[axis] = sampled.size(static_cast<int64_t>(axis)) / 2 - extent[axis] / 2;
  for (bool grown = block[0] > 0; grown;) {
    grown = false;
    for (size_t side = 0; side < 6; ++side) {
      const size_t axis = side / 2;
      Shape3 begin = first, size = extent;
      ++size[axis];
      begin[axis] -= side % 2;
      if (begin[axis] < 0 || begin[axis] + size[axis] > sampled.size(static_cast<int64_t>(axis))) continue;
      if (count(begin, size) != size[0] * size[1] * size[2]) continue;
      first = begin;
      extent = size;
      grown = true;
    }
  }
  return {{first[2], first[1], first[0]}, {extent[2], extent[1], extent[0]}};
}

at::Tensor centre_block(const at::Tensor& array, const data::Extent3& extent) {
  at::Tensor block = array;
  for (int64_t axis = 0; axis < 3; ++axis) {
    const int64_t n = array.size(-1 - axis), keep = extent[static_cast<size_t>(axis)];
    check<ShapeError>(keep >= 1 && keep <= n, [&] {
      return fmt::format("a centred block [x, y, z] = {} does not fit in [..., z, y, x] = {}", shape_text(extent),
                         shape_text(array.sizes()));
    });
    block = block.narrow(-1 - axis, n / 2 - keep / 2, keep);
  }
  return block;
}

CalibrationBlock calibration_block(const data::KSpace& kspace, int64_t limit, int64_t smallest) {
  const at::Tensor samples = coil_array(kspace.samples, "k-space");
  mask_array(kspace.mask, samples.sizes().slice(1).vec(), "sampling mask");
  CalibrationBlock block = find_block(kspace, limit);
  check<DataError>(
      large_enough(block.extent, kspace.mask, smallest),
      [&] {
        return fmt::format(
            "no calibration region: the largest fully sampled block around the centre of k-space "
            "[x, y, z] = {} is {} ({}), smaller than the {} samples needed along each axis; {} marked as "
            "calibration",
            shape_text(std::array{kspace.mask.size(2), kspace.mask.size(1), kspace.mask.size(0)}),
            shape_text(block.extent), block.source, smallest,
            kspace.calibration.defined() ? "lines are" : "no line is");
      },
      "use a smaller kernel or a method without calibration (rss); if the centre looks shifted in `monarch info`, "
      "override it");
  block.samples = centre_block(block.samples, block.extent).contiguous();
  return block;
}

bool has_calibration(const data::KSpace& kspace, int64_t smallest) {
  return large_enough(find_block(kspace, smallest).extent, kspace.mask, smallest);
}

at::Tensor low_resolution_images(const at::Tensor& block, const data::Extent3& image) {
  at::Tensor padded = coil_array(block, "calibration block");
  for (int64_t axis = 3; axis >= 1; --axis) {
    const int64_t n = padded.size(axis), target = image[static_cast<size_t>(3 - axis)];
    check<ShapeError>(n <= target, [&] {
      return fmt::format("calibration block [coil, z, y, x] = {} is larger than the image [x, y, z] = {}",
                         shape_text(block.sizes()), shape_text(image));
    });
    if (n > 1) {
      std::vector<int64_t> view(4, 1);
      view[static_cast<size_t>(axis)] = n;
      // Symmetric about floor(n/2) and without the two zeros of the textbook's window.
      const at::Tensor k = (at::arange(n, at::kDouble) - static_cast<double>(n / 2)) / static_cast<double>(n / 2 + 1);
      padded = padded * at::cos(k * (0.5 * M_PI)).square().to(at::kFloat).view(view);
    }
    std::vector<int64_t> pads(static_cast<size_t>(2 * (4 - axis)), 0);
    const int64_t before = target / 2 - n / 2;
    pads[pads.size() - 2] = before;
    pads[pads.size() - 1] = target - n - before;
    padded = at::constant_pad_nd(padded, pads);
  }
  return to_image(padded);
}

}  // namespace monarch::mri
