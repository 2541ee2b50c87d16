#include "monarch/data/image_io.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <ismrmrd/xml.h>

#include <array>
#include <cstring>

#include "monarch/core/error.hpp"
#include "monarch/core/log.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/cfl.hpp"
#include "monarch/data/hdf5.hpp"
#include "monarch/data/image_ismrmrd.hpp"
#include "monarch/data/input_file.hpp"
#include "monarch/data/nifti.hpp"
#include "monarch/data/npy.hpp"
#include "monarch/data/png.hpp"

namespace monarch::data {

namespace {

constexpr std::array<const char*, 3> kFastmriImages{"reconstruction_rss", "reconstruction_esc", "reconstruction"};

std::string shape_of(const at::Tensor& t) {
  return shape_text({t.sizes().data(), t.sizes().size()});
}

/// A plain array as images: float32 or complex64, extents of the outer axes flattened.
ImageSeries series_of(const at::Tensor& array, const std::string& place) {
  check<DataError>(array.dim() >= 2 && array.numel() > 0, [&] {
    return fmt::format("{} has shape {}; an image needs at least [y, x]", place, shape_of(array));
  });
  ImageSeries series;
  const int64_t ny = array.size(-2), nx = array.size(-1), nz = array.dim() >= 4 ? array.size(-3) : 1;
  series.pixels = array.to(array.is_complex() ? at::kComplexFloat : at::kFloat).reshape({-1, nz, ny, nx}).contiguous();
  series.index.resize(static_cast<size_t>(series.pixels.size(0)));
  series.orientation.resize(series.index.size());
  for (size_t i = 0; i < series.index.size(); ++i) series.index[i].slice = static_cast<int64_t>(i);
  return series;
}

/// The pair's first three dimensions are x, y, z, even where they have extent 1.
ImageSeries load_cfl_images(const std::filesystem::path& path) {
  at::Tensor array = load_cfl(path);
  while (array.dim() < 4) array = array.unsqueeze(0);
  return series_of(array, path.string());
}

/// Field of view of a fastMRI reconstruction from the embedded header; {0, 0, 0} where there is none to be had.
Vector3 fastmri_field_of_view(const hdf5::File& file, int64_t ny, int64_t nx) {
  if (!file.has_dataset("ismrmrd_header")) return {0, 0, 0};
  try {
    ISMRMRD::IsmrmrdHeader header;
    ISMRMRD::deserialize(file.read_text("ismrmrd_header").c_str(), header);
    if (header.encoding.empty()) return {0, 0, 0};
    const ISMRMRD::EncodingSpace& space = header.encoding.front().reconSpace;
    if (space.matrixSize.x == 0 || space.matrixSize.y == 0) return {0, 0, 0};
    // Rows are the readout: image y is the header's x. Cropping keeps the voxel size.
    const double step_y = static_cast<double>(space.fieldOfView_mm.x) / space.matrixSize.x;
    const double step_x = static_cast<double>(space.fieldOfView_mm.y) / space.matrixSize.y;
    return {step_x * static_cast<double>(nx), step_y * static_cast<double>(ny), space.fieldOfView_mm.z};
  } catch (const std::exception& error) {
    log::warning(fmt::format("{} cannot be used ({}): the field of view stays unknown", file.place("ismrmrd_header"),
                             error.what()));
    return {0, 0, 0};
  }
}

ImageSeries load_fastmri_images(const std::filesystem::path& path, const std::string& variable) {
  const hdf5::File file = hdf5::File::open(path);
  std::string chosen = variable;
  for (const char* name : kFastmriImages)
    if (chosen.empty() && file.has_dataset(name)) chosen = name;
  check<DataError>(
      !chosen.empty() && file.has_dataset(chosen),
      [&] { return fmt::format("{} holds no images '{}'", path.string(), chosen); },
      "fastMRI files name them reconstruction_rss, reconstruction_esc or reconstruction");
  const at::Tensor array = file.read(chosen);
  check<DataError>(array.dim() == 2 || array.dim() == 3, [&] {
    return fmt::format("{} has shape {}, expected [slice, row, column]", file.place(chosen), shape_of(array));
  });
  ImageSeries series = series_of(array, file.place(chosen));
  series.readout = ReadoutAxis::y;
  series.field_of_view_mm = fastmri_field_of_view(file, series.pixels.size(2), series.pixels.size(3));
  return series;
}

bool is_cfl_pair(const std::filesystem::path& path) {
  try {
    open_cfl_pair(path);
    return true;
  } catch (const DataError&) {
    return false;
  }
}

bool starts_like_nifti(const std::string& prefix) {
  if (prefix.size() >= 2 && prefix[0] == '\x1f' && prefix[1] == '\x8b') return true;  // the only gzip format here
  int32_t size = 0;
  if (prefix.size() < sizeof size) return false;
  std::memcpy(&size, prefix.data(), sizeof size);
  return size == 348 || size == 540 || size == 0x5c010000 || size == 0x1c020000;  // either byte order
}

}  // namespace

std::string name(ImageFormat format) {
  switch (format) {
    case ImageFormat::ismrmrd:
      return "ISMRMRD images";
    case ImageFormat::fastmri:
      return "fastMRI";
    case ImageFormat::nifti:
      return "NIfTI";
    case ImageFormat::npy:
      return "NumPy";
    case ImageFormat::cfl:
      return "BART cfl";
    case ImageFormat::png:
      return "PNG";
    case ImageFormat::none:
      break;
  }
  return "";
}

ImageFormat detect_images(const std::filesystem::path& path) {
  const auto extension = path.extension();
  std::error_code ignored;
  if (extension == ".cfl" || extension == ".hdr" || !std::filesystem::exists(path, ignored))
    if (is_cfl_pair(path)) return ImageFormat::cfl;
  check_input_file(path);
  const std::string prefix = read_prefix(path, 16);
  if (prefix.starts_with("\x93NUMPY")) return ImageFormat::npy;
  if (prefix.starts_with("\x89PNG")) return ImageFormat::png;
  if (hdf5::has_signature(path)) {
    try {
      if (!ismrmrd_image_variables(path).empty()) return ImageFormat::ismrmrd;
      const hdf5::File file = hdf5::File::open(path);
      for (const char* name : kFastmriImages)
        if (file.has_dataset(name)) return ImageFormat::fastmri;
    } catch (const DataError&) {  // damaged: whoever reads it says how
    }
    return ImageFormat::none;
  }
  return starts_like_nifti(prefix) ? ImageFormat::nifti : ImageFormat::none;
}

ImageSeries load_images(const std::filesystem::path& path, const std::string& variable) {
  switch (detect_images(path)) {
    case ImageFormat::ismrmrd:
      return load_ismrmrd_images(path, variable);
    case ImageFormat::fastmri:
      return load_fastmri_images(path, variable);
    case ImageFormat::nifti:
      return load_nifti(path);
    case ImageFormat::npy:
      return series_of(load_npy(path), path.string());
    case ImageFormat::cfl:
      return load_cfl_images(path);
    case ImageFormat::png:
      return series_of(load_png(path), path.string());
    case ImageFormat::none:
      break;
  }
  if (hdf5::has_signature(path)) hdf5::File::open(path);  // a damaged file says so itself
  fail<DataError>(path.string() + " holds no images in a known format",
                  "known are ISMRMRD images, fastMRI reconstructions, NIfTI, NumPy, BART cfl and PNG; a raw scan is "
                  "reconstructed with monarch recon");
}

std::string ImageIndex::text() const {
  std::string result;
  const auto add = [&result](const char* name, int64_t value) {
    if (value != 0) result += fmt::format("{}{} {}", result.empty() ? "" : ", ", name, value);
  };
  add("slice", slice);
  add("contrast", contrast);
  add("phase", phase);
  add("repetition", repetition);
  add("set", set);
  return result.empty() ? "slice 0" : result;
}

}  // namespace monarch::data
