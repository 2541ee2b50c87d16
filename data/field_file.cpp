#include "monarch/data/field_file.hpp"

#include <ATen/ATen.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <hdf5.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <numeric>
#include <set>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/element_type.hpp"
#include "monarch/data/hdf5.hpp"
#include "monarch/data/hdf5_block.hpp"
#include "monarch/data/hdf5_types.hpp"

namespace monarch::data {

namespace {

constexpr int64_t block_bytes = int64_t{128} << 20;
constexpr int64_t mat5_limit = (int64_t{1} << 31) - 1;
constexpr hsize_t user_block = 512;

/// How MATLAB and HDF5 name an element type.
struct FileType {
  at::ScalarType type;
  const char* matlab_class;
  uint32_t mx, mi;  ///< of v5
  bool complex = false;
};
constexpr FileType file_types[] = {{at::kFloat, "single", 7, 7},
                                   {at::kDouble, "double", 6, 9},
                                   {at::kBool, "logical", 9, 2},
                                   {at::kByte, "uint8", 9, 2},
                                   {at::kInt, "int32", 12, 5},
                                   {at::kLong, "int64", 14, 12},
                                   {at::kComplexFloat, "single", 7, 7, true},
                                   {at::kComplexDouble, "double", 6, 9, true}};

const FileType* file_type(at::ScalarType type) {
  for (const auto& known : file_types) {
    if (known.type == type) return &known;
  }
  return nullptr;
}

std::vector<int64_t> full_shape(const FieldVariable& variable, int64_t samples) {
  std::vector<int64_t> shape = variable.shape;
  shape.insert(shape.begin(), samples);
  return shape;
}

/// MATLAB has no arrays of one axis.
std::vector<int64_t> matlab_shape(std::vector<int64_t> shape) {
  while (shape.size() < 2) shape.push_back(1);
  return shape;
}

/// The destination, written by position.
class Output {
 public:
  explicit Output(const std::filesystem::path& path)
      : path_(path), file_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
    check<DataError>(file_ >= 0, [&] { return fmt::format("{}: {}", path_.string(), std::strerror(errno)); });
  }
  ~Output() { ::close(file_); }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  void write(uint64_t at, const void* from, uint64_t count) {
    for (uint64_t done = 0; done < count;) {
      const ssize_t wrote =
          ::pwrite(file_, static_cast<const char*>(from) + done, count - done, static_cast<off_t>(at + done));
      if (wrote < 0 && errno == EINTR) continue;
      check<DataError>(
          wrote > 0, [&] { return fmt::format("{}: cannot be written: {}", path_.string(), std::strerror(errno)); },
          "the samples that are finished stay in the .partial file; make room and start again");
      done += static_cast<uint64_t>(wrote);
    }
    end_ = std::max(end_, at + count);
  }
  void append(const void* from, uint64_t count) { write(end_, from, count); }
  template <class T>
  void number(T value) {
    append(&value, sizeof value);
  }
  void pad() {
    static constexpr char zeros[8] = {};
    append(zeros, (8 - end_ % 8) % 8);
  }
  uint64_t end() const { return end_; }

 private:
  std::filesystem::path path_;
  int file_;
  uint64_t end_ = 0;
};

enum class Part { whole, real, imaginary };

/// The numbers of one variable at `at`: [element, sample] where samples are fastest, else [sample, element].
void write_numbers(Output& out, uint64_t at, const FieldLayout& layout, size_t index, bool samples_fastest, Part part,
                   const SampleElements& elements) {
  const auto& variable = layout.variables[index];
  const int64_t numel = sample_numel(variable);
  const auto type = part == Part::whole ? variable.dtype : at::toRealValueType(variable.dtype);
  const auto bytes = static_cast<int64_t>(c10::elementSize(type));
  const int64_t step = std::max<int64_t>(
      1, block_bytes / std::max<int64_t>(1, layout.samples * static_cast<int64_t>(c10::elementSize(variable.dtype))));
  for (int64_t first = 0; first < numel; first += step) {
    const int64_t count = std::min(step, numel - first);
    at::Tensor block = elements(index, first, count);
    if (part != Part::whole) block = part == Part::real ? at::real(block) : at::imag(block);
    if (samples_fastest) {
      block = block.t().contiguous();
      out.write(at + static_cast<uint64_t>(first * layout.samples * bytes), block.const_data_ptr(), block.nbytes());
      continue;
    }
    block = block.contiguous();
    const auto run = static_cast<uint64_t>(count * bytes);
    for (int64_t sample = 0; sample < layout.samples; ++sample) {
      out.write(at + static_cast<uint64_t>((sample * numel + first) * bytes),
                static_cast<const char*>(block.const_data_ptr()) + static_cast<uint64_t>(sample) * run, run);
    }
  }
}

at::Tensor column_major(const at::Tensor& values) {
  std::vector<int64_t> order(static_cast<size_t>(values.dim()));
  std::iota(order.rbegin(), order.rend(), int64_t{0});
  return values.permute(order).contiguous();
}

/// Everything of a v5 variable in front of its numbers; returns the bytes of one part of them.
uint64_t mat5_header(Output& out, const std::string& name, const std::vector<int64_t>& shape, at::ScalarType type) {
  const FileType& known = *file_type(type);
  const size_t element = c10::elementSize(type) / (known.complex ? 2 : 1);
  uint64_t bytes = element;
  for (const int64_t extent : shape) bytes *= static_cast<uint64_t>(extent);
  const auto padded = [](uint64_t count) { return (count + 7) / 8 * 8; };
  const uint64_t total =
      16 + 8 + padded(4 * shape.size()) + 8 + padded(name.size()) + (known.complex ? 2 : 1) * (8 + padded(bytes));
  for (const uint32_t word : {uint32_t{14}, static_cast<uint32_t>(total), uint32_t{6}, uint32_t{8}}) out.number(word);
  out.number(known.mx | (known.complex ? 0x0800u : 0u) | (type == at::kBool ? 0x0200u : 0u));
  out.number(uint32_t{0});
  out.number(uint32_t{5});
  out.number(static_cast<uint32_t>(4 * shape.size()));
  for (const int64_t extent : shape) out.number(static_cast<int32_t>(extent));
  out.pad();
  out.number(uint32_t{1});
  out.number(static_cast<uint32_t>(name.size()));
  out.append(name.data(), name.size());
  out.pad();
  return bytes;
}

void mat5_constant(Output& out, const std::string& name, const at::Tensor& tensor) {
  const at::Tensor values = tensor.detach().cpu().resolve_conj();
  const FileType& known = *file_type(values.scalar_type());
  const uint64_t bytes = mat5_header(out, name, matlab_shape(values.sizes().vec()), values.scalar_type());
  for (const Part part : {Part::real, Part::imaginary}) {
    if (!known.complex && part == Part::imaginary) break;
    const at::Tensor numbers = column_major(!known.complex       ? values
                                            : part == Part::real ? at::real(values)
                                                                 : at::imag(values));
    out.number(known.mi);
    out.number(static_cast<uint32_t>(bytes));
    out.append(numbers.const_data_ptr(), bytes);
    out.pad();
  }
}

/// 116 bytes of text that begin every file of MATLAB.
std::string description(const std::string& start, const std::string& identity) {
  std::string text = start;
  if (!identity.empty()) text += ", monarch: " + identity;
  for (char& c : text) {
    if (c < 0x20 || c > 0x7e) c = ' ';
  }
  text.resize(116, ' ');
  return text;
}

void write_mat5(const std::filesystem::path& path, const FieldLayout& layout, const SampleElements& elements) {
  Output out(path);
  out.append(description("MATLAB 5.0 MAT-file", layout.identity).data(), 116);
  out.number(uint64_t{0});
  out.number(uint16_t{0x0100});
  out.append("IM", 2);
  for (size_t i = 0; i < layout.variables.size(); ++i) {
    const auto& variable = layout.variables[i];
    const FileType& known = *file_type(variable.dtype);
    const uint64_t bytes =
        mat5_header(out, variable.name, matlab_shape(full_shape(variable, layout.samples)), variable.dtype);
    for (const Part part : {Part::real, Part::imaginary}) {
      if (!known.complex && part == Part::imaginary) break;
      out.number(known.mi);
      out.number(static_cast<uint32_t>(bytes));
      write_numbers(out, out.end(), layout, i, true, known.complex ? part : Part::whole, elements);
      out.pad();
    }
  }
  for (const auto& [name, tensor] : layout.constants) mat5_constant(out, name, tensor);
  for (const auto& [name, value] : layout.parameters)
    mat5_constant(out, "parameter_" + name, at::full({1, 1}, value, at::kDouble));
}

hdf5::Handle hdf5_type(at::ScalarType type, bool matlab) {
  const auto copy = [](hid_t id) { return hdf5::Handle(H5Tcopy(id), hdf5::close::type); };
  switch (type) {
    case at::kFloat:
      return copy(H5T_IEEE_F32LE);
    case at::kDouble:
      return copy(H5T_IEEE_F64LE);
    case at::kBool:
    case at::kByte:
      return copy(H5T_STD_U8LE);
    case at::kInt:
      return copy(H5T_STD_I32LE);
    case at::kLong:
      return copy(H5T_STD_I64LE);
    default: {
      const size_t half = type == at::kComplexFloat ? 4 : 8;
      hdf5::Handle made(H5Tcreate(H5T_COMPOUND, 2 * half), hdf5::close::type);
      const hid_t part = half == 4 ? H5T_IEEE_F32LE : H5T_IEEE_F64LE;
      H5Tinsert(made.get(), matlab ? "real" : "r", 0, part);
      H5Tinsert(made.get(), matlab ? "imag" : "i", half, part);
      return made;
    }
  }
}

void text_attribute(hid_t object, const char* name, const std::string& text) {
  const hdf5::Handle type(H5Tcopy(H5T_C_S1), hdf5::close::type);
  H5Tset_size(type.get(), std::max<size_t>(text.size(), 1));
  H5Tset_strpad(type.get(), H5T_STR_NULLPAD);
  const hdf5::Handle space(H5Screate(H5S_SCALAR), hdf5::close::space);
  const hdf5::Handle made(H5Acreate2(object, name, type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT),
                          hdf5::close::attribute);
  H5Awrite(made.get(), type.get(), text.data());
}

/// An unwritten contiguous dataset; returns where its numbers go in the file.
uint64_t hdf5_dataset(hid_t file, const std::string& name, std::vector<int64_t> shape, at::ScalarType type,
                      bool matlab) {
  if (matlab) {
    shape = matlab_shape(std::move(shape));
    std::reverse(shape.begin(), shape.end());
  }
  const std::vector<hsize_t> dims(shape.begin(), shape.end());
  const hdf5::Handle space(
      dims.empty() ? H5Screate(H5S_SCALAR) : H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr),
      hdf5::close::space);
  const hdf5::Handle creation(H5Pcreate(H5P_DATASET_CREATE), hdf5::close::properties);
  H5Pset_layout(creation.get(), H5D_CONTIGUOUS);
  H5Pset_alloc_time(creation.get(), H5D_ALLOC_TIME_EARLY);
  H5Pset_fill_time(creation.get(), H5D_FILL_TIME_NEVER);
  const hdf5::Handle element = hdf5_type(type, matlab);
  const hdf5::Handle made(
      H5Dcreate2(file, name.c_str(), element.get(), space.get(), H5P_DEFAULT, creation.get(), H5P_DEFAULT),
      hdf5::close::dataset);
  check<DataError>(bool(made),
                   [&] { return fmt::format("variable {}: cannot be made: {}", name, hdf5::library_reason()); });
  if (matlab) {
    text_attribute(made.get(), "MATLAB_class", file_type(type)->matlab_class);
    if (type == at::kBool) {
      const hdf5::Handle scalar(H5Screate(H5S_SCALAR), hdf5::close::space);
      const hdf5::Handle decode(
          H5Acreate2(made.get(), "MATLAB_int_decode", H5T_STD_I32LE, scalar.get(), H5P_DEFAULT, H5P_DEFAULT),
          hdf5::close::attribute);
      const int32_t one = 1;
      H5Awrite(decode.get(), H5T_NATIVE_INT32, &one);
    }
  }
  return H5Dget_offset(made.get());
}

void write_hdf5(const std::filesystem::path& path, const FieldLayout& layout, const SampleElements& elements) {
  const bool matlab = layout.format == FieldFormat::mat73;
  std::vector<uint64_t> offsets;
  std::vector<std::pair<uint64_t, at::Tensor>> constants;
  {
    const auto lock = hdf5::lock_library();
    hdf5::silence_library();
    const hdf5::Handle creation(H5Pcreate(H5P_FILE_CREATE), hdf5::close::properties);
    if (matlab) H5Pset_userblock(creation.get(), user_block);
    const hdf5::Handle access = hdf5::access_properties();
    hdf5::Handle file(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation.get(), access.get()), hdf5::close::file);
    check<DataError>(bool(file),
                     [&] { return fmt::format("{}: cannot be made: {}", path.string(), hdf5::library_reason()); });
    for (const auto& variable : layout.variables)
      offsets.push_back(
          hdf5_dataset(file.get(), variable.name, full_shape(variable, layout.samples), variable.dtype, matlab));
    for (const auto& [name, tensor] : layout.constants) {
      const uint64_t offset = hdf5_dataset(file.get(), name, tensor.sizes().vec(), tensor.scalar_type(), matlab);
      const at::Tensor values = tensor.detach().cpu().resolve_conj().contiguous();
      constants.emplace_back(offset, matlab ? column_major(values) : values);
    }
    for (const auto& [name, value] : layout.parameters) {
      const hdf5::Handle scalar(H5Screate(H5S_SCALAR), hdf5::close::space);
      const hdf5::Handle made(
          H5Acreate2(file.get(), name.c_str(), H5T_IEEE_F64LE, scalar.get(), H5P_DEFAULT, H5P_DEFAULT),
          hdf5::close::attribute);
      check<DataError>(made && H5Awrite(made.get(), H5T_NATIVE_DOUBLE, &value) >= 0,
                       [&] { return fmt::format("{}: parameter {} cannot be written", path.string(), name); });
    }
    if (!layout.identity.empty()) text_attribute(file.get(), "identity", layout.identity.substr(0, 60000));
  }
  Output out(path);
  if (matlab) {
    std::string start = description("MATLAB 7.3 MAT-file, HDF5 schema 1.00", layout.identity);
    start += std::string(8, '\0') + std::string("\x00\x02", 2) + "IM";
    out.write(0, start.data(), start.size());
  }
  for (size_t i = 0; i < layout.variables.size(); ++i) {
    if (layout.samples * sample_numel(layout.variables[i]) > 0)
      write_numbers(out, offsets[i], layout, i, matlab, Part::whole, elements);
  }
  for (const auto& [offset, values] : constants) {
    if (values.numel() > 0) out.write(offset, values.const_data_ptr(), values.nbytes());
  }
}

}  // namespace

int64_t sample_numel(const FieldVariable& variable) {
  return std::accumulate(variable.shape.begin(), variable.shape.end(), int64_t{1}, std::multiplies<>());
}

void check_field_layout(const std::filesystem::path& path, const FieldLayout& layout) {
  const auto place = [&](const std::string& name) { return fmt::format("{}: variable '{}'", path.string(), name); };
  std::set<std::string> names;
  const auto check_one = [&](const std::string& name, const std::vector<int64_t>& shape, at::ScalarType type) {
    const bool plain = !name.empty() && name.size() <= 63 && name.find('/') == std::string::npos;
    check<DataError>(plain, [&] { return place(name) + ": expected a name of 1 to 63 characters without '/'"; });
    check<DataError>(names.insert(name).second, [&] { return place(name) + ": is there twice"; });
    check<DataError>(
        file_type(type) != nullptr,
        [&] { return fmt::format("{}: cannot be stored as {}", place(name), element_type_text(type)); },
        "store it as float32 or float64");
    double bytes = static_cast<double>(c10::elementSize(type));
    for (const int64_t extent : shape) {
      check<DataError>(extent >= 0, [&] { return fmt::format("{}: shape {}", place(name), shape_text(shape)); });
      bytes *= static_cast<double>(extent);
    }
    check<DataError>(
        layout.format != FieldFormat::mat5 || bytes + 4096 <= static_cast<double>(mat5_limit),
        [&] {
          return fmt::format("{}: {} are more than the 2 GiB that MATLAB v5 holds in a variable", place(name),
                             bytes_text(bytes));
        },
        "write MATLAB v7.3 (mat73)");
  };
  check<DataError>(layout.samples > 0 && !layout.variables.empty(),
                   [&] { return fmt::format("{}: nothing to write", path.string()); });
  for (const auto& variable : layout.variables)
    check_one(variable.name, full_shape(variable, layout.samples), variable.dtype);
  for (const auto& [name, tensor] : layout.constants) check_one(name, tensor.sizes().vec(), tensor.scalar_type());
  for (const auto& [name, value] : layout.parameters) {
    if (layout.format == FieldFormat::mat5) check_one("parameter_" + name, {1, 1}, at::kDouble);
  }
}

void write_field_file(const std::filesystem::path& path, const FieldLayout& layout, const SampleElements& elements) {
  if (layout.format == FieldFormat::mat5)
    write_mat5(path, layout, elements);
  else
    write_hdf5(path, layout, elements);
}

}  // namespace monarch::data
