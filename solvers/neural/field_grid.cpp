#include "monarch/solvers/neural/field_grid.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace monarch::solvers {

Coordinates coordinates_from_name(const std::string& name) {
  if (name == "none") return Coordinates::none;
  if (name == "inclusive") return Coordinates::inclusive;
  if (name == "exclusive") return Coordinates::exclusive;
  fail<ConfigError>(fmt::format("model.coordinates = \"{}\" is unknown", name), "none, inclusive or exclusive");
}

at::Tensor CoordinateChannels::append(const at::Tensor& x) {
  if (kind_ == Coordinates::none) return x;
  const std::vector<int64_t> grid = grid_of(x);
  if (!cached_.defined() || grid_of(cached_) != grid || cached_.options().dtype() != x.options().dtype() ||
      cached_.device() != x.device()) {
    std::vector<at::Tensor> axes;
    for (const int64_t n : grid) {
      const double spacing = kind_ == Coordinates::exclusive ? 1.0 / static_cast<double>(n)
                             : n > 1                         ? 1.0 / static_cast<double>(n - 1)
                                                             : 0.0;
      axes.push_back((at::arange(n, at::kDouble) * spacing).to(x.options()));
    }
    cached_ = at::stack(at::meshgrid(axes, "ij")).unsqueeze(0);
  }
  std::vector<int64_t> shape(cached_.sizes().begin(), cached_.sizes().end());
  shape[0] = x.size(0);
  return at::cat({x, cached_.expand(shape)}, 1);
}

std::vector<int64_t> Padding::padded(at::IntArrayRef grid) const {
  std::vector<int64_t> result(grid.begin(), grid.end());
  for (size_t a = 0; a < result.size(); ++a) result[a] += std::llround(fractions_[a] * static_cast<double>(grid[a]));
  return result;
}

at::Tensor Padding::pad(const at::Tensor& x) const {
  if (!any()) return x;
  const std::vector<int64_t> grid = grid_of(x), wide = padded(grid);
  std::vector<int64_t> amounts;
  for (size_t a = grid.size(); a-- > 0;) {
    amounts.push_back(0);
    amounts.push_back(wide[a] - grid[a]);
  }
  return at::constant_pad_nd(x, amounts);
}

at::Tensor Padding::crop(const at::Tensor& x, at::IntArrayRef grid) const {
  at::Tensor y = x;
  for (size_t a = 0; a < grid.size(); ++a) y = y.narrow(static_cast<int64_t>(a) + 2, 0, grid[a]);
  return y;
}

bool Padding::any() const {
  for (const double fraction : fractions_)
    if (fraction > 0) return true;
  return false;
}

std::vector<int64_t> grid_of(const at::Tensor& x) {
  return {x.sizes().begin() + 2, x.sizes().end()};
}

std::vector<double> numbers_per_axis(const Config& config, const std::string& key, double fallback, int64_t axes) {
  std::vector<double> values;
  if (config.has(key)) {
    try {
      values = {config.number(key)};
    } catch (const ConfigError&) {
      values = config.numbers(key, {});  // an array then, or the message that it should be one
    }
  } else {
    values = {config.number(key, fallback)};
  }
  if (values.size() == 1) values.resize(axes, values[0]);
  check<ConfigError>(static_cast<int64_t>(values.size()) == axes, [&] {
    return fmt::format("{}: {} has {} values; the grid has {} axes", config.name(), key, values.size(), axes);
  });
  return values;
}

std::vector<int64_t> integers_per_axis(const Config& config, const std::string& key, int64_t fallback, int64_t axes) {
  std::vector<int64_t> result;
  for (const double value : numbers_per_axis(config, key, static_cast<double>(fallback), axes)) {
    check<ConfigError>(value >= 1 && value == std::floor(value) && value < 1e9, [&] {
      return fmt::format("{}: {} must be whole and positive, found {}", config.name(), key, value);
    });
    result.push_back(static_cast<int64_t>(value));
  }
  return result;
}

Padding read_padding(const Config& config, at::IntArrayRef grid) {
  std::vector<double> fractions = numbers_per_axis(config, "model.padding", 0, static_cast<int64_t>(grid.size()));
  for (size_t a = 0; a < fractions.size(); ++a) {
    check<ConfigError>(fractions[a] >= 0 && fractions[a] <= static_cast<double>(grid[a]), [&] {
      return fmt::format("{}: model.padding = {} on an axis of {} points", config.name(), fractions[a], grid[a]);
    });
    if (fractions[a] >= 1) fractions[a] /= static_cast<double>(grid[a]);
  }
  return Padding(std::move(fractions));
}

int64_t positive(const Config& config, const std::string& key, int64_t fallback) {
  const int64_t value = config.integer(key, fallback);
  check<ConfigError>(value >= 1,
                     [&] { return fmt::format("{}: {} must be positive, found {}", config.name(), key, value); });
  return value;
}

std::string choice(const Config& config, const std::string& key, const std::string& fallback,
                   const std::vector<std::string>& known) {
  const std::string value = config.text(key, fallback);
  check<ConfigError>(
      std::find(known.begin(), known.end(), value) != known.end(),
      [&] { return fmt::format("{}: {} = \"{}\" is unknown", config.name(), key, value); }, join_or(known));
  return value;
}

}  // namespace monarch::solvers
