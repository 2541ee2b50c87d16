#pragma once
// The tables [data] and [task] of a config that trains a reconstruction network (docs/learned-reconstruction.md).

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "monarch/core/config.hpp"
#include "monarch/mri/sampling_mask.hpp"

namespace monarch::mri {

/// Where sensitivities come from: those stored in the file where there are any, else ESPIRiT; or always one method.
enum class TrainingMaps { stored, espirit, walsh };
/// What one unit of a slice's k-space is for the network: the 95th percentile or the maximum of the magnitudes of the
/// zero-filled image.
enum class SliceScale { percentile, maximum, none };

/// Which points of k-space training and tests see, [data.mask].
struct MaskSettings {
  std::vector<double> accelerations{4};  ///< training draws one for each sample and epoch; tests take each in turn
  MaskOptions mask;                      ///< everything but the acceleration
  std::string stored;                    ///< name of a mask in the file instead ("poisson_4.0x")
  uint64_t seed = 0;
};

/// Changes of training samples, [data.augment]; all keep k-space, sensitivities and image consistent.
struct Augmentation {
  bool shift = false;  ///< circular, any number of pixels along both axes
  bool flip = false;   ///< along each axis with probability 1/2
  double noise = 0;    ///< standard deviation of complex noise, at most so many times the scale of a slice
  double motion = 0;   ///< pixels: shifts between the parts of a scan, at most
  int64_t motion_parts = 4;

  bool any() const { return shift || flip || noise > 0 || motion > 0; }
};

struct SliceOptions {
  std::vector<std::string> train, validation, test;            ///< files, folders or patterns with * and ?
  int64_t train_scans = 0;                                     ///< only the first ones; 0: all
  int64_t first_slice = 0, slice_count = 0, slice_stride = 1;  ///< 0: to the last
  std::vector<int64_t> contrasts;                              ///< only these; empty: all
  int64_t coils = 0;                                           ///< compress to so many; 0: as they are
  TrainingMaps maps = TrainingMaps::stored;
  int64_t calibration = 24;
  std::optional<std::array<int64_t, 2>> matrix;  ///< scans of other rows and columns are left out
  std::optional<std::array<int64_t, 2>> crop;    ///< rows and columns of the image that are kept, centred
  SliceScale scale = SliceScale::percentile;
  double memory_bytes = 0;  ///< of prepared slices kept; 0: half of what is free
  MaskSettings mask;
  Augmentation augment;

  /// Throws ConfigError naming the key.
  static SliceOptions from_config(const Config& config);
};

enum class Supervision {
  full,  ///< against the fully sampled image
  ssdu   ///< against a part of the sampled points that the network does not see (Yaman et al. 2020)
};

struct ReconstructionOptions {
  std::string loss = "l1";  ///< a name of make_reconstruction_loss()
  Supervision supervision = Supervision::full;
  double ssdu_fraction = 0.4;       ///< of the sampled points, held back for the loss
  int64_t ssdu_centre = 4;          ///< side of the centre that the network always sees
  std::string selection = "nrmse";  ///< "nrmse" or "loss"
  int64_t evaluation_batch = 8;
  bool decay_transforms = false;  ///< weight decay on learned transforms, too
  bool pictures = true;

  static ReconstructionOptions from_config(const Config& config);
};

}  // namespace monarch::mri
