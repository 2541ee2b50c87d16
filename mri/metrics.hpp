#pragma once
// Image quality against a reference, each number by a named, published definition. docs/metrics.md has the formulas.

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "monarch/data/image.hpp"

namespace monarch::mri {

/// One number, and what exactly it is.
struct Metric {
  std::string name;        ///< "PSNR"
  double value = 0;        ///< may be +infinity (PSNR of equal images); never NaN
  std::string unit;        ///< "dB" or ""
  std::string definition;  ///< one line of formula
  bool higher_is_better = false;
};

/// The metrics of one convention.
struct MetricSet {
  std::string convention;  ///< "fastMRI", "meddlr", "BART"
  std::string source;      ///< where the convention is published
  std::vector<Metric> metrics;
  std::vector<std::string> notes;  ///< what was left out, and why
  /// The value of a name; throws ConfigError naming those that exist.
  double value(const std::string& metric_name) const;
};

/// Every function below takes `image` and `reference` of equal shape, [slice, y, x] (one volume), real or complex,
/// computes in double, and throws ShapeError for unequal or empty shapes, and DataError where an image holds NaN or
/// infinity (saying where) or the reference is zero everywhere.

/// ||image - reference|| / ||reference|| over the volume; complex where both are.
double nrmse(const at::Tensor& image, const at::Tensor& reference);

/// fastMRI (Zbontar et al. 2018, evaluate.py): magnitudes; per volume NMSE = ||g - p||^2 / ||g||^2; PSNR with
/// data range max(g) of the volume; SSIM with a 7x7 uniform window, k1 = .01, k2 = .03, sample covariance (N/(N-1)),
/// window positions inside the image only, data range max(g) of the volume, averaged over slices (scikit-image's
/// structural_similarity). SSIM is left out, with a note, below 7x7 pixels.
MetricSet fastmri_metrics(const at::Tensor& image, const at::Tensor& reference);

/// meddlr / SKM-TEA (Desai et al. 2021): per slice, then averaged: PSNR = 20 log10(max|g| / RMSE) of the complex
/// error, nRMSE = RMSE / sqrt(mean |g|^2), SSIM of magnitudes after Wang et al. 2004 (Gaussian window 11x11,
/// sigma 1.5, population covariance, interior, data range max|g|); PSNR and nRMSE of magnitudes ("_mag") and of the
/// volume as a whole ("_scan"). Slices whose reference is zero are left out of the averages, with a note.
MetricSet meddlr_metrics(const at::Tensor& image, const at::Tensor& reference);

/// BART's nrmse: ||in - ref|| / ||ref||, and as with -s: ||in - s ref|| / ||s ref||, s = <ref, in> / ||ref||^2
/// complex (undefined, and left out with a note, where s is zero).
MetricSet bart_metrics(const at::Tensor& image, const at::Tensor& reference);

/// SSIM as used by fastmri_metrics: mean over slices. data_range > 0.
double ssim_uniform(const at::Tensor& image, const at::Tensor& reference, double data_range);
/// SSIM of Wang et al. 2004 as used by meddlr_metrics, of one image [y, x] at least 11x11. data_range > 0.
double ssim_gaussian(const at::Tensor& image, const at::Tensor& reference, double data_range);

struct AlignOptions {
  bool crop = false;       ///< cut both to their common centre where extents differ (centre index floor(n/2) kept)
  bool fit_scale = false;  ///< multiply the image by the least-squares factor (complex if both are)
};

/// Two stacks of slices that can be compared, and what was done to make them so.
struct AlignedImages {
  at::Tensor image;                ///< [slice, y, x] float32 or complex64
  at::Tensor reference;            ///< [slice, y, x], same shape; complex only when both are
  std::vector<std::string> notes;  ///< "image transposed: its readout runs along y", …
};

/// Brings two series to one layout: [image * z, y, x] with the readout of the reference (a transpose of y and x where
/// they differ), magnitudes unless both are complex. Where both know their place, slices are matched by position
/// (interleaved slice numbers do not follow it), else by order. Equal numbers of slices are needed, and equal extents
/// unless options.crop. Throws ShapeError naming both shapes, with the option that would help.
AlignedImages align_for_comparison(const data::ImageSeries& image, const data::ImageSeries& reference,
                                   const AlignOptions& options = {});

}  // namespace monarch::mri
