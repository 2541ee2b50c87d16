#pragma once
// Reconstructions from k-space and coil sensitivities. docs/reconstruction-methods.md explains them.
//
// Common conventions. k-space [coil, z, y, x] complex64 with DC at floor(n/2), mask [z, y, x] bool (true where
// acquired; samples outside are ignored), coil sensitivities [map, coil, z, y, x] complex64. The Fourier transform is
// centred and unitary over every axis longer than 1. Images keep the units of k-space: the data are divided by
// `data_scale` before and multiplied after, so that λ means the same for every scanner.
//
// All throw ShapeError and DtypeError for arguments that do not fit together, DataError for k-space that is NaN,
// infinite or zero everywhere, ConfigError for options out of range.

#include <ATen/core/Tensor.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <vector>

#include "monarch/operators/linear_operator.hpp"

namespace monarch::mri {

/// An image and how it was found.
struct IterativeReconstruction {
  at::Tensor image;  ///< [map, z, y, x] complex64
  int64_t iterations = 0;
  std::vector<double> residuals;  ///< one per iteration; what it measures is the solver's (see solvers.hpp)
  bool converged = false;         ///< the tolerance ended the run
  double data_scale = 1;          ///< k-space was divided by this
  double seconds = 0;             ///< wall time, setting up the operator included
};

/// Called after each iteration with its number (from 1) and relative residual: progress bars.
using IterationProgress = std::function<void(int64_t iteration, double residual)>;

/// A robust measure of the image's brightness: of the root sum of squares of the central 32³ of k-space (or less,
/// where the matrix is smaller), scaled to the full matrix, the maximum if it lies far above the rest
/// (max - p90 >= 2 (p90 - median)), else the 90th percentile p90. This is the rule of BART's `pics`, so that its λ
/// can be taken over. kspace: [coil, z, y, x].
double data_scale(const at::Tensor& kspace);

/// Root sum of squares of the coil images: sqrt(Σ_c |F^H y_c|²). kspace: [coil, z, y, x] -> [z, y, x] float32.
/// `width` > 0 keeps that many central columns along x (readout oversampling), and transforms only those along y and
/// z. Cost: one inverse transform per coil.
at::Tensor root_sum_of_squares(const at::Tensor& kspace, int64_t width = 0);

/// Encoding, scale and right-hand side of one reconstruction, however the samples lie.
struct SenseProblem {
  std::chrono::steady_clock::time_point start = {};  ///< when its set-up began
  operators::OperatorPtr encode = {};                ///< from [map, z, y, x]
  double norm_bound = 0;  ///< of λmax(A^H A), from above; 0: found by power iteration where it is needed
  double data_scale = 1;
  at::Tensor rhs = {};  ///< A^H y / data_scale, [map, z, y, x]
};

/// Samples on a grid: CartesianSense (sense.hpp).
SenseProblem cartesian_problem(const at::Tensor& kspace, const at::Tensor& mask, const at::Tensor& maps);

/// Samples anywhere: NonCartesianSense (non_cartesian.hpp). samples: [coil, sample] complex64, trajectory: [sample,
/// axis] float64 in cycles per field of view. data_scale is data_scale()'s rule on |A^H y|, as BART's `pics -t` has it.
/// weights: [sample] of Σ w |A x - y|², undefined for 1. With a density (density.hpp) A^H W A is nearly the identity:
/// gradient methods take tens of iterations instead of hundreds, and λ means what it means on a grid.
SenseProblem non_cartesian_problem(const at::Tensor& samples, const at::Tensor& trajectory, const at::Tensor& maps,
                                   const at::Tensor& weights = {});

/// A^H y, the coil combination of the zero-filled images. One image per map.
IterativeReconstruction sense_adjoint(const at::Tensor& kspace, const at::Tensor& mask, const at::Tensor& maps);

struct CgSenseOptions {
  double lambda = 0.001;  ///< weight of ‖x‖² for data divided by data_scale
  int64_t iterations = 30;
  double tolerance = 0;  ///< relative residual of the normal equations to stop at; 0 runs all iterations
  IterationProgress progress = {};
};

/// Iterative SENSE: argmin ‖A x - y/s‖² + λ‖x‖², s = data_scale, by conjugate gradients from 0.
/// The same iterates as `bart pics -l2 -r λ -S`. Pruessmann et al., Magn. Reson. Med. 46 (2001).
IterativeReconstruction cg_sense(const at::Tensor& kspace, const at::Tensor& mask, const at::Tensor& maps,
                                 const CgSenseOptions& options = {});
IterativeReconstruction cg_sense(const SenseProblem& problem, const CgSenseOptions& options = {});

struct L1WaveletOptions {
  double lambda = 0.005;  ///< threshold for data divided by data_scale
  int64_t iterations = 30;
  double tolerance = 0;               ///< relative change of the image to stop at; 0 runs all iterations
  int64_t wavelet_order = 2;          ///< vanishing moments of the Daubechies wavelet; 2: four taps
  int64_t levels = 0;                 ///< 0: as many as leave a coarsest band of at least 16 along every axis
  uint64_t seed = 0;                  ///< of the random shifts
  int64_t shifts = 2;                 ///< random offsets whose results each proximal step averages
  bool closing_gradient_step = true;  ///< end on a step on the data term without thresholding
  IterationProgress progress = {};
};

/// argmin ½‖A x - y/s‖² + λ‖Ψ x‖₁, Ψ an orthogonal wavelet transform whose coarsest band is not penalised, by FISTA
/// with step 0.95/λmax(A^H A) and cycle spinning: each proximal step is the mean over a few random offsets of the
/// transform's grid, which suppresses the block artefacts of decimated wavelets; the mean of two leaves half of the
/// variance of one. The closing gradient step takes back part of the thresholding's bias (BART's `pics` ends on one,
/// too). Beck, Teboulle (2009); Figueiredo, Nowak, IEEE Trans. Image Process. 12 (2003); Lustig et al., Magn. Reson.
/// Med. 58 (2007).
IterativeReconstruction l1_wavelet(const at::Tensor& kspace, const at::Tensor& mask, const at::Tensor& maps,
                                   const L1WaveletOptions& options = {});
IterativeReconstruction l1_wavelet(const SenseProblem& problem, const L1WaveletOptions& options = {});

struct TotalVariationOptions {
  double lambda = 0.002;  ///< weight of the total variation for data divided by data_scale
  int64_t iterations = 100;
  double tolerance = 0;  ///< relative change of the image to stop at; 0 runs all iterations
  IterationProgress progress = {};
};

/// argmin ½‖A x - y/s‖² + λ Σ_p ‖(∇x)_p‖₂: isotropic total variation (one vector over axes, maps apart; neighbours
/// beyond the edge count as equal), by the primal-dual iteration of solvers.hpp.
/// Rudin, Osher, Fatemi, Physica D 60 (1992); Block et al., Magn. Reson. Med. 57 (2007).
IterativeReconstruction total_variation(const at::Tensor& kspace, const at::Tensor& mask, const at::Tensor& maps,
                                        const TotalVariationOptions& options = {});
IterativeReconstruction total_variation(const SenseProblem& problem, const TotalVariationOptions& options = {});

}  // namespace monarch::mri
