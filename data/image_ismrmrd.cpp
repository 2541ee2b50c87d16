#include "monarch/data/image_ismrmrd.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <hdf5.h>
#include <ismrmrd/dataset.h>
#include <ismrmrd/ismrmrd.h>
#include <ismrmrd/meta.h>

#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "monarch/core/error.hpp"
#include "monarch/core/log.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/hdf5.hpp"

namespace monarch::data {

namespace {

// A file that could not be flushed (full disk) stays open inside the library, whose clean-up at exit then crashes
// (HDF5 1.10). Every file is closed explicitly, so the clean-up is not needed; it must be refused before first use.
[[maybe_unused]] const herr_t without_exit_handler = H5dont_atexit();

std::string shape_of(const at::Tensor& t) {
  return shape_text({t.sizes().data(), t.sizes().size()});
}

void check_writable(const ImageSeries& series) {
  check<ShapeError>(series.pixels.defined() && series.pixels.dim() == 4 && series.pixels.numel() > 0 &&
                        series.pixels.size(0) == series.size() && series.orientation.size() == series.index.size() &&
                        (series.time_stamp.empty() || series.time_stamp.size() == series.index.size()),
                    [&] {
                      return fmt::format(
                          "a series needs pixels [image, z, y, x] with an index and an orientation per "
                          "image; found {} with {} and {}",
                          series.pixels.defined() ? shape_of(series.pixels) : "no pixels", series.index.size(),
                          series.orientation.size());
                    });
  check<DtypeError>(series.pixels.scalar_type() == at::kFloat || series.pixels.scalar_type() == at::kComplexFloat,
                    "ISMRMRD images are written from float32 or complex64 pixels");
  for (int64_t axis = 1; axis < 4; ++axis)
    check<ShapeError>(series.pixels.size(axis) <= 65535, [&] {
      return fmt::format("images {} are too large for ISMRMRD (65535 per axis)", shape_of(series.pixels));
    });
  for (const ImageIndex& i : series.index)
    for (const int64_t counter : {i.slice, i.contrast, i.phase, i.repetition, i.set})
      check<ShapeError>(counter >= 0 && counter <= 65535,
                        [&] { return fmt::format("image counter {} does not fit ISMRMRD's 16 bits", counter); });
}

std::string meta_text(const ImageSeries& series, const IsmrmrdImageOptions& options) {
  ISMRMRD::MetaContainer meta;
  meta.set("ReadoutAxis", series.readout == ReadoutAxis::x ? "x" : "y");
  for (const auto& [key, value] : options.meta) meta.set(key.c_str(), value.c_str());
  std::stringstream text;
  ISMRMRD::serialize(meta, text);
  return text.str();
}

uint16_t series_number(const std::string& variable) {
  const size_t at = variable.rfind('_');
  if (at == std::string::npos) return 0;
  const long number = std::strtol(variable.c_str() + at + 1, nullptr, 10);
  return number > 0 && number <= 65535 ? static_cast<uint16_t>(number) : 0;
}

template <class T>
void append_images(ISMRMRD::Dataset& dataset, const ImageSeries& series, const IsmrmrdImageOptions& options,
                   ISMRMRD::ISMRMRD_ImageTypes type) {
  const at::Tensor pixels = series.pixels.contiguous();  // [image, z, y, x]
  const auto nz = static_cast<uint16_t>(pixels.size(1)), ny = static_cast<uint16_t>(pixels.size(2)),
             nx = static_cast<uint16_t>(pixels.size(3));
  const size_t count = static_cast<size_t>(nz) * ny * nx;
  const std::string meta = meta_text(series, options);
  const T* source = static_cast<const T*>(pixels.const_data_ptr());
  for (int64_t i = 0; i < series.size(); ++i) {
    const auto k = static_cast<size_t>(i);
    ISMRMRD::Image<T> image(nx, ny, nz, 1);
    std::memcpy(static_cast<void*>(image.getDataPtr()), source + k * count, count * sizeof(T));
    const auto& fov = series.field_of_view_mm;
    image.setFieldOfView(static_cast<float>(fov[0]), static_cast<float>(fov[1]), static_cast<float>(fov[2]));
    const Orientation& o = series.orientation[k];
    const auto f = [&](const Vector3& v, size_t axis) { return static_cast<float>(v[axis]); };
    if (o.known) {
      image.setPosition(f(o.centre_mm, 0), f(o.centre_mm, 1), f(o.centre_mm, 2));
      image.setReadDirection(f(o.x_direction, 0), f(o.x_direction, 1), f(o.x_direction, 2));
      image.setPhaseDirection(f(o.y_direction, 0), f(o.y_direction, 1), f(o.y_direction, 2));
      image.setSliceDirection(f(o.z_direction, 0), f(o.z_direction, 1), f(o.z_direction, 2));
      const Vector3& table = o.table_position_mm;
      image.setPatientTablePosition(f(table, 0), f(table, 1), f(table, 2));
    }
    const ImageIndex& index = series.index[k];
    image.setSlice(static_cast<uint16_t>(index.slice));
    image.setContrast(static_cast<uint16_t>(index.contrast));
    image.setPhase(static_cast<uint16_t>(index.phase));
    image.setRepetition(static_cast<uint16_t>(index.repetition));
    image.setSet(static_cast<uint16_t>(index.set));
    image.setImageType(static_cast<uint16_t>(type));
    image.setImageIndex(static_cast<uint16_t>((i + 1) & 0xffff));
    image.setImageSeriesIndex(series_number(options.variable));
    if (!series.time_stamp.empty()) image.setAcquisitionTimeStamp(series.time_stamp[k]);
    image.setAttributeString(meta);
    dataset.appendImage(options.variable, image);
  }
}

/// The members of ISMRMRD's image header that matter here, in the machine's own layout.
struct HeaderFields {
  uint16_t matrix_size[3] = {};
  float field_of_view[3] = {}, position[3] = {}, read_dir[3] = {}, phase_dir[3] = {}, slice_dir[3] = {};
  float patient_table_position[3] = {};
  uint16_t slice = 0, contrast = 0, phase = 0, repetition = 0, set = 0;
  uint32_t acquisition_time_stamp = 0;
};

using hdf5::Handle;
int close_type(int64_t id) {
  return H5Tclose(id);
}
int close_space(int64_t id) {
  return H5Sclose(id);
}

/// Memory type with those members that the file's compound has with a matching shape; the library converts numbers.
Handle header_type(int64_t file_type) {
  struct Member {
    const char* name;
    size_t offset;
    int64_t type;
    hsize_t count;
  };
  const Member members[] = {
      {"matrix_size", offsetof(HeaderFields, matrix_size), H5T_NATIVE_UINT16, 3},
      {"field_of_view", offsetof(HeaderFields, field_of_view), H5T_NATIVE_FLOAT, 3},
      {"position", offsetof(HeaderFields, position), H5T_NATIVE_FLOAT, 3},
      {"read_dir", offsetof(HeaderFields, read_dir), H5T_NATIVE_FLOAT, 3},
      {"phase_dir", offsetof(HeaderFields, phase_dir), H5T_NATIVE_FLOAT, 3},
      {"slice_dir", offsetof(HeaderFields, slice_dir), H5T_NATIVE_FLOAT, 3},
      {"patient_table_position", offsetof(HeaderFields, patient_table_position), H5T_NATIVE_FLOAT, 3},
      {"slice", offsetof(HeaderFields, slice), H5T_NATIVE_UINT16, 0},
      {"contrast", offsetof(HeaderFields, contrast), H5T_NATIVE_UINT16, 0},
      {"phase", offsetof(HeaderFields, phase), H5T_NATIVE_UINT16, 0},
      {"repetition", offsetof(HeaderFields, repetition), H5T_NATIVE_UINT16, 0},
      {"set", offsetof(HeaderFields, set), H5T_NATIVE_UINT16, 0},
      {"acquisition_time_stamp", offsetof(HeaderFields, acquisition_time_stamp), H5T_NATIVE_UINT32, 0}};
  Handle type(H5Tcreate(H5T_COMPOUND, sizeof(HeaderFields)), close_type);
  int inserted = 0;
  for (const Member& m : members) {
    const int index = H5Tget_member_index(file_type, m.name);
    if (index < 0) continue;
    const Handle stored(H5Tget_member_type(file_type, static_cast<unsigned>(index)), close_type);
    const H5T_class_t stored_class = H5Tget_class(stored.get());
    if (m.count == 0) {
      if (stored_class != H5T_INTEGER) continue;
      H5Tinsert(type.get(), m.name, m.offset, m.type);
    } else {
      hsize_t extents[H5S_MAX_RANK] = {};
      if (stored_class != H5T_ARRAY || H5Tget_array_ndims(stored.get()) != 1) continue;
      H5Tget_array_dims2(stored.get(), extents);
      if (extents[0] != m.count) continue;
      const Handle element(H5Tget_super(stored.get()), close_type);
      const H5T_class_t element_class = H5Tget_class(element.get());
      if (element_class != H5T_INTEGER && element_class != H5T_FLOAT) continue;
      const Handle array(H5Tarray_create2(m.type, 1, &m.count), close_type);
      H5Tinsert(type.get(), m.name, m.offset, array.get());
    }
    ++inserted;
  }
  return inserted ? std::move(type) : Handle();
}

std::vector<HeaderFields> read_headers(const hdf5::File& file, const std::string& path, int64_t expected) {
  const Handle dataset = file.dataset(path);
  const Handle stored(H5Dget_type(dataset.get()), close_type);
  check<DataError>(H5Tget_class(stored.get()) == H5T_COMPOUND,
                   [&] { return file.place(path) + " is not a table of ISMRMRD image headers"; });
  const Handle space(H5Dget_space(dataset.get()), close_space);
  const int64_t count = H5Sget_simple_extent_npoints(space.get());
  check<DataError>(
      count == expected,
      [&] { return fmt::format("{} holds {} image headers, the data {} images", file.place(path), count, expected); },
      "the file was cut while it was written, or written by a broken program");
  const Handle type = header_type(stored.get());
  check<DataError>(bool(type), [&] { return file.place(path) + " holds no field of an ISMRMRD image header"; });
  std::vector<HeaderFields> headers(static_cast<size_t>(count));
  check<DataError>(H5Dread(dataset.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, headers.data()) >= 0,
                   [&] { return fmt::format("{} cannot be read: {}", file.place(path), hdf5::library_reason()); });
  return headers;
}

/// The attribute string of the first image; "" where there is none that can be read.
std::string first_attributes(const hdf5::File& file, const std::string& path) {
  if (!file.has_dataset(path)) return {};
  const Handle dataset = file.dataset(path);
  const Handle stored(H5Dget_type(dataset.get()), close_type);
  const Handle space(H5Dget_space(dataset.get()), close_space);
  if (H5Tis_variable_str(stored.get()) <= 0 || H5Sget_simple_extent_ndims(space.get()) != 1 ||
      H5Sget_simple_extent_npoints(space.get()) < 1)
    return {};
  const hsize_t zero = 0, one = 1;
  H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, &zero, nullptr, &one, nullptr);
  const Handle memory(H5Screate_simple(1, &one, nullptr), close_space);
  hdf5::VariableLengthMemory texts(file.size_bytes());
  char* text = nullptr;
  if (H5Dread(dataset.get(), stored.get(), memory.get(), space.get(), texts.transfer_properties(), &text) < 0)
    return {};
  return text ? text : "";
}

ReadoutAxis readout_of(const std::string& attributes) {
  if (attributes.find("ReadoutAxis") == std::string::npos) return ReadoutAxis::x;
  try {
    ISMRMRD::MetaContainer meta;
    ISMRMRD::deserialize(attributes.c_str(), meta);
    return std::strcmp(meta.as_str("ReadoutAxis"), "y") == 0 ? ReadoutAxis::y : ReadoutAxis::x;
  } catch (const std::exception&) {  // foreign text that only looks like ours
    return ReadoutAxis::x;
  }
}

Orientation orientation_of(const HeaderFields& h) {
  const auto vector = [](const float* v) { return Vector3{v[0], v[1], v[2]}; };
  const auto given = [](const float* v) { return v[0] * v[0] + v[1] * v[1] + v[2] * v[2] > 0.25f; };
  Orientation o;
  if (!(given(h.read_dir) && given(h.phase_dir) && given(h.slice_dir))) return o;
  o.centre_mm = vector(h.position);
  o.x_direction = vector(h.read_dir);
  o.y_direction = vector(h.phase_dir);
  o.z_direction = vector(h.slice_dir);
  o.table_position_mm = vector(h.patient_table_position);
  o.known = true;
  return o;
}

void find_variables(const hdf5::File& file, const std::string& group, int depth, std::vector<std::string>* found) {
  if (depth > 4 || found->size() > 10000) return;
  if (!group.empty() && file.has_dataset(group + "/header") && file.has_dataset(group + "/data") &&
      file.info(group + "/data").shape.size() == 5)
    found->push_back(group);
  for (const std::string& child : file.groups(group))
    find_variables(file, group.empty() ? child : group + "/" + child, depth + 1, found);
}

std::vector<std::string> variables(const hdf5::File& file) {
  std::vector<std::string> found;
  find_variables(file, {}, 0, &found);
  return found;
}

}  // namespace

void save_ismrmrd_images(const std::filesystem::path& path, const ImageSeries& series,
                         const IsmrmrdImageOptions& options) {
  check_writable(series);
  check<DataError>(
      !std::filesystem::exists(path), [&] { return path.string() + " exists already"; },
      "images are written to a new file only");
  hdf5::silence_library();
  ISMRMRD::ismrmrd_set_error_handler([](const char*, int, const char*, int, const char*) {});  // thrown below instead
  try {
    ISMRMRD::Dataset dataset(path.c_str(), options.group.c_str(), true);
    if (!options.header_xml.empty()) dataset.writeHeader(options.header_xml);
    if (series.pixels.is_complex()) {
      append_images<complex_float_t>(dataset, series, options, ISMRMRD::ISMRMRD_IMTYPE_COMPLEX);
    } else {
      append_images<float>(dataset, series, options, ISMRMRD::ISMRMRD_IMTYPE_MAGNITUDE);
    }
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    fail<DataError>(fmt::format("cannot write ISMRMRD images to {}: {}", path.string(), error.what()),
                    "is there room on the disk, and may this folder be written?");
  }
}

std::vector<std::string> ismrmrd_image_variables(const std::filesystem::path& path) {
  if (!hdf5::has_signature(path)) return {};
  return variables(hdf5::File::open(path));
}

ImageSeries load_ismrmrd_images(const std::filesystem::path& path, const std::string& variable) {
  const hdf5::File file = hdf5::File::open(path);
  const std::vector<std::string> found = variables(file);
  check<DataError>(
      !found.empty(), [&] { return path.string() + " holds no ISMRMRD images (a group with header and data)"; },
      "raw scans are reconstructed first: monarch recon");
  std::string chosen = variable;
  if (variable.empty()) {
    chosen = found.front();
    if (found.size() > 1)
      log::warning(fmt::format("{} holds {} image variables; reading {}", path.string(), found.size(), chosen));
  } else {
    const auto matches = [&](const std::string& name) {  // "image_0" is enough for "dataset/image_0"
      return name == variable || (name.size() > variable.size() && name.ends_with("/" + variable));
    };
    const auto match = std::find_if(found.begin(), found.end(), matches);
    check<DataError>(
        match != found.end(), [&] { return fmt::format("{} holds no images '{}'", path.string(), variable); },
        "there are: " + join_or(found));
    chosen = *match;
  }
  const hdf5::DatasetInfo info = file.info(chosen + "/data");
  const std::string place = file.place(chosen + "/data");
  check<DataError>(
      info.kind == hdf5::Kind::integer || info.kind == hdf5::Kind::real || info.kind == hdf5::Kind::complex,
      [&] { return fmt::format("{} holds {}, expected numbers", place, info.type); });
  check<DataError>(
      info.numel() > 0 && info.shape[1] == 1,
      [&] {
        return fmt::format(
            "{} has shape {} [image, channel, z, y, x]; expected one channel and at least "
            "one pixel",
            place, shape_text(info.shape));
      },
      "combine the channels first");
  const std::vector<HeaderFields> headers = read_headers(file, chosen + "/header", info.shape[0]);
  ImageSeries series;
  series.pixels = file.read(chosen + "/data").squeeze(1);
  series.pixels = series.pixels.to(series.pixels.is_complex() ? at::kComplexFloat : at::kFloat).contiguous();
  series.readout = readout_of(first_attributes(file, chosen + "/attributes"));
  for (const HeaderFields& h : headers) {
    series.index.push_back({h.slice, h.contrast, h.phase, h.repetition, h.set});
    series.orientation.push_back(orientation_of(h));
    series.time_stamp.push_back(h.acquisition_time_stamp);
    if (h.matrix_size[0] != info.shape[4] || h.matrix_size[1] != info.shape[3] || h.matrix_size[2] != info.shape[2])
      log::warning_once(fmt::format(
          "{}: headers say {} x {} x {} pixels, the data has {} x {} x {} (x, y, z); the data counts", place,
          h.matrix_size[0], h.matrix_size[1], h.matrix_size[2], info.shape[4], info.shape[3], info.shape[2]));
  }
  for (size_t axis = 0; axis < 3; ++axis) {
    const double fov = headers.front().field_of_view[axis];
    series.field_of_view_mm[axis] = std::isfinite(fov) && fov > 0 ? fov : 0;
  }
  return series;
}

}  // namespace monarch::data
