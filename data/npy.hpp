#pragma once
// NumPy's .npy files (format versions 1 to 3).

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>
#include <string_view>

namespace monarch::data {

/// Reads an array, in its own axis order and element type: bool, signed integers, uint8, float32/64, complex64/128
/// (uint16 and uint32 become the next signed type). C and Fortran order. Big-endian, structured and object arrays
/// are refused. Throws DataError; memory is taken only after the shape agrees with the file's size.
at::Tensor load_npy(const std::filesystem::path& path);
/// The same from bytes in memory; `name` appears in messages.
at::Tensor parse_npy(std::string_view bytes, const std::string& name);

/// Writes an array in C order, little-endian, format version 1.0. Types: bool, uint8, int32, int64, float32/64,
/// complex64/128. Throws DtypeError or DataError.
void save_npy(const std::filesystem::path& path, const at::Tensor& tensor);

}  // namespace monarch::data
