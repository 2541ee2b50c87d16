#include "monarch/data/hdf5_types.hpp"

#include <fmt/format.h>
#include <hdf5.h>

#include <algorithm>

#include "monarch/core/error.hpp"

namespace monarch::data::hdf5 {

static_assert(sizeof(hid_t) == sizeof(int64_t));

namespace close {
int file(int64_t id) {
  return H5Fclose(id);
}
int object(int64_t id) {
  return H5Oclose(id);
}
int dataset(int64_t id) {
  return H5Dclose(id);
}
int type(int64_t id) {
  return H5Tclose(id);
}
int space(int64_t id) {
  return H5Sclose(id);
}
int properties(int64_t id) {
  return H5Pclose(id);
}
int attribute(int64_t id) {
  return H5Aclose(id);
}
}  // namespace close

namespace {

std::string member_list(hid_t type) {
  std::string names;
  for (int i = 0; i < H5Tget_nmembers(type); ++i) {
    char* name = H5Tget_member_name(type, static_cast<unsigned>(i));
    names += fmt::format("{}{}", i ? ", " : "", name ? name : "?");
    H5free_memory(name);
  }
  return names;
}

/// Complex numbers are stored as a compound of two floats; the member names differ between writers.
bool is_complex(hid_t type) {
  if (H5Tget_class(type) != H5T_COMPOUND || H5Tget_nmembers(type) != 2) return false;
  const Handle real(H5Tget_member_type(type, 0), close::type);
  const Handle imag(H5Tget_member_type(type, 1), close::type);
  return real && imag && H5Tget_class(real.get()) == H5T_FLOAT && H5Tget_class(imag.get()) == H5T_FLOAT &&
         H5Tget_size(real.get()) == H5Tget_size(imag.get()) &&
         (H5Tget_size(real.get()) == 4 || H5Tget_size(real.get()) == 8);
}

}  // namespace

Handle access_properties() {
  Handle properties(H5Pcreate(H5P_FILE_ACCESS), close::properties);
  H5Pset_fclose_degree(properties.get(), H5F_CLOSE_STRONG);
  H5Pset_file_locking(properties.get(), false, true);
  return properties;
}

void describe_type(int64_t type, DatasetInfo& info) {
  info.element_bytes = H5Tget_size(type);
  const size_t bits = 8 * info.element_bytes;
  switch (H5Tget_class(type)) {
    case H5T_INTEGER:
      info.kind = Kind::integer;
      info.type = fmt::format("{}int{}", H5Tget_sign(type) == H5T_SGN_NONE ? "u" : "", bits);
      break;
    case H5T_FLOAT:
      info.kind = Kind::real;
      info.type = fmt::format("float{}", bits);
      break;
    case H5T_STRING:
      info.kind = Kind::text;
      info.type = "text";
      break;
    case H5T_ENUM:
      info.kind = info.element_bytes == 1 ? Kind::boolean : Kind::other;
      info.type = info.element_bytes == 1 ? "bool" : "enumeration";
      break;
    case H5T_COMPOUND:
      info.kind = is_complex(type) ? Kind::complex : Kind::other;
      info.type = info.kind == Kind::complex ? fmt::format("complex{}", bits)
                                             : fmt::format("compound {{{}}}", member_list(type));
      break;
    default:
      info.kind = Kind::other;
      info.type = "an unusual type";
  }
}

MemoryType memory_type(int64_t file_type, const DatasetInfo& info, const std::string& place) {
  const auto native = [](at::ScalarType scalar, hid_t type) {
    return MemoryType{scalar, Handle(H5Tcopy(type), close::type)};
  };
  const bool is_unsigned = info.type.starts_with("u");
  switch (info.kind) {
    case Kind::integer:
      if (info.element_bytes == 1)
        return is_unsigned ? native(at::kByte, H5T_NATIVE_UINT8) : native(at::kChar, H5T_NATIVE_INT8);
      if (info.element_bytes == 2 && !is_unsigned) return native(at::kShort, H5T_NATIVE_INT16);
      if (info.element_bytes <= 4 && !(info.element_bytes == 4 && is_unsigned))
        return native(at::kInt, H5T_NATIVE_INT32);
      return native(at::kLong, H5T_NATIVE_INT64);
    case Kind::real:
      return info.element_bytes <= 4 ? native(at::kFloat, H5T_NATIVE_FLOAT) : native(at::kDouble, H5T_NATIVE_DOUBLE);
    case Kind::boolean:
      return {at::kBool, Handle(H5Tget_native_type(file_type, H5T_DIR_ASCEND), close::type)};
    case Kind::complex: {
      const bool wide = info.element_bytes == 16;
      const size_t half = wide ? 8 : 4;
      Handle type(H5Tcreate(H5T_COMPOUND, 2 * half), close::type);
      for (unsigned i = 0; i < 2; ++i) {
        char* name = H5Tget_member_name(file_type, i);
        H5Tinsert(type.get(), name, i * half, wide ? H5T_NATIVE_DOUBLE : H5T_NATIVE_FLOAT);
        H5free_memory(name);
      }
      return {wide ? at::kComplexDouble : at::kComplexFloat, std::move(type)};
    }
    default:
      fail<DataError>(fmt::format("{}: expected numbers, found {}", place, info.type));
  }
}

bool is_sound(int64_t type, int depth) {
  const size_t bytes = H5Tget_size(type);
  if (bytes == 0 || bytes > (size_t{1} << 30) || depth > 8) return false;
  switch (H5Tget_class(type)) {
    case H5T_COMPOUND: {
      const int count = H5Tget_nmembers(type);
      size_t sum = 0;
      for (int i = 0; i < count; ++i) {
        const Handle member(H5Tget_member_type(type, static_cast<unsigned>(i)), close::type);
        if (!member || !is_sound(member.get(), depth + 1)) return false;
        const size_t offset = H5Tget_member_offset(type, static_cast<unsigned>(i));
        const size_t size = H5Tget_size(member.get());
        if (offset > bytes || size > bytes - offset) return false;
        sum += size;
      }
      return count > 0 && sum <= bytes;  // members do not overlap
    }
    case H5T_ARRAY: {
      const Handle element(H5Tget_super(type), close::type);
      const int rank = H5Tget_array_ndims(type);
      if (!element || rank < 1 || rank > H5S_MAX_RANK || !is_sound(element.get(), depth + 1)) return false;
      std::vector<hsize_t> dims(static_cast<size_t>(rank));
      if (H5Tget_array_dims2(type, dims.data()) < 0) return false;
      double expected = static_cast<double>(H5Tget_size(element.get()));
      for (const hsize_t extent : dims) expected *= static_cast<double>(extent);
      return expected == static_cast<double>(bytes);
    }
    case H5T_INTEGER:
    case H5T_FLOAT:
    case H5T_BITFIELD: {
      const size_t bits = 8 * bytes;
      if (H5Tget_precision(type) == 0 || H5Tget_precision(type) > bits ||
          static_cast<size_t>(std::max(H5Tget_offset(type), 0)) > bits - H5Tget_precision(type)) {
        return false;
      }
      if (H5Tget_class(type) != H5T_FLOAT) return bytes <= 8;
      size_t sign = 0, exponent = 0, exponent_bits = 0, mantissa = 0, mantissa_bits = 0;
      H5Tget_fields(type, &sign, &exponent, &exponent_bits, &mantissa, &mantissa_bits);
      return bytes <= 16 && sign < bits && exponent + exponent_bits <= bits && mantissa + mantissa_bits <= bits;
    }
    case H5T_ENUM:
    case H5T_VLEN: {
      const Handle base(H5Tget_super(type), close::type);
      return base && is_sound(base.get(), depth + 1);
    }
    default:
      return true;
  }
}

}  // namespace monarch::data::hdf5
