#pragma once
// Checks that every routine of calibration starts with.

#include <ATen/core/Tensor.h>

#include <complex>
#include <string>
#include <utility>
#include <vector>

namespace monarch::mri {

/// Accepts a complex64 CPU tensor [coil, z, y, x] with at least one element and returns it contiguous and without
/// gradient. `what` names it in the message. Throws ShapeError or DtypeError.
at::Tensor coil_array(const at::Tensor& array, const std::string& what);

/// Accepts a bool CPU tensor [z, y, x] and returns it contiguous; `shape` empty accepts any extent.
/// Throws ShapeError or DtypeError.
at::Tensor mask_array(const at::Tensor& mask, const std::vector<int64_t>& shape, const std::string& what);

/// Throws DataError naming the first sample that is NaN or Inf.
void check_finite(const at::Tensor& array, const std::string& what);

/// E[x, e] = exp(sign * 2 pi i e (x - floor(n/2)) / n) for e = first, ..., first + count - 1, as [n, count] complex128:
/// evaluates short filters on a whole axis.
at::Tensor dft_matrix(int64_t n, int64_t first, int64_t count, double sign);

/// Centred unitary Fourier transform over z, y and x of [..., z, y, x]; image = centred inverse transform of k-space.
at::Tensor to_image(const at::Tensor& kspace);
at::Tensor to_kspace(const at::Tensor& image);

/// out[v, ...] = sum_c matrix[v, c] array[c, ...]: noise whitening and coil compression.
/// matrix: [virtual coil, coil] complex64, array: [coil, ...] complex64. Throws ShapeError, DtypeError.
at::Tensor mix_coils(const at::Tensor& matrix, const at::Tensor& array);

/// Eigendecomposition of the coil Gram matrix D D^H of data D [coil, ...], in double: eigenvalues [coil] ascending
/// (float64) and eigenvectors in columns [coil, coil] (complex128).
std::pair<at::Tensor, at::Tensor> coil_spectrum(const at::Tensor& data);

/// First principal component of the coils, phase zero in the coil with the largest share.
std::vector<std::complex<float>> principal_channel(const at::Tensor& data);

}  // namespace monarch::mri
