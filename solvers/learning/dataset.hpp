#pragma once
// Samples for training from files of PDE fields: which rows, which frames, which points.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "monarch/data/fields.hpp"
#include "monarch/solvers/learning/options.hpp"

namespace monarch::solvers {

/// Samples: what a model is given, and the truth. One kind of fields may be both.
struct FieldBatch {
  at::Tensor input;   ///< [sample, frame, channel, grid…]
  at::Tensor target;  ///< [sample, time, channel, grid…]
};

/// Names of the input and the target field.
struct FieldNames {
  std::string input, target;
};

/// The fields that options name; what they leave open is chosen from the file: for one field over time, "u", or the
/// only field with times; for two, one of the pairs x and y, a and u, coeff and sol, nu and tensor, permeability and
/// darcy. Throws DataError (no such field, naming the closest one; nothing fits, naming what there is).
FieldNames resolve_fields(const data::FieldSource& source, const TaskOptions& task, const std::string& input,
                          const std::string& target);

/// The frames and points of a file's rows that a task uses. Reading is lazy.
class FieldRows {
 public:
  /// Throws DataError (too few frames: "the rollout needs 20 of them"), ConfigError (strides for another number of
  /// axes), ShapeError (input and target on different grids). `complete` false: frames of the target that the file
  /// lacks are left out, and so is the whole target where the file does not hold that field (prediction).
  FieldRows(data::FieldSourcePtr source, const TaskOptions& task, const DataOptions& options, bool complete = true);

  int64_t size() const { return rows_; }
  /// Rows in the order given, float32 or float64 as `dtype` says. Throws DataError, naming rows that are not finite.
  FieldBatch read(std::span<const int64_t> rows, at::ScalarType dtype) const;
  /// Bytes of one row as read.
  double row_bytes(at::ScalarType dtype) const;

  int64_t input_frames() const { return input_.times; }
  int64_t input_channels() const { return input_.channels; }
  int64_t target_frames() const { return target_.times; }
  int64_t target_channels() const { return target_.channels; }
  const std::vector<int64_t>& grid() const { return grid_; }
  const FieldNames& names() const { return names_; }
  const data::FieldSource& source() const { return *source_; }
  /// Times of the target frames, and of the last input frame, from the file's coordinate "t"; else whole numbers,
  /// counted from the first input frame.
  const std::vector<double>& target_times() const { return target_times_; }
  double start_time() const { return start_time_; }
  bool times_known() const { return times_known_; }

 private:
  struct Part {
    std::string field;
    data::FieldRange range;
    int64_t times = 0, channels = 0;
    bool time_in_grid = false;  ///< the file's field has no time axis: its first grid axis is taken as time
    int64_t first = 0, stride = 1;
  };
  Part part(const std::string& field, int64_t first, int64_t stride, int64_t count, const DataOptions& options,
            bool time_in_grid, bool complete);
  at::Tensor read_part(const Part& part, std::span<const int64_t> rows, at::ScalarType dtype) const;
  void find_times(const TaskOptions& task, const DataOptions& options);

  data::FieldSourcePtr source_;
  FieldNames names_;
  Part input_, target_;
  int64_t rows_ = 0;
  std::vector<int64_t> grid_;
  std::vector<double> target_times_;
  double start_time_ = 0;
  bool times_known_ = false;
};

/// Some rows, in memory or read from the file batch by batch.
class FieldSet {
 public:
  FieldSet(std::shared_ptr<const FieldRows> rows, std::vector<int64_t> ids, at::ScalarType dtype)
      : rows_(std::move(rows)), ids_(std::move(ids)), dtype_(dtype) {}

  int64_t size() const { return static_cast<int64_t>(ids_.size()); }
  const FieldRows& rows() const { return *rows_; }
  const std::vector<int64_t>& ids() const { return ids_; }  ///< rows of the file
  double bytes() const { return rows_->row_bytes(dtype_) * static_cast<double>(ids_.size()); }
  /// Reads everything now; read() then copies from memory.
  void load();
  /// Samples by their place in this set.
  FieldBatch read(std::span<const int64_t> places) const;
  FieldBatch read(int64_t first, int64_t count) const;
  /// The first samples of this set, at most all; what is loaded is shared.
  FieldSet first(int64_t count) const;

 private:
  std::shared_ptr<const FieldRows> rows_;
  std::vector<int64_t> ids_;
  at::ScalarType dtype_;
  FieldBatch loaded_;
};

/// A named further test set.
struct NamedFieldSet {
  std::string name;
  FieldSet set;
};

/// Training, validation and test samples of a config.
struct PdeDataset {
  FieldSet training, validation, test;
  std::vector<NamedFieldSet> extra;
  std::vector<std::string> notes;  ///< what was assumed

  /// Opens the files and splits their rows; loads them where they fit into half of the free memory (or options.storage
  /// says so). `file` stands for options.file where data were simulated. Throws as FieldRows, ConfigError for more rows
  /// than there are or splits that overlap, with the numbers.
  static PdeDataset open(const DataOptions& options, const TaskOptions& task, at::ScalarType dtype,
                         const std::string& file = {});
};

/// Rows [0, rows) in the order of the splits: training first, then validation; the test rows from the end.
std::vector<int64_t> split_order(int64_t rows, Split split, uint64_t seed);

}  // namespace monarch::solvers
