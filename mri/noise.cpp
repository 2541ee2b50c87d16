#include "monarch/mri/noise.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "monarch/core/error.hpp"
#include "monarch/core/log.hpp"
#include "monarch/core/text.hpp"
#include "monarch/mri/arrays.hpp"

namespace monarch::mri {

at::Tensor noise_covariance(const at::Tensor& samples) {
  check<ShapeError>(samples.defined() && samples.dim() == 2 && samples.numel() > 0, [&] {
    return fmt::format("noise: expected samples [coil, sample], found {}",
                       samples.defined() ? shape_text(samples.sizes()) : "nothing");
  });
  check<DtypeError>(samples.scalar_type() == at::kComplexFloat && samples.device().is_cpu(), [&] {
    return fmt::format("noise: expected complex64 on cpu, found {}", c10::toString(samples.scalar_type()));
  });
  const int64_t coils = samples.size(0), count = samples.size(1);
  check<DataError>(
      count > coils,
      [&] { return fmt::format("noise: {} samples are too few for the covariance of {} coils", count, coils); },
      "reconstruct without prewhitening, or take the noise of another scan");
  check_finite(samples, "noise samples [coil, sample]");
  at::Tensor covariance = at::zeros({coils, coils}, at::kComplexDouble);
  constexpr int64_t chunk = 65536;
  for (int64_t begin = 0; begin < count; begin += chunk) {
    const at::Tensor part = samples.detach().narrow(1, begin, std::min(chunk, count - begin)).to(at::kComplexDouble);
    covariance.addmm_(part, part.mH());
  }
  return covariance.div_(static_cast<double>(count - 1));
}

double noise_scale(double dwell_imaging_us, double dwell_noise_us, double relative_bandwidth) {
  check<DataError>(dwell_imaging_us >= 0 && dwell_noise_us >= 0 && relative_bandwidth > 0 &&
                       std::isfinite(dwell_imaging_us) && std::isfinite(dwell_noise_us) &&
                       std::isfinite(relative_bandwidth),
                   [&] {
                     return fmt::format(
                         "noise scaling: dwell times must be >= 0 and the relative bandwidth > 0, found "
                         "imaging {} us, noise {} us, bandwidth {}",
                         dwell_imaging_us, dwell_noise_us, relative_bandwidth);
                   });
  const double ratio = dwell_imaging_us > 0 && dwell_noise_us > 0 ? dwell_imaging_us / dwell_noise_us : 1;
  return std::sqrt(2 * ratio * relative_bandwidth);
}

Whitening prewhitening(const at::Tensor& covariance, const WhiteningOptions& options) {
  check<ShapeError>(covariance.defined() && covariance.dim() == 2 && covariance.size(0) == covariance.size(1) &&
                        covariance.size(0) > 0 && covariance.is_complex(),
                    [&] {
                      return fmt::format("noise covariance: expected complex [coil, coil], found {}",
                                         covariance.defined() ? shape_text(covariance.sizes()) : "nothing");
                    });
  check<ConfigError>(options.scale > 0 && std::isfinite(options.scale) && options.largest_condition > 1, [&] {
    return fmt::format("prewhitening: scale must be > 0 and largest condition > 1, found {} and {}", options.scale,
                       options.largest_condition);
  });
  check_finite(covariance, "noise covariance [coil, coil]");
  const int64_t coils = covariance.size(0);
  at::Tensor c = covariance.detach().to(at::kComplexDouble);
  c = 0.5 * (c + c.mH());
  const at::Tensor values = at::linalg_eigvalsh(c);
  const double smallest = values[0].item<double>(), largest = values[coils - 1].item<double>();
  check<DataError>(largest > 0, "noise covariance: no coil has noise (every variance is zero)",
                   "the noise readouts are empty; reconstruct without prewhitening");
  Whitening result;
  result.scale = options.scale;
  result.condition = smallest > 0 ? largest / smallest : std::numeric_limits<double>::infinity();
  if (!(result.condition <= options.largest_condition)) {
    const std::string found =
        fmt::format("noise covariance of {} coils is singular (condition number {:.3g})", coils, result.condition);
    check<DataError>(options.regularise, found, "a coil is dead or connected twice; leave it out, or do not prewhiten");
    // Lifts the smallest eigenvalue to where the condition number is the largest allowed.
    result.regularisation = largest / options.largest_condition - std::min(smallest, 0.0);
    c = c + result.regularisation * at::eye(coils, c.options());
    log::warning(fmt::format("{}: a coil is dead or connected twice; {:.3g} was added to its diagonal", found,
                             result.regularisation));
  }
  const at::Tensor lower = at::linalg_cholesky(c);
  const at::Tensor inverse = at::linalg_solve_triangular(lower, at::eye(coils, c.options()), /*upper=*/false);
  result.matrix = (options.scale * inverse).to(at::kComplexFloat).contiguous();
  return result;
}

Whitening prewhitening(const data::NoiseMeasurement& noise, std::optional<double> relative_bandwidth) {
  WhiteningOptions options;
  options.scale = noise_scale(noise.imaging_dwell_time_us, noise.dwell_time_us,
                              relative_bandwidth.value_or(kRelativeNoiseBandwidth));
  return prewhitening(noise_covariance(noise.samples), options);
}

}  // namespace monarch::mri
