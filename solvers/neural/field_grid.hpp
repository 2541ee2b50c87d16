#pragma once
// What models do with the grid of their input: coordinates as channels, padding, and options that are one per axis.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "monarch/core/config.hpp"

namespace monarch::solvers {

/// Positions along an axis of n points. inclusive: i/(n-1), the published scripts' linspace(0, 1, n), whose values at a
/// common point change with the resolution; exclusive: i/n, which do not (periodic grids).
enum class Coordinates { none, inclusive, exclusive };
/// "none", "inclusive", "exclusive"; throws ConfigError.
Coordinates coordinates_from_name(const std::string& name);

/// x [batch, channels, n_1, …, n_d] with d channels of coordinates behind its own, in the order of the axes.
class CoordinateChannels {
 public:
  explicit CoordinateChannels(Coordinates kind) : kind_(kind) {}
  at::Tensor append(const at::Tensor& x);
  int64_t channels(int64_t axes) const { return kind_ == Coordinates::none ? 0 : axes; }

 private:
  Coordinates kind_;
  at::Tensor cached_;  // [1, d, n_1, …, n_d] of the last grid
};

/// Zeros behind the end of each axis while the layers work (a domain that is not periodic): round(fraction · n) points,
/// so that the padded stretch is the same at every resolution.
class Padding {
 public:
  /// fractions: per axis, 0 for none.
  explicit Padding(std::vector<double> fractions) : fractions_(std::move(fractions)) {}
  std::vector<int64_t> padded(at::IntArrayRef grid) const;
  at::Tensor pad(const at::Tensor& x) const;
  /// The first points of each axis again.
  at::Tensor crop(const at::Tensor& x, at::IntArrayRef grid) const;
  bool any() const;

 private:
  std::vector<double> fractions_;
};

/// The points of x behind batch and channels.
std::vector<int64_t> grid_of(const at::Tensor& x);

/// One number for all axes or an array of one per axis. Throws ConfigError.
std::vector<double> numbers_per_axis(const Config& config, const std::string& key, double fallback, int64_t axes);
std::vector<int64_t> integers_per_axis(const Config& config, const std::string& key, int64_t fallback, int64_t axes);
/// `model.padding`: fractions of an axis below 1, points of the training grid from 1 on. Throws ConfigError.
Padding read_padding(const Config& config, at::IntArrayRef grid);
/// A positive whole number. Throws ConfigError.
int64_t positive(const Config& config, const std::string& key, int64_t fallback);
/// One of the words of `known`. Throws ConfigError.
std::string choice(const Config& config, const std::string& key, const std::string& fallback,
                   const std::vector<std::string>& known);

}  // namespace monarch::solvers
