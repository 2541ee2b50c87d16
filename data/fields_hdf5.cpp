// HDF5 files of PDE data: PDEBench in its layouts, PDEArena, and HDF5 of no particular layout. The Well:
// fields_well.cpp.

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/field_axes.hpp"
#include "monarch/data/field_formats.hpp"
#include "monarch/data/fields_well.hpp"

namespace monarch::data {

namespace {

using FilePtr = std::shared_ptr<const hdf5::File>;

bool contains(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool is_numeric(const hdf5::DatasetInfo& info) {
  return info.kind == hdf5::Kind::integer || info.kind == hdf5::Kind::real || info.kind == hdf5::Kind::complex ||
         info.kind == hdf5::Kind::boolean;
}

void read_attributes(const hdf5::File& file, const std::string& object, ArraySource& source) {
  for (const auto& name : file.attributes(object)) {
    if (const auto value = file.number_attribute(object, name)) {
      source.parameters_[name] = *value;
    } else if (auto text = file.text_attribute(object, name)) {
      source.texts_[name] = std::move(*text);
    }
  }
}

/// Vectors called x-coordinate, t-coordinate, x, t … of a group.
void read_coordinates(const hdf5::File& file, const std::string& group, ArraySource& source) {
  for (const auto& name : file.datasets(group)) {
    const std::string known = coordinate_name(name), path = group.empty() ? name : group + "/" + name;
    if (known.empty()) continue;
    const auto info = file.info(path);
    if (!is_numeric(info) || info.kind == hdf5::Kind::complex || info.numel() == 0) continue;
    at::Tensor values = file.read(path).to(at::kDouble);
    if (values.dim() == 2) {  // a row for each sample
      if (!at::equal(values, values[0].expand_as(values)))
        source.notes_.push_back(fmt::format("{}: differs between samples; that of the first is given", path));
      values = values[0];
    }
    if (values.dim() <= 1) source.coordinates_[known] = values.reshape({-1}).contiguous();
  }
}

/// Times of PDEBench are often the edges of steps: one more than there are.
void trim_coordinates(ArraySource& source) {
  const auto found = source.coordinates_.find("t");
  if (found == source.coordinates_.end()) return;
  for (const auto& field : source.fields_) {
    if (!field.times) continue;
    const int64_t stated = found->second.numel();
    if (stated == *field.times + 1) found->second = found->second.narrow(0, 0, *field.times).contiguous();
    if (stated != *field.times)
      source.notes_.push_back(fmt::format("t-coordinate has {} values for {} times of {}{}", stated, *field.times,
                                          field.name, stated == *field.times + 1 ? "; the last was left out" : ""));
    return;
  }
}

int64_t points(const ArraySource& source, const char* name) {
  const auto found = source.coordinates_.find(name);
  return found == source.coordinates_.end() ? 0 : found->second.numel();
}

/// `tensor`: [sample, time, x], [sample, time, x, y(, z)], Darcy's [sample, 1, x, y], and [1, sample, time, x].
AxisMap tensor_axes(const ArraySource& source, const StoredArray& array, bool darcy, const std::string& name) {
  const auto& shape = array.shape();
  const int64_t x = points(source, "x"), y = points(source, "y"), z = points(source, "z"), t = points(source, "t");
  switch (shape.size()) {
    case 2:
      return {0, -1, {}, {1}, ""};
    case 3:
      if (darcy || (t == 0 && x == shape[1] && y == shape[2])) return {0, -1, {}, {1, 2}, ""};
      return {0, 1, {}, {2}, ""};
    case 4:
      if (darcy || (shape[1] == 1 && t <= 1 && y > 0)) return {0, -1, {1}, {2, 3}, ""};
      if (shape[0] == 1 && y == 0 && (x == 0 || x == shape[3]) &&
          (t == 0 ? shape[2] != shape[3] || x > 0 : t == shape[2] || t == shape[2] + 1))
        return {1, 2, {}, {3}, "axis 0 has one point and was dropped: [1, sample, time, x]"};
      if (y == 0 && x == shape[2] && x != shape[3]) return {0, 1, {3}, {2}, "the last axis was taken for components"};
      return {0, 1, {}, {2, 3}, ""};
    case 5:
      if (z == 0 && x == shape[2] && y == shape[3])
        return {0, 1, {4}, {2, 3}, "the last axis was taken for components"};
      if (z == 0 && shape[4] <= 4) return {0, 1, {4}, {2, 3}, "the last axis was taken for components"};
      return {0, 1, {}, {2, 3, 4}, ""};
    case 6:
      return {0, 1, {5}, {2, 3, 4}, "the last axis was taken for components"};
    default:
      fail<DataError>(fmt::format("{}: tensor has shape {}, expected 2 to 6 axes", name, shape_text(shape)));
  }
}

std::shared_ptr<ArraySource> open_single_file(const FilePtr& file, const std::vector<std::string>& names) {
  auto source = std::make_shared<ArraySource>(file->name(), "PDEBench");
  read_attributes(*file, "", *source);
  read_coordinates(*file, "", *source);
  const bool darcy = contains(names, "nu") && file->info("nu").shape.size() == 3;
  for (const auto& name : names) {
    if (!coordinate_name(name).empty()) continue;
    const auto info = file->info(name);
    if (!is_numeric(info) || info.numel() == 0) {
      source->notes_.push_back(fmt::format("{}: {} {}, left out", name, info.type, shape_text(info.shape)));
      continue;
    }
    const auto array = hdf5_array(file, name);
    const auto rank = static_cast<int>(array->shape().size());
    if (name == "tensor") {
      source->add(name, array, tensor_axes(*source, *array, darcy, file->name()));
    } else if (name == "nu" && darcy) {
      source->add(name, array, {0, -1, {}, {1, 2}, ""});
    } else if (rank >= 3) {  // density, pressure, Vx, Vy, Vz: [sample, time, grid]
      AxisMap axes{0, 1, {}, {}, ""};
      for (int d = 2; d < rank; ++d) axes.grid.push_back(d);
      source->add(name, array, axes);
    } else if (info.numel() == 1) {
      source->parameters_[name] = file->read(name).to(at::kDouble).item<double>();
    } else if (rank == 1) {
      source->coordinates_[name] = file->read(name).to(at::kDouble);
    } else {
      source->notes_.push_back(fmt::format("{}: {} {}, left out", name, info.type, shape_text(info.shape)));
    }
  }
  trim_coordinates(*source);
  source->check_not_empty();
  return source;
}

/// velocity [sample, time, x, y, 2], particles [sample, time, x, y, 1], force [sample, x, y, 2], t [sample, time].
std::shared_ptr<ArraySource> open_incompressible(const FilePtr& file, const std::vector<std::string>& names) {
  auto source = std::make_shared<ArraySource>(file->name(), "PDEBench");
  read_attributes(*file, "", *source);
  read_coordinates(*file, "", *source);
  for (const auto& name : names) {
    if (name == "t" || !is_numeric(file->info(name))) continue;
    const auto array = hdf5_array(file, name);
    const auto rank = static_cast<int>(array->shape().size());
    if (name == "force" && rank == 4) {
      source->add(name, array, {0, -1, {3}, {1, 2}, ""});
    } else if (rank == 5) {
      source->add(name, array, {0, 1, {4}, {2, 3}, ""});
    } else {
      source->notes_.push_back(fmt::format("{}: shape {}, left out", name, shape_text(array->shape())));
    }
  }
  trim_coordinates(*source);
  source->check_not_empty();
  return source;
}

/// A group for each seed, with data [time, x(, y(, z)), channel] and grid/x, grid/y, grid/t.
std::shared_ptr<ArraySource> open_seed_groups(const FilePtr& file, const std::vector<std::string>& groups) {
  auto source = std::make_shared<ArraySource>(file->name(), "PDEBench");
  read_attributes(*file, "", *source);
  const auto first = file->info(groups[0] + "/data");
  check<DataError>(first.shape.size() >= 3 && first.shape.size() <= 5 && is_numeric(first), [&] {
    return fmt::format("{}: {} {}, expected [time, x, channel] to [time, x, y, z, channel]",
                       file->place(groups[0] + "/data"), first.type, shape_text(first.shape));
  });
  for (const auto& group : groups) {
    const auto info = file->info(group + "/data");
    check<DataError>(info.shape == first.shape, [&] {
      return fmt::format("{}: has shape {}, that of {} is {}", file->place(group + "/data"), shape_text(info.shape),
                         groups[0], shape_text(first.shape));
    });
  }
  // The shallow-water files keep their grid in one group only.
  for (const auto& group : groups) {
    if (!contains(file->groups(group), "grid")) continue;
    read_coordinates(*file, group + "/grid", *source);
    break;
  }
  read_attributes(*file, groups[0], *source);
  const auto array = stacked_array(static_cast<int64_t>(groups.size()), [file, groups](int64_t i) {
    return hdf5_array(file, groups[static_cast<size_t>(i)] + "/data");
  });
  AxisMap axes{0, 1, {}, {}, ""};
  const int rank = static_cast<int>(first.shape.size()) + 1 + (array->complex() ? 1 : 0);
  for (int d = 2; d < static_cast<int>(first.shape.size()); ++d) axes.grid.push_back(d);
  for (int d = static_cast<int>(first.shape.size()); d < rank; ++d) axes.channels.push_back(d);
  source->add("data", array, axes);
  trim_coordinates(*source);
  return source;
}

void gather(const FilePtr& file, const std::string& group, int depth, const FieldOptions& options,
            ArraySource& source) {
  constexpr int deepest = 3;
  const std::string prefix = group.empty() ? "" : group + "/";
  AxisGuess guess(AxisConvention::time_second);
  guess.accept_coordinate_rows();
  for (const auto& name : file->datasets(group)) {
    const auto info = file->info(prefix + name);
    if (is_numeric(info)) {
      guess.add(prefix + name, hdf5_array(file, prefix + name));
    } else if (info.kind == hdf5::Kind::text && info.numel() == 1) {
      source.texts_[prefix + name] = file->read_text(prefix + name);
    } else {
      source.notes_.push_back(fmt::format("{}: {}, left out", prefix + name, info.type));
    }
  }
  guess.fill(source, options.axes);
  if (depth < deepest) {
    for (const auto& name : file->groups(group)) gather(file, prefix + name, depth + 1, options, source);
  }
}

bool is_split(const std::string& name) {
  return name == "train" || name == "valid" || name == "val" || name == "test";
}

}  // namespace

FieldSourcePtr open_hdf5_fields(FilePtr file, const FieldOptions& options) {
  const auto lock = hdf5::lock_library();
  const auto names = file->datasets(), groups = file->groups();
  std::shared_ptr<ArraySource> found;
  if (contains(groups, "t0_fields") || contains(groups, "t1_fields") || contains(groups, "t2_fields")) {
    found = open_well_fields(file);
  } else if (contains(names, "velocity") && (contains(names, "particles") || contains(names, "force"))) {
    found = open_incompressible(file, names);
  } else if ((contains(names, "tensor") && !options.axes.contains("tensor")) ||
             (contains(names, "density") && contains(names, "Vx"))) {
    found = open_single_file(file, names);
  } else if (!groups.empty() && std::all_of(groups.begin(), groups.end(), [&](const std::string& group) {
               return file->has_dataset(group + "/data");
             })) {
    found = open_seed_groups(file, groups);
  }
  if (found) {
    if (!options.axes.empty())
      found->notes_.push_back("the layout says what the axes are; the option axes was not used");
    return found;
  }
  const bool arena = names.empty() && !groups.empty() && std::all_of(groups.begin(), groups.end(), is_split);
  auto source = std::make_shared<ArraySource>(file->name(), arena ? "PDEArena" : "HDF5");
  read_attributes(*file, "", *source);
  gather(file, "", 0, options, *source);
  source->check_not_empty();
  return source;
}

}  // namespace monarch::data
