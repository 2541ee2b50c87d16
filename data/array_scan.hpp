#pragma once
// Scans that are stored as arrays of k-space: fastMRI, BART cfl, NumPy.

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "monarch/data/scan.hpp"

namespace monarch::data {

/// What was acquired, where only the samples tell: any coil is not exactly zero. Lone zeros inside acquired lines
/// (under 1 %) count as acquired. samples: [coil, z, y, x]; result: [z, y, x] bool.
at::Tensor nonzero_mask(const at::Tensor& samples);

/// Throws DataError naming the index of the first NaN or infinity. samples: [coil, z, y, x] complex64.
void check_finite(const at::Tensor& samples, const std::string& place);

/// A scan whose images a subclass loads as arrays.
class ArrayScan : public ScanSource {
 public:
  const ScanHeader& header() const override { return header_; }
  const std::vector<ImageIndex>& images() const override { return images_; }
  KSpace read(size_t image) const override;
  ScanSummary summarise() const override;

 protected:
  ArrayScan(std::string name, const ScanOptions& options);
  /// [coil, z, y, x], complex64, contiguous, the caller's to change.
  virtual at::Tensor load(size_t image) const = 0;
  /// [z, y, x] bool; samples outside are set to zero. By default nonzero_mask.
  virtual at::Tensor acquired(const at::Tensor& samples) const { return nonzero_mask(samples); }

  std::string name_;
  ScanHeader header_;
  std::vector<ImageIndex> images_;

 private:
  bool conjugate_;
};

}  // namespace monarch::data
