#pragma once
// Coil sensitivities by Walsh's adaptive combination.

#include <ATen/core/Tensor.h>

namespace monarch::mri {

struct WalshOptions {
  int64_t window = 7;       ///< edge of the averaging window in pixels, odd
  int64_t iterations = 10;  ///< power iterations per pixel
};

/// Walsh et al., Magn Reson Med 43:682-690 (2000): the coil covariance averaged over a window around each pixel,
///   R_ij(x) = mean over the window of m_i conj(m_j),
/// has the sensitivities as leading eigenvector. Needs images without aliasing: of fully sampled data, or the
/// low_resolution_images() of a calibration region. Phase convention as in ESPIRiT: combined with the first principal
/// component of the coils, maps are real and positive.
///
/// images: [coil, z, y, x] complex64. Returns [coil, z, y, x] complex64, unit norm over the coils wherever a window
/// holds signal, else zero. At the edges the window is cut off. Throws ShapeError, DtypeError, ConfigError, DataError
/// (NaN). Cost: coils^2 (window + iterations) multiply-adds per pixel; memory: a plane of coil matrices.
at::Tensor walsh_maps(const at::Tensor& images, const WalshOptions& options = {});

}  // namespace monarch::mri
