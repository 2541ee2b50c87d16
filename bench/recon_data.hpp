#pragma once
// The data of the reconstruction benchmark, and BART's file format.

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>
#include <vector>

namespace monarch::bench {

/// One undersampled acquisition with everything that a comparison needs.
struct BenchScan {
  int acceleration = 1;
  std::string name;   ///< file name stem of k-space in the folder, with .hdr/.cfl and .bin (raw complex64)
  at::Tensor kspace;  ///< [coil, z, y, x] complex64, zero where not sampled
  at::Tensor mask;    ///< [z, y, x] bool
  at::Tensor maps;    ///< [map, coil, z, y, x] complex64: BART's ESPIRiT maps where BART is there, else ours
  at::Tensor truth;   ///< [map, z, y, x] complex64: the noise-free coil images combined with `maps`
};

/// Reads a BART file pair `stem`.hdr/.cfl of up to four dimensions as [coil, z, y, x] complex64.
at::Tensor read_cfl(const std::filesystem::path& stem);
/// Writes [coil, z, y, x] complex64 as a BART file pair.
void write_cfl(const std::filesystem::path& stem, const at::Tensor& array);
/// Reads raw complex64 of a known shape.
at::Tensor read_raw(const std::filesystem::path& path, const std::vector<int64_t>& shape);

/// The scans at 2x and 4x in `folder`: BART's 8-coil phantom of 256 × 256 with noise of variance 1 in k-space, phase
/// encodes along y, 24 calibration lines. Without BART the phantom is made here (ellipses seen by a ring of coils).
/// Throws BackendError where BART fails.
std::vector<BenchScan> make_scans(const std::filesystem::path& folder, bool with_bart);

/// Spokes through the same object.
struct RadialBenchScan {
  std::string name;        ///< stem of k-space as a BART file; `name`_trajectory beside it
  at::Tensor samples;      ///< [coil, sample] complex64
  at::Tensor trajectory;   ///< [sample, 2] float64, cycles per field of view
  at::Tensor maps, truth;  ///< as in BenchScan
};

/// Spokes of 512 samples, twice oversampled along the readout, of the truth of `scan` seen through its maps, with noise
/// of variance 1. Written to `folder`, where `scan` has its maps.
RadialBenchScan make_radial_scan(const std::filesystem::path& folder, const BenchScan& scan, int64_t spokes = 101);

/// The fully sampled centre [coil, z, min(y, 24), min(x, 24)] of k-space.
at::Tensor calibration_region(const at::Tensor& kspace);

/// min over complex s of ‖s image - truth‖ / ‖truth‖.
double nrmse(const at::Tensor& image, const at::Tensor& truth);

/// ‖a - b‖ / ‖b‖ after the phase of each pixel's coil vector is aligned. a, b: [coil, z, y, x].
double difference_up_to_phase(const at::Tensor& a, const at::Tensor& b);

}  // namespace monarch::bench
