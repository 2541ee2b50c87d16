#pragma once
// Which acquisition belongs to which image, and the matrix they are gridded on.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "monarch/data/ismrmrd_grid.hpp"
#include "monarch/data/ismrmrd_scan.hpp"

namespace monarch::data {

/// What an acquisition is for.
enum class Role { imaging, calibration, calibration_and_imaging, noise, dropped, other_encoding };

/// Acquisitions of one image, in ascending order.
struct ImageLines {
  ImageIndex index;
  std::vector<size_t> imaging;      ///< flags none or 21
  std::vector<size_t> calibration;  ///< flags 20 and 21
};

/// Acquisitions sorted by purpose and image; every imaging and calibration readout is checked to lie on the matrix.
struct SortedAcquisitions {
  int64_t encoding = 0;            ///< encoding space that is read
  std::vector<Role> roles;         ///< one per acquisition
  std::vector<ImageLines> images;  ///< sorted: contrast, set, phase, repetition, slice (fastest)
  std::vector<size_t> noise;       ///< acquisitions that measure noise with the coils of the images
  int64_t coils = 0;
  int64_t centre_y = 0;  ///< counter value that goes to row floor(ny / 2)
  int64_t centre_z = 0;
  bool non_cartesian = false;  ///< nothing lies on the matrix; calibration readouts are dropped
  at::Tensor trajectory;       ///< [readout, sample, axis] of every image, as ScanOptions gave it; else undefined
  TrajectoryUnit unit = TrajectoryUnit::cycles;
};

/// Why an acquisition is dropped: "navigation", "phase correction" …; nullptr where it is not.
const char* drop_reason(const ismrmrd::AcquisitionHeader& header);

/// Sorts and checks. Fills `header` with the encoding, the coils and warnings. Nothing is allocated by what the
/// XML claims; a grid must not exceed 256 times what was acquired for its image (or 64 MiB).
SortedAcquisitions sort_acquisitions(const AcquisitionStore& store, const IsmrmrdDocument& document,
                                     const ScanOptions& options, ScanHeader& header);

/// Row and partition of an acquisition on the matrix, [y, z].
inline std::array<int64_t, 2> row_of(const ismrmrd::AcquisitionHeader& acquisition, const SortedAcquisitions& sorted,
                                     const ScanHeader& header) {
  const int64_t z =
      header.volume ? acquisition.idx.kspace_encode_step_2 - sorted.centre_z + header.encoded.matrix[2] / 2 : 0;
  return {acquisition.idx.kspace_encode_step_1 - sorted.centre_y + header.encoded.matrix[1] / 2, z};
}

/// Where the samples of an image lie, [sample, axis] float64 as stored, discarded samples included: what ScanOptions
/// gave, or what the acquisitions carry. Throws DataError where they carry none, or lengths do not agree.
at::Tensor image_trajectory(const AcquisitionStore& store, const SortedAcquisitions& sorted, const ImageLines& lines);

/// Samples and trajectory of an image of a non-Cartesian scan.
KSpace read_samples(const AcquisitionStore& store, const SortedAcquisitions& sorted, const ScanHeader& header,
                    const ImageLines& lines);

/// Counts, findings and line map for `monarch info`. `source` reads the first image.
ScanSummary summarise_acquisitions(const AcquisitionStore& store, const SortedAcquisitions& sorted,
                                   const ScanSource& source, std::vector<std::string> datasets, bool centre_overridden);

}  // namespace monarch::data
