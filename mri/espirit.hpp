#pragma once
// Coil sensitivities by ESPIRiT.

#include <ATen/core/Tensor.h>

#include "monarch/data/image.hpp"
#include "monarch/mri/hermitian_eigen.hpp"

namespace monarch::mri {

struct EspiritOptions {
  int64_t kernel = 6;        ///< k-space kernel width along every calibrated axis
  int64_t calibration = 24;  ///< calibration block used: at most this many samples per axis, centred; 0 takes all
  /// Right singular vectors of the calibration matrix with S_i >= threshold * S_0 span the signal space. The number is
  /// on singular values S, like SigPy's and MRIReco's 0.02. BART's `-t 0.001` is on S^2: sqrt(0.001), the default here.
  double threshold_on_singular_values = 0.0316227766;
  double crop = 0.8;        ///< maps are zero where the eigenvalue is below
  int64_t maps = 1;         ///< sets of maps; 2 where the object folds over itself
  int64_t iterations = 30;  ///< power iterations per pixel and map
  /// Start of the iteration. `first_coil` reproduces BART's maps (to 0.3 % in 2-D), including the pixels at the edge
  /// of the field of view where that coil sees nothing and 30 iterations from there do not converge.
  EigenStart start = EigenStart::strongest_coil;
};

struct EspiritMaps {
  at::Tensor maps;           ///< [map, coil, z, y, x] complex64: unit norm over coils, or zero where cropped
  at::Tensor eigenvalues;    ///< [map, z, y, x] float32: about 1 where k-space is consistent with the map, not cropped
  int64_t signal_space = 0;  ///< kernels kept
  int64_t kernels = 0;       ///< kernels in all: coils * kernel elements
};

/// The threshold on singular values that a threshold on their squares (BART's convention) stands for.
double threshold_from_squared(double threshold_on_squares);

/// Uecker et al., Magn Reson Med 71:990-1001 (2014).
///
/// Patches of the calibration region lie in the span of the dominant right singular vectors of the calibration matrix.
/// With P the projection on it, the operator "project every patch, average the patches that overlap" is a
/// convolution, in image space a coil matrix per pixel:
///   G_ij(x) = 1/K sum_d sum_k P[(i, k), (j, k + d)] exp(-2 pi i d.(x - c) / N),  K = kernel elements,
/// Hermitian with eigenvalues in [0, 1]; sensitivities are its eigenvectors with eigenvalue 1. Phase convention: the
/// combination with the first principal component of the calibration data's coils is real and positive.
///
/// calibration: [coil, z, y, x] complex64, fully sampled centre of k-space. An axis of extent 1 is not calibrated: maps
///   are constant along it. image: extents [x, y, z] of the maps wanted.
/// Throws ShapeError, DtypeError, ConfigError (options), DataError (region smaller than the kernel; NaN; no signal).
/// Cost: one Hermitian eigendecomposition of (coils * K)^2, then about 4 coils^2 * iterations multiply-adds per pixel.
/// Memory: maps, the calibration matrix's Gram matrix, and a few image rows of coil matrices per thread.
EspiritMaps espirit(const at::Tensor& calibration, const data::Extent3& image, const EspiritOptions& options = {});

}  // namespace monarch::mri
