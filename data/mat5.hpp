#pragma once
// MATLAB level 5 files (.mat of versions 5 to 7.2).
//
// Read here and not through libmatio, which gives wrong numbers without an error where a file is cut off or a
// compressed variable is damaged: it checks neither lengths nor zlib's checksum.
// Layout: MathWorks, "MAT-File Format", level 5.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "monarch/data/input_file.hpp"

namespace monarch::data {

/// One variable, as its header states it.
struct MatVariable {
  std::string name;
  std::vector<int64_t> shape;  ///< as MATLAB and scipy print it
  std::string type;            ///< "double", "single", "int32", "logical", "char", "struct", "cell" …
  bool complex = false;
  bool compressed = false;
  uint64_t offset = 0, bytes = 0;  ///< of the element's content in the file
  bool numeric() const;            ///< numbers, and not sparse
};

/// An opened file. Several threads may read.
class Mat5File {
 public:
  /// Reads the headers of all variables. Throws DataError: not of level 5, cut off, damaged.
  explicit Mat5File(const std::filesystem::path& path);
  const std::string& name() const { return name_; }
  const std::vector<MatVariable>& variables() const { return variables_; }
  /// The numbers of a variable with its shape, a view of column-major memory: float64 for double, float32 for all other
  /// types, complex likewise. Memory is taken only after lengths agree. Cost: one pass over the variable's bytes.
  at::Tensor load(const MatVariable& variable) const;
  /// A char array of one row, as UTF-8.
  std::string text(const MatVariable& variable) const;

 private:
  std::string name_;
  InputFile file_;
  bool swap_ = false;
  std::vector<MatVariable> variables_;
};

/// True for the header of a level 5 file.
bool is_mat5(const std::string& start);

}  // namespace monarch::data
