// SKM-TEA HDF5 files, raw data track (Desai et al., NeurIPS Datasets and Benchmarks 2021).

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/array_scan.hpp"
#include "monarch/data/formats.hpp"

namespace monarch::data {
namespace {

constexpr Vector3 kVoxel{0.3125, 0.3125, 0.8};  // mm along the file's x, y, z: the published protocol

/// A mask of the acquired matrix in the middle of the (zero-filled) matrix of k-space.
at::Tensor centred(const at::Tensor& mask, int64_t rows, int64_t columns) {
  at::Tensor padded = at::zeros({rows, columns}, at::kBool);
  padded.narrow(0, rows / 2 - mask.size(0) / 2, mask.size(0))
      .narrow(1, columns / 2 - mask.size(1) / 2, mask.size(1))
      .copy_(mask);
  return padded;
}

class SkmTea final : public ArrayScan {
 public:
  SkmTea(hdf5::File file, const ScanOptions& options)
      : ArrayScan(file.place("kspace"), options), file_(std::move(file)) {
    const hdf5::DatasetInfo info = file_.info("kspace");
    check<DataError>(info.kind == hdf5::Kind::complex && info.shape.size() == 5 && info.numel() > 0, [&] {
      return fmt::format("{}: expected complex [x, y, z, echo, coil], found {} {}", name_, info.type,
                         shape_text(info.shape));
    });
    slices_ = info.shape[0];
    rows_ = info.shape[1];
    columns_ = info.shape[2];
    echoes_ = info.shape[3];
    coils_ = info.shape[4];
    has_maps_ = file_.has_dataset("maps");
    has_target_ = file_.has_dataset("target");
    if (has_maps_) check_companion("maps", {slices_, rows_, columns_, coils_}, "[x, y, z, coil, map]");
    if (has_target_) check_companion("target", {slices_, rows_, columns_, echoes_}, "[x, y, z, echo, map]");
    for (int64_t echo = 0; echo < echoes_; ++echo)
      for (int64_t slice = 0; slice < slices_; ++slice) images_.push_back({.slice = slice, .contrast = echo});
    make_header();
  }

  std::optional<at::Tensor> sensitivities(size_t image) const override {
    if (!has_maps_) return std::nullopt;
    const at::Tensor maps = complex_slice("maps", images_.at(image).slice);  // [y, z, coil, map]
    return maps.permute({3, 2, 0, 1}).unsqueeze(2).contiguous();
  }

  std::optional<at::Tensor> target(size_t image) const override {
    if (!has_target_) return std::nullopt;
    const at::Tensor targets = complex_slice("target", images_.at(image).slice);  // [y, z, echo, map]
    return targets.select(2, images_.at(image).contrast).permute({2, 0, 1}).unsqueeze(1).contiguous();
  }

  std::vector<std::string> mask_names() const override {
    const auto groups = file_.groups();
    if (std::find(groups.begin(), groups.end(), "masks") == groups.end()) return {};
    return file_.datasets("masks");
  }

  at::Tensor mask(const std::string& name) const override {
    const auto names = mask_names();
    check<DataError>(std::find(names.begin(), names.end(), name) != names.end(), [&] {
      return fmt::format("{}: holds no mask '{}'{}", file_.name(), name,
                         names.empty() ? "" : "; there are " + join_or(names));
    });
    const std::string path = "masks/" + name;
    const hdf5::DatasetInfo info = file_.info(path);
    const bool numbers = info.kind != hdf5::Kind::text && info.kind != hdf5::Kind::other;
    check<DataError>(numbers && info.shape.size() == 2 && info.shape[0] <= rows_ && info.shape[1] <= columns_ &&
                         info.numel() > 0,
                     [&] {
                       return fmt::format("{}: expected a mask [y, z] of at most {} × {}, found {} {}",
                                          file_.place(path), rows_, columns_, info.type, shape_text(info.shape));
                     });
    return centred(file_.read(path).ne(0), rows_, columns_);
  }

 protected:
  at::Tensor load(size_t image) const override {
    const at::Tensor slice = complex_slice("kspace", images_.at(image).slice);  // [y, z, echo, coil]
    return slice.select(2, images_.at(image).contrast).permute({2, 0, 1}).unsqueeze(1).contiguous();
  }

 private:
  at::Tensor complex_slice(const std::string& path, int64_t slice) const {
    return file_.read(path, slice).to(at::kComplexFloat);
  }

  /// `shape`: the axes before that of the maps.
  void check_companion(const std::string& path, std::vector<int64_t> shape, const char* axes) const {
    const hdf5::DatasetInfo info = file_.info(path);
    const bool fits = info.kind == hdf5::Kind::complex && info.shape.size() == 5 && info.shape[4] >= 1 &&
                      std::equal(shape.begin(), shape.end(), info.shape.begin());
    shape.push_back(1);
    check<DataError>(
        fits,
        [&] {
          return fmt::format("{}: expected complex {} {} to go with k-space, found {} {}", file_.place(path), axes,
                             shape_text(shape), info.type, shape_text(info.shape));
        },
        "the datasets of a scan have one x, y and z");
  }

  void make_header() {
    header_.format = "SKM-TEA";
    header_.protocol = "qDESS, hybrid (x, ky, kz) k-space";
    header_.coils = coils_;
    Vector3 voxel = kVoxel;
    const auto stated = file_.numbers_attribute("", "voxel_spacing");
    const bool good = stated && stated->size() == 3 &&
                      std::all_of(stated->begin(), stated->end(), [](double mm) { return mm > 0 && mm < 1000; });
    if (good) {
      std::copy(stated->begin(), stated->end(), voxel.begin());
    } else {
      header_.warnings.push_back(
          fmt::format("voxel sizes are not stated: those of the published protocol, {} × {} × {} mm, are taken",
                      kVoxel[0], kVoxel[1], kVoxel[2]));
    }
    // An image's x is the file's z, its y the file's y; slices follow each other along the file's x.
    header_.encoded.matrix = header_.recon.matrix = {columns_, rows_, 1};
    header_.encoded.field_of_view_mm = header_.recon.field_of_view_mm = {
        static_cast<double>(columns_) * voxel[2], static_cast<double>(rows_) * voxel[1], voxel[0]};
    header_.volume = false;
  }

  hdf5::File file_;
  int64_t slices_ = 0, rows_ = 0, columns_ = 0, echoes_ = 0, coils_ = 0;
  bool has_maps_ = false, has_target_ = false;
};

}  // namespace

std::unique_ptr<ScanSource> open_skmtea(hdf5::File file, const ScanOptions& options) {
  return std::make_unique<SkmTea>(std::move(file), options);
}

}  // namespace monarch::data
