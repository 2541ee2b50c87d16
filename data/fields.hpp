#pragma once
// Files of PDE solutions, whatever their format: fields over samples, time, channels and a grid.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace monarch::data {

/// One field of a file, in the order in which read() gives it: [sample, time, channel, grid…].
struct FieldInfo {
  std::string name;  ///< "u", "tensor", "velocity", "x"
  int64_t samples = 1;
  std::optional<int64_t> times;  ///< nothing: the field has no time axis (a coefficient, an initial condition)
  int64_t channels = 1;          ///< components of vectors and tensors
  std::vector<int64_t> grid;     ///< points along each axis, in the file's own order of axes
  std::string dtype;             ///< as stored: "float32", "bool"
  std::string stored;            ///< how it lies in the file: "HDF5 [T, y, x, sample], chunked" …
  std::string note;              ///< "" or what was assumed
};

/// Which part of a field to read. Ranges are [first, first + count) with a stride; count -1: to the end.
struct FieldRange {
  int64_t first_sample = 0, samples = -1;
  int64_t first_time = 0, times = -1, time_stride = 1;
  std::vector<int64_t> grid_stride = {};  ///< one for each axis, or empty: every stride-th point, from the first
};

/// A PDE data file, opened: reading is lazy. Reading from several threads is safe.
class FieldSource {
 public:
  virtual ~FieldSource() = default;
  const std::string& name() const { return name_; }      ///< path, for messages
  const std::string& format() const { return format_; }  ///< "MATLAB v5", "MATLAB v7.3", "PDEBench", "The Well" …
  const std::vector<FieldInfo>& fields() const { return fields_; }
  /// Throws DataError naming the closest field.
  const FieldInfo& field(const std::string& name) const;
  /// Coordinates that the file states: "t", "x", "y" -> float64 [points].
  const std::map<std::string, at::Tensor>& coordinates() const { return coordinates_; }
  /// Parameters that the file states: "nu" -> 0.001; texts such as boundary conditions.
  const std::map<std::string, double>& parameters() const { return parameters_; }
  const std::map<std::string, std::string>& texts() const { return texts_; }
  /// What looked wrong or was assumed.
  const std::vector<std::string>& notes() const { return notes_; }

  /// [sample, time, channel, grid…] (without the time axis where the field has none), contiguous, on the CPU: float64
  /// as float64, every other type as float32. Memory for the result is taken only after the ranges agree with the file.
  /// Throws DataError (ranges beyond the data, a truncated file, a sample that holds NaN or infinity: named with its
  /// index) and ShapeError (grid_stride of another length).
  at::Tensor read(const std::string& field, const FieldRange& range = {}) const;

 protected:
  FieldSource(std::string name, std::string format) : name_(std::move(name)), format_(std::move(format)) {}
  /// `range` is resolved (no -1, strides for every axis) and inside the field.
  virtual at::Tensor do_read(const FieldInfo& field, const FieldRange& range) const = 0;

  std::vector<FieldInfo> fields_;
  std::map<std::string, at::Tensor> coordinates_;
  std::map<std::string, double> parameters_;
  std::map<std::string, std::string> texts_;
  std::vector<std::string> notes_;

 private:
  std::string name_, format_;
};

using FieldSourcePtr = std::shared_ptr<const FieldSource>;

/// What a file does not say and the reader would have to guess.
struct FieldOptions {
  /// Meaning of the axes of an array as it is stored, one letter an axis: n sample, t time, c channel, x y z grid, 1 an
  /// axis of one point. "u" -> "nxyt" is the published Navier-Stokes layout. For MATLAB, PyTorch, NumPy and plain HDF5.
  std::map<std::string, std::string> axes;
};

/// True where a file that is no scan should be opened as PDE data: MATLAB, PyTorch and safetensors by their first
/// bytes, HDF5 when it holds arrays and nothing of a scan (a group with `xml` or `header`, `kspace`).
bool may_be_fields(const std::filesystem::path& path);

/// Opens MATLAB v5 and v7.3, PDEBench, The Well and plain HDF5, PyTorch dictionaries (.pt) and NumPy files
/// (docs/pde-files.md). The format is found by content. A folder of files of one layout (The Well's data/train, a
/// PhysicsNeMo folder of .pt) is one source with the samples in the order of the file names (numbers in them compared
/// as numbers). Throws DataError, and ConfigError for options that do not fit the file.
FieldSourcePtr open_fields(const std::filesystem::path& path, const FieldOptions& options = {});

}  // namespace monarch::data
