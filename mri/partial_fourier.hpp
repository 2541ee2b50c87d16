#pragma once
// Partial Fourier: the part of k-space that was left out, from the conjugate symmetry of the rest.

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

namespace monarch::mri {

/// One axis along which k-space was acquired further out on one side of DC than on the other.
struct PartialAxis {
  int64_t axis = 0;   ///< of [z, y, x]: 0 z, 1 y, 2 x
  int64_t first = 0;  ///< acquired range, inclusive
  int64_t last = 0;
  int64_t full_first = 0;  ///< range that the scan would have without partial Fourier, inclusive
  int64_t full_last = 0;
  bool missing_low = true;  ///< the lower indices are missing
  double fraction = 1;      ///< acquired range / full range
  /// "5/8 along y, low side missing"-like: "0.63 along y, 96 of 256 lines missing on the low side".
  std::string text() const;
};

/// The axes that are partial, by the first and last index at which anything was acquired. A difference between the two
/// sides up to the largest distance between neighbouring lines (an undersampled axis) counts as symmetric.
/// mask: [z, y, x] bool. Throws ShapeError, DtypeError, DataError (empty mask).
std::vector<PartialAxis> detect_partial_fourier(const at::Tensor& mask);

struct PocsOptions {
  int64_t iterations = 10;
  double tolerance = 1e-3;  ///< stop when an iteration changes the image by less, relative to its norm; 0: never
  int64_t transition = 8;   ///< samples over which measured data fade into estimated ones at the cut, at most
};

/// Projection onto convex sets (Haacke et al., J Magn Reson 92:126-145, 1991), per coil: the phase of the image is
/// taken from the Hann-windowed symmetric centre of k-space, and
///   image <- |image| exp(i phase),   k-space <- measured samples where there are any
/// alternate. Samples in the acquired range that are zero (undersampling) are kept as measured.
/// kspace: [coil, z, y, x] complex64; mask: [z, y, x] bool. Returns k-space of the same shape; the input's copy where
/// no axis is partial. Throws DataError when the symmetric centre has fewer than 4 samples along a partial axis, NaN;
/// ShapeError, DtypeError, ConfigError. Cost: two FFTs of all coils per iteration. Memory: four times k-space.
at::Tensor pocs(const at::Tensor& kspace, const at::Tensor& mask, const PocsOptions& options = {});

}  // namespace monarch::mri
