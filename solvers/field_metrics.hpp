#pragma once
// What physicists measure on fields: spectra, energy, enstrophy, correlation; and how sure a mean over samples is.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

namespace monarch::solvers {

// Fields are real, periodic, on the unit torus [0, L)^d with L = 1 unless said, point i at i L/n. Results are float64
// on the CPU. Throws ShapeError.

/// Isotropic spectrum of a scalar: E(s) = ½ Σ |f̂(k)|² over all k of every sign with s − ½ ≤ |k| < s + ½, where
/// f̂ = FFT(f)/points and k are integer wave vectors. `field` [..., grid…] with `axes` (1 to 3) axes of grid -> [...,
/// shell], shells up to the corner of the grid, so that Σ_s E(s) = ½ ⟨f²⟩ (Parseval).
at::Tensor spectrum(const at::Tensor& field, int64_t axes);

/// Spectrum of the kinetic energy of a plane flow with vorticity w [..., y, x]: as spectrum(), with |ŵ|²/(2π|k|/L)².
/// The mean of w carries no velocity and is left out. Σ_s E(s) = energy(w).
at::Tensor energy_spectrum(const at::Tensor& vorticity, double length = 1);

/// ½ ⟨|u|²⟩ of the divergence-free velocity without mean whose vorticity is w [..., y, x] -> [...].
at::Tensor energy(const at::Tensor& vorticity, double length = 1);
/// ½ ⟨w²⟩ of w [..., y, x] -> [...].
at::Tensor enstrophy(const at::Tensor& vorticity);

/// ‖û − u‖/‖u‖ of the whole trajectory of each sample: û, u [sample, ...] -> [sample]. NaN where u is zero everywhere.
at::Tensor relative_l2_full(const at::Tensor& prediction, const at::Tensor& truth);
/// The same at each time: [sample, time, ...] -> [sample, time].
at::Tensor relative_l2_per_time(const at::Tensor& prediction, const at::Tensor& truth);
/// Pearson correlation over channels and grid at each time, means removed: [sample, time, ...] -> [sample, time]. NaN
/// where a field is constant or not finite.
at::Tensor correlation(const at::Tensor& prediction, const at::Tensor& truth);

struct CorrelationTime {
  at::Tensor time;     ///< [sample] float64; where the threshold was never crossed the last time, a lower bound
  at::Tensor crossed;  ///< [sample] bool
};
/// The first time at which the correlation falls below `threshold`, linear between the two frames around it. The
/// prediction starts from the truth at `start`, where the correlation is 1. NaN (a solution that blew up) counts as
/// below, from the frame before on. `times` of the frames ascend.
CorrelationTime correlation_time(const at::Tensor& prediction, const at::Tensor& truth, std::span<const double> times,
                                 double start, double threshold = 0.95);

/// A mean and the interval that holds it with some confidence.
struct Interval {
  double mean = 0, low = 0, high = 0;
};
/// Percentile bootstrap (Efron 1979) of the mean over samples: `resamples` draws with replacement by Rng(seed,
/// "bootstrap"), the same on every machine. One value: a point. Throws ShapeError for none, ConfigError for a
/// confidence outside (0, 1) or no resamples, DataError for values that are not finite.
Interval bootstrap_mean(std::span<const double> values, double confidence = 0.95, int64_t resamples = 2000,
                        uint64_t seed = 0);

}  // namespace monarch::solvers
