#pragma once
// Stored arrays and the meaning of their axes: what the readers of PDE files are made of.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "monarch/data/fields.hpp"
#include "monarch/data/hdf5_block.hpp"

namespace monarch::data {

using hdf5::Block;

/// An array in a file, read by blocks, in whatever order of axes it names. Complex arrays have a last axis of 2.
class StoredArray {
 public:
  virtual ~StoredArray() = default;
  const std::vector<int64_t>& shape() const { return shape_; }
  const std::string& dtype() const { return dtype_; }      ///< "float32", as stored
  const std::string& storage() const { return storage_; }  ///< "contiguous"
  bool complex() const { return complex_; }
  /// A tensor of the block's shape and any real type; the block is inside the shape. Several threads may read.
  virtual at::Tensor read(const Block& block) const = 0;

 protected:
  std::vector<int64_t> shape_;
  std::string dtype_, storage_;
  bool complex_ = false;
};
using StoredArrayPtr = std::shared_ptr<const StoredArray>;

/// An array that is loaded whole at the first read and kept. `shape` is that of the tensor that `load` gives (for a
/// complex one, without the axis of 2).
StoredArrayPtr loaded_array(std::vector<int64_t> shape, std::string dtype, std::string storage, bool complex,
                            std::function<at::Tensor()> load);

/// A dataset of an HDF5 file; `reversed`: axes in MATLAB's order.
StoredArrayPtr hdf5_array(std::shared_ptr<const hdf5::File> file, const std::string& path, bool reversed = false);

/// Arrays of one shape, stacked along a new first axis; `open` gives number i when it is read.
StoredArrayPtr stacked_array(int64_t count, std::function<StoredArrayPtr(int64_t)> open);

/// What the axes of an array mean, by their number; -1: there is no such axis.
struct AxisMap {
  int sample = -1, time = -1;
  std::vector<int> channels;  ///< components, slowest first
  std::vector<int> grid;      ///< -1: the field does not vary along it and is repeated
  std::string note;           ///< what was assumed
};

/// A source whose fields are stored arrays with a meaning of their axes.
class ArraySource : public FieldSource {
 public:
  using FieldSource::coordinates_, FieldSource::fields_, FieldSource::notes_, FieldSource::parameters_,
      FieldSource::texts_;
  ArraySource(std::string name, std::string format) : FieldSource(std::move(name), std::move(format)) {}
  /// Extents come from the array; where an axis is absent (-1), from `info`. Axes that the map does not name must have
  /// one point.
  void add(const std::string& name, StoredArrayPtr array, AxisMap axes, FieldInfo info = {});
  /// Throws DataError where the file held no field.
  void check_not_empty() const;

 protected:
  at::Tensor do_read(const FieldInfo& field, const FieldRange& range) const override;

 private:
  struct Entry {
    StoredArrayPtr array;
    AxisMap axes;
  };
  std::map<std::string, Entry> entries_;
};

}  // namespace monarch::data
