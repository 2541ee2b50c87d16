// SKM-TEA HDF5 files: hybrid k-space (x, ky, kz), sensitivities, targets and masks.

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <sstream>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/array_scan.hpp"
#include "monarch/data/formats.hpp"
#include "monarch/data/hdf5_block.hpp"

namespace monarch::data {

namespace {

constexpr Vector3 nominal_voxel_mm{0.3125, 0.3125, 0.8};  // x, y, z of the published scans

/// Unit vector (LPS) along "SI", "AP", "LR", …: from the first letter's side to the second's.
std::optional<Vector3> direction(const std::string& letters) {
  static const std::vector<std::pair<std::string, Vector3>> known = {{"LR", {-1, 0, 0}}, {"RL", {1, 0, 0}},
                                                                     {"AP", {0, 1, 0}},  {"PA", {0, -1, 0}},
                                                                     {"SI", {0, 0, -1}}, {"IS", {0, 0, 1}}};
  for (const auto& [name, vector] : known)
    if (name == letters) return vector;
  return std::nullopt;
}

class SkmTea final : public ArrayScan {
 public:
  SkmTea(hdf5::File file, const ScanOptions& options)
      : ArrayScan(file.place("kspace"), options), file_(std::move(file)), kspace_(file_, "kspace") {
    const hdf5::DatasetInfo& info = kspace_.info();
    check<DataError>(info.kind == hdf5::Kind::complex && info.shape.size() == 5, [&] {
      return fmt::format("{}: expected complex [x, y, z, echo, coil], found {} {}", name_, info.type,
                         shape_text(info.shape));
    });
    check<DataError>(info.numel() > 0,
                     [&] { return fmt::format("{}: shape {} holds no samples", name_, shape_text(info.shape)); });
    std::copy_n(info.shape.begin(), 5, extent_);
    open_beside("maps", maps_, extent_[4], "[x, y, z, coil, map]");
    open_beside("target", target_, extent_[3], "[x, y, z, echo, map]");
    check<DataError>(!maps_ || !target_ || maps_->info().shape[4] == target_->info().shape[4], [&] {
      return fmt::format("{}: {} maps, but target has {}", file_.place("maps"), maps_->info().shape[4],
                         target_->info().shape[4]);
    });
    for (int64_t echo = 0; echo < extent_[3]; ++echo)
      for (int64_t x = 0; x < extent_[0]; ++x) images_.push_back({.slice = x, .contrast = echo});
    const auto groups = file_.groups();
    if (std::find(groups.begin(), groups.end(), "masks") != groups.end()) masks_ = file_.datasets("masks");
    read_header();
  }

  KSpace read(size_t image) const override {
    KSpace result = ArrayScan::read(image);
    result.orientation = orientation_of(result.index.slice);
    return result;
  }

  std::optional<at::Tensor> sensitivities(size_t image) const override {
    if (!maps_) return std::nullopt;
    const at::Tensor maps = slice_of(*maps_, "maps", index_of(image).slice, 0, extent_[4]);  // [y, z, coil, map]
    return maps.permute({3, 2, 0, 1}).unsqueeze(2).contiguous();
  }

  std::optional<at::Tensor> target(size_t image) const override {
    if (!target_) return std::nullopt;
    const ImageIndex index = index_of(image);
    const at::Tensor image_maps = slice_of(*target_, "target", index.slice, index.contrast, 1);  // [y, z, 1, map]
    return image_maps.permute({3, 2, 0, 1}).contiguous();
  }

  std::optional<ImageSeries> reference() const override {
    if (!target_) return std::nullopt;
    ImageSeries series;
    const auto count = static_cast<int64_t>(images_.size());
    series.pixels = at::empty({count, 1, extent_[1], extent_[2]}, at::kFloat);
    for (int64_t i = 0; i < count; ++i) {
      series.pixels[i].copy_((*target(static_cast<size_t>(i)))[0].abs());
      series.index.push_back(images_[static_cast<size_t>(i)]);
      series.orientation.push_back(orientation_of(series.index.back().slice));
    }
    series.field_of_view_mm = header_.recon.field_of_view_mm;
    return series;
  }

  std::vector<std::string> mask_names() const override { return masks_; }

  at::Tensor mask(const std::string& name) const override {
    check<DataError>(
        std::find(masks_.begin(), masks_.end(), name) != masks_.end(),
        [&] { return fmt::format("{}: no mask is called '{}'", file_.place("masks"), name); },
        masks_.empty() ? "the file holds none" : "there are " + join_or(masks_));
    const std::string path = "masks/" + name, place = file_.place(path);
    const hdf5::DatasetInfo info = file_.info(path);
    using hdf5::Kind;
    check<DataError>((info.kind == Kind::boolean || info.kind == Kind::integer || info.kind == Kind::real) &&
                         info.shape.size() == 2 && info.numel() > 0,
                     [&] {
                       return fmt::format("{}: expected numbers or booleans [y, z], found {} {}", place, info.type,
                                          shape_text(info.shape));
                     });
    check<DataError>(info.shape[0] <= extent_[1] && info.shape[1] <= extent_[2], [&] {
      return fmt::format("{}: has shape {}, more than k-space's [{}, {}]", place, shape_text(info.shape), extent_[1],
                         extent_[2]);
    });
    const at::Tensor stored = file_.read(path);
    check<DataError>(!stored.isnan().any().item<bool>(), [&] { return place + ": holds NaN"; });
    at::Tensor result = at::zeros({extent_[1], extent_[2]}, at::kBool);
    // Masks have the acquired extents, k-space may be zero-padded: the centres at floor(n/2) meet.
    result.narrow(0, extent_[1] / 2 - info.shape[0] / 2, info.shape[0])
        .narrow(1, extent_[2] / 2 - info.shape[1] / 2, info.shape[1])
        .copy_(stored.ne(0));
    return result;
  }

  ScanSummary summarise() const override {
    ScanSummary summary = ArrayScan::summarise();
    if (maps_) summary.contents.push_back({"sets of sensitivities", maps_->info().shape[4]});
    if (target_) summary.contents.push_back({"targets", static_cast<int64_t>(images_.size())});
    if (!masks_.empty()) {
      summary.contents.push_back(
          {fmt::format("masks ({})", fmt::join(masks_, ", ")), static_cast<int64_t>(masks_.size())});
    }
    return summary;
  }

 protected:
  at::Tensor load(size_t image) const override {
    const ImageIndex index = images_[image];
    hdf5::Block block = hdf5::Block::all(kspace_.info().shape);
    block.first[0] = index.slice;
    block.first[3] = index.contrast;
    block.count[0] = block.count[3] = 1;
    const at::Tensor samples = kspace_.read(block).to(at::kComplexFloat);  // [1, y, z, 1, coil]
    return samples.reshape({extent_[1], extent_[2], extent_[4]}).permute({2, 0, 1}).unsqueeze(1).contiguous();
  }

 private:
  /// A dataset that goes with k-space, where it is there: [x, y, z, fourth, map].
  void open_beside(const std::string& path, std::optional<hdf5::BlockReader>& reader, int64_t fourth,
                   const char* axes) {
    if (!file_.has_dataset(path)) return;
    reader.emplace(file_, path);
    const hdf5::DatasetInfo& info = reader->info();
    const bool fits = info.kind == hdf5::Kind::complex && info.shape.size() == 5 &&
                      std::equal(extent_, extent_ + 3, info.shape.begin()) && info.shape[3] == fourth &&
                      info.shape[4] >= 1;
    check<DataError>(fits, [&] {
      return fmt::format("{}: expected complex {} = [{}, {}, {}, {}, 1 or more] beside k-space, found {} {}",
                         file_.place(path), axes, extent_[0], extent_[1], extent_[2], fourth, info.type,
                         shape_text(info.shape));
    });
  }

  ImageIndex index_of(size_t image) const {
    check<DataError>(image < images_.size(), [&] {
      return fmt::format("{}: image {} was asked for, the scan has {}", name_, image, images_.size());
    });
    return images_[image];
  }

  /// [y, z, count, map] complex64 of one x.
  at::Tensor slice_of(const hdf5::BlockReader& reader, const std::string& path, int64_t x, int64_t first,
                      int64_t count) const {
    hdf5::Block block = hdf5::Block::all(reader.info().shape);
    block.first[0] = x;
    block.count[0] = 1;
    block.first[3] = first;
    block.count[3] = count;
    const at::Tensor values = reader.read(block).to(at::kComplexFloat).squeeze(0);
    const at::Tensor finite = at::isfinite(at::view_as_real(values)).all(-1);
    if (finite.all().item<bool>()) return values;
    const at::Tensor where = finite.logical_not().nonzero()[0];
    fail<DataError>(fmt::format("{}: element [{}, {}, {}, {}, {}] is NaN or infinite", file_.place(path), x,
                                where[0].item<int64_t>(), where[1].item<int64_t>(), first + where[2].item<int64_t>(),
                                where[3].item<int64_t>()),
                    "the file is damaged, or was written by a failed reconstruction");
  }

  void read_header() {
    header_.format = "SKM-TEA";
    header_.coils = extent_[4];
    if (const auto id = file_.text_attribute("", "scan_id")) header_.protocol = *id;
    voxel_mm_ = nominal_voxel_mm;
    const auto spacing = file_.numbers_attribute("", "voxel_spacing");
    const bool known = spacing && spacing->size() == 3 &&
                       std::all_of(spacing->begin(), spacing->end(), [](double mm) { return mm > 0 && mm < 1e6; });
    if (known) std::copy_n(spacing->begin(), 3, voxel_mm_.begin());
    std::vector<std::string> letters = {"SI", "AP", "LR"};
    const auto stated = file_.text_attribute("", "orientation");
    const bool oriented = stated && take_orientation(*stated, letters);
    if (!known || !oriented) {
      header_.warnings.push_back(
          fmt::format("no {}{}{}: those of the published scans are assumed, {:g} × {:g} × {:g} mm along {}",
                      known ? "" : "voxel_spacing", known || oriented ? "" : " and ", oriented ? "" : "orientation",
                      voxel_mm_[0], voxel_mm_[1], voxel_mm_[2], fmt::join(letters, ", ")));
    }
    orientation_.known = true;
    orientation_.z_direction = *direction(letters[0]);
    orientation_.y_direction = *direction(letters[1]);
    orientation_.x_direction = *direction(letters[2]);
    // Image x is z of the file, image y its y; slices lie along its x.
    header_.encoded.matrix = {extent_[2], extent_[1], 1};
    header_.encoded.field_of_view_mm = {voxel_mm_[2] * static_cast<double>(extent_[2]),
                                        voxel_mm_[1] * static_cast<double>(extent_[1]), voxel_mm_[0]};
    header_.recon = header_.encoded;
  }

  /// "SI,AP,LR": a direction for each of the axes x, y, z, one of each pair.
  static bool take_orientation(const std::string& text, std::vector<std::string>& letters) {
    std::vector<std::string> found;
    std::string pairs;
    std::istringstream parts(text);
    for (std::string part; std::getline(parts, part, ',');) {
      if (!direction(part)) return false;
      pairs += std::min(part[0], part[1]);
      found.push_back(part);
    }
    std::sort(pairs.begin(), pairs.end());
    if (pairs != "AIL") return false;
    letters = found;
    return true;
  }

  Orientation orientation_of(int64_t slice) const {
    Orientation result = orientation_;
    const double along = static_cast<double>(slice - extent_[0] / 2) * voxel_mm_[0];
    for (size_t i = 0; i < 3; ++i) result.centre_mm[i] = along * result.z_direction[i];
    return result;
  }

  hdf5::File file_;
  hdf5::BlockReader kspace_;
  std::optional<hdf5::BlockReader> maps_, target_;
  std::vector<std::string> masks_;
  int64_t extent_[5] = {};  ///< x, y, z, echoes, coils
  Vector3 voxel_mm_{};      ///< x, y, z
  Orientation orientation_;
};

}  // namespace

bool is_skm_tea(const hdf5::File& file) {
  const auto datasets = file.datasets();
  const auto has = [&](const char* name) {
    return std::find(datasets.begin(), datasets.end(), name) != datasets.end();
  };
  return has("kspace") && ((has("maps") && has("target")) || file.info("kspace").shape.size() == 5);
}

std::unique_ptr<ScanSource> open_skm_tea(hdf5::File file, const ScanOptions& options) {
  return std::make_unique<SkmTea>(std::move(file), options);
}

}  // namespace monarch::data
