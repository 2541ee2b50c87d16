#include "monarch/data/field_axes.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/field_cache.hpp"

namespace monarch::data {

namespace {

/// Extents up to this are taken for components where nothing else is known.
constexpr int64_t most_channels = 4;

int64_t count_large(const std::vector<int64_t>& shape) {
  return std::count_if(shape.begin(), shape.end(), [](int64_t extent) { return extent != 1; });
}

at::Tensor load_vector(const StoredArray& array) {
  return array.read(Block::all(array.shape())).to(at::kDouble).reshape({-1}).contiguous();
}

std::vector<int64_t> without_axis(std::vector<int64_t> shape, size_t axis) {
  shape.erase(shape.begin() + static_cast<ptrdiff_t>(axis));
  return shape;
}

}  // namespace

std::string coordinate_name(const std::string& name) {
  std::string word = name.substr(name.rfind('/') == std::string::npos ? 0 : name.rfind('/') + 1);
  std::transform(word.begin(), word.end(), word.begin(), [](unsigned char c) { return std::tolower(c); });
  for (const char* end : {"-coordinate", "_coordinate", "-coord"}) {
    if (word.ends_with(end)) word.resize(word.size() - std::string_view(end).size());
  }
  if (word == "t" || word == "tt" || word == "time" || word == "times" || word == "tspan") return "t";
  for (const char* axis : {"x", "y", "z"}) {
    if (word == axis || word == std::string(axis) + axis) return axis;
  }
  return {};
}

AxisMap axes_from_letters(const std::string& letters, const StoredArray& array, const std::string& name) {
  const size_t rank = array.shape().size() - (array.complex() ? 1 : 0);
  check<ConfigError>(
      letters.size() == rank,
      [&] {
        return fmt::format("axes \"{}\" of {}: {} letters for {} axes of shape {}", letters, name, letters.size(), rank,
                           shape_text(array.shape()));
      },
      "one letter an axis: n sample, t time, c channel, x y z grid, 1 dropped");
  AxisMap axes;
  std::map<char, int> grid;
  for (int d = 0; d < static_cast<int>(rank); ++d) {
    const char letter = letters[static_cast<size_t>(d)];
    bool fine = true;
    if (letter == 'n') {
      fine = axes.sample < 0;
      axes.sample = d;
    } else if (letter == 't') {
      fine = axes.time < 0;
      axes.time = d;
    } else if (letter == 'c') {
      axes.channels.push_back(d);
    } else if (letter == 'x' || letter == 'y' || letter == 'z') {
      fine = grid.emplace(letter, d).second;
    } else if (letter == '1') {
      fine = array.shape()[static_cast<size_t>(d)] == 1;
    } else {
      fine = false;
    }
    check<ConfigError>(
        fine, [&] { return fmt::format("axes \"{}\" of {}: '{}' cannot stand at place {}", letters, name, letter, d); },
        "one letter an axis: n sample, t time, c channel, x y z grid (each once), 1 for an axis of one point");
  }
  for (const auto& [letter, axis] : grid) axes.grid.push_back(axis);
  if (array.complex()) axes.channels.push_back(static_cast<int>(rank));
  return axes;
}

void AxisGuess::add(const std::string& name, StoredArrayPtr array) {
  auto shape = array->shape();
  if (array->complex()) shape.pop_back();
  arrays_.push_back({name, std::move(array), std::move(shape)});
}

/// [sample, grid…] beside [sample, grid…, time] or [sample, time, grid…].
bool AxisGuess::is_pair(const std::vector<int64_t>& without, const std::vector<int64_t>& with) const {
  if (with.size() != without.size() + 1) return false;
  const size_t axis = convention_ == AxisConvention::time_last ? with.size() - 1 : 1;
  return without.size() >= 2 && with[axis] > 1 && without_axis(with, axis) == without;
}

AxisMap AxisGuess::guess(const Named& array, const std::map<std::string, at::Tensor>& coordinates) const {
  const auto& shape = array.shape;
  const auto rank = static_cast<int>(shape.size());
  const bool last = convention_ == AxisConvention::time_last;
  AxisMap axes;
  const auto extent = [&](int axis) { return shape[static_cast<size_t>(axis)]; };
  std::vector<int64_t> space;
  for (const char* name : {"x", "y", "z"}) {
    if (const auto found = coordinates.find(name); found != coordinates.end()) space.push_back(found->second.numel());
  }
  std::vector<std::string> notes;

  // Time: the length of t, else another array of the same samples with one axis less, else convention.
  bool is_initial = false;
  for (const auto& other : arrays_) {
    if (is_pair(shape, other.shape)) is_initial = true;
    if (is_pair(other.shape, shape)) axes.time = last ? rank - 1 : 1;
  }
  const auto t = coordinates.find("t");
  if (is_initial) {
    axes.time = -1;
  } else if (t != coordinates.end()) {
    axes.time = -1;
    const int64_t times = t->second.numel();
    const auto grid_axes = static_cast<int>(std::max<size_t>(space.size(), 1));
    std::vector<int> candidates;
    if (last) {
      candidates.push_back(rank - 1);
      if (rank == grid_axes + 1) candidates.push_back(0);
    } else {
      if (rank >= 3 || (rank == 2 && space.empty())) candidates.push_back(1);
      if (rank >= grid_axes + 1) candidates.push_back(0);
    }
    // [time, x, y] with its coordinates is one sample, even where the number of points along x is that of times.
    if (!last && static_cast<size_t>(rank) == space.size() + 1 && extent(0) == times && rank >= 2 &&
        std::equal(space.begin(), space.end(), shape.begin() + 1))
      candidates.insert(candidates.begin(), 0);
    std::vector<int> fit;
    for (const int axis : candidates) {
      // PDEBench states the edges of time steps: one more than there are.
      if (extent(axis) == times || (!last && extent(axis) + 1 == times)) fit.push_back(axis);
    }
    if (!fit.empty()) axes.time = fit.front();
    if (std::count(shape.begin(), shape.end(), times) > 1 && axes.time >= 0)
      notes.push_back(
          fmt::format("several axes have the {} points of t; axis {} was taken for time", times, axes.time));
  } else if (axes.time < 0) {
    int time = -1;
    const auto few = [&](int axis) { return extent(axis) <= most_channels; };
    if (last) {
      if ((rank == 4 && !few(1)) || rank == 5) time = rank - 1;
    } else if ((rank == 4 && !few(1)) || rank >= 5) {
      time = 1;
    }
    if (time >= 0) {
      axes.time = time;
      notes.push_back(fmt::format("no t in the file: axis {} was taken for time", time));
    }
  }

  // The rest: [sample, grid…], [grid…] where the coordinates fit exactly, and components before or behind the grid.
  std::vector<int> rest;
  for (int axis = 0; axis < rank; ++axis) {
    if (axis != axes.time) rest.push_back(axis);
  }
  const auto fits = [&](size_t begin) {
    if (space.empty() || begin + space.size() > rest.size()) return false;
    for (size_t i = 0; i < space.size(); ++i) {
      if (extent(rest[begin + i]) != space[i]) return false;
    }
    return true;
  };
  const size_t g = space.size(), n = rest.size();
  const auto take = [&](bool sample, size_t begin, size_t count) {
    size_t at = 0;
    if (sample) axes.sample = rest[at++];
    for (; at < n; ++at) (at >= begin && at < begin + count ? axes.grid : axes.channels).push_back(rest[at]);
  };
  if (g > 0 && n == g && fits(0)) {
    take(false, 0, g);
  } else if (g > 0 && n == g + 1 && fits(1)) {
    take(true, 1, g);
  } else if (g > 0 && n == g + 1 && fits(0)) {
    take(false, 0, g);
  } else if (g > 0 && n == g + 2 && fits(2)) {
    take(true, 2, g);
  } else if (g > 0 && n == g + 2 && fits(1)) {
    take(true, 1, g);
  } else if (n == 1) {
    take(false, 0, 1);
  } else if (n >= 4 && extent(rest[1]) <= most_channels) {
    take(true, 2, n - 2);
    if (extent(rest[1]) > 1) notes.push_back(fmt::format("axis {} was taken for components", rest[1]));
  } else if (n >= 4 && extent(rest[n - 1]) <= most_channels) {
    take(true, 1, n - 2);
    notes.push_back(fmt::format("axis {} was taken for components", rest[n - 1]));
  } else {
    take(true, 1, n - 1);
  }
  if (array.array->complex()) {
    axes.channels.push_back(rank);
    notes.push_back("complex numbers: real and imaginary part are channels");
  }
  for (const auto& note : notes) axes.note += (axes.note.empty() ? "" : "; ") + note;
  return axes;
}

void AxisGuess::fill(ArraySource& source, const std::map<std::string, std::string>& forced) const {
  std::vector<const Named*> vectors, grids;
  for (const auto& array : arrays_) {
    const bool paired = std::any_of(arrays_.begin(), arrays_.end(), [&](const Named& other) {
      return is_pair(array.shape, other.shape) || is_pair(other.shape, array.shape);
    });
    const bool vector = count_large(array.shape) <= 1 && !paired && !forced.contains(array.name) &&
                        (array.shape.size() <= 2 || count_large(array.shape) == 0);
    const bool empty = std::count(array.shape.begin(), array.shape.end(), 0) > 0;
    const bool rows = coordinate_rows_ && !coordinate_name(array.name).empty() && array.shape.size() == 2 &&
                      !forced.contains(array.name) && !array.array->complex();
    if (rows && !empty) {
      const at::Tensor values = array.array->read(Block::all(array.array->shape())).to(at::kDouble);
      source.coordinates_[coordinate_name(array.name)] = values[0].contiguous();
      if (!at::equal(values, values[0].expand_as(values)))
        source.notes_.push_back(fmt::format("{}: differs between samples; that of the first is given", array.name));
    } else if (empty) {
      source.notes_.push_back(fmt::format("{}: empty, left out", array.name));
    } else {
      (vector ? vectors : grids).push_back(&array);
    }
  }
  // A file of nothing but vectors: those that are no coordinates are fields over unordered points.
  if (grids.empty()) {
    std::erase_if(vectors, [&](const Named* array) {
      const bool field = coordinate_name(array->name).empty() && count_large(array->shape) == 1;
      if (field) grids.push_back(array);
      return field;
    });
    for (const Named* array : grids) {
      AxisMap axes;
      const auto large = std::find_if(array->shape.begin(), array->shape.end(), [](int64_t n) { return n != 1; });
      axes.grid = {static_cast<int>(large - array->shape.begin())};
      if (array->array->complex()) axes.channels = {static_cast<int>(array->shape.size())};
      source.add(array->name, array->array, axes);
    }
    grids.clear();
  }
  for (const Named* array : vectors) {
    if (array->array->complex()) {
      source.notes_.push_back(fmt::format("{}: a complex vector, left out", array->name));
      continue;
    }
    const at::Tensor values = load_vector(*array->array);
    const std::string known = coordinate_name(array->name);
    if (values.numel() == 1 && known.empty()) {
      source.parameters_[array->name] = values.item<double>();
    } else {
      source.coordinates_[known.empty() || source.coordinates_.contains(known) ? array->name : known] = values;
    }
  }
  for (const Named* array : grids) {
    const auto letters = forced.find(array->name);
    const AxisMap axes = letters == forced.end() ? guess(*array, source.coordinates_)
                                                 : axes_from_letters(letters->second, *array->array, array->name);
    const bool cached = !cached_path_.empty() && axes.sample == 0;  // the fastest axis of the file
    source.add(array->name, cached ? cached_array(array->array, axes.sample, cached_path_, array->name) : array->array,
               axes);
  }
}

}  // namespace monarch::data
