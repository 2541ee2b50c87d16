#pragma once
// Receiver noise: covariance and whitening.

#include <ATen/core/Tensor.h>

#include <optional>

#include "monarch/data/scan.hpp"

namespace monarch::mri {

/// Noise covariance C = N N^H / (samples - 1), as [coil, coil] complex128. Noise is zero-mean by its nature, so no mean
/// is taken off. samples: [coil, sample] complex64. A covariance of n coils needs more than n samples.
/// Throws DataError (too few samples, NaN or Inf), ShapeError, DtypeError.
at::Tensor noise_covariance(const at::Tensor& samples);

/// Noise variance goes with bandwidth: noise sampled with another dwell time than the image has another variance.
/// sqrt(2 dwell_imaging / dwell_noise * bandwidth) brings whitened imaging data to unit variance in the real and in
/// the imaginary part (Gadgetron's convention, hence the 2). `relative_bandwidth` is the receiver's noise-equivalent
/// bandwidth over its sampling rate; 0.793 is usual. A dwell time of 0 (unknown) counts as equal to the other one.
double noise_scale(double dwell_imaging_us, double dwell_noise_us, double relative_bandwidth = 0.793);

struct WhiteningOptions {
  double scale = 1;  ///< W = scale L^-1; 1 gives complex noise of variance 1, noise_scale() the imaging data's
  /// A covariance with a condition number above this is singular in practice (a dead or a doubled coil).
  double largest_condition = 1e8;
  /// Singular covariance: add a diagonal and warn (true), or throw (false).
  bool regularise = true;
};

struct Whitening {
  at::Tensor matrix;          ///< W [coil, coil] complex64, lower triangular
  double condition = 1;       ///< largest / smallest eigenvalue of the covariance as measured; infinity when singular
  double regularisation = 0;  ///< what was added to the covariance's diagonal
  double scale = 1;           ///< of the options
};

/// Prewhitening (Pruessmann et al., Magn Reson Med 46:638-651, 2001): with C = L L^H (Cholesky, L lower), the data
/// scale L^-1 d have covariance scale^2 I. Apply it with mix_coils() to k-space, calibration and noise alike.
/// covariance: [coil, coil] Hermitian complex128 (or complex64).
/// Throws DataError (NaN, a variance <= 0 in every coil, singular where `regularise` is off), ShapeError.
Whitening prewhitening(const at::Tensor& covariance, const WhiteningOptions& options = {});

/// The usual receiver's, where a scan does not state its own.
constexpr double kRelativeNoiseBandwidth = 0.793;
/// That of a scan's noise readouts, at noise_scale() for its imaging readouts.
Whitening prewhitening(const data::NoiseMeasurement& noise, std::optional<double> relative_bandwidth);

}  // namespace monarch::mri
