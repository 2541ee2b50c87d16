#include "monarch/data/fields_well.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/field_axes.hpp"

namespace monarch::data {

namespace {

/// One field with its flags.
struct WellField {
  std::string name, path;
  int order = 0;  ///< tensor order: 0, 1, 2
  std::vector<int64_t> shape;
  bool samples = true, times = true;
  std::vector<bool> varies;  ///< along each axis of space
};

bool flag(const hdf5::File& file, const std::string& path, const std::string& name, bool otherwise) {
  return file.number_attribute(path, name).value_or(otherwise ? 1 : 0) != 0;
}

/// A vector, or the first row of [sample, points].
void add_coordinate(const hdf5::File& file, const std::string& path, const std::string& name, ArraySource& source) {
  const auto info = file.info(path);
  if ((info.kind != hdf5::Kind::real && info.kind != hdf5::Kind::integer) || info.numel() == 0) return;
  at::Tensor values = file.read(path).to(at::kDouble);
  while (values.dim() > 1) {
    if (!at::equal(values, values[0].expand_as(values)))
      source.notes_.push_back(fmt::format("{}: differs between samples or times; the first is given", path));
    values = values[0];
  }
  source.coordinates_[name] = values.reshape({-1}).contiguous();
}

/// Axes of a field in its dataset; throws where flags and rank contradict each other.
AxisMap axes_of(const WellField& field, const std::string& place) {
  AxisMap axes;
  int next = 0;
  if (field.samples) axes.sample = next++;
  if (field.times) axes.time = next++;
  for (const bool varies : field.varies) axes.grid.push_back(varies ? next++ : -1);
  const int components = static_cast<int>(field.shape.size()) - next;
  const bool fine = components == field.order || (field.order == 2 && components == 1);
  check<DataError>(
      fine,
      [&] {
        return fmt::format(
            "{}: shape {} has {} axes, its flags (sample_varying, time_varying, dim_varying) and tensor "
            "order {} ask for {}",
            place, shape_text(field.shape), field.shape.size(), field.order, next + field.order);
      },
      "the flags of the field are wrong, or it lies in the wrong group");
  for (int i = 0; i < components; ++i) axes.channels.push_back(next + i);
  return axes;
}

}  // namespace

std::shared_ptr<ArraySource> open_well_fields(std::shared_ptr<const hdf5::File> file) {
  auto source = std::make_shared<ArraySource>(file->name(), "The Well");
  for (const auto& name : file->attributes("")) {
    if (const auto value = file->number_attribute("", name)) source->parameters_[name] = *value;
    if (auto text = file->text_attribute("", name)) source->texts_[name] = std::move(*text);
  }
  const auto groups = file->groups();
  const auto has_group = [&](const std::string& name) {
    return std::find(groups.begin(), groups.end(), name) != groups.end();
  };
  std::vector<std::string> space;
  if (has_group("dimensions")) {
    for (const auto& name : file->datasets("dimensions")) {
      const std::string path = "dimensions/" + name;
      if (name != "time") space.push_back(name);
      add_coordinate(*file, path, name == "time" ? "t" : name, *source);
    }
  }

  std::vector<WellField> fields;
  for (int order = 0; order < 3; ++order) {
    const std::string group = fmt::format("t{}_fields", order);
    if (!has_group(group)) continue;
    for (const auto& name : file->datasets(group)) {
      WellField field{name, group + "/" + name, order, {}, true, true, {}};
      const auto info = file->info(field.path);
      if (info.kind != hdf5::Kind::real && info.kind != hdf5::Kind::integer && info.kind != hdf5::Kind::boolean) {
        source->notes_.push_back(fmt::format("{}: {}, left out", field.path, info.type));
        continue;
      }
      field.shape = info.shape;
      field.samples = flag(*file, field.path, "sample_varying", true);
      field.times = flag(*file, field.path, "time_varying", true);
      if (const auto varying = file->numbers_attribute(field.path, "dim_varying")) {
        for (const double value : *varying) field.varies.push_back(value != 0);
      }
      fields.push_back(std::move(field));
    }
  }

  // How many axes of space: stated, or as many as there are flags, coordinates, or axes of a scalar.
  size_t rank = 0;
  for (const auto& field : fields) rank = std::max(rank, field.varies.size());
  if (const auto stated = file->number_attribute("", "n_spatial_dims"); stated && *stated >= 1 && *stated <= 3)
    rank = static_cast<size_t>(*stated);
  if (rank == 0) rank = space.size();
  for (const auto& field : fields) {
    const size_t others = (field.samples ? 1 : 0) + (field.times ? 1 : 0) + static_cast<size_t>(field.order);
    if (rank == 0 && field.shape.size() > others) rank = field.shape.size() - others;
  }

  // Extents of absent axes come from the other fields, the coordinates and n_trajectories.
  int64_t samples = 0, times = 0;
  std::vector<int64_t> grid(rank, 0);
  const auto agree = [&](int64_t& known, int64_t extent, const std::string& place, const char* what) {
    check<DataError>(
        known == 0 || known == extent,
        [&] { return fmt::format("{}: {} {}, another field of the file has {}", place, extent, what, known); },
        "the fields of one file share samples, times and grid");
    known = extent;
  };
  std::vector<AxisMap> maps;
  for (auto& field : fields) {
    const std::string place = file->place(field.path);
    if (field.varies.empty()) field.varies.assign(rank, true);
    check<DataError>(field.varies.size() == rank, [&] {
      return fmt::format("{}: dim_varying has {} entries, expected {}", place, field.varies.size(), rank);
    });
    maps.push_back(axes_of(field, place));
    const auto extent = [&](int axis) { return field.shape[static_cast<size_t>(axis)]; };
    if (maps.back().sample >= 0) agree(samples, extent(maps.back().sample), place, "samples");
    if (maps.back().time >= 0) agree(times, extent(maps.back().time), place, "times");
    for (size_t d = 0; d < rank; ++d) {
      if (field.varies[d]) agree(grid[d], extent(maps.back().grid[d]), place, "points");
    }
  }
  if (const auto stated = file->number_attribute("", "n_trajectories"); stated && *stated >= 1 && *stated < 1e9) {
    const auto count = static_cast<int64_t>(*stated);
    if (samples != 0 && samples != count)
      source->notes_.push_back(fmt::format("n_trajectories says {}, the fields have {} samples", count, samples));
    if (samples == 0) samples = count;
  }
  samples = std::max<int64_t>(samples, 1);
  for (size_t d = 0; d < rank && space.size() == rank; ++d) {
    const auto found = source->coordinates_.find(space[d]);
    if (grid[d] == 0 && found != source->coordinates_.end()) grid[d] = found->second.numel();
  }
  // A field repeated over a very long absent axis must not take memory that no data stand for.
  constexpr int64_t largest = int64_t{1} << 32;
  double repeated = static_cast<double>(samples);
  for (auto& extent : grid) repeated *= static_cast<double>(extent = std::max<int64_t>(extent, 1));
  check<DataError>(repeated <= static_cast<double>(largest) * 64, [&] {
    return fmt::format("{}: claims {} samples on a grid {}", file->name(), samples, shape_text(grid));
  });
  for (size_t i = 0; i < fields.size(); ++i) {
    FieldInfo info;
    info.samples = samples;
    info.grid = grid;
    const auto& field = fields[i];
    std::vector<std::string> absent;
    if (!field.samples) absent.push_back("samples");
    for (size_t d = 0; d < rank; ++d) {
      if (!field.varies[d]) absent.push_back(fmt::format("axis {} of the grid", d));
    }
    if (!absent.empty()) maps[i].note = "the same for all " + join_or(absent);
    const bool twice = std::any_of(fields.begin(), fields.end(), [&](const WellField& other) {
      return &other != &field && other.name == field.name;
    });
    source->add(twice ? field.path : field.name, hdf5_array(file, field.path), maps[i], info);
  }
  if (has_group("scalars")) {
    for (const auto& name : file->datasets("scalars")) {
      const auto info = file->info("scalars/" + name);
      if (info.numel() == 1 && (info.kind == hdf5::Kind::real || info.kind == hdf5::Kind::integer))
        source->parameters_[name] = file->read("scalars/" + name).to(at::kDouble).item<double>();
      else
        source->notes_.push_back(fmt::format("scalars/{}: {} {}, left out", name, info.type, shape_text(info.shape)));
    }
  }
  if (has_group("boundary_conditions")) {
    for (const auto& name : file->groups("boundary_conditions")) {
      auto type = file->text_attribute("boundary_conditions/" + name, "bc_type");
      if (!type) continue;
      std::transform(type->begin(), type->end(), type->begin(), [](unsigned char c) { return std::tolower(c); });
      source->texts_["boundary " + name] = *type;
    }
  }
  source->check_not_empty();
  return source;
}

}  // namespace monarch::data
