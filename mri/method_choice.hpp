#pragma once
// Which method reconstructs a scan where the user named none, and what memory it takes.

#include <string>

#include "monarch/data/scan.hpp"
#include "monarch/mri/reconstruction.hpp"

namespace monarch::mri {

struct MethodChoice {
  Method method;
  std::string reason;  ///< for people
};

/// options.method, or where that is automatic: cg-sense for non-Cartesian scans and for k-space with gaps and a
/// calibration region, l1-wavelet for one coil with gaps, rss otherwise. `pixels`: of one image.
MethodChoice choose_method(const ReconOptions& options, const data::KSpace& kspace, int64_t pixels);

/// True where no line of the acquired region is missing: along z, y and x, acquired samples are contiguous. mask
/// [z, y, x] bool.
bool without_holes(const at::Tensor& mask);

/// Bytes that one image takes, by method: copies of its k-space that are alive at the same time.
double memory_estimate(const data::ScanHeader& header, const data::KSpace& kspace, Method method,
                       const ReconOptions& options);

}  // namespace monarch::mri
