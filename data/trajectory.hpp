#pragma once
// Trajectories of non-Cartesian scans.

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "monarch/data/scan.hpp"

namespace monarch::data {

/// Reads [sample, axis], [readout, sample, axis] or more leading axes (which are joined), real numbers, 2 or 3 axes, in
/// the order x, y, z. Returns [readout, sample, axis] float64. Throws DataError naming the first NaN or infinity.
at::Tensor load_trajectory(const std::filesystem::path& path);

/// "auto", "cycles", "normalised" or "radians"; throws ConfigError naming them.
TrajectoryUnit parse_trajectory_unit(const std::string& name);

/// Settles `automatic` by the largest |k| (up to 1/2: normalised, up to π: radians, where half the matrix lies clearly
/// beyond) and warns about anything but cycles, and about a trajectory that leaves most of the matrix unseen.
/// k: [..., axis] float64 as stored; `place` begins the messages.
TrajectoryUnit settle_unit(TrajectoryUnit unit, const at::Tensor& k, const Extent3& matrix, const std::string& place,
                           std::vector<std::string>& warnings);

/// Puts samples and their places into `kspace`. Samples beyond half the matrix are left out: the pixels are too coarse
/// for them. samples: [coil, readout, sample] complex64; k: [readout, sample, axis] float64 in `unit`; its z is dropped
/// where the scan is no volume. Throws DataError for NaN in either, or where less than half of the samples are left.
void set_samples(KSpace& kspace, const at::Tensor& samples, const at::Tensor& k, TrajectoryUnit unit,
                 const ScanHeader& header, const std::string& place);

/// Counts and findings about a non-Cartesian image.
void describe_samples(const KSpace& kspace, const ScanHeader& header, ScanSummary& summary);

/// An array scan (NumPy, BART cfl) whose samples lie where options.trajectory says, on options.matrix, or, where that
/// is not given, on the smallest even matrix that the trajectory, then in cycles, fits. Throws DataError.
std::unique_ptr<ScanSource> with_trajectory(std::unique_ptr<ScanSource> scan, const std::string& name,
                                            const ScanOptions& options);

}  // namespace monarch::data
