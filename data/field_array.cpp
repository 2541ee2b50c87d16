#include "monarch/data/field_array.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace monarch::data {

namespace {

at::Tensor slice(at::Tensor values, const Block& block) {
  for (size_t d = 0; d < block.first.size(); ++d) {
    const int64_t end = block.first[d] + (block.count[d] - 1) * block.stride[d] + 1;
    values = values.slice(static_cast<int64_t>(d), block.first[d], std::max(block.first[d], end), block.stride[d]);
  }
  return values;
}

class LoadedArray final : public StoredArray {
 public:
  LoadedArray(std::vector<int64_t> shape, std::string dtype, std::string storage, bool complex,
              std::function<at::Tensor()> load)
      : load_(std::move(load)) {
    shape_ = std::move(shape);
    dtype_ = std::move(dtype);
    storage_ = std::move(storage);
    complex_ = complex;
    if (complex) shape_.push_back(2);
  }
  at::Tensor read(const Block& block) const override {
    const std::lock_guard lock(mutex_);
    if (!values_.defined()) {
      at::Tensor values = load_();
      if (values.is_complex()) values = at::view_as_real(values.resolve_conj());
      check<DataError>(values.sizes() == at::IntArrayRef(shape_), [&] {
        return fmt::format("the data have shape {}, their header says {}", shape_text(values.sizes()),
                           shape_text(shape_));
      });
      values_ = values;
    }
    return slice(values_, block);
  }

 private:
  std::function<at::Tensor()> load_;
  mutable std::mutex mutex_;
  mutable at::Tensor values_;
};

class Hdf5Array final : public StoredArray {
 public:
  Hdf5Array(std::shared_ptr<const hdf5::File> file, const std::string& path, bool reversed)
      : file_(std::move(file)), reader_(*file_, path), reversed_(reversed) {
    const auto& info = reader_.info();
    shape_ = info.shape;
    if (reversed_) std::reverse(shape_.begin(), shape_.end());
    dtype_ = info.type;
    storage_ = reader_.storage();
    complex_ = info.kind == hdf5::Kind::complex;
    if (complex_) shape_.push_back(2);
  }
  at::Tensor read(const Block& asked) const override {
    Block block = asked;
    if (complex_) {
      block.first.pop_back();
      block.count.pop_back();
      block.stride.pop_back();
    }
    if (reversed_) {
      std::reverse(block.first.begin(), block.first.end());
      std::reverse(block.count.begin(), block.count.end());
      std::reverse(block.stride.begin(), block.stride.end());
    }
    at::Tensor values = reader_.read(block);
    if (reversed_) {
      std::vector<int64_t> order(block.count.size());
      std::iota(order.rbegin(), order.rend(), int64_t{0});
      values = values.permute(order);
    }
    if (!complex_) return values;
    Block last = Block::all(at::view_as_real(values).sizes().vec());
    last.first.back() = asked.first.back();
    last.count.back() = asked.count.back();
    last.stride.back() = asked.stride.back();
    return slice(at::view_as_real(values), last);
  }

 private:
  std::shared_ptr<const hdf5::File> file_;
  hdf5::BlockReader reader_;
  bool reversed_;
};

class StackedArray final : public StoredArray {
 public:
  StackedArray(int64_t count, std::function<StoredArrayPtr(int64_t)> open) : open_(std::move(open)) {
    const auto first = open_(0);
    shape_ = first->shape();
    shape_.insert(shape_.begin(), count);
    dtype_ = first->dtype();
    storage_ = first->storage();
    complex_ = first->complex();
  }
  at::Tensor read(const Block& block) const override {
    const auto tail = [](const std::vector<int64_t>& all) { return std::vector<int64_t>(all.begin() + 1, all.end()); };
    const Block inner{tail(block.first), tail(block.count), tail(block.stride)};
    std::vector<at::Tensor> values;
    for (int64_t i = 0; i < block.count[0]; ++i) {
      const int64_t index = block.first[0] + i * block.stride[0];
      const auto array = open_(index);
      check<DataError>(
          array->shape() == tail(shape_),
          [&] {
            return fmt::format("sample {} has shape {}, the first has {}", index, shape_text(array->shape()),
                               shape_text(tail(shape_)));
          },
          "samples of one file must have one shape");
      values.push_back(array->read(inner));
    }
    return at::stack(values);
  }

 private:
  std::function<StoredArrayPtr(int64_t)> open_;
};

/// "[sample, time, x, y]" in the array's own order.
std::string axis_names(const AxisMap& axes, const StoredArray& array) {
  static const char* const names[] = {"x", "y", "z"};
  std::vector<std::string> words(array.shape().size(), "1");
  const auto set = [&](int axis, const std::string& word) {
    if (axis >= 0) words[static_cast<size_t>(axis)] = word;
  };
  set(axes.sample, "sample");
  set(axes.time, "time");
  for (const int axis : axes.channels) set(axis, "channel");
  for (size_t i = 0; i < axes.grid.size(); ++i) set(axes.grid[i], i < 3 ? names[i] : fmt::format("x{}", i));
  if (array.complex()) words.pop_back();
  return fmt::format("[{}]", fmt::join(words, ", "));
}

}  // namespace

StoredArrayPtr loaded_array(std::vector<int64_t> shape, std::string dtype, std::string storage, bool complex,
                            std::function<at::Tensor()> load) {
  return std::make_shared<LoadedArray>(std::move(shape), std::move(dtype), std::move(storage), complex,
                                       std::move(load));
}

StoredArrayPtr hdf5_array(std::shared_ptr<const hdf5::File> file, const std::string& path, bool reversed) {
  return std::make_shared<Hdf5Array>(std::move(file), path, reversed);
}

StoredArrayPtr stacked_array(int64_t count, std::function<StoredArrayPtr(int64_t)> open) {
  return std::make_shared<StackedArray>(count, std::move(open));
}

void ArraySource::add(const std::string& name, StoredArrayPtr array, AxisMap axes, FieldInfo info) {
  const auto& shape = array->shape();
  std::vector<bool> used(shape.size(), false);
  const auto extent = [&](int axis) {
    used[static_cast<size_t>(axis)] = true;
    return shape[static_cast<size_t>(axis)];
  };
  info.name = name;
  if (axes.sample >= 0) info.samples = extent(axes.sample);
  if (axes.time >= 0) info.times = extent(axes.time);
  info.channels = 1;
  for (const int axis : axes.channels) info.channels *= extent(axis);
  info.grid.resize(axes.grid.size(), 1);
  for (size_t i = 0; i < axes.grid.size(); ++i) {
    if (axes.grid[i] >= 0) info.grid[i] = extent(axes.grid[i]);
  }
  for (size_t d = 0; d < shape.size(); ++d) {
    check<DataError>(used[d] || shape[d] == 1, [&] {
      return fmt::format("{}: {}: axis {} of shape {} has no meaning", this->name(), name, d, shape_text(shape));
    });
  }
  info.dtype = array->dtype();
  info.stored = fmt::format("{}, {}", axis_names(axes, *array), array->storage());
  info.note = axes.note;
  fields_.push_back(std::move(info));
  entries_[name] = {std::move(array), std::move(axes)};
}

void ArraySource::check_not_empty() const {
  std::vector<std::string> names;
  for (const auto& [name, values] : coordinates_) names.push_back(name);
  check<DataError>(
      !fields_.empty(),
      [&] {
        return fmt::format("{}: holds no array over a grid, only {}", name(),
                           names.empty() ? "nothing to read" : fmt::format("{}", fmt::join(names, ", ")));
      },
      "docs/pde-files.md says what is read");
}

at::Tensor ArraySource::do_read(const FieldInfo& field, const FieldRange& range) const {
  const auto& [array, axes] = entries_.at(field.name);
  Block block = Block::all(array->shape());
  const auto set = [&](int axis, int64_t first, int64_t count, int64_t stride) {
    if (axis < 0) return;
    const auto d = static_cast<size_t>(axis);
    block.first[d] = first;
    block.count[d] = count;
    block.stride[d] = stride;
  };
  set(axes.sample, range.first_sample, range.samples, 1);
  set(axes.time, range.first_time, range.times, range.time_stride);
  std::vector<int64_t> points(field.grid.size());
  for (size_t i = 0; i < points.size(); ++i) {
    points[i] = (field.grid[i] + range.grid_stride[i] - 1) / range.grid_stride[i];
    set(axes.grid[i], 0, points[i], range.grid_stride[i]);
  }
  const at::Tensor values = array->read(block);
  // Axes in the order of the result; absent ones are made with one point and repeated.
  std::vector<int64_t> order, made, wanted;
  const auto put = [&](int axis, int64_t extent) {
    if (axis >= 0) order.push_back(axis);
    made.push_back(axis >= 0 ? extent : 1);
    wanted.push_back(extent);
  };
  put(axes.sample, range.samples);
  if (field.times) put(axes.time, range.times);
  for (const int axis : axes.channels) order.push_back(axis);
  made.push_back(field.channels);
  wanted.push_back(field.channels);
  for (size_t i = 0; i < points.size(); ++i) put(axes.grid[i], points[i]);
  for (int d = 0; d < static_cast<int>(array->shape().size()); ++d) {  // axes of one point without a meaning
    if (std::find(order.begin(), order.end(), d) == order.end()) order.push_back(d);
  }
  const auto type = values.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  return values.permute(order).to(type).reshape(made).expand(wanted).contiguous();
}

}  // namespace monarch::data
