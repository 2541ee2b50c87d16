#pragma once
// Writes PDE data sample by sample in the published layouts.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace monarch::data {

/// mat5: MATLAB v5 (at most 2 GiB a variable); mat73: MATLAB v7.3, that is HDF5 with a user block and reversed axes;
/// pdebench: HDF5 in PDEBench's single-file layout (axes as given, attributes for parameters).
enum class FieldFormat { mat5, mat73, pdebench };

/// One variable of the file as MATLAB and scipy see it: [samples, shape…]. A constant has no sample axis.
struct FieldVariable {
  std::string name;            ///< "a", "u"
  std::vector<int64_t> shape;  ///< of one sample: [64, 64] or [64, 64, 50]
  at::ScalarType dtype = at::kFloat;
};

struct FieldLayout {
  FieldFormat format = FieldFormat::mat73;
  int64_t samples = 0;
  std::vector<FieldVariable> variables;
  std::map<std::string, at::Tensor> constants;  ///< "t" -> [1, 50]: written as they are
  std::map<std::string, double> parameters;     ///< attributes (v7.3, PDEBench) or scalars "parameter_nu" (v5)
  std::string identity;  ///< text that names what is written (equation, options, seed): resume compares it
};

/// The file grows beside its destination under a hidden name, `.<name>.partial`, in which finished samples are
/// recorded; it appears under its own name, whole and synced, with commit(). A writer that finds the partial file of
/// the same identity goes on behind the samples that are there (done()).
class FieldWriter {
 public:
  /// Throws DataError: destination cannot be written, a variable beyond the format's limit (naming mat73), a partial
  /// file of another identity (naming what differs and saying to remove it or to pass restart).
  FieldWriter(const std::filesystem::path& path, FieldLayout layout, bool restart = false);
  ~FieldWriter();
  FieldWriter(const FieldWriter&) = delete;
  FieldWriter& operator=(const FieldWriter&) = delete;

  /// Samples that are safely in the file: the next to write.
  int64_t done() const;
  /// Adds `count` samples: each variable [count, shape…], in the order of the layout. Throws ShapeError, DataError
  /// (disk full: what was there before stays usable).
  void append(const std::vector<at::Tensor>& values);
  /// Throws DataError where samples are missing.
  void commit();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace monarch::data
