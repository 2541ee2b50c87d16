#include "monarch/data/element_type.hpp"

#include <ATen/ATen.h>

namespace monarch::data {

std::span<const ElementType> element_types() {
  static constexpr ElementType all[] = {
      {at::kFloat, "float32", "F32", "FloatStorage"},
      {at::kDouble, "float64", "F64", "DoubleStorage"},
      {at::kHalf, "float16", "F16", "HalfStorage"},
      {at::kBFloat16, "bfloat16", "BF16", "BFloat16Storage"},
      {at::kLong, "int64", "I64", "LongStorage"},
      {at::kInt, "int32", "I32", "IntStorage"},
      {at::kShort, "int16", "I16", "ShortStorage"},
      {at::kChar, "int8", "I8", "CharStorage"},
      {at::kByte, "uint8", "U8", "ByteStorage"},
      {at::kUInt16, "uint16", "U16", ""},
      {at::kUInt32, "uint32", "U32", ""},
      {at::kUInt64, "uint64", "U64", ""},
      {at::kBool, "bool", "BOOL", "BoolStorage"},
      {at::kComplexFloat, "complex64", "C64", "ComplexFloatStorage"},
      {at::kComplexDouble, "complex128", "", "ComplexDoubleStorage"},
      {at::kFloat8_e4m3fn, "float8_e4m3fn", "F8_E4M3", ""},
      {at::kFloat8_e5m2, "float8_e5m2", "F8_E5M2", ""},
      {at::kFloat8_e4m3fnuz, "float8_e4m3fnuz", "F8_E4M3FNUZ", ""},
      {at::kFloat8_e5m2fnuz, "float8_e5m2fnuz", "F8_E5M2FNUZ", ""},
      {at::kFloat8_e8m0fnu, "float8_e8m0fnu", "F8_E8M0", ""},
  };
  return all;
}

namespace {

const ElementType* find(std::string_view ElementType::*member, std::string_view name) {
  if (name.empty()) return nullptr;
  for (const ElementType& type : element_types()) {
    if (type.*member == name) return &type;
  }
  return nullptr;
}

}  // namespace

const ElementType* element_type_by_name(std::string_view name) {
  return find(&ElementType::name, name);
}
const ElementType* element_type_by_safetensors(std::string_view name) {
  return find(&ElementType::safetensors, name);
}
const ElementType* element_type_by_storage(std::string_view name) {
  return find(&ElementType::storage, name);
}

const ElementType* element_type_of(at::ScalarType type) {
  for (const ElementType& candidate : element_types()) {
    if (candidate.type == type) return &candidate;
  }
  return nullptr;
}

std::string element_type_text(at::ScalarType type) {
  const ElementType* known = element_type_of(type);
  return known ? std::string(known->name) : at::toString(type);
}

}  // namespace monarch::data
