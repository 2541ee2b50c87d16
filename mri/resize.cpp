#include "monarch/mri/resize.hpp"

#include <ATen/ATen.h>

#include <cmath>

#include "monarch/operators/fourier.hpp"

namespace monarch::mri {

at::Tensor centre_crop_or_pad(const at::Tensor& x, int64_t axis, int64_t size) {
  const int64_t present = x.size(axis);
  if (size == present) return x;
  const int64_t shift = size / 2 - present / 2;  // new index = old index + shift
  if (size < present) return x.narrow(axis, -shift, size);
  std::vector<int64_t> shape = x.sizes().vec();
  shape[axis] = size;
  at::Tensor padded = at::zeros(shape, x.options());
  padded.narrow(axis, shift, present).copy_(x);
  return padded;
}

int64_t covered_extent(const data::ScanHeader& header, int axis) {
  const int64_t encoded = header.encoded.matrix[axis];
  const double encoded_fov = header.encoded.field_of_view_mm[axis], recon_fov = header.recon.field_of_view_mm[axis];
  if (!(encoded_fov > 0) || !(recon_fov > 0)) return encoded;
  const double extent = std::round(static_cast<double>(encoded) * recon_fov / encoded_fov);
  // Fields of view that differ by orders of magnitude are a broken header, not a wish for a huge image.
  if (!(extent >= 1) || extent > 16.0 * static_cast<double>(std::max(encoded, header.recon.matrix[axis])))
    return encoded;
  return static_cast<int64_t>(extent);
}

at::Tensor fourier_resample(const at::Tensor& x, int64_t axis, int64_t size) {
  const int64_t present = x.size(axis);
  if (size == present) return x;
  const at::Tensor spectrum = at::fft_fftshift(at::fft_fft(at::fft_ifftshift(x, axis), {}, axis), axis);
  at::Tensor resized = centre_crop_or_pad(spectrum, axis, size);
  resized = at::fft_fftshift(at::fft_ifft(at::fft_ifftshift(resized, axis), {}, axis), axis);
  return resized * (static_cast<double>(size) / static_cast<double>(present));
}

at::Tensor resize_to_recon(const at::Tensor& image, const data::ScanHeader& header) {
  at::Tensor result = image;
  for (int axis = 0; axis < 3; ++axis) {
    if (axis == 2 && !header.volume) continue;
    // Header axes are x (readout), y, z; image axes from the back are x, y, z, or y, x, z for readout along y.
    const int image_axis = header.readout == data::ReadoutAxis::y && axis < 2 ? 1 - axis : axis;
    const int64_t dimension = result.dim() - 1 - image_axis;
    if (result.size(dimension) == header.encoded.matrix[axis]) {
      result = centre_crop_or_pad(result, dimension, covered_extent(header, axis));
    }
    result = fourier_resample(result, dimension, header.recon.matrix[axis]);
  }
  return result;
}

int64_t readout_dimension(const data::ScanHeader& header) {
  return header.readout == data::ReadoutAxis::x ? -1 : -2;
}

bool constant_along(const at::Tensor& mask, int64_t dimension) {
  return at::equal(mask.all(dimension), mask.any(dimension));
}

void remove_oversampling(data::KSpace& kspace, const data::ScanHeader& header) {
  const int64_t dimension = readout_dimension(header);
  const int64_t covered = covered_extent(header, 0);
  const int64_t present = kspace.samples.size(dimension);
  if (covered >= present || !constant_along(kspace.mask, dimension)) return;
  const auto cropped = [&](const at::Tensor& samples) {
    at::Tensor line = operators::fourier_transform(samples, {dimension}, {.inverse = true, .centred = true});
    line = centre_crop_or_pad(line, samples.dim() + dimension, covered);
    return operators::fourier_transform(line, {dimension}, {.centred = true});
  };
  const auto cropped_mask = [&](const at::Tensor& mask) {
    return centre_crop_or_pad(mask, mask.dim() + dimension, covered).contiguous();
  };
  kspace.samples = cropped(kspace.samples);
  kspace.mask = cropped_mask(kspace.mask);
  if (kspace.calibration.defined()) {
    const bool whole = constant_along(kspace.calibration_mask, dimension);
    kspace.calibration = whole ? cropped(kspace.calibration) : at::Tensor();
    kspace.calibration_mask = whole ? cropped_mask(kspace.calibration_mask) : at::Tensor();
  }
}

}  // namespace monarch::mri
