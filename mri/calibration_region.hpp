#pragma once
// The fully sampled centre of k-space.

#include <ATen/core/Tensor.h>

#include <string>

#include "monarch/data/scan.hpp"

namespace monarch::mri {

/// Largest fully sampled block around DC, as extents [x, y, z] (0, 0, 0 when DC itself was not sampled). A block of
/// extent s on an axis of n samples starts at floor(n/2) - floor(s/2). Grows all axes in turn, one sample at a time,
/// until none can grow, so the block is as near to a cube as the sampling allows (BART's `-r` does alike).
/// mask: [z, y, x] bool. `limit` bounds every extent; 0: no bound. Throws ShapeError, DtypeError.
/// Cost: one pass over the mask.
data::Extent3 calibration_extent(const at::Tensor& mask, int64_t limit = 0);

/// A box of samples: first index and extent, both [x, y, z].
struct SampledBox {
  data::Extent3 first{};
  data::Extent3 extent{};
};

/// The calibration block grown further on single sides while it stays fully sampled: the whole fully sampled centre
/// also where it is not symmetric about DC. mask: [z, y, x] bool.
SampledBox sampled_centre(const at::Tensor& mask);

/// The block of that extent [x, y, z] around DC of [..., z, y, x], a view.
at::Tensor centre_block(const at::Tensor& array, const data::Extent3& extent);

struct CalibrationBlock {
  at::Tensor samples;      ///< [coil, z, y, x] complex64, contiguous, fully sampled, DC at floor(n/2)
  data::Extent3 extent{};  ///< [x, y, z]
  std::string source;      ///< "calibration lines" or "imaging lines"
};

/// The calibration block of a scan: of the lines marked as calibration or of the imaging lines, whichever gives the
/// larger block (the calibration lines when equal). Axes of the matrix with extent 1 stay at 1.
/// `limit`: largest extent per axis, 0 for none; `smallest`: smallest useful one (the kernel's width).
/// Throws DataError, naming what was found, when the block is smaller than `smallest` along an axis.
CalibrationBlock calibration_block(const data::KSpace& kspace, int64_t limit, int64_t smallest);

/// Whether calibration_block() would succeed.
bool has_calibration(const data::KSpace& kspace, int64_t smallest);

/// Images of the calibration block on the whole field of view: [coil, z, y, x] complex64 of extents `image` [x, y, z],
/// zero-padded and Hann-windowed against ringing. block: [coil, z, y, x].
at::Tensor low_resolution_images(const at::Tensor& block, const data::Extent3& image);

}  // namespace monarch::mri
