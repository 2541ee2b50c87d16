// Fuzz targets of the readers of PDE data.
#include <ATen/ATen.h>
#include <hdf5.h>
#include <zlib.h>

#include <cstring>
#include <fstream>
#include <span>
#include <sstream>

#include "fuzz/field_seeds.hpp"
#include "fuzz/memory_file.hpp"
#include "fuzz/targets.hpp"
#include "monarch/core/error.hpp"
#include "monarch/data/field_formats.hpp"
#include "monarch/data/field_writer.hpp"
#include "monarch/data/fields.hpp"
#include "monarch/data/hdf5.hpp"
#include "support/support.hpp"

namespace monarch::fuzz {
namespace {

std::string file_bytes(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  std::ostringstream out;
  out << stream.rdbuf();
  return out.str();
}

/// Every field must read with the shape that was promised and finite numbers, or say why it does not.
void use(const data::FieldSource& source) {
  for (const auto& info : source.fields()) {
    try {
      data::FieldRange range{.samples = std::min<int64_t>(info.samples, 2)};
      if (info.times) range.times = std::min<int64_t>(*info.times, 3);
      double numel = static_cast<double>(info.channels);
      for (const int64_t points : info.grid) numel *= static_cast<double>(points);
      if (numel > 1e6) range.grid_stride.assign(info.grid.size(), 1000);
      if (numel > 1e9) continue;
      const at::Tensor values = source.read(info.name, range);
      if (values.dim() != static_cast<int64_t>(info.grid.size()) + (info.times ? 3 : 2) || !values.is_contiguous() ||
          !at::isfinite(values).all().item<bool>())
        __builtin_trap();
    } catch (const DataError&) {
    }
  }
}

std::string written(data::FieldFormat format) {
  const test::TemporaryFolder folder;
  data::FieldLayout layout;
  layout.format = format;
  layout.samples = 3;
  layout.variables = {{"a", {4, 5}, at::kFloat}, {"u", {4, 5, 3}, at::kDouble}, {"c", {4, 5}, at::kComplexFloat}};
  layout.constants["t"] = at::arange(3, at::kDouble).reshape({1, 3});
  layout.parameters["nu"] = 0.5;
  data::FieldWriter writer(folder / "f", layout);
  writer.append({at::ones({3, 4, 5}), at::ones({3, 4, 5, 3}, at::kDouble), at::ones({3, 4, 5}, at::kComplexFloat)});
  writer.commit();
  return file_bytes(folder / "f");
}

void text(hid_t object, const char* name, const char* value) {
  const hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
  H5Tset_size(type, std::strlen(value));
  const hid_t made = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
  H5Awrite(made, type, value);
  H5Aclose(made);
  H5Sclose(space);
  H5Tclose(type);
}

/// Compressed chunks and the attributes of The Well, whose flags are enumerations.
std::string well() {
  const test::TemporaryFolder folder;
  {
    auto file = data::hdf5::File::create(folder / "w.h5");
    file.write("dimensions/time", at::arange(3, at::kFloat));
    file.write("dimensions/x", at::arange(6, at::kFloat));
    file.write("dimensions/y", at::arange(4, at::kFloat));
    file.write("t0_fields/p", at::ones({2, 3, 6, 4}));
    file.write("t0_fields/still", at::ones({6}));
    file.write_attribute("", "n_spatial_dims", 2);
    file.write_attribute("", "n_trajectories", 2);
    file.write_attribute("t0_fields/still", "sample_varying", 0);
    file.write_attribute("t0_fields/still", "time_varying", 0);
    const hid_t group = H5Gcreate2(file.id(), "t1_fields", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    const hsize_t dims[] = {2, 3, 6, 4, 2}, chunk[] = {1, 2, 6, 3, 2}, two = 2;
    const hid_t space = H5Screate_simple(5, dims, nullptr), creation = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(creation, 5, chunk);
    H5Pset_shuffle(creation);
    H5Pset_deflate(creation, 4);
    H5Pset_fletcher32(creation);
    const hid_t dataset = H5Dcreate2(group, "v", H5T_IEEE_F32BE, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    const at::Tensor values = at::ones({2, 3, 6, 4, 2});
    H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.const_data_ptr());
    const hid_t type = H5Tenum_create(H5T_STD_I8LE), pair = H5Screate_simple(1, &two, nullptr);
    const int8_t no = 0, yes = 1, both[] = {1, 1};
    H5Tenum_insert(type, "FALSE", &no);
    H5Tenum_insert(type, "TRUE", &yes);
    const hid_t flags = H5Acreate2(dataset, "dim_varying", type, pair, H5P_DEFAULT, H5P_DEFAULT);
    H5Awrite(flags, type, both);
    const hid_t one = H5Dopen2(file.id(), "t0_fields/still", H5P_DEFAULT);
    const int8_t first[] = {1, 0};
    const hid_t varying = H5Acreate2(one, "dim_varying", type, pair, H5P_DEFAULT, H5P_DEFAULT);
    H5Awrite(varying, type, first);
    for (const hid_t attribute : {flags, varying}) H5Aclose(attribute);
    H5Tclose(type);
    for (const hid_t id : {space, pair}) H5Sclose(id);
    for (const hid_t id : {dataset, one}) H5Dclose(id);
    H5Pclose(creation);
    H5Gclose(group);
  }
  return file_bytes(folder / "w.h5");
}

/// Groups of seeds, Darcy, and MATLAB_class attributes.
std::vector<std::string> others() {
  const test::TemporaryFolder folder;
  {
    auto file = data::hdf5::File::create(folder / "a.h5");
    for (const auto* group : {"0000", "0001", "0002"}) {
      file.write(std::string(group) + "/data", at::ones({3, 6, 5, 2}));
      file.write(std::string(group) + "/grid/x", at::arange(6, at::kFloat));
      file.write(std::string(group) + "/grid/t", at::arange(3, at::kFloat));
    }
    file = data::hdf5::File::create(folder / "b.h5");
    file.write("tensor", at::ones({3, 1, 6, 6}));
    file.write("nu", at::ones({3, 6, 6}));
    file.write("x-coordinate", at::arange(6, at::kFloat));
    file.write_attribute("", "beta", 1.0);
    file = data::hdf5::File::create(folder / "c.h5");
    file.write("u", at::ones({3, 4, 5}));
    file.write("flag", at::ones({3, 4, 5}, at::kBool));
    const hid_t dataset = H5Dopen2(file.id(), "u", H5P_DEFAULT);
    text(dataset, "MATLAB_class", "single");
    H5Dclose(dataset);
  }
  return {file_bytes(folder / "a.h5"), file_bytes(folder / "b.h5"), file_bytes(folder / "c.h5")};
}

}  // namespace

void mat5(const uint8_t* bytes, size_t count) {
  const MemoryFile file(bytes, count);
  try {
    use(*data::open_mat5_fields(file.path()));
  } catch (const DataError&) {
  }
}

void mat5_inner(const uint8_t* bytes, size_t count) {
  uLongf packed = compressBound(count);
  std::string file(128 + 8 + packed, '\0');
  std::memcpy(file.data() + 124, "\x00\x01IM", 4);
  compress2(reinterpret_cast<Bytef*>(file.data() + 136), &packed, bytes, count, 1);
  const uint32_t tag[] = {15, static_cast<uint32_t>(packed)};
  std::memcpy(file.data() + 128, tag, sizeof tag);
  file.resize(136 + packed);
  mat5(reinterpret_cast<const uint8_t*>(file.data()), file.size());
}

void hdf5_fields(const uint8_t* bytes, size_t count) {
  try {
    const auto file = std::make_shared<const data::hdf5::File>(
        data::hdf5::File::from_memory(std::as_bytes(std::span(bytes, count)), "fuzz.h5"));
    use(data::is_mat73(*file) ? *data::open_mat73_fields(file) : *data::open_hdf5_fields(file));
  } catch (const DataError&) {
  }
}

void torch_fields(const uint8_t* bytes, size_t count) {
  const MemoryFile file(bytes, count);
  try {
    use(*data::open_torch_fields(file.path()));
  } catch (const DataError&) {
  }
}

void npy_fields(const uint8_t* bytes, size_t count) {
  const MemoryFile file(bytes, count);
  try {
    use(*data::open_npy_fields(file.path()));
  } catch (const DataError&) {
  }
}

std::vector<std::string> mat5_seeds() {
  std::string compressed(128, '\0');  // the first variable of the written file, packed
  const std::string plain = written(data::FieldFormat::mat5);
  std::memcpy(compressed.data(), plain.data(), 128);
  uint32_t length = 0;
  std::memcpy(&length, plain.data() + 132, 4);
  uLongf packed = compressBound(8 + length);
  std::string content(packed, '\0');
  compress2(reinterpret_cast<Bytef*>(content.data()), &packed, reinterpret_cast<const Bytef*>(plain.data() + 128),
            8 + length, 6);
  const uint32_t tag[] = {15, static_cast<uint32_t>(packed)};
  compressed.append(reinterpret_cast<const char*>(tag), sizeof tag);
  compressed.append(content, 0, packed);
  return {plain, compressed};
}

std::vector<std::string> mat5_inner_seeds() {
  const std::string plain = written(data::FieldFormat::mat5);
  std::vector<std::string> variables;
  for (size_t at = 128; at + 8 <= plain.size();) {
    uint32_t length = 0;
    std::memcpy(&length, plain.data() + at + 4, 4);
    variables.push_back(plain.substr(at, 8 + length));
    at += 8 + length;
  }
  return variables;
}

std::vector<std::string> hdf5_fields_seeds() {
  auto seeds = others();
  seeds.push_back(well());
  seeds.push_back(written(data::FieldFormat::mat73));
  seeds.push_back(written(data::FieldFormat::pdebench));
  return seeds;
}

}  // namespace monarch::fuzz
