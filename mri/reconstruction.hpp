#pragma once
// The scan pipeline: from a scan file to images, as `monarch recon` runs it.

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "monarch/data/scan.hpp"
#include "monarch/mri/density.hpp"

namespace monarch::mri {

class LearnedReconstruction;

/// How an image is made from k-space. `automatic`: rss where the sampling has no holes, cg_sense where it has and
/// a calibration region exists, else rss of the zero-filled data, with a warning. Non-Cartesian scans: cg_sense; rss
/// and sense grid them, and grappa and learned do not take them. learned: a trained network, slice by slice; volumes as
/// planes along their readout.
enum class Method { automatic, rss, sense, cg_sense, l1_wavelet, tv, grappa, learned };
/// Where coil sensitivities come from; automatic: the file where it holds them, else ESPIRiT.
enum class MapMethod { automatic, espirit, walsh, stored };
/// What happens to the part of k-space that a partial-Fourier scan left out.
enum class PartialFourier { zero_fill, pocs };

/// The name on the command line ("cg-sense"), and back; parse_method throws ConfigError naming the choices.
std::string method_name(Method method);
Method parse_method(const std::string& name);

struct ReconOptions {
  Method method = Method::automatic;
  std::shared_ptr<const LearnedReconstruction> model;  ///< for Method::learned
  MapMethod maps = MapMethod::automatic;
  PartialFourier partial_fourier = PartialFourier::zero_fill;
  std::optional<double> lambda;           ///< regularisation weight; each method has its own default
  std::optional<int64_t> iterations;      ///< each method has its own default
  double tolerance = 0;                   ///< relative residual at which iterations stop early; 0: never
  int64_t map_count = 1;                  ///< ESPIRiT maps
  int64_t calibration_size = 24;          ///< largest extent of the calibration region per axis
  int64_t kernel_size = 6;                ///< ESPIRiT
  double crop_threshold = 0.8;            ///< ESPIRiT: maps are zero where the eigenvalue is below
  double singular_threshold = 0.0316;     ///< ESPIRiT, on S_i / S_0
  int64_t virtual_coils = 0;              ///< SVD coil compression; 0: off
  Density density = Density::pipe_menon;  ///< non-Cartesian: for gridding and calibration
  bool prewhiten = true;                  ///< where the scan holds noise readouts
  std::optional<std::string> noise_from;  ///< covariance from the noise readouts of another scan file
  bool complex_images = false;            ///< complex64 instead of magnitude
  int64_t wavelet_order = 2;              ///< Daubechies, l1_wavelet
  uint64_t seed = 0;                      ///< cycle spinning
  std::vector<int64_t> slices;            ///< only these slices; empty: all
  double memory_limit_bytes = 0;          ///< 0: what the machine has free
};

struct ReconResult {
  data::ImageSeries images;
  std::optional<data::ImageSeries> g_factor;  ///< grappa only
  at::Tensor sensitivities;  ///< [map, coil, z, y, x] of the middle image; undefined for rss and grappa
  Method method = Method::rss;
  std::string reason;                                           ///< why this method, one sentence
  std::vector<std::pair<std::string, std::string>> parameters;  ///< what took effect, in reading order
  std::map<std::string, double> seconds;                        ///< time by stage
  double peak_memory_estimate_bytes = 0;
  std::vector<std::string> warnings;
};

/// Reconstructs every (chosen) image of a scan, one after the other.
///
/// Per image: read and grid; prewhiten; compress coils; partial Fourier; remove readout oversampling; estimate
/// sensitivities; solve; resize by field of view to the reconstructed matrix (crop or zero-pad in the image domain,
/// then Fourier interpolation). The unit of rss images is that of the k-space data times the unitary transform;
/// prewhitened images are in units of the noise's standard deviation.
/// Non-Cartesian scans are solved from their samples on the encoded matrix, with sensitivities from the centre of the
/// k-space of their gridded images.
/// Throws DataError where the scan does not support the method, ConfigError for options that contradict each other.
ReconResult reconstruct(const data::ScanSource& scan, const ReconOptions& options,
                        const std::function<void(const std::string&)>& say = {});

}  // namespace monarch::mri
