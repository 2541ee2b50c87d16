#pragma once
// Element types of tensors in files, under the names that PyTorch and safetensors give them.

#include <ATen/core/Tensor.h>

#include <span>
#include <string>
#include <string_view>

namespace monarch::data {

struct ElementType {
  at::ScalarType type;
  std::string_view name;         ///< "float32", as in Python's torch.float32
  std::string_view safetensors;  ///< "F32"; empty where safetensors has none
  std::string_view storage;      ///< "FloatStorage", the class in PyTorch files; empty where there is none
};

/// Every element type that checkpoints can hold and LibTorch can.
std::span<const ElementType> element_types();

/// By one of its names; nullptr when unknown.
const ElementType* element_type_by_name(std::string_view name);
const ElementType* element_type_by_safetensors(std::string_view name);
const ElementType* element_type_by_storage(std::string_view name);
/// nullptr for types outside the list (quantised ones).
const ElementType* element_type_of(at::ScalarType type);

/// "float32"; LibTorch's own name for types outside the list.
std::string element_type_text(at::ScalarType type);

}  // namespace monarch::data
