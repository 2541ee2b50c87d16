#pragma once
// The header of a .npy file.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace monarch::data {

/// What the header states, checked against the size of the file.
struct NpyHeader {
  std::vector<int64_t> shape;
  char kind = 'f';  ///< b, i, u, f or c
  size_t element_bytes = 0;
  bool fortran_order = false;
  size_t data_offset = 0;  ///< first byte behind the header
  int64_t numel() const;
};

/// Parses the start of a file of `file_bytes` bytes; `start` must hold the whole header (64 KiB are enough).
/// Throws DataError for anything else than a little-endian array of plain numbers that fills the file exactly.
NpyHeader parse_npy_header(std::string_view start, uint64_t file_bytes, const std::string& name);

/// A tensor from `count` consecutive elements: copied and converted to the tensor type of the header's element type.
at::Tensor npy_values(const NpyHeader& header, const char* bytes, std::vector<int64_t> shape);

}  // namespace monarch::data
