#pragma once
// From the encoded matrix to the reconstructed one.

#include <ATen/core/Tensor.h>

#include <vector>

#include "monarch/data/scan.hpp"

namespace monarch::mri {

/// Crops or zero-pads one axis so that index floor(n/2) of the old extent becomes floor(m/2) of the new one.
at::Tensor centre_crop_or_pad(const at::Tensor& x, int64_t axis, int64_t size);

/// Extent along `axis` (0 x, 1 y, 2 z) of the encoded grid that covers the reconstructed field of view:
/// round(n_encoded FOV_recon / FOV_encoded); n_encoded where a field of view is unknown (0).
int64_t covered_extent(const data::ScanHeader& header, int axis);

/// Fourier interpolation of one axis to `size` points: the spectrum is zero-padded or cropped about its centre and
/// scaled so that the intensity of a constant stays. Complex input; cost 2 FFTs.
at::Tensor fourier_resample(const at::Tensor& x, int64_t axis, int64_t size);

/// Complex image [..., z, y, x] on the encoded grid -> [..., z', y', x'] on the reconstructed one: crop or zero-pad by
/// field of view, then Fourier interpolation where the matrix still differs. Axes that have been cropped to
/// covered_extent() already are left as they are. For ReadoutAxis::y the header's x is the image's y.
at::Tensor resize_to_recon(const at::Tensor& image, const data::ScanHeader& header);

/// Dimension of the readout in [z, y, x]-like tensors, counted from the back.
int64_t readout_dimension(const data::ScanHeader& header);
/// True where a mask is the same all along one axis.
bool constant_along(const at::Tensor& mask, int64_t dimension);
/// k-space without the oversampled part of the field of view along the readout. Only where every acquired line is
/// whole, since a line with gaps cannot be transformed.
void remove_oversampling(data::KSpace& kspace, const data::ScanHeader& header);

}  // namespace monarch::mri
