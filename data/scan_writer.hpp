#pragma once
// Raw scans written in the layouts of published data sets.

#include <ATen/core/Tensor.h>

#include <array>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "monarch/data/image.hpp"

namespace monarch::data {

/// skm_tea  `kspace` [x, y, z, echo, coil], `maps` [x, y, z, coil, map], `target` [x, y, z, echo, map], `masks/…`;
///          slices along x, so that image y is their y and image x their z
/// fastmri  `kspace` [slice, coil, y, x], `reconstruction_rss` [slice, y, x] of it, `ismrmrd_header`; one echo
/// ismrmrd  a readout along x per y, slice and echo (contrast), by libismrmrd
enum class ScanFormat { skm_tea, fastmri, ismrmrd };

/// "skm-tea", "fastmri", "ismrmrd", and back (ConfigError naming them).
std::string scan_format_name(ScanFormat format);
ScanFormat parse_scan_format(const std::string& name);

struct ScanLayout {
  std::string scan_id;
  int64_t slices = 1;
  int64_t echoes = 1;
  int64_t coils = 1;
  int64_t maps = 1;                          ///< sets of sensitivities
  std::array<int64_t, 2> matrix{1, 1};       ///< y, x
  Vector3 voxel_mm{1, 1, 1};                 ///< image x, image y, distance of slices
  std::vector<double> echo_times_ms;         ///< one per echo
  std::map<std::string, at::Tensor> masks;   ///< skm_tea: "poisson_4.0x" -> [y, x] bool
  std::map<std::string, std::string> notes;  ///< attributes of the file (skm_tea, fastmri)
};

/// One slice of all echoes, complex64.
struct ScanSlice {
  at::Tensor kspace;         ///< [echo, coil, y, x], DC at floor(n/2)
  at::Tensor sensitivities;  ///< [map, coil, y, x]; skm_tea
  at::Tensor target;         ///< [echo, map, y, x]; skm_tea
};

/// Writes a scan slice by slice. The file appears under its name, whole and synced, with commit(); a writer that dies
/// before leaves nothing. Memory: one slice (fastmri: and the images).
class ScanWriter {
 public:
  /// Throws ConfigError (extents below 1, more than one echo for fastmri), DataError (cannot be written).
  ScanWriter(const std::filesystem::path& path, ScanFormat format, ScanLayout layout);
  ~ScanWriter();
  ScanWriter(const ScanWriter&) = delete;
  ScanWriter& operator=(const ScanWriter&) = delete;

  /// The next slice. Throws ShapeError, DtypeError, DataError.
  void add(const ScanSlice& slice);
  /// Throws DataError where slices are missing.
  void commit();

  struct Backend;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace monarch::data
