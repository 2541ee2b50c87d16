// Gridding in tiles: samples are sorted once, threads take tiles.
#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numbers>
#include <numeric>

#include "monarch/operators/kernels/nufft.hpp"

namespace monarch::operators::kernels {

double GriddingKernel::operator()(double z) const {
  const double circle = std::sqrt(std::max(0.0, 1 - z * z));
  if (kaiser_bessel) return std::cyl_bessel_i(0, beta * circle) / std::cyl_bessel_i(0, beta);
  return std::exp(beta * (circle - 1));
}

double GriddingKernel::transform(double frequency) const {
  // With z = sin(θ) the integrand is smooth, and the trapezoidal rule converges to the kernel's value at its edge.
  constexpr int points = 400;
  const double step = std::numbers::pi / 2 / points, turn = std::numbers::pi * frequency * static_cast<double>(width);
  double sum = 0.5;
  for (int i = 1; i < points; ++i) {
    const double z = std::sin(i * step), slope = std::cos(i * step);
    sum += (*this)(z)*slope * std::cos(turn * z);
  }
  return sum * step * static_cast<double>(width);
}

int64_t gridding_width(double accuracy, double oversampling) {
  const double decay = std::numbers::pi * std::sqrt(1 - 1 / oversampling);
  return std::max<int64_t>(2, static_cast<int64_t>(std::ceil(0.4 - std::log(accuracy) / decay)));
}

GriddingKernel gridding_kernel(bool kaiser_bessel, double accuracy, double oversampling) {
  GriddingKernel kernel{.kaiser_bessel = kaiser_bessel};
  kernel.width = std::min<int64_t>(gridding_width(accuracy, oversampling), widest_gridding_kernel);
  const auto width = static_cast<double>(kernel.width);
  if (kaiser_bessel) {
    const double reach = width / oversampling * (oversampling - 0.5);
    kernel.beta = std::numbers::pi * std::sqrt(std::max(0.1, reach * reach - 0.8));
  } else {
    kernel.beta = 0.976 * std::numbers::pi * width * (1 - 0.5 / oversampling);
  }
  return kernel;
}

namespace cpu {
namespace {

/// Samples whose weights are evaluated together.
constexpr int64_t block_samples = 64;
/// Tiles of one task, over the entries of a batch, should stay in a core's cache.
constexpr int64_t task_bytes = 256 << 10;

/// Runs task(i) for i in [0, count) on all threads, each taking the next one when it is free.
template <class Task>
void share_out(int64_t count, const Task& task) {
  std::atomic<int64_t> next{0};
  const int64_t threads = std::min<int64_t>(count, at::get_num_threads());
  at::parallel_for(0, threads, 1, [&](int64_t, int64_t) {
    for (int64_t i = next++; i < count; i = next++) task(i);
  });
}

/// Coefficients [degree + 1, padded], highest power of t first, of φ at the width grid points: point m of a sample
/// whose place is t lies at z = (t + 1 + 2 m) / width - 1. Interpolation at Chebyshev nodes.
template <class T>
std::vector<T> polynomials(const GriddingKernel& kernel, int64_t degree, int64_t padded) {
  const int64_t n = degree + 1;
  std::vector<T> result(static_cast<size_t>(n * padded));
  for (int64_t m = 0; m < kernel.width; ++m) {
    std::vector<long double> monomials(n, 0), previous(n, 0), current(n, 0);  // of T_{j-1} and T_j
    current[0] = 1;
    for (int64_t j = 0; j < n; ++j) {
      long double coefficient = 0;
      for (int64_t k = 0; k < n; ++k) {
        const long double angle = std::numbers::pi_v<long double> * (static_cast<long double>(k) + 0.5L) / n;
        const long double t = std::cos(angle);
        const double z = static_cast<double>((t + 1 + 2 * m) / kernel.width - 1);
        coefficient += (j == 0 ? 1 : 2) * static_cast<long double>(kernel(z)) * std::cos(j * angle) / n;
      }
      for (int64_t power = 0; power <= j; ++power) monomials[power] += coefficient * current[power];
      std::vector<long double> next(n, 0);  // T_{j+1} = 2 t T_j - T_{j-1}, T_1 = t
      for (int64_t power = 0; power + 1 < n; ++power) next[power + 1] = (j == 0 ? 1 : 2) * current[power];
      for (int64_t power = 0; power < n; ++power) next[power] -= previous[power];
      previous = std::move(current);
      current = std::move(next);
    }
    for (int64_t power = 0; power < n; ++power) {
      result[static_cast<size_t>((degree - power) * padded + m)] = static_cast<T>(monomials[power]);
    }
  }
  return result;
}

/// The cuts of one axis into tiles. Their number is even (or 1), and none is narrower than the halo, so that tiles of
/// equal parity never touch, around the end of the axis included.
struct Cuts {
  Cuts(int64_t extent, int64_t wanted, int64_t halo) {
    const int64_t most = extent / std::max(wanted, halo);
    const int64_t count = most >= 2 ? most / 2 * 2 : 1;
    for (int64_t i = 0; i <= count; ++i) begin.push_back(i * extent / count);
    tile_of.resize(static_cast<size_t>(extent));
    for (int64_t i = 0; i < count; ++i) {
      widest = std::max(widest, begin[i + 1] - begin[i]);
      std::fill(tile_of.begin() + begin[i], tile_of.begin() + begin[i + 1], static_cast<int32_t>(i));
    }
  }
  int64_t count() const { return static_cast<int64_t>(begin.size()) - 1; }

  std::vector<int64_t> begin;  ///< [count + 1]
  std::vector<int32_t> tile_of;
  int64_t widest = 0;
};

}  // namespace

template <class T>
struct Gridding<T>::Tiles {
  using Complex = std::complex<T>;

  Tiles(const double* positions, int64_t sample_count, int axis_count, std::array<int64_t, 3> extents,
        const GriddingKernel& gridding_kernel)
      : samples(sample_count), axes(axis_count), grid{extents[2], extents[1], extents[0]}, kernel(gridding_kernel) {
    constexpr int64_t lanes = 32 / sizeof(T);
    padded = (kernel.width + lanes - 1) / lanes * lanes;
    degree = kernel.width + 3;
    coefficients = polynomials<T>(kernel, degree, padded);
    const int64_t wanted = axes == 3 ? 16 : axes == 2 ? 32 : 512;
    for (int a = 0; a < 3; ++a) cuts.emplace_back(grid[a], a < axes ? wanted : 1, a < axes ? kernel.width - 1 : 1);
    buffer = {cuts[0].widest + padded, cuts[1].widest + halo(1), cuts[2].widest + halo(2)};
    sort(positions);
  }

  /// Grid points beyond a tile's own that its samples touch.
  int64_t halo(int axis) const { return axis < axes ? kernel.width - 1 : 0; }
  int64_t buffer_size() const { return buffer[0] * buffer[1] * buffer[2]; }
  int64_t grid_size() const { return grid[0] * grid[1] * grid[2]; }

  void sort(const double* positions) {
    const double half = static_cast<double>(kernel.width) / 2;
    std::vector<int32_t> tile(static_cast<size_t>(samples)), local(tile.size());
    std::vector<T> unsorted(static_cast<size_t>(samples * axes));
    const int64_t tiles = cuts[0].count() * cuts[1].count() * cuts[2].count();
    at::parallel_for(0, samples, 4096, [&](int64_t first, int64_t last) {
      for (int64_t s = first; s < last; ++s) {
        int64_t which = 0, where = 0;
        for (int a = 2; a >= 0; --a) {
          which *= cuts[a].count();
          where *= buffer[a];
          if (a >= axes) continue;
          const double edge = positions[s * axes + a] - half, start = std::ceil(edge);
          unsorted[s * axes + a] = static_cast<T>(2 * (start - edge) - 1);
          const int64_t wrapped = (static_cast<int64_t>(start) % grid[a] + grid[a]) % grid[a];
          const int64_t t = cuts[a].tile_of[wrapped];
          which += t;
          where += wrapped - cuts[a].begin[t];
        }
        tile[s] = static_cast<int32_t>(which);
        local[s] = static_cast<int32_t>(where);
      }
    });
    tile_begin.assign(static_cast<size_t>(tiles + 1), 0);
    for (const int32_t t : tile) ++tile_begin[t + 1];
    std::partial_sum(tile_begin.begin(), tile_begin.end(), tile_begin.begin());
    std::vector<int64_t> next(tile_begin.begin(), tile_begin.end() - 1);
    order.resize(tile.size());
    offset.resize(tile.size());
    for (auto& p : place) p.resize(static_cast<size_t>(samples));
    for (int64_t s = 0; s < samples; ++s) {
      const int64_t to = next[tile[s]]++;
      order[to] = s;
      offset[to] = local[s];
      for (int a = 0; a < axes; ++a) place[a][to] = unsorted[s * axes + a];
    }
    for (int64_t t = 0; t < tiles; ++t) {
      if (tile_begin[t + 1] == tile_begin[t]) continue;
      const auto at = position(t);
      colours[(at[0] & 1) + 2 * (at[1] & 1) + 4 * (at[2] & 1)].push_back(t);
      occupied.push_back(t);
    }
    // The fullest first, so that no thread is left with one at the end.
    const auto fuller = [this](int64_t a, int64_t b) {
      return tile_begin[a + 1] - tile_begin[a] > tile_begin[b + 1] - tile_begin[b];
    };
    for (auto& colour : colours) std::stable_sort(colour.begin(), colour.end(), fuller);
    std::stable_sort(occupied.begin(), occupied.end(), fuller);
  }

  std::array<int64_t, 3> position(int64_t tile) const {
    return {tile % cuts[0].count(), tile / cuts[0].count() % cuts[1].count(),
            tile / (cuts[0].count() * cuts[1].count())};
  }

  /// each(grid run, buffer run, length) for the runs of contiguous grid points of a tile and its halo.
  template <class Each>
  void for_runs(int64_t tile, const Each& each) const {
    const auto at = position(tile);
    std::array<int64_t, 3> first{}, size{};
    for (int a = 0; a < 3; ++a) {
      first[a] = cuts[a].begin[at[a]];
      size[a] = cuts[a].begin[at[a] + 1] - first[a] + halo(a);
    }
    for (int64_t z = 0; z < size[2]; ++z) {
      for (int64_t y = 0; y < size[1]; ++y) {
        const int64_t row = ((first[2] + z) % grid[2] * grid[1] + (first[1] + y) % grid[1]) * grid[0];
        const int64_t to = (z * buffer[1] + y) * buffer[0];
        for (int64_t x = 0; x < size[0];) {
          const int64_t column = (first[0] + x) % grid[0];
          const int64_t length = std::min(size[0] - x, grid[0] - column);
          each(row + column, to + x, length);
          x += length;
        }
      }
    }
  }

  /// Entries of a batch that one task takes.
  int64_t group_size(int64_t batch) const {
    const int64_t fitting = task_bytes / (buffer_size() * static_cast<int64_t>(sizeof(Complex)));
    const int64_t share = batch / std::max(1, at::get_num_threads());
    return std::clamp<int64_t>(std::min(fitting, share), 1, batch);
  }

  /// block(first sample, block, weights along x, weights of the rows) for all samples of a tile.
  template <class Each>
  void for_blocks(int64_t tile, const Each& each) const {
    int64_t rows = 1;
    for (int a = 1; a < axes; ++a) rows *= kernel.width;
    std::vector<T> weights(static_cast<size_t>(block_samples * (2 * padded + rows)));
    for (int64_t first = tile_begin[tile]; first < tile_begin[tile + 1]; first += block_samples) {
      GriddingBlock<T> block;
      block.count = std::min(block_samples, tile_begin[tile + 1] - first);
      block.width = kernel.width;
      block.padded = padded;
      block.degree = degree;
      block.coefficients = coefficients.data();
      for (int a = 0; a < axes; ++a) block.place[a] = place[a].data() + first;
      block.offset = offset.data() + first;
      block.row = buffer[0];
      block.plane = buffer[0] * buffer[1];
      T* across = weights.data() + block_samples * 2 * padded;
      gridding_weights(block, weights.data(), across);
      each(first, block, weights.data(), across);
    }
  }

  void interpolate_tile(int64_t tile, const Complex* grids, Complex* values, int64_t entries) const {
    const int64_t size = buffer_size();
    std::vector<Complex> tiles(static_cast<size_t>(entries * size));  // zero where padding reads
    for_runs(tile, [&](int64_t from, int64_t to, int64_t length) {
      for (int64_t e = 0; e < entries; ++e) std::copy_n(grids + e * grid_size() + from, length, &tiles[e * size + to]);
    });
    std::array<Complex, block_samples> found;
    for_blocks(tile, [&](int64_t first, const GriddingBlock<T>& block, const T* along, const T* across) {
      for (int64_t e = 0; e < entries; ++e) {
        gridding_gather(block, along, across, reinterpret_cast<const T*>(&tiles[e * size]),
                        reinterpret_cast<T*>(found.data()));
        for (int64_t s = 0; s < block.count; ++s) values[e * samples + order[first + s]] = found[s];
      }
    });
  }

  void spread_tile(int64_t tile, const Complex* values, Complex* grids, int64_t entries) const {
    const int64_t size = buffer_size();
    std::vector<Complex> tiles(static_cast<size_t>(entries * size));
    std::array<Complex, block_samples> taken;
    for_blocks(tile, [&](int64_t first, const GriddingBlock<T>& block, const T* along, const T* across) {
      for (int64_t e = 0; e < entries; ++e) {
        for (int64_t s = 0; s < block.count; ++s) taken[s] = values[e * samples + order[first + s]];
        gridding_scatter(block, along, across, reinterpret_cast<const T*>(taken.data()),
                         reinterpret_cast<T*>(&tiles[e * size]));
      }
    });
    for_runs(tile, [&](int64_t to, int64_t from, int64_t length) {
      for (int64_t e = 0; e < entries; ++e) {
        Complex* sum = grids + e * grid_size() + to;
        const Complex* part = &tiles[e * size + from];
        for (int64_t i = 0; i < length; ++i) sum[i] += part[i];
      }
    });
  }

  int64_t samples;
  int axes;
  std::array<int64_t, 3> grid;      ///< x, y, z
  std::array<int64_t, 3> buffer{};  ///< x, y, z: a tile with its halo and the padding of the vectors
  GriddingKernel kernel;
  int64_t padded = 0, degree = 0;
  std::vector<T> coefficients;
  std::vector<Cuts> cuts;       ///< x, y, z
  std::vector<int64_t> order;   ///< sorted -> given
  std::vector<int32_t> offset;  ///< sorted: first grid point in the tile's buffer
  std::array<std::vector<T>, 3> place;
  std::vector<int64_t> tile_begin;  ///< first sorted sample of a tile
  std::array<std::vector<int64_t>, 8> colours;
  std::vector<int64_t> occupied;
};

template <class T>
Gridding<T>::Gridding(const double* positions, int64_t samples, int axes, std::array<int64_t, 3> grid,
                      const GriddingKernel& kernel)
    : tiles_(std::make_unique<const Tiles>(positions, samples, axes, grid, kernel)) {}
template <class T>
Gridding<T>::~Gridding() = default;

template <class T>
void Gridding<T>::interpolate(const std::complex<T>* grids, std::complex<T>* values, int64_t batch) const {
  const Tiles& t = *tiles_;
  const int64_t group = t.group_size(batch), groups = (batch + group - 1) / group;
  share_out(static_cast<int64_t>(t.occupied.size()) * groups, [&](int64_t task) {
    const int64_t first = task % groups * group;
    t.interpolate_tile(t.occupied[task / groups], grids + first * t.grid_size(), values + first * t.samples,
                       std::min(group, batch - first));
  });
}

template <class T>
void Gridding<T>::spread(const std::complex<T>* values, std::complex<T>* grids, int64_t batch) const {
  const Tiles& t = *tiles_;
  at::parallel_for(0, batch * t.grid_size(), 1 << 15,
                   [&](int64_t begin, int64_t end) { std::fill(grids + begin, grids + end, std::complex<T>{}); });
  const int64_t group = t.group_size(batch), groups = (batch + group - 1) / group;
  for (const auto& colour : t.colours) {
    share_out(static_cast<int64_t>(colour.size()) * groups, [&](int64_t task) {
      const int64_t first = task % groups * group;
      t.spread_tile(colour[task / groups], values + first * t.samples, grids + first * t.grid_size(),
                    std::min(group, batch - first));
    });
  }
}

template class Gridding<float>;
template class Gridding<double>;

}  // namespace cpu
}  // namespace monarch::operators::kernels
