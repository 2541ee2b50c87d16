#pragma once
// A scan file, whatever its format: a header, and k-space one image at a time.

#include <ATen/core/Tensor.h>

#include <array>
#include <filesystem>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "monarch/data/image.hpp"

namespace monarch::data {

/// Matrix and field of view of the encoded or the reconstructed space.
struct EncodingSpace {
  Extent3 matrix{1, 1, 1};             ///< samples along x (readout), y, z
  Vector3 field_of_view_mm{0, 0, 0};
};

/// Range of a counter, as the header states it.
struct EncodingLimit {
  int64_t minimum = 0;
  int64_t maximum = 0;
  int64_t centre = 0;
};

/// What the file says about the scan.
struct ScanHeader {
  std::string format;         ///< "ISMRMRD", "fastMRI", "BART cfl", "NumPy", "ISMRMRD stream"
  std::string vendor;         ///< "" where unknown, like the other texts
  std::string model;
  std::string protocol;
  std::string patient_position;
  std::string trajectory = "cartesian";
  std::string calibration_mode;            ///< embedded, interleaved, separate, external, other or ""
  double field_strength_T = 0;
  double resonance_frequency_Hz = 0;
  std::array<double, 2> acceleration{1, 1};  ///< stated, along y and z
  std::optional<double> relative_noise_bandwidth;
  int64_t coils = 0;
  EncodingSpace encoded;
  EncodingSpace recon;
  std::optional<EncodingLimit> limit_y;    ///< kspace_encoding_step_1
  std::optional<EncodingLimit> limit_z;    ///< kspace_encoding_step_2
  ReadoutAxis readout = ReadoutAxis::x;
  bool volume = false;                     ///< 3-D encoded: z of the k-space arrays is kz
  std::vector<std::string> warnings;       ///< what looked wrong and what was done about it
};

/// How the numbers of a trajectory are to be read: cycles per field of view (|k| <= n/2 for n pixels), fractions of the
/// matrix (|k| <= 1/2), or radians per pixel (|k| <= π). `automatic` goes by the largest number.
enum class TrajectoryUnit { automatic, cycles, normalised, radians };

/// Gridded k-space of one image. DC is at index floor(n/2) on every axis; zero where nothing was acquired.
/// Reverse readouts are flipped, averages divided by their count, discarded samples gone, the vendor's sign of the
/// Fourier exponent undone: image = centred inverse Fourier transform. Readout oversampling is still in.
struct KSpace {
  at::Tensor samples;      ///< [coil, z, y, x] complex64 on the encoded matrix
  at::Tensor mask;         ///< [z, y, x] bool: what was acquired (any coil)
  at::Tensor calibration;  ///< [coil, z, y, x] complex64, lines marked as calibration; undefined where there are none
  at::Tensor calibration_mask;  ///< [z, y, x] bool, with `calibration`
  /// [readout, sample, axis] float64: where the samples lie, axes x, y (and z), in cycles per encoded field of view.
  /// Undefined for Cartesian scans. Where it is defined, `samples` is [coil, 1, readout, sample] as measured, with one
  /// readout where their lengths differ, and there is neither mask nor calibration.
  at::Tensor trajectory;
  ImageIndex index;
  Orientation orientation;
  uint32_t time_stamp = 0;
};

/// Noise samples measured without excitation.
struct NoiseMeasurement {
  at::Tensor samples;                    ///< [coil, sample] complex64
  double dwell_time_us = 0;              ///< 0 where unknown
  double imaging_dwell_time_us = 0;      ///< dwell time of the imaging readouts, 0 where unknown
};

struct ScanOptions {
  std::string dataset;                ///< HDF5 group; "" picks the only (or first) one
  int64_t encoding = -1;              ///< encoding space; -1 picks the first that has imaging readouts
  bool assume_recon_space_encoded = false;  ///< go on without reconSpace in the header, taking encodedSpace
  std::optional<std::array<int64_t, 2>> centre;  ///< override of the k-space centre (step 1, step 2) in counter units
  std::optional<bool> conjugate;      ///< override of the vendor rule for conjugation
  /// .npy file [.., sample, axis] with the trajectory of an image, for scans that carry none, or a wrong one
  std::filesystem::path trajectory;
  TrajectoryUnit trajectory_unit = TrajectoryUnit::automatic;
  Extent3 matrix{0, 0, 0};            ///< of non-Cartesian scans without a header; 0: what the trajectory reaches
};

/// What `monarch info` tells, beyond the header. Counts are over acquisitions (ISMRMRD) or k-space lines.
/// Non-Cartesian scans have no line map, no centre and no calibration region.
struct ScanSummary {
  struct Count { std::string name; int64_t count = 0; };
  std::vector<std::string> datasets;      ///< measurements in the file
  std::vector<Count> contents;            ///< acquisitions, imaging readouts, noise, dropped …
  std::vector<Count> flags;               ///< flag name -> acquisitions that carry it
  std::vector<Count> dimensions;          ///< slices, averages, contrasts …
  at::Tensor line_map;                    ///< [z, y] int32: times each k-space line was acquired (first image)
  bool sample_map = false;                ///< lines have gaps of their own (2-D patterns): line_map is then [y, x]
  double acceleration = 1;                ///< lines (or samples) of the whole matrix / those acquired
  Extent3 centre_stated{0, 0, 0};         ///< index of DC on the encoded matrix by the header
  Extent3 centre_found{0, 0, 0};          ///< index of the strongest sample
  std::optional<Extent3> calibration;     ///< extent of the fully sampled centre [x, y, z]
  std::vector<std::string> findings;      ///< what looks wrong, each with a hint
};

/// A scan that can be read image by image. Thread-compatible: one call at a time.
class ScanSource {
 public:
  virtual ~ScanSource() = default;
  virtual const ScanHeader& header() const = 0;
  /// The images in the scan, sorted: contrast, set, phase, repetition, slice (slice fastest).
  virtual const std::vector<ImageIndex>& images() const = 0;
  /// Reads and grids the k-space of one image. Throws DataError.
  virtual KSpace read(size_t image) const = 0;
  /// Noise readouts, where the file has any.
  virtual std::optional<NoiseMeasurement> noise() const { return std::nullopt; }
  virtual ScanSummary summarise() const = 0;
  /// A reference reconstruction that the file itself holds (fastMRI's reconstruction_rss), else nothing.
  virtual std::optional<ImageSeries> reference() const { return std::nullopt; }
  /// Coil sensitivities that the file holds for an image, [map, coil, z, y, x] complex64.
  virtual std::optional<at::Tensor> sensitivities(size_t image) const {
    (void)image;
    return std::nullopt;
  }
  /// The image that a reconstruction of an undersampled scan should find, [map, z, y, x] complex64.
  virtual std::optional<at::Tensor> target(size_t image) const {
    (void)image;
    return std::nullopt;
  }
  /// Sampling masks that the file holds for studies of undersampling, by name.
  virtual std::vector<std::string> mask_names() const { return {}; }
  /// One of them, [y, x] bool on the matrix of the k-space. Throws DataError.
  virtual at::Tensor mask(const std::string& name) const;
};

/// Opens a scan file; the format is found by content, never by name. Throws DataError with file, place, found,
/// expected and what to do.
std::unique_ptr<ScanSource> open_scan(const std::filesystem::path& path, const ScanOptions& options = {});

}  // namespace monarch::data
