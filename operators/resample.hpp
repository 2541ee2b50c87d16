#pragma once
// Periodic fields on another grid, by trigonometric interpolation.

#include <ATen/core/Tensor.h>

namespace monarch::operators {

/// The matrix [n_out, n] that takes values at j/n to values at j/n_out of the trigonometric polynomial through them,
/// without the frequencies that the new grid cannot hold:
///
///   R[a, j] = 1/n sum_k w_k exp(2 pi i k (a/n_out - j/n)),   |k| <= m/2, m = min(n, n_out), w_k = 1, except that of
///
/// an even m < n_out the Nyquist frequency counts half at each of ±m/2 (a cosine stays a real cosine), and of an even
/// m = n_out < n fully at both, because there they are one frequency. So fields without content above m/2 keep their
/// values at common points, and going to a finer grid and back is the identity, for even and odd sizes alike.
/// float64. Throws ShapeError for sizes below 1. Cost: n · n_out · m/2.
at::Tensor resampling_matrix(int64_t n, int64_t n_out);

/// x [..., n_1, …, n_d] -> [..., grid_1, …, grid_d]: resampling_matrix along each of the last d = grid.size() axes
/// whose extent changes. x real or complex, any device; differentiable. Throws ShapeError. Cost: n_out multiplications
/// per value and axis.
at::Tensor resample(const at::Tensor& x, at::IntArrayRef grid);

}  // namespace monarch::operators
