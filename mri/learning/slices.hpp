#pragma once
// Slices of scan files as training data: k-space, sensitivities and the image to be found.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "monarch/data/scan.hpp"
#include "monarch/mri/learning/options.hpp"

namespace monarch::mri {

/// One two-dimensional problem, prepared.
struct Slice {
  at::Tensor kspace;    ///< [coil, y, x] complex64, as acquired
  at::Tensor acquired;  ///< [y, x] bool
  at::Tensor maps;      ///< [coil, y, x] complex64
  at::Tensor target;    ///< [y, x] complex64: the file's own, else the fully sampled coil-combined image
  std::string scan;     ///< stem of the file's name: what masks follow from
  std::string file;     ///< its path, which tells scans of one name apart
  int64_t slice = 0, contrast = 0;
  int64_t phase_axis = 0;  ///< along which one-dimensional masks undersample: 0 y, 1 x
};

/// The slices of some files, prepared when they are first asked for and kept in memory as far as it reaches.
///
/// Preparation: prewhitening where the file holds noise; readout oversampling removed; coil compression; the crop;
/// volumes are transformed along their readout and cut into planes [y = kz, x = ky]; sensitivities and target.
/// Thread-compatible.
class SliceSet {
 public:
  /// files: paths, folders (their .h5, .cfl and .npy files) or patterns. Throws DataError (no such file, formats), and
  /// ConfigError where nothing is left of them.
  SliceSet(const std::vector<std::string>& files, const SliceOptions& options, int64_t most_scans = 0);

  int64_t size() const { return static_cast<int64_t>(places_.size()); }
  /// Throws DataError naming file and slice: not fully sampled and without a target of its own, NaN.
  Slice read(int64_t index) const;
  /// Scan, slice and contrast without reading.
  std::string describe(int64_t index) const;
  std::string scan_name(int64_t index) const;
  int64_t scan_count() const { return static_cast<int64_t>(scans_.size()); }
  int64_t contrast(int64_t index) const { return places_[static_cast<size_t>(index)].contrast; }
  /// Number of contrasts: the largest contrast number and 1.
  int64_t contrasts() const { return contrasts_; }
  const std::vector<std::filesystem::path>& files() const { return files_; }
  /// What was done that a user should know ("scan.h5: sensitivities by ESPIRiT"), each once, as it was logged.
  const std::vector<std::string>& notes() const { return notes_; }
  /// A mask stored in the file of a slice, [y, x] bool. Throws DataError where there is none of that name.
  at::Tensor stored_mask(int64_t index, const std::string& name) const;

 private:
  struct Scan;
  struct Place {
    size_t scan = 0, image = 0;
    int64_t plane = -1;  // of a volume; -1: the image is a slice
    int64_t slice = 0, contrast = 0;
  };

  void add_scan(const std::filesystem::path& file);
  void prepare(const Place& place) const;
  Slice finish(const Place& place, const at::Tensor& kspace, const at::Tensor& mask, const at::Tensor& maps,
               const at::Tensor& target) const;
  void note(const std::string& text) const;

  SliceOptions options_;
  std::vector<std::filesystem::path> files_;
  std::vector<std::shared_ptr<Scan>> scans_;
  std::vector<Place> places_;
  int64_t contrasts_ = 1;
  double limit_ = 0;
  mutable double used_ = 0;
  mutable std::map<std::array<int64_t, 3>, Slice> kept_;  // by scan, image and plane
  mutable std::vector<std::string> notes_;
};

/// Paths named by files, folders and patterns, sorted, each once. Throws DataError where one names nothing.
std::vector<std::filesystem::path> expand_files(const std::vector<std::string>& files);

/// What a slice's k-space is divided by before a network sees it: by `rule`, of Σ conj(S) F^H k of the undersampled
/// k-space. 1 where that is zero. kspace, maps: [coil, y, x].
double slice_scale(const at::Tensor& kspace, const at::Tensor& maps, SliceScale rule);

/// The same slice, shifted, flipped, noisier, moved. `rng_seed` and `stream` (epoch and id) determine what happens.
Slice augmented(const Slice& slice, const Augmentation& augmentation, uint64_t seed, const std::string& stream);

}  // namespace monarch::mri
