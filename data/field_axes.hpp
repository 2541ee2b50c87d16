#pragma once
// Which axis of an array is what, in files that do not say so. The rules are written out in docs/pde-files.md.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "monarch/data/field_array.hpp"

namespace monarch::data {

/// Where files of a kind keep time by convention: MATLAB last ([sample, x, y, time]), others behind the sample.
enum class AxisConvention { time_last, time_second };

/// Arrays of one file, gathered first, because one array tells about the axes of another.
class AxisGuess {
 public:
  explicit AxisGuess(AxisConvention convention) : convention_(convention) {}

  /// Called for every array. True when it becomes a field; vectors (at most one extent above 1) become coordinates.
  void add(const std::string& name, StoredArrayPtr array);
  /// Fields go through cached_array: their samples are far apart in the file at `path`.
  void scatter_samples_of(std::filesystem::path path) { cached_path_ = std::move(path); }
  /// Rows of coordinates that are the same for all samples, "t" [sample, time], are coordinates and no fields.
  void accept_coordinate_rows() { coordinate_rows_ = true; }
  /// Sorts everything into the source: coordinates, parameters (single numbers) and fields. `forced` names axes by
  /// letters, one an axis: n sample, t time, c channel, x y z grid, 1 dropped ("u" -> "nxyt"). Names that are
  /// not here are passed over. Throws ConfigError for letters that do not fit its rank, or two samples or times.
  void fill(ArraySource& source, const std::map<std::string, std::string>& forced = {}) const;

 private:
  struct Named {
    std::string name;
    StoredArrayPtr array;
    std::vector<int64_t> shape;  ///< without the axis of 2 of complex numbers
  };
  AxisMap guess(const Named& array, const std::map<std::string, at::Tensor>& coordinates) const;
  bool is_pair(const std::vector<int64_t>& without, const std::vector<int64_t>& with) const;

  AxisConvention convention_;
  std::vector<Named> arrays_;
  std::filesystem::path cached_path_;
  bool coordinate_rows_ = false;
};

/// The name of a coordinate ("x-coordinate", "tt", "time" -> "x", "t", "t"), or "" for another word.
std::string coordinate_name(const std::string& name);

/// Axes from letters, as in AxisGuess::fill.
AxisMap axes_from_letters(const std::string& letters, const StoredArray& array, const std::string& name);

}  // namespace monarch::data
