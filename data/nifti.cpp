// Reading and writing NIfTI files. Headers go through libnifti2; bytes are moved here, so that every length is
// checked before memory is taken and every failed write is seen.

#include "monarch/data/nifti.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <nifti2_io.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "monarch/core/error.hpp"
#include "monarch/core/log.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/input_file.hpp"

namespace monarch::data {

namespace {

struct StreamCloser {
  void operator()(znzFile file) const { znzclose(file); }
};
using Stream = std::unique_ptr<znzptr, StreamCloser>;

struct ImageFreer {
  void operator()(nifti_image* image) const { nifti_image_free(image); }
};
using Image = std::unique_ptr<nifti_image, ImageFreer>;

nifti_dmat44 matrix_of(const Affine& a) {
  nifti_dmat44 m{};
  for (size_t row = 0; row < 3; ++row)
    for (size_t column = 0; column < 4; ++column) m.m[row][column] = a[row][column];
  m.m[3][3] = 1;
  return m;
}

bool ends_with_gz(const std::filesystem::path& path) {
  return path.extension() == ".gz";
}

nifti_1_header make_header(const NiftiVolume& volume, const std::string& description) {
  const at::Tensor& t = volume.pixels;
  const int64_t dims[8] = {t.size(0) > 1 ? 4 : 3, t.size(3), t.size(2), t.size(1), t.size(0), 1, 1, 1};
  Image image(nifti_make_new_nim(dims, t.is_complex() ? DT_COMPLEX64 : DT_FLOAT32, 0));
  check<BackendError>(image != nullptr, "libnifti2 cannot make an image header");
  image->nifti_type = NIFTI_FTYPE_NIFTI1_1;
  image->iname_offset = 352;
  image->pixdim[1] = image->dx = volume.voxel_mm[0];
  image->pixdim[2] = image->dy = volume.voxel_mm[1];
  image->pixdim[3] = image->dz = volume.voxel_mm[2];
  image->pixdim[4] = image->dt = volume.repetition_time_s;
  image->xyz_units = NIFTI_UNITS_MM;
  image->time_units = NIFTI_UNITS_SEC;
  image->scl_slope = 1;
  image->qfac = 1;
  if (volume.oriented) {
    image->sform_code = NIFTI_XFORM_SCANNER_ANAT;
    image->sto_xyz = matrix_of(volume.affine);
    if (volume.orthogonal) {
      image->qform_code = NIFTI_XFORM_SCANNER_ANAT;
      double dx, dy, dz;  // voxel sizes again, from the matrix
      nifti_dmat44_to_quatern(image->sto_xyz, &image->quatern_b, &image->quatern_c, &image->quatern_d,
                              &image->qoffset_x, &image->qoffset_y, &image->qoffset_z, &dx, &dy, &dz, &image->qfac);
    }
  }
  std::snprintf(image->descrip, sizeof image->descrip, "%s", description.c_str());
  nifti_1_header header{};
  check<BackendError>(nifti_convert_nim2n1hdr(image.get(), &header) == 0, "libnifti2 cannot convert an image header");
  header.pixdim[0] = static_cast<float>(image->qfac);
  return header;
}

/// What a header promises, in either version and byte order, before libnifti2 sees it.
struct Promise {
  int version = 0;
  int64_t dims[8] = {};
  int64_t offset = 0;
  int datatype = 0;
  bool separate_data = false;
};

template <class Header>
Promise promise_of(Header header, int version, bool swap) {
  if (swap) {
    if constexpr (sizeof(Header) == sizeof(nifti_1_header)) {
      nifti_swap_as_nifti1(&header);
    } else {
      nifti_swap_as_nifti2(&header);
    }
  }
  Promise p;
  p.version = version;
  for (int i = 0; i < 8; ++i) p.dims[i] = header.dim[i];
  const double offset = static_cast<double>(header.vox_offset);
  p.offset = offset >= 0 && offset < 1e15 ? static_cast<int64_t>(offset) : -1;
  p.datatype = header.datatype;
  p.separate_data = header.magic[0] == 'n' && header.magic[1] == 'i';
  return p;
}

void read_exactly(znzFile file, void* to, size_t bytes, const std::filesystem::path& path, const char* what) {
  const size_t found = bytes ? znzread(to, 1, bytes, file) : 0;
  check<DataError>(
      found == bytes,
      [&] { return fmt::format("{}: the {} ends after {} of {} bytes", path.string(), what, found, bytes); },
      "the file is truncated or damaged; compare its size with the original");
}

template <class T>
void convert(const std::vector<std::byte>& bytes, double slope, double intercept, float* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, bytes.data() + static_cast<size_t>(i) * sizeof(T), sizeof(T));
    out[i] = static_cast<float>(slope * static_cast<double>(value) + intercept);
  }
}

/// Bytes in the machine's order to float32; `count` numbers (two per complex value).
void convert_all(int datatype, const std::vector<std::byte>& bytes, double slope, double intercept, float* out,
                 int64_t count, const std::filesystem::path& path) {
  switch (datatype) {
    case DT_UINT8:
      return convert<uint8_t>(bytes, slope, intercept, out, count);
    case DT_INT8:
      return convert<int8_t>(bytes, slope, intercept, out, count);
    case DT_INT16:
      return convert<int16_t>(bytes, slope, intercept, out, count);
    case DT_UINT16:
      return convert<uint16_t>(bytes, slope, intercept, out, count);
    case DT_INT32:
      return convert<int32_t>(bytes, slope, intercept, out, count);
    case DT_UINT32:
      return convert<uint32_t>(bytes, slope, intercept, out, count);
    case DT_INT64:
      return convert<int64_t>(bytes, slope, intercept, out, count);
    case DT_UINT64:
      return convert<uint64_t>(bytes, slope, intercept, out, count);
    case DT_FLOAT32:
    case DT_COMPLEX64:
      return convert<float>(bytes, slope, intercept, out, count);
    case DT_FLOAT64:
    case DT_COMPLEX128:
      return convert<double>(bytes, slope, intercept, out, count);
    default:
      fail<DataError>(fmt::format("{}: NIfTI data type {} ({}) is not an image of numbers", path.string(), datatype,
                                  nifti_datatype_string(datatype)),
                      "convert it to a grey-scale type such as float32");
  }
}

/// Place in the patient from the voxel -> RAS matrix.
Orientation orientation_of(const nifti_dmat44& m, const Extent3& matrix, Vector3* step) {
  Orientation o;
  double length[3] = {0, 0, 0};
  Vector3* directions[3] = {&o.x_direction, &o.y_direction, &o.z_direction};
  for (size_t axis = 0; axis < 3; ++axis) {
    for (size_t row = 0; row < 3; ++row) length[axis] += m.m[row][axis] * m.m[row][axis];
    length[axis] = std::sqrt(length[axis]);
  }
  if (!(length[0] > 0 && length[1] > 0 && length[2] > 0) || !std::isfinite(length[0] + length[1] + length[2])) return o;
  for (size_t row = 0; row < 3; ++row) {
    const double sign = row < 2 ? -1 : 1;  // RAS -> LPS
    double centre = m.m[row][3];
    for (size_t axis = 0; axis < 3; ++axis) {
      (*directions[axis])[row] = sign * m.m[row][axis] / length[axis];
      centre += m.m[row][axis] * static_cast<double>(matrix[axis] / 2);
    }
    o.centre_mm[row] = sign * centre;
  }
  *step = {length[0], length[1], length[2]};
  o.known = true;
  return o;
}

}  // namespace

void save_nifti(const std::filesystem::path& path, const NiftiVolume& volume, const std::string& description) {
  const at::Tensor pixels = volume.pixels.contiguous();
  check<ShapeError>(pixels.dim() == 4 && pixels.numel() > 0, "a NIfTI volume needs pixels [volume, z, y, x]");
  check<DtypeError>(pixels.scalar_type() == at::kFloat || pixels.scalar_type() == at::kComplexFloat,
                    "a NIfTI volume needs float32 or complex64 pixels");
  for (const int64_t extent : pixels.sizes())
    check<ShapeError>(extent <= 32767, [&] {
      return fmt::format("{}: extent {} is too large for NIfTI-1 (32767)", path.string(), extent);
    });
  const nifti_1_header header = make_header(volume, description);

  const bool compress = ends_with_gz(path);
  Stream file(znzopen(path.c_str(), compress ? "wb1" : "wb", compress));  // noise hardly shrinks at higher levels
  check<DataError>(file != nullptr,
                   [&] { return fmt::format("cannot write {}: {}", path.string(), std::strerror(errno)); });
  const char no_extensions[4] = {0, 0, 0, 0};
  const size_t bytes = pixels.nbytes();
  bool written = znzwrite(&header, 1, sizeof header, file.get()) == sizeof header;
  written = written && znzwrite(no_extensions, 1, sizeof no_extensions, file.get()) == sizeof no_extensions;
  written = written && znzwrite(pixels.const_data_ptr(), 1, bytes, file.get()) == bytes;
  znzFile raw = file.release();
  written = znzclose(raw) == 0 && written;
  check<DataError>(
      written, [&] { return fmt::format("cannot write {}: {}", path.string(), std::strerror(errno)); },
      "is the disk full?");
}

ImageSeries load_nifti(const std::filesystem::path& path) {
  const uint64_t file_bytes = check_input_file(path);
  nifti_set_debug_level(0);                     // messages are ours
  Stream file(znzopen(path.c_str(), "rb", 1));  // reads plain files as well
  check<DataError>(file != nullptr,
                   [&] { return fmt::format("cannot open {}: {}", path.string(), std::strerror(errno)); });

  nifti_2_header header2{};
  nifti_1_header header1{};
  int32_t size = 0;
  read_exactly(file.get(), &size, sizeof size, path, "header");
  int32_t swapped = size;
  nifti_swap_Nbytes(1, 4, &swapped);
  const bool first = size == 348 || swapped == 348, second = size == 540 || swapped == 540;
  check<DataError>(first || second, [&] {
    return fmt::format("{} is not a NIfTI file: header size {}, expected 348 or 540", path.string(), size);
  });
  const bool swap = swapped == 348 || swapped == 540;
  char* const raw = first ? reinterpret_cast<char*>(&header1) : reinterpret_cast<char*>(&header2);
  const int64_t header_bytes = first ? 348 : 540;
  std::memcpy(raw, &size, sizeof size);
  read_exactly(file.get(), raw + sizeof size, static_cast<size_t>(header_bytes) - sizeof size, path, "header");
  const Promise promise = first ? promise_of(header1, 1, swap) : promise_of(header2, 2, swap);

  check<DataError>(
      !promise.separate_data, [&] { return fmt::format("{} keeps its data in a second file (.img)", path.string()); },
      "convert the pair to a single .nii file");
  check<DataError>(promise.dims[0] >= 1 && promise.dims[0] <= 7,
                   [&] { return fmt::format("{}: {} dimensions, expected 1 to 7", path.string(), promise.dims[0]); });
  int bytes_each = 0, swap_unit = 0;
  nifti_datatype_sizes(promise.datatype, &bytes_each, &swap_unit);
  check<DataError>(bytes_each > 0,
                   [&] { return fmt::format("{}: NIfTI data type {} is not known", path.string(), promise.datatype); });
  // Deflate packs at most 1032:1, so no file can hold more than this.
  const double most_bytes = 1040.0 * static_cast<double>(file_bytes);
  double total = bytes_each;
  for (int i = 1; i <= promise.dims[0]; ++i) {
    check<DataError>(promise.dims[i] >= 1,
                     [&] { return fmt::format("{}: dimension {} has extent {}", path.string(), i, promise.dims[i]); });
    total *= static_cast<double>(promise.dims[i]);
  }
  check<DataError>(
      total <= most_bytes && promise.offset >= header_bytes && static_cast<double>(promise.offset) <= most_bytes,
      [&] {
        return fmt::format("{}: the header promises {} of voxels from byte {} on, too much for a file of {}",
                           path.string(), bytes_text(total), promise.offset,
                           bytes_text(static_cast<double>(file_bytes)));
      },
      "the header is damaged");

  Image image(first ? nifti_convert_n1hdr2nim(header1, path.c_str()) : nifti_convert_n2hdr2nim(header2, path.c_str()));
  check<DataError>(image != nullptr, [&] { return fmt::format("{}: libnifti2 refuses the header", path.string()); });
  std::vector<std::byte> bytes(1 << 16);
  for (int64_t skip = promise.offset - header_bytes; skip > 0;) {
    const auto step = std::min<int64_t>(skip, static_cast<int64_t>(bytes.size()));
    read_exactly(file.get(), bytes.data(), static_cast<size_t>(step), path, "header extension");
    skip -= step;
  }
  bytes.clear();
  for (const auto whole = static_cast<size_t>(total); bytes.size() < whole;) {  // memory grows with what really arrives
    const size_t before = bytes.size(), step = std::min<size_t>(whole - before, size_t{1} << 24);
    bytes.resize(before + step);
    read_exactly(file.get(), bytes.data() + before, step, path, "image");
  }
  if (swap && swap_unit > 1) nifti_swap_Nbytes(static_cast<int64_t>(bytes.size()) / swap_unit, swap_unit, bytes.data());

  const auto extent = [&](int i) { return i <= promise.dims[0] ? promise.dims[i] : int64_t{1}; };
  const Extent3 matrix{extent(1), extent(2), extent(3)};
  const int64_t images = extent(4) * extent(5) * extent(6) * extent(7);
  const bool complex = promise.datatype == DT_COMPLEX64 || promise.datatype == DT_COMPLEX128;
  const bool scaled = std::isfinite(image->scl_slope) && image->scl_slope != 0;
  ImageSeries series;
  series.pixels = at::empty({images, matrix[2], matrix[1], matrix[0]}, complex ? at::kComplexFloat : at::kFloat);
  convert_all(promise.datatype, bytes, scaled ? image->scl_slope : 1,
              scaled && std::isfinite(image->scl_inter) ? image->scl_inter : 0,
              static_cast<float*>(series.pixels.data_ptr()), series.pixels.numel() * (complex ? 2 : 1), path);

  const bool sform = image->sform_code > 0;
  Orientation orientation;
  Vector3 step{std::abs(image->dx), std::abs(image->dy), std::abs(image->dz)};
  if (sform || image->qform_code > 0)
    orientation = orientation_of(sform ? image->sto_xyz : image->qto_xyz, matrix, &step);
  const double to_mm = image->xyz_units == NIFTI_UNITS_METER    ? 1000
                       : image->xyz_units == NIFTI_UNITS_MICRON ? 0.001
                                                                : 1;
  for (size_t axis = 0; axis < 3; ++axis) {
    if (!(std::isfinite(step[axis]) && step[axis] > 0)) step[axis] = 0;
    series.field_of_view_mm[axis] = step[axis] * to_mm * static_cast<double>(matrix[axis]);
    orientation.centre_mm[axis] *= to_mm;
  }
  for (int64_t i = 0; i < images; ++i) {
    ImageIndex index;
    index.repetition = i;
    series.index.push_back(index);
    series.orientation.push_back(orientation);
  }
  return series;
}

}  // namespace monarch::data
