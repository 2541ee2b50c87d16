#include "monarch/mri/iterative.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>

#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/core/text.hpp"
#include "monarch/mri/arrays.hpp"
#include "monarch/mri/non_cartesian.hpp"
#include "monarch/mri/sense.hpp"
#include "monarch/mri/solvers.hpp"
#include "monarch/operators/finite_difference.hpp"
#include "monarch/operators/fourier.hpp"
#include "monarch/operators/wavelet.hpp"

namespace monarch::mri {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The maximum, or the 90th percentile where the maximum is not far above it.
double robust_maximum(const at::Tensor& magnitudes) {
  const auto sorted = std::get<0>(magnitudes.flatten().sort());
  const auto value = [&](int64_t index) { return sorted[index].item<double>(); };
  const int64_t count = sorted.numel();
  const double median = value(count / 2);
  const double p90 = value(static_cast<int64_t>(0.9 * static_cast<double>(count)));
  const double maximum = value(count - 1);
  // p90 of a sparse object may be 0; its maximum is not.
  return maximum - p90 < 2 * (p90 - median) && p90 > 0 ? p90 : maximum;
}

// data_scale() of k-space times the mask, where one is given.
double brightness(const at::Tensor& kspace, const at::Tensor& mask) {
  constexpr int64_t kExtent = 32;
  auto centre = kspace;
  auto sampled = mask;
  double enlargement = 1;
  for (int64_t axis = 1; axis < 4; ++axis) {
    const int64_t extent = kspace.size(axis), kept = std::min(extent, kExtent);
    // Index floor(extent/2), DC, becomes floor(kept/2).
    centre = centre.narrow(axis, extent / 2 - kept / 2, kept);
    if (sampled.defined()) sampled = sampled.narrow(axis - 1, extent / 2 - kept / 2, kept);
    enlargement *= static_cast<double>(extent) / static_cast<double>(kept);
  }
  if (sampled.defined()) centre = at::mul(centre, sampled);
  return robust_maximum(root_sum_of_squares(centre.contiguous())) / std::sqrt(enlargement);
}

void check_scale(double scale, const char* hint) {
  check<DataError>(scale > 0, "k-space is zero wherever it was acquired", hint);
}

IterativeReconstruction finish(const SenseProblem& problem, SolverResult&& solved) {
  IterativeReconstruction result;
  result.image = solved.x.mul_(problem.data_scale);
  result.iterations = solved.iterations;
  result.residuals = std::move(solved.residuals);
  result.converged = solved.converged;
  result.data_scale = problem.data_scale;
  result.seconds = seconds_since(problem.start);
  return result;
}

// λmax(A^H A) from above. A power iteration ends a few per cent below, which the margin covers.
double norm_bound(const SenseProblem& problem) {
  constexpr int64_t kIterations = 15;
  const double bound =
      problem.norm_bound > 0 ? problem.norm_bound : 1.1 * largest_eigenvalue(*problem.encode, kIterations);
  return std::max(bound, 1e-30);
}

void check_weight(const char* method, double lambda) {
  check<ConfigError>(
      lambda >= 0 && std::isfinite(lambda), [&] { return fmt::format("{}: lambda is {}", method, lambda); },
      "give a weight of 0 or more");
}

}  // namespace

at::Tensor root_sum_of_squares(const at::Tensor& kspace, int64_t width) {
  const c10::NoGradGuard no_grad;
  auto images = coil_array(kspace, "k-space");
  check<ShapeError>(width >= 0 && width <= images.size(3), [&] {
    return fmt::format("root sum of squares: {} columns wanted, k-space has shape {}", width,
                       shape_text(images.sizes()));
  });
  const operators::TransformOptions inverse{.inverse = true, .centred = true};
  std::vector<int64_t> axes;
  for (int64_t axis = 1; axis < 4; ++axis) {
    if (images.size(axis) > 1) axes.push_back(axis);
  }
  if (width > 0 && width < images.size(3)) {
    // Columns that are cut off need no transforms along the other axes.
    images = operators::fourier_transform(images, {3}, inverse);
    images = images.narrow(3, images.size(3) / 2 - width / 2, width).contiguous();
    axes.pop_back();
  }
  if (!axes.empty()) images = operators::fourier_transform(images, axes, inverse);

  auto result = at::zeros(images.sizes().slice(1), at::kFloat);
  const int64_t coils = images.size(0), points = result.numel();
  const auto* from = reinterpret_cast<const float*>(images.const_data_ptr<c10::complex<float>>());
  float* to = result.mutable_data_ptr<float>();
  at::parallel_for(0, points, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t c = 0; c < coils; ++c) {
      const float* coil = from + 2 * c * points;
      for (int64_t i = begin; i < end; ++i) to[i] += coil[2 * i] * coil[2 * i] + coil[2 * i + 1] * coil[2 * i + 1];
    }
    for (int64_t i = begin; i < end; ++i) to[i] = std::sqrt(to[i]);
  });
  return result;
}

double data_scale(const at::Tensor& kspace) {
  return brightness(coil_array(kspace, "k-space"), {});
}

SenseProblem cartesian_problem(const at::Tensor& kspace, const at::Tensor& mask, const at::Tensor& maps) {
  const c10::NoGradGuard no_grad;
  SenseProblem problem{.start = Clock::now()};
  const auto encode = std::make_shared<const CartesianSense>(maps, mask);
  const auto samples = coil_array(kspace, "k-space");
  check<ShapeError>(samples.sizes() == at::IntArrayRef(encode->codomain().shape), [&] {
    return fmt::format("k-space has shape {}, the coil sensitivities {}: coils or matrix do not fit",
                       shape_text(samples.sizes()), shape_text(maps.sizes()));
  });
  check_finite(samples, "k-space");
  problem.data_scale = brightness(samples, mask);
  check_scale(problem.data_scale, "look at the scan's line map with `monarch info`");
  problem.rhs = encode->adjoint(samples).div_(problem.data_scale);
  problem.norm_bound = encode->norm_bound();
  problem.encode = encode;
  return problem;
}

SenseProblem non_cartesian_problem(const at::Tensor& samples, const at::Tensor& trajectory, const at::Tensor& maps,
                                   const at::Tensor& weights) {
  const c10::NoGradGuard no_grad;
  SenseProblem problem{.start = Clock::now()};
  const auto encode = std::make_shared<const NonCartesianSense>(maps, trajectory, weights);
  check_finite(samples, "samples [coil, sample]");
  problem.rhs = encode->adjoint(weights.defined() ? at::mul(samples, weights.sqrt().to(at::kFloat)) : samples);
  problem.data_scale = robust_maximum(problem.rhs.abs());
  check_scale(problem.data_scale, "look at the scan with `monarch info`");
  problem.rhs.div_(problem.data_scale);
  problem.encode = encode;
  return problem;
}

IterativeReconstruction sense_adjoint(const at::Tensor& kspace, const at::Tensor& mask, const at::Tensor& maps) {
  const SenseProblem problem = cartesian_problem(kspace, mask, maps);
  SolverResult result;
  result.x = problem.rhs;
  return finish(problem, std::move(result));
}

IterativeReconstruction cg_sense(const at::Tensor& kspace, const at::Tensor& mask, const at::Tensor& maps,
                                 const CgSenseOptions& options) {
  return cg_sense(cartesian_problem(kspace, mask, maps), options);
}

IterativeReconstruction cg_sense(const SenseProblem& problem, const CgSenseOptions& options) {
  const c10::NoGradGuard no_grad;
  return finish(problem, conjugate_gradient(*problem.encode, problem.rhs,
                                            {.lambda = options.lambda,
                                             .iterations = options.iterations,
                                             .tolerance = options.tolerance,
                                             .callback = options.progress}));
}

IterativeReconstruction l1_wavelet(const at::Tensor& kspace, const at::Tensor& mask, const at::Tensor& maps,
                                   const L1WaveletOptions& options) {
  return l1_wavelet(cartesian_problem(kspace, mask, maps), options);
}

IterativeReconstruction l1_wavelet(const SenseProblem& problem, const L1WaveletOptions& options) {
  check_weight("l1-wavelet", options.lambda);
  check<ConfigError>(
      options.shifts >= 1, [&] { return fmt::format("l1-wavelet: {} shifts", options.shifts); },
      "give the number of random offsets per iteration, 1 or more");
  const c10::NoGradGuard no_grad;
  const int64_t dimensions = problem.encode->domain().shape[1] > 1 ? 3 : 2;
  const operators::Wavelet wavelet(
      problem.encode->domain(), {.order = options.wavelet_order, .levels = options.levels, .dimensions = dimensions});
  const std::vector<int64_t> levels(wavelet.levels().end() - dimensions, wavelet.levels().end());
  Rng random(options.seed, "cycle spinning");
  const auto shrink_shifted = [&](const at::Tensor& x, double threshold) {
    // Offsets beyond 2^levels repeat the transform's grid.
    std::vector<int64_t> shift;
    for (const int64_t level : levels) shift.push_back(random.below(int64_t{1} << level));
    return wavelet.shifted(std::move(shift)).shrink(x, threshold);
  };
  const auto proximal = [&](const at::Tensor& x, double step, int64_t) {
    auto mean = shrink_shifted(x, step * options.lambda);
    for (int64_t i = 1; i < options.shifts; ++i) mean.add_(shrink_shifted(x, step * options.lambda));
    return options.shifts > 1 ? mean.div_(options.shifts) : mean;
  };
  return finish(problem, fista(*problem.encode, problem.rhs, proximal,
                               {.iterations = options.iterations,
                                .step = 0.95 / norm_bound(problem),
                                .tolerance = options.tolerance,
                                .closing_gradient_step = options.closing_gradient_step,
                                .callback = options.progress}));
}

IterativeReconstruction total_variation(const at::Tensor& kspace, const at::Tensor& mask, const at::Tensor& maps,
                                        const TotalVariationOptions& options) {
  return total_variation(cartesian_problem(kspace, mask, maps), options);
}

IterativeReconstruction total_variation(const SenseProblem& problem, const TotalVariationOptions& options) {
  check_weight("total variation", options.lambda);
  const c10::NoGradGuard no_grad;
  std::vector<int64_t> axes;
  for (int64_t axis = 1; axis < 4; ++axis) {
    if (problem.encode->domain().shape[static_cast<size_t>(axis)] > 1) axes.push_back(axis);
  }
  if (axes.empty()) axes.push_back(3);
  const operators::FiniteDifference gradient(problem.encode->domain(), axes);
  const double lambda = options.lambda;
  const auto project = [lambda](at::Tensor u, double) {
    if (lambda == 0) return u.zero_();
    // u: [axis, map, z, y, x]; lengths of the vectors over axes.
    const auto length = at::view_as_real(u).square().sum({0, -1}).sqrt();
    return u.mul_(length.div_(lambda).clamp_min_(1).reciprocal_());
  };
  return finish(problem, primal_dual(*problem.encode, gradient, problem.rhs, project,
                                     {.iterations = options.iterations,
                                      .data_norm = norm_bound(problem),
                                      .analysis_norm = std::max(gradient.norm_bound(), 1.0),
                                      .tolerance = options.tolerance,
                                      .callback = options.progress}));
}

}  // namespace monarch::mri
