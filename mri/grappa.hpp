#pragma once
// Missing k-space lines from their neighbours in all coils: GRAPPA, with the map of its noise amplification.

#include <ATen/core/Tensor.h>

#include <array>
#include <string>

namespace monarch::mri {

/// Regular undersampling: along axis a, samples with index = offset[a] modulo acceleration[a] between first[a] and
/// last[a] were acquired, plus a fully sampled centre. Axes are [z, y, x].
struct SamplingLattice {
  std::array<int64_t, 3> acceleration{1, 1, 1};
  std::array<int64_t, 3> offset{0, 0, 0};
  std::array<int64_t, 3> first{0, 0, 0};
  std::array<int64_t, 3> last{0, 0, 0};

  int64_t total_acceleration() const { return acceleration[0] * acceleration[1] * acceleration[2]; }
  /// "2x along y (offset 1)", "fully sampled".
  std::string text() const;
};

/// Finds the lattice in a mask [z, y, x] bool. Lines of a fully sampled centre may lie anywhere. Where two axes are
/// undersampled, lattice points may be missing (an elliptical shutter, say).
/// Throws DataError where the sampling is not regular, with the distances between lines that were found.
SamplingLattice sampling_lattice(const at::Tensor& mask);

struct GrappaOptions {
  int64_t kernel_readout = 5;  ///< neighbours along fully sampled axes, odd
  int64_t kernel_phase = 4;    ///< acquired lines along undersampled axes, even
  double lambda = 5e-4;        ///< Tikhonov regularisation relative to the mean eigenvalue of A^H A
};

struct Grappa {
  at::Tensor kspace;    ///< [coil, z, y, x] complex64, filled; acquired samples as they were
  at::Tensor images;    ///< [coil, z, y, x] complex64
  at::Tensor combined;  ///< [z, y, x] complex64: sum_i conj(p_i) image_i
  at::Tensor g_factor;  ///< [z, y, x] float32; 1 where nothing was undersampled, 0 where p vanishes
  SamplingLattice lattice;
};

/// Griswold et al., Magn Reson Med 47:1202-1210 (2002). Every missing sample is a linear combination of the nearest
/// lattice samples of all coils; the weights solve min ||A w - b||^2 + lambda tr(A^H A)/n ||w||^2 on the calibration
/// block, one set per position in the lattice's cell. Beyond the edges of the matrix samples count as zero. Lines
/// outside [first, last] that a partial-Fourier scan left out stay zero.
///
/// g-factor map (Breuer et al., Magn Reson Med 62:739-746, 2009): the weights with their displacements d, w_ij(d)
/// (and w_ii(0) = 1 for acquired samples), act on images as W_ij(x) = sum_d w_ij(d) exp(-2 pi i d.(x - c) / N), so that
///   g(x) = ||p(x)^H W(x)|| / (R ||p(x)||),   R = total acceleration,
/// is SNR_full / (SNR_accelerated sqrt(R)) for white coil noise (prewhitened data). Calibration lines within the
/// imaging data, which lower the noise a little, are not counted. p: combination weights.
///
/// kspace: [coil, z, y, x] complex64, zero where not acquired; mask: [z, y, x] bool; calibration: [coil, z, y, x]
/// complex64, fully sampled. combination: p [coil, z, y, x] complex64 (sensitivities), or undefined for image_i / RSS,
/// which makes `combined` the root of the sum of squares. Throws DataError (not regular; calibration block too small;
/// NaN), ConfigError, ShapeError, DtypeError. Cost: coils^2 kernel elements per missing sample. Memory: k-space twice,
/// images, blocks of neighbours.
Grappa grappa(const at::Tensor& kspace, const at::Tensor& mask, const at::Tensor& calibration,
              const GrappaOptions& options = {}, const at::Tensor& combination = {});

}  // namespace monarch::mri
