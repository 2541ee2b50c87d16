#pragma once
// Reconstructed images and where they lie in the patient.

#include <ATen/core/Tensor.h>

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <vector>

namespace monarch::data {

using Extent3 = std::array<int64_t, 3>;  ///< [x, y, z]
using Vector3 = std::array<double, 3>;   ///< [x, y, z]

/// Which image of a scan: the counters of ISMRMRD that tell images apart.
struct ImageIndex {
  int64_t slice = 0;
  int64_t contrast = 0;
  int64_t phase = 0;
  int64_t repetition = 0;
  int64_t set = 0;
  auto operator<=>(const ImageIndex&) const = default;
  /// "slice 3, contrast 1": the counters that are not zero, or "slice 0".
  std::string text() const;
};

/// Position of a slice or slab: centre, and unit vectors along image x, y and z, in DICOM patient coordinates (LPS, mm).
struct Orientation {
  Vector3 centre_mm{0, 0, 0};
  Vector3 x_direction{1, 0, 0};
  Vector3 y_direction{0, 1, 0};
  Vector3 z_direction{0, 0, 1};
  Vector3 table_position_mm{0, 0, 0};
  bool known = false;  ///< false where the file holds no directions; the vectors are then those above
};

/// Which image axis the scanner read out along. ISMRMRD scans come with readout along x, fastMRI files along y.
enum class ReadoutAxis { x, y };

/// A set of equally sized images. Axis 1 (z) has extent 1 for 2-D scans.
struct ImageSeries {
  at::Tensor pixels;  ///< [image, z, y, x], float32 (magnitude) or complex64
  std::vector<ImageIndex> index;         ///< one per image
  std::vector<Orientation> orientation;  ///< one per image
  Vector3 field_of_view_mm{0, 0, 0};     ///< of one image; z: thickness of the slice, or of the slab in 3-D
  ReadoutAxis readout = ReadoutAxis::x;
  std::vector<uint32_t> time_stamp;      ///< acquisition time stamp per image, vendor ticks; may be empty

  int64_t size() const { return static_cast<int64_t>(index.size()); }
};

}  // namespace monarch::data
