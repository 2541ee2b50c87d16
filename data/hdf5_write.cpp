#include <ATen/ATen.h>
#include <fmt/format.h>
#include <hdf5.h>

#include <algorithm>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/hdf5.hpp"
#include "monarch/data/hdf5_types.hpp"

namespace monarch::data::hdf5 {

namespace {

hid_t file_type_of(at::ScalarType scalar, Handle& made) {
  switch (scalar) {
    case at::kByte:
      return H5T_STD_U8LE;
    case at::kInt:
      return H5T_STD_I32LE;
    case at::kLong:
      return H5T_STD_I64LE;
    case at::kFloat:
      return H5T_IEEE_F32LE;
    case at::kDouble:
      return H5T_IEEE_F64LE;
    case at::kBool: {
      made = Handle(H5Tenum_create(H5T_STD_I8LE), close::type);
      const int8_t no = 0, yes = 1;
      H5Tenum_insert(made.get(), "FALSE", &no);
      H5Tenum_insert(made.get(), "TRUE", &yes);
      return made.get();
    }
    case at::kComplexFloat:
    case at::kComplexDouble: {
      const size_t half = scalar == at::kComplexFloat ? 4 : 8;
      const hid_t part = half == 4 ? H5T_IEEE_F32LE : H5T_IEEE_F64LE;
      made = Handle(H5Tcreate(H5T_COMPOUND, 2 * half), close::type);
      H5Tinsert(made.get(), "r", 0, part);
      H5Tinsert(made.get(), "i", half, part);
      return made.get();
    }
    default:
      return -1;
  }
}

Handle creation_with_parents() {
  Handle links(H5Pcreate(H5P_LINK_CREATE), close::properties);
  H5Pset_create_intermediate_group(links.get(), 1);
  return links;
}

}  // namespace

File File::create(const std::filesystem::path& path) {
  silence_library();
  const Handle properties = access_properties();
  Handle handle(H5Fcreate(path.c_str(), H5F_ACC_EXCL, H5P_DEFAULT, properties.get()), close::file);
  check<DataError>(
      bool(handle), [&] { return fmt::format("{}: cannot be made: {}", path.string(), library_reason()); },
      "it must not exist yet, and its folder must be writable");
  return File(std::move(handle), path.string(), 0);
}

void File::write(const std::string& path, const at::Tensor& tensor) {
  reserve(path, tensor.scalar_type(), tensor.sizes().vec());
  Handle made;
  const hid_t type = file_type_of(tensor.scalar_type(), made);
  const at::Tensor values = tensor.cpu().contiguous().resolve_conj().resolve_neg();
  const Handle opened(H5Dopen2(id(), path.c_str(), H5P_DEFAULT), close::dataset);
  check<DataError>(opened && H5Dwrite(opened.get(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data_ptr()) >= 0,
                   [&] { return fmt::format("{}: cannot be written: {}", place(path), library_reason()); });
}

void File::reserve(const std::string& path, at::ScalarType scalar, const std::vector<int64_t>& shape) {
  silence_library();
  Handle made;
  const hid_t type = file_type_of(scalar, made);
  check<DataError>(type >= 0, [&] { return fmt::format("{}: cannot store {}", place(path), toString(scalar)); });
  const std::vector<hsize_t> dims(shape.begin(), shape.end());
  const Handle space(
      dims.empty() ? H5Screate(H5S_SCALAR) : H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr),
      close::space);
  const Handle links = creation_with_parents();
  const Handle opened(H5Dcreate2(id(), path.c_str(), type, space.get(), links.get(), H5P_DEFAULT, H5P_DEFAULT),
                      close::dataset);
  check<DataError>(bool(opened), [&] { return fmt::format("{}: cannot be made: {}", place(path), library_reason()); });
}

void File::write(const std::string& path, const at::Tensor& tensor, int64_t first) {
  silence_library();
  Handle made;
  const hid_t type = file_type_of(tensor.scalar_type(), made);
  const at::Tensor values = tensor.cpu().contiguous().resolve_conj().resolve_neg();
  std::vector<hsize_t> count(values.sizes().begin(), values.sizes().end());
  count.insert(count.begin(), 1);
  std::vector<hsize_t> start(count.size(), 0), extents(count.size(), 0);
  start[0] = static_cast<hsize_t>(first);
  const Handle opened(H5Dopen2(id(), path.c_str(), H5P_DEFAULT), close::dataset);
  const Handle space(H5Dget_space(opened.get()), close::space);
  const int rank = static_cast<int>(count.size());
  const bool fits = H5Sget_simple_extent_ndims(space.get()) == rank &&
                    H5Sget_simple_extent_dims(space.get(), extents.data(), nullptr) == rank && first >= 0 &&
                    start[0] < extents[0] && std::equal(count.begin() + 1, count.end(), extents.begin() + 1);
  check<DataError>(fits, [&] {
    return fmt::format("{}: {} does not fit as index {} of axis 0", place(path), shape_text(tensor.sizes()), first);
  });
  H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr);
  const Handle memory(H5Screate_simple(rank, count.data(), nullptr), close::space);
  check<DataError>(H5Dwrite(opened.get(), type, memory.get(), space.get(), H5P_DEFAULT, values.data_ptr()) >= 0,
                   [&] { return fmt::format("{}: cannot be written: {}", place(path), library_reason()); });
}

void File::write_text(const std::string& path, const std::string& text, TextKind kind) {
  silence_library();
  const Handle type(H5Tcopy(H5T_C_S1), close::type);
  H5Tset_cset(type.get(), kind.utf8 ? H5T_CSET_UTF8 : H5T_CSET_ASCII);
  H5Tset_size(type.get(), kind.fixed_length ? std::max<size_t>(text.size(), 1) : H5T_VARIABLE);
  if (kind.fixed_length) H5Tset_strpad(type.get(), H5T_STR_NULLPAD);
  const hsize_t one = 1;
  const Handle space(kind.scalar ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &one, nullptr), close::space);
  const Handle links = creation_with_parents();
  const Handle opened(H5Dcreate2(id(), path.c_str(), type.get(), space.get(), links.get(), H5P_DEFAULT, H5P_DEFAULT),
                      close::dataset);
  const char* pointer = text.c_str();
  const void* buffer = kind.fixed_length ? static_cast<const void*>(pointer) : static_cast<const void*>(&pointer);
  check<DataError>(opened && H5Dwrite(opened.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, buffer) >= 0,
                   [&] { return fmt::format("{}: cannot be written: {}", place(path), library_reason()); });
}

void File::write_attribute(const std::string& object, const std::string& attribute, double value) {
  const Handle space(H5Screate(H5S_SCALAR), close::space);
  write_numbers(object, attribute, space, {&value, 1});
}

void File::write_attribute(const std::string& object, const std::string& attribute, const std::vector<double>& values) {
  const hsize_t count = values.size();
  const Handle space(H5Screate_simple(1, &count, nullptr), close::space);
  write_numbers(object, attribute, space, values);
}

void File::write_numbers(const std::string& object, const std::string& attribute, const Handle& space,
                         std::span<const double> values) {
  silence_library();
  const Handle made(H5Acreate_by_name(id(), object.empty() ? "/" : object.c_str(), attribute.c_str(), H5T_IEEE_F64LE,
                                      space.get(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                    close::attribute);
  check<DataError>(made && H5Awrite(made.get(), H5T_NATIVE_DOUBLE, values.data()) >= 0,
                   [&] { return fmt::format("{}: attribute {} cannot be written", place(object), attribute); });
}

void File::write_attribute(const std::string& object, const std::string& attribute, const std::string& value) {
  silence_library();
  const Handle space(H5Screate(H5S_SCALAR), close::space);
  const Handle type(H5Tcopy(H5T_C_S1), close::type);
  H5Tset_size(type.get(), std::max<size_t>(value.size(), 1));
  H5Tset_cset(type.get(), H5T_CSET_UTF8);
  const Handle made(H5Acreate_by_name(id(), object.empty() ? "/" : object.c_str(), attribute.c_str(), type.get(),
                                      space.get(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                    close::attribute);
  check<DataError>(made && H5Awrite(made.get(), type.get(), value.c_str()) >= 0,
                   [&] { return fmt::format("{}: attribute {} cannot be written", place(object), attribute); });
}

}  // namespace monarch::data::hdf5
