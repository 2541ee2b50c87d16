#pragma once
// Acquisitions to k-space: what HDF5 files and streams of ISMRMRD share.

#include <complex>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "monarch/data/ismrmrd_header.hpp"
#include "monarch/data/ismrmrd_layout.hpp"
#include "monarch/data/scan.hpp"

namespace monarch::data {

/// The acquisitions of one measurement, wherever they lie.
class AcquisitionStore {
 public:
  virtual ~AcquisitionStore() = default;
  /// "scan.h5: dataset/data", for messages.
  virtual const std::string& name() const = 0;
  virtual std::span<const ismrmrd::AcquisitionHeader> headers() const = 0;

  /// Receives the samples of one acquisition, [coil, sample]; the span is valid during the call.
  using Visit = std::function<void(size_t acquisition, std::span<const std::complex<float>> samples)>;
  /// Reads acquisitions, given in ascending order, in bounded memory. Throws DataError where the number of stored
  /// samples differs from the header's.
  virtual void fetch(std::span<const size_t> acquisitions, const Visit& visit) const = 0;

  /// Receives the trajectory of one acquisition, [sample, axis].
  using VisitTrajectory = std::function<void(size_t acquisition, std::span<const float> trajectory)>;
  /// The same for trajectories, whose number of axes is the headers' trajectory_dimensions.
  virtual void fetch_trajectory(std::span<const size_t> acquisitions, const VisitTrajectory& visit) const = 0;
};

/// A scan out of acquisitions: sorts them into images once, grids on demand. Throws DataError for what cannot be
/// placed on the encoded matrix (see docs/file-formats.md for every rule).
std::unique_ptr<ScanSource> make_ismrmrd_scan(std::unique_ptr<AcquisitionStore> store, const IsmrmrdDocument& document,
                                              const ScanOptions& options, std::vector<std::string> datasets,
                                              const std::string& format);

}  // namespace monarch::data
