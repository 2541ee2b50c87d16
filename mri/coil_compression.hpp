#pragma once
// Fewer virtual coils with almost the same signal.

#include <ATen/core/Tensor.h>

namespace monarch::mri {

struct CoilCompression {
  at::Tensor matrix;       ///< [virtual coil, coil] complex64, orthonormal rows; apply with mix_coils()
  at::Tensor energy;       ///< [coil] float64: share of the signal energy in each principal component, descending
  double kept_energy = 1;  ///< share in the virtual coils kept
};

/// SVD coil compression (Buehrer et al., Magn Reson Med 57:1131-1139, 2007; Huang et al., Magn Reson Imaging
/// 26:133-141, 2008): the rows of `matrix` are the conjugated leading left singular vectors of the data [coil,
/// samples], so no other linear combination of as few coils keeps more energy. White noise stays white. data: [coil,
/// ...] complex64, k-space or its calibration region (zeros do no harm); 1 <= virtual_coils <= coils. Throws
/// ConfigError, DataError (no signal, NaN), ShapeError. Cost: one pass over the data, coils^2 per sample.
CoilCompression compress_coils(const at::Tensor& data, int64_t virtual_coils);

/// As few virtual coils as keep the share `energy` of the signal energy, 0 < energy <= 1.
CoilCompression compress_coils_by_energy(const at::Tensor& data, double energy);

}  // namespace monarch::mri
