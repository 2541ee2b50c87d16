#pragma once
// BART's files: x.hdr (text) and x.cfl (complex float32, little-endian, first dimension fastest).

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace monarch::data {

/// Names of BART's dimensions 0 to 15.
namespace cfl {
enum Dimension {
  read,
  phase1,
  phase2,
  coil,
  maps,
  echo,
  coefficient,
  coefficient2,
  iteration,
  shift,
  time,
  time2,
  level,
  slice,
  average,
  batch
};
}

/// The dimensions that a header states, in BART's order. `name` appears in messages. Throws DataError.
std::vector<int64_t> parse_cfl_header(std::string_view text, const std::string& name);

/// The two files of a pair, named by either of them or without extension.
struct CflPair {
  std::filesystem::path header;
  std::filesystem::path data;
  std::vector<int64_t> dims;  ///< BART's order, padded with ones to 16
};
/// Finds and checks a pair: sizes agree, nothing overflows. Throws DataError.
CflPair open_cfl_pair(const std::filesystem::path& path);

/// Reads a pair as complex64. The dimensions are reversed, so that the tensor is row-major and contiguous, and
/// BART's trailing dimensions of extent 1 (leading ones here) are dropped: a file of dimensions
/// [x, y, 1, coils, 1, …] becomes [coil, 1, y, x]. Throws DataError.
at::Tensor load_cfl(const std::filesystem::path& path);

/// Writes complex64 (real tensors get zero imaginary parts), reversing the axes as load_cfl does. `path` may carry an
/// extension. At most 16 axes. Throws ShapeError or DataError.
void save_cfl(const std::filesystem::path& path, const at::Tensor& tensor);

}  // namespace monarch::data
