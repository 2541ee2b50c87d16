// fastMRI HDF5 files.

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/array_scan.hpp"
#include "monarch/data/formats.hpp"
#include "monarch/data/ismrmrd_header.hpp"

namespace monarch::data {

namespace {

class FastMri final : public ArrayScan {
 public:
  FastMri(hdf5::File file, const ScanOptions& options)
      : ArrayScan(file.place("kspace"), options), file_(std::move(file)) {
    const hdf5::DatasetInfo info = file_.info("kspace");
    check<DataError>(info.kind == hdf5::Kind::complex && (info.shape.size() == 3 || info.shape.size() == 4), [&] {
      return fmt::format("{}: expected complex [slice, coil, readout, phase] or [slice, readout, phase], found {} {}",
                         name_, info.type, shape_text(info.shape));
    });
    check<DataError>(info.numel() > 0,
                     [&] { return fmt::format("{}: shape {} holds no samples", name_, shape_text(info.shape)); });
    coils_ = info.shape.size() == 4 ? info.shape[1] : 1;
    rows_ = info.shape[info.shape.size() - 2];
    columns_ = info.shape.back();
    for (int64_t slice = 0; slice < info.shape[0]; ++slice) images_.push_back({.slice = slice});
    read_header(options);
    read_mask();
  }

  std::optional<ImageSeries> reference() const override {
    for (const char* name : {"reconstruction_rss", "reconstruction_esc"}) {
      if (!file_.has_dataset(name)) continue;
      const hdf5::DatasetInfo info = file_.info(name);
      check<DataError>(info.shape.size() == 3 && info.kind == hdf5::Kind::real, [&] {
        return fmt::format("{}: expected float [slice, y, x], found {} {}", file_.place(name), info.type,
                           shape_text(info.shape));
      });
      ImageSeries series;
      series.pixels = file_.read(name).to(at::kFloat).unsqueeze(1);
      for (int64_t slice = 0; slice < info.shape[0]; ++slice) series.index.push_back({.slice = slice});
      series.orientation.resize(series.index.size());
      const Vector3& view = header_.recon.field_of_view_mm;
      series.field_of_view_mm = {view[1], view[0], view[2]};  // the image's y is the readout
      series.readout = ReadoutAxis::y;
      return series;
    }
    return std::nullopt;
  }

 protected:
  at::Tensor load(size_t image) const override {
    return file_.read("kspace", static_cast<int64_t>(image))
        .to(at::kComplexFloat)
        .reshape({coils_, 1, rows_, columns_});
  }

  at::Tensor acquired(const at::Tensor& samples) const override {
    if (columns_mask_.defined()) return columns_mask_.expand({1, rows_, columns_}).contiguous();
    // Whole columns: a lone zero in a readout says nothing.
    return at::view_as_real(samples).ne(0).any(-1).any(0).any(1, true).expand({1, rows_, columns_}).contiguous();
  }

 private:
  void read_header(const ScanOptions& options) {
    if (file_.has_dataset("ismrmrd_header")) {
      const std::string place = file_.place("ismrmrd_header");
      const IsmrmrdDocument document =
          parse_ismrmrd_header(file_.read_text("ismrmrd_header"), place, options.assume_recon_space_encoded);
      header_ = document.general;
      set_encoding(header_, document.encodings.front());
      check<DataError>(header_.trajectory == "cartesian", [&] {
        return fmt::format("{}: the trajectory is \"{}\"; only Cartesian scans are supported", place,
                           header_.trajectory);
      });
    } else {
      header_.encoded.matrix = header_.recon.matrix = {rows_, columns_, 1};
      header_.warnings.push_back("no ismrmrd_header: the image is not cropped, and voxel sizes are unknown");
    }
    header_.format = "fastMRI";
    header_.readout = ReadoutAxis::y;
    header_.coils = coils_;
    header_.volume = false;
    header_.encoded.matrix[2] = header_.recon.matrix[2] = 1;
    if (const auto protocol = file_.text_attribute("", "acquisition"); protocol && header_.protocol.empty())
      header_.protocol = *protocol;
    if (const auto factor = file_.number_attribute("", "acceleration")) header_.acceleration[0] = *factor;
    trust_shape();
  }

  /// The shape of the data wins over the header, whose matrix it may contradict.
  void trust_shape() {
    EncodingSpace& encoded = header_.encoded;
    if (encoded.matrix[0] == columns_ && encoded.matrix[1] == rows_ && rows_ != columns_) {
      header_.warnings.push_back(
          fmt::format("the header's readout and phase axes are the other way round than the data {}; swapped",
                      shape_text(std::vector<int64_t>{rows_, columns_})));
      for (EncodingSpace* space : {&header_.encoded, &header_.recon}) {
        std::swap(space->matrix[0], space->matrix[1]);
        std::swap(space->field_of_view_mm[0], space->field_of_view_mm[1]);
      }
      header_.limit_y.reset();
    }
    const int64_t found[2] = {rows_, columns_};
    for (size_t axis = 0; axis < 2; ++axis) {
      const int64_t stated = encoded.matrix[axis];
      if (stated == found[axis]) continue;
      header_.warnings.push_back(
          fmt::format("the header states {} samples along {}, the data has {}; the data is trusted", stated,
                      axis == 0 ? "the readout" : "the phase encode", found[axis]));
      encoded.matrix[axis] = found[axis];
      // A different length of the phase encode is zero padding or its removal: the field of view stays.
      if (axis == 0) encoded.field_of_view_mm[0] *= static_cast<double>(found[axis]) / static_cast<double>(stated);
    }
    EncodingSpace& recon = header_.recon;
    for (size_t axis = 0; axis < 2; ++axis) {
      if (recon.matrix[axis] > encoded.matrix[axis]) {
        header_.warnings.push_back(fmt::format("the image is to have {} pixels, but k-space only {}; cropped to these",
                                               recon.matrix[axis], encoded.matrix[axis]));
        recon.matrix[axis] = encoded.matrix[axis];
      }
      // The data set's images are centre crops in whole pixels, whatever the fields of view say.
      recon.field_of_view_mm[axis] = encoded.field_of_view_mm[axis] * static_cast<double>(recon.matrix[axis]) /
                                     static_cast<double>(encoded.matrix[axis]);
    }
  }

  void read_mask() {
    if (!file_.has_dataset("mask")) return;
    const hdf5::DatasetInfo info = file_.info("mask");
    check<DataError>(info.numel() == columns_ && info.kind != hdf5::Kind::text && info.kind != hdf5::Kind::other, [&] {
      return fmt::format("{}: expected {} values, one per phase-encode column, found {} {}", file_.place("mask"),
                         columns_, info.type, shape_text(info.shape));
    });
    columns_mask_ = file_.read("mask").reshape({1, 1, columns_}).ne(0);
    if (!header_.limit_y) return;
    // Columns beyond the encoding limits are padding that was never measured, whatever the mask says.
    const int64_t left = std::clamp<int64_t>(header_.encoded.matrix[1] / 2 - header_.limit_y->centre, 0, columns_);
    const int64_t right = std::clamp<int64_t>(left + header_.limit_y->maximum + 1, left, columns_);
    columns_mask_.narrow(2, 0, left).fill_(false);
    columns_mask_.narrow(2, right, columns_ - right).fill_(false);
  }

  hdf5::File file_;
  int64_t coils_ = 1, rows_ = 0, columns_ = 0;
  at::Tensor columns_mask_;  ///< [1, 1, column] bool, undefined without a mask in the file
};

}  // namespace

std::unique_ptr<ScanSource> open_fastmri(hdf5::File file, const ScanOptions& options) {
  return std::make_unique<FastMri>(std::move(file), options);
}

}  // namespace monarch::data
