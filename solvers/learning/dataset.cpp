#include "monarch/solvers/learning/dataset.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "monarch/core/error.hpp"
#include "monarch/core/memory.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/core/text.hpp"

namespace monarch::solvers {
namespace {

bool holds(const data::FieldSource& source, const std::string& name) {
  return std::any_of(source.fields().begin(), source.fields().end(),
                     [&](const data::FieldInfo& f) { return f.name == name; });
}

std::string field_list(const data::FieldSource& source) {
  std::vector<std::string> names;
  for (const auto& field : source.fields()) names.push_back(field.name);
  return join_or(names);
}

std::vector<int64_t> strides_for(const std::vector<int64_t>& given, size_t axes, const std::string& file) {
  if (given.empty()) return std::vector<int64_t>(axes, 1);
  if (given.size() == 1) return std::vector<int64_t>(axes, given[0]);
  check<ConfigError>(given.size() == axes, [&] {
    return fmt::format("data.grid_stride has {} numbers, the fields of {} have {} axes", given.size(), file, axes);
  });
  return given;
}

int64_t points_at(int64_t points, int64_t stride) {
  return (points + stride - 1) / stride;
}

std::string text_of(const std::vector<int64_t>& shape) {
  return shape_text(shape);
}

}  // namespace

FieldNames resolve_fields(const data::FieldSource& source, const TaskOptions& task, const std::string& input,
                          const std::string& target) {
  FieldNames names{input, target};
  if (!input.empty()) source.field(input);
  if (!target.empty()) source.field(target);
  if (!input.empty() && !target.empty()) return names;
  if (task.kind != TaskKind::rollout) {
    static const std::vector<std::pair<std::string, std::string>> pairs = {
        {"x", "y"}, {"a", "u"}, {"coeff", "sol"}, {"nu", "tensor"}, {"permeability", "darcy"}};
    for (const auto& [x, y] : pairs) {
      if ((input.empty() || input == x) && (target.empty() || target == y) && holds(source, x) && holds(source, y))
        return {x, y};
    }
  }
  if (names.target.empty() && !names.input.empty() && source.field(names.input).times) names.target = names.input;
  if (names.target.empty()) {
    std::vector<std::string> timed;
    for (const auto& field : source.fields())
      if (field.times) timed.push_back(field.name);
    if (std::find(timed.begin(), timed.end(), "u") != timed.end())
      names.target = "u";
    else if (timed.size() == 1)
      names.target = timed.front();
  }
  check<DataError>(
      !names.target.empty(),
      [&] {
        return fmt::format("{}: which field to learn is not clear; the file holds {}", source.name(),
                           field_list(source));
      },
      "name them: data.input and data.target");
  if (names.input.empty()) names.input = names.target;
  return names;
}

FieldRows::Part FieldRows::part(const std::string& field, int64_t first, int64_t stride, int64_t count,
                                const DataOptions& options, bool time_in_grid, bool complete) {
  const data::FieldInfo& info = source_->field(field);
  Part p;
  p.field = field;
  p.channels = info.channels;
  p.time_in_grid = time_in_grid;
  p.first = first;
  p.stride = stride;
  std::vector<int64_t> axes = info.grid;
  int64_t times = info.times.value_or(1);
  if (time_in_grid) {
    times = axes.front();
    axes.erase(axes.begin());
  } else if (!info.times) {
    p.first = first = 0;
  }
  const int64_t there = first < times ? points_at(times - first, stride) : 0;
  p.times = complete ? count : std::clamp<int64_t>(there, 0, count);
  check<DataError>(
      there >= p.times,
      [&] {
        return fmt::format("{}: '{}' has {} frames, but {} frames from frame {} on, every {} of them, are asked for",
                           source_->name(), field, times, count, first, stride == 1 ? "one" : std::to_string(stride));
      },
      "shorten task.horizon or task.input_frames, or check data.first_time and data.time_stride");
  p.range.grid_stride = strides_for(options.grid_stride, axes.size(), source_->name());
  std::vector<int64_t> grid;
  for (size_t a = 0; a < axes.size(); ++a) grid.push_back(points_at(axes[a], p.range.grid_stride[a]));
  if (time_in_grid) {
    p.range.grid_stride.insert(p.range.grid_stride.begin(), 1);
  } else if (info.times) {
    p.range.first_time = first;
    p.range.times = std::max<int64_t>(p.times, 1);
    p.range.time_stride = stride;
  }
  if (grid_.empty()) grid_ = grid;
  check<ShapeError>(
      grid == grid_,
      [&] {
        return fmt::format("{}: '{}' lies on {} points, '{}' on {}", source_->name(), names_.input, text_of(grid_),
                           field, text_of(grid));
      },
      "input and target need one grid");
  return p;
}

FieldRows::FieldRows(data::FieldSourcePtr source, const TaskOptions& task, const DataOptions& options, bool complete)
    : source_(std::move(source)) {
  if (complete) {
    names_ = resolve_fields(*source_, task, options.input, options.target);
  } else {
    names_ = {options.input, options.target};
    source_->field(names_.input);
  }
  const bool same = names_.input == names_.target;
  const bool has_target = holds(*source_, names_.target);
  const data::FieldInfo& input = source_->field(names_.input);
  input_ = part(names_.input, options.first_time, options.time_stride, task.input_frames, options, false, true);
  rows_ = input.samples;
  if (has_target) {
    const data::FieldInfo& target = source_->field(names_.target);
    int64_t first = options.first_time, count = task.horizon;
    if (same) {
      first += task.input_frames * options.time_stride;
      if (task.kind == TaskKind::map) {
        first += (task.horizon - 1) * options.time_stride;
        count = 1;
      }
    } else if (options.target_first_time >= 0) {
      first = options.target_first_time;
    }
    const bool time_in_grid = !target.times && target.grid.size() == grid_.size() + 1;
    if (!same && task.kind == TaskKind::map && (target.times || time_in_grid)) count = 1;
    target_ = part(names_.target, first, options.time_stride, count, options, time_in_grid, complete);
    check<DataError>(target.samples == input.samples, [&] {
      return fmt::format("{}: '{}' has {} samples, '{}' has {}", source_->name(), names_.input, input.samples,
                         names_.target, target.samples);
    });
  } else {
    target_.field = names_.target;
  }
  find_times(task, options);
}

void FieldRows::find_times(const TaskOptions& task, const DataOptions& options) {
  const auto found = source_->coordinates().find("t");
  at::Tensor t;
  if (found != source_->coordinates().end()) t = found->second.to(at::kDouble).flatten().contiguous();
  const auto at_frame = [&](int64_t frame) { return t.data_ptr<double>()[frame]; };
  const int64_t last = target_.first + std::max<int64_t>(target_.times - 1, 0) * target_.stride;
  times_known_ = t.defined() && t.numel() > last && target_.times > 0 &&
                 (target_.times < 2 || at_frame(target_.first + target_.stride) > at_frame(target_.first));
  if (times_known_) {
    for (int64_t k = 0; k < target_.times; ++k) target_times_.push_back(at_frame(target_.first + k * target_.stride));
    const bool same = names_.input == names_.target;
    start_time_ = same ? at_frame(options.first_time + (task.input_frames - 1) * options.time_stride)
                       : std::min(0.0, target_times_.front());
    return;
  }
  start_time_ = static_cast<double>(task.input_frames - 1);
  for (int64_t k = 0; k < target_.times; ++k) target_times_.push_back(start_time_ + static_cast<double>(k + 1));
}

double FieldRows::row_bytes(at::ScalarType dtype) const {
  double points = static_cast<double>(c10::elementSize(dtype));
  for (const int64_t n : grid_) points *= static_cast<double>(n);
  return points * static_cast<double>(input_.times * input_.channels + target_.times * target_.channels);
}

at::Tensor FieldRows::read_part(const Part& p, std::span<const int64_t> rows, at::ScalarType dtype) const {
  std::vector<int64_t> shape{static_cast<int64_t>(rows.size()), p.times, p.channels};
  shape.insert(shape.end(), grid_.begin(), grid_.end());
  at::Tensor result = at::empty(shape, dtype);
  if (p.times == 0) return result;
  for (size_t i = 0; i < rows.size();) {
    size_t end = i + 1;
    while (end < rows.size() && rows[end] == rows[end - 1] + 1) ++end;
    data::FieldRange range = p.range;
    range.first_sample = rows[i];
    range.samples = static_cast<int64_t>(end - i);
    at::Tensor values = source_->read(p.field, range);
    if (p.time_in_grid) {
      values = values.movedim(2, 1).slice(1, p.first, p.first + (p.times - 1) * p.stride + 1, p.stride);
    } else if (!source_->field(p.field).times) {
      values = values.unsqueeze(1);
    }
    result.slice(0, static_cast<int64_t>(i), static_cast<int64_t>(end)).copy_(values);
    i = end;
  }
  return result;
}

FieldBatch FieldRows::read(std::span<const int64_t> rows, at::ScalarType dtype) const {
  FieldBatch batch;
  batch.input = read_part(input_, rows, dtype);
  if (target_.times > 0) batch.target = read_part(target_, rows, dtype);
  return batch;
}

void FieldSet::load() {
  if (!loaded_.input.defined()) loaded_ = rows_->read(ids_, dtype_);
}

FieldBatch FieldSet::read(std::span<const int64_t> places) const {
  if (loaded_.input.defined()) {
    const auto index = at::tensor(at::ArrayRef<int64_t>(places.data(), places.size()), at::kLong);
    return {loaded_.input.index_select(0, index),
            loaded_.target.defined() ? loaded_.target.index_select(0, index) : at::Tensor()};
  }
  std::vector<int64_t> rows;
  for (const int64_t place : places) rows.push_back(ids_.at(static_cast<size_t>(place)));
  return rows_->read(rows, dtype_);
}

FieldBatch FieldSet::read(int64_t first, int64_t count) const {
  std::vector<int64_t> places(static_cast<size_t>(std::clamp<int64_t>(count, 0, size() - first)));
  std::iota(places.begin(), places.end(), first);
  return read(places);
}

FieldSet FieldSet::first(int64_t count) const {
  FieldSet some = *this;
  if (count < size()) some.ids_.resize(static_cast<size_t>(count));
  return some;
}

std::vector<int64_t> split_order(int64_t rows, Split split, uint64_t seed) {
  std::vector<int64_t> order(static_cast<size_t>(rows));
  std::iota(order.begin(), order.end(), 0);
  if (split == Split::random) {
    std::vector<double> key(order.size());
    for (size_t i = 0; i < key.size(); ++i) key[i] = Rng(seed, fmt::format("split {}", i)).uniform();
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return key[a] < key[b]; });
  }
  return order;
}

namespace {

/// Numbers of rows, with what is left open filled in.
struct Counts {
  int64_t training, validation, test;
};

Counts settle_counts(const DataOptions& o, int64_t rows, int64_t test_rows, const std::string& file) {
  const bool own_test = !o.test_file.empty();
  const int64_t tenth = std::max<int64_t>(1, rows / 10);
  Counts n{o.train, o.validation < 0 ? tenth : o.validation, o.test < 0 ? (own_test ? test_rows : tenth) : o.test};
  const int64_t taken = n.validation + (own_test ? 0 : n.test);
  if (n.training == 0) n.training = rows - taken;
  check<ConfigError>(
      n.training >= 1 && n.training + taken <= rows,
      [&] {
        return fmt::format("{} has {} samples; {} for training, {} for validation{} do not fit", file, rows,
                           std::max<int64_t>(n.training, 0), n.validation,
                           own_test ? "" : fmt::format(" and {} for the test", n.test));
      },
      "lower data.train, data.validation or data.test");
  check<ConfigError>(n.test >= 1 && n.test <= test_rows, [&] {
    return fmt::format("{}: {} test samples of {} are asked for", own_test ? o.test_file : file, n.test, test_rows);
  });
  return n;
}

std::vector<int64_t> slice_of(const std::vector<int64_t>& order, int64_t first, int64_t count) {
  return {order.begin() + first, order.begin() + first + count};
}

}  // namespace

PdeDataset PdeDataset::open(const DataOptions& o, const TaskOptions& task, at::ScalarType dtype,
                            const std::string& simulated) {
  const std::string file = simulated.empty() ? o.file : simulated;
  const auto source = data::open_fields(file, {o.axes});
  auto rows = std::make_shared<const FieldRows>(source, task, o);
  std::shared_ptr<const FieldRows> test_rows = rows;
  if (!o.test_file.empty())
    test_rows = std::make_shared<const FieldRows>(data::open_fields(o.test_file, {o.axes}), task, o);
  check<DataError>(
      test_rows->grid() == rows->grid() && test_rows->input_channels() == rows->input_channels() &&
          test_rows->target_channels() == rows->target_channels(),
      [&] {
        return fmt::format("{} holds {} channels on {} points, {} holds {} on {}", file, rows->input_channels(),
                           text_of(rows->grid()), o.test_file, test_rows->input_channels(), text_of(test_rows->grid()));
      },
      "another grid belongs into [[data.extra_test]]");
  const Counts n = settle_counts(o, rows->size(), test_rows->size(), file);
  const auto order = split_order(rows->size(), o.split, o.split_seed);
  const auto test_order = o.test_file.empty() ? order : split_order(test_rows->size(), Split::published, 0);
  PdeDataset set{FieldSet(rows, slice_of(order, 0, n.training), dtype),
                 FieldSet(rows, slice_of(order, n.training, n.validation), dtype),
                 FieldSet(test_rows, slice_of(test_order, test_rows->size() - n.test, n.test), dtype),
                 {},
                 source->notes()};
  for (const auto& extra : o.extra_tests) {
    DataOptions own = o;
    if (!extra.grid_stride.empty()) own.grid_stride = extra.grid_stride;
    const std::string from = !extra.file.empty() ? extra.file : o.test_file.empty() ? file : o.test_file;
    auto extra_rows = std::make_shared<const FieldRows>(data::open_fields(from, {o.axes}), task, own);
    std::vector<int64_t> ids;
    if (extra.file.empty()) {
      ids = set.test.ids();
    } else {
      const int64_t count = extra.samples == 0 ? extra_rows->size() : extra.samples;
      check<ConfigError>(count <= extra_rows->size(), [&] {
        return fmt::format("{}: {} test samples of {} are asked for", from, count, extra_rows->size());
      });
      ids.resize(static_cast<size_t>(count));
      std::iota(ids.begin(), ids.end(), extra_rows->size() - count);
    }
    check<DataError>(extra_rows->input_channels() == rows->input_channels() &&
                         extra_rows->target_channels() == rows->target_channels(),
                     [&] { return fmt::format("{} holds other channels than {}", from, file); });
    set.extra.push_back({extra.name, FieldSet(extra_rows, std::move(ids), dtype)});
  }
  std::vector<FieldSet*> all{&set.training, &set.validation, &set.test};
  for (auto& extra : set.extra) all.push_back(&extra.set);
  double bytes = 0;
  for (const FieldSet* one : all) bytes += one->bytes();
  if (o.storage == Storage::memory || (o.storage == Storage::automatic && bytes < 0.5 * available_memory_bytes())) {
    for (FieldSet* one : all)
      if (one->size() > 0) one->load();
  } else {
    set.notes.push_back(fmt::format("{} of samples are read from the files batch by batch", bytes_text(bytes)));
  }
  return set;
}

}  // namespace monarch::solvers
