// Toeplitz matrices as convolutions of twice the extent, without padding.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "monarch/operators/kernels/cpu/multiply.hpp"
#include "monarch/operators/kernels/fourier.hpp"
#include "monarch/operators/kernels/nufft.hpp"

namespace monarch::operators::kernels::cpu {
namespace {

constexpr int64_t tile_columns = 8;  // neighbours in memory that share a cache line
constexpr int64_t chunk_elements = 8 << 10;

}  // namespace

// Axes longer than 1, slowest first. `level` counts them; the deepest recursion works on axis 0 in tiles.
template <class T>
struct ToeplitzConvolution<T>::Passes {
  using Complex = std::complex<T>;
  using PlanPtr = std::shared_ptr<const Plan<T>>;

  struct Axis {
    int64_t n = 1, inner = 1;
    std::vector<Complex> phase, back;  ///< exp(-πij/n), and its conjugate
    int64_t chunk = 1;                 ///< elements that a plan transforms
    PlanPtr forward, inverse;
  };

  Passes(std::array<int64_t, 3> extents, const double* spectrum) {
    volume = extents[0] * extents[1] * extents[2];
    int64_t outer = 1, inner = volume;
    for (const int64_t n : extents) {
      inner /= n;
      if (n > 1) axes.push_back(make_axis(outer, n, inner));
      outer *= n;
    }
    if (axes.empty()) {
      weights = {static_cast<T>(spectrum[0])};
      return;
    }
    const Axis& first = axes.front();
    tiles = (first.inner + tile_columns - 1) / tile_columns;
    columns = std::min(tile_columns, first.inner);
    PlanShape shape{{{first.n, 1}}, {{2 * columns, first.n}}, false};
    forward = get_plan<T>(shape);
    shape.inverse = true;
    inverse = get_plan<T>(shape);
    order_weights(extents, spectrum);
  }

  static Axis make_axis(int64_t outer, int64_t n, int64_t inner) {
    Axis axis;
    axis.n = n;
    axis.inner = inner;
    for (int64_t j = 0; j < n; ++j) {
      const double angle = std::numbers::pi * static_cast<double>(j) / static_cast<double>(n);
      axis.phase.emplace_back(static_cast<T>(std::cos(angle)), static_cast<T>(-std::sin(angle)));
      axis.back.push_back(std::conj(axis.phase.back()));
    }
    if (outer == 1) return axis;  // the tiles have plans of their own
    PlanShape shape;
    if (inner == 1) {
      // As many lines as stay in cache, of those numbers that divide them all.
      int64_t lines = std::clamp<int64_t>(chunk_elements / n, 1, outer);
      while (outer % lines) --lines;
      axis.chunk = lines * n;
      shape = {{{n, 1}}, {{lines, n}}, false};
    } else {
      axis.chunk = n * inner;
      shape = {{{n, inner}}, {{inner, 1}}, false};
    }
    axis.forward = get_plan<T>(shape);
    shape.inverse = true;
    axis.inverse = get_plan<T>(shape);
    return axis;
  }

  /// weights: [parities of the later axes][tile][parity of axis 0][column][frequency], each twice, with 1/(2^d N).
  void order_weights(std::array<int64_t, 3> extents, const double* spectrum) {
    const int levels = static_cast<int>(axes.size());
    const Axis& first = axes.front();
    const double scale = 1 / (std::pow(2.0, levels) * static_cast<double>(volume));
    const int64_t later = int64_t{1} << (levels - 1);
    weights.assign(static_cast<size_t>(later * tiles * 2 * columns * first.n * 2), T(0));
    std::array<int64_t, 3> doubled{};
    for (size_t a = 0; a < 3; ++a) doubled[a] = extents[a] > 1 ? 2 * extents[a] : 1;
    at::parallel_for(0, later * tiles * 2 * columns, 16, [&](int64_t begin, int64_t end) {
      for (int64_t line = begin; line < end; ++line) {
        const int64_t column = line / (2 * columns) % tiles * columns + line % columns;
        if (column >= first.inner) continue;
        const int64_t parity = line / (2 * columns * tiles), parity0 = line / columns % 2;
        // The place of the line's column on the later axes, the last of which has the lowest bit of `parity`.
        int64_t rest = column, place = 0, stride = 1, stride0 = 1;
        for (int level = levels - 1; level > 0; --level) {
          const int64_t n = axes[level].n;
          place += stride * (2 * (rest % n) + (parity >> (levels - 1 - level) & 1));
          rest /= n;
          stride *= 2 * n;
        }
        stride0 = stride;
        T* to = weights.data() + line * first.n * 2;
        for (int64_t f = 0; f < first.n; ++f) {
          to[2 * f] = to[2 * f + 1] = static_cast<T>(scale * spectrum[place + stride0 * (2 * f + parity0)]);
        }
      }
    });
  }

  /// data [.., n, inner] times phase along n, within a chunk.
  static void modulate(const Axis& axis, const std::vector<Complex>& phase, Complex* chunk) {
    if (axis.inner == 1) {
      for (int64_t i = 0; i < axis.chunk; i += axis.n) multiply_complex(chunk + i, chunk + i, phase.data(), 1, axis.n);
    } else {
      for (int64_t j = 0; j < axis.n; ++j) {
        Complex* line = chunk + j * axis.inner;
        multiply_complex(line, line, nullptr, phase[j], axis.inner);
      }
    }
  }

  /// Levels > 0: even frequencies of the axis in `scratch`, odd ones in `data`.
  void pass(int level, int64_t parity, Complex* data, Complex* scratch) const {
    if (level == 0) return tile_pass(parity, data);
    const Axis& axis = axes[level];
    const int bit = static_cast<int>(axes.size()) - 1 - level;
    at::parallel_for(0, volume / axis.chunk, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * axis.chunk; i < end * axis.chunk; i += axis.chunk) {
        std::copy_n(data + i, axis.chunk, scratch + i);
        axis.forward->execute(scratch + i);
        modulate(axis, axis.phase, data + i);
        axis.forward->execute(data + i);
      }
    });
    pass(level - 1, parity, scratch, scratch + padded_volume());
    pass(level - 1, parity | int64_t{1} << bit, data, scratch + padded_volume());
    at::parallel_for(0, volume / axis.chunk, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * axis.chunk; i < end * axis.chunk; i += axis.chunk) {
        axis.inverse->execute(scratch + i);
        axis.inverse->execute(data + i);
        modulate(axis, axis.back, data + i);
        for (int64_t j = i; j < i + axis.chunk; ++j) data[j] += scratch[j];
      }
    });
  }

  void tile_pass(int64_t parity, Complex* data) const {
    const Axis& axis = axes.front();
    const int64_t half = columns * axis.n;
    at::parallel_for(0, tiles, 1, [&](int64_t begin, int64_t end) {
      const auto memory = at::empty({2 * half}, c10::CppTypeToScalarType<c10::complex<T>>::value);
      auto* even = reinterpret_cast<Complex*>(memory.mutable_data_ptr());
      Complex* odd = even + half;
      for (int64_t tile = begin; tile < end; ++tile) {
        Complex* corner = data + tile * columns;
        const int64_t filled = std::min(columns, axis.inner - tile * columns);
        if (filled < columns) std::fill(even, even + 2 * half, Complex{});
        for (int64_t j = 0; j < axis.n; ++j) {
          for (int64_t c = 0; c < filled; ++c) even[c * axis.n + j] = corner[j * axis.inner + c];
        }
        for (int64_t c = 0; c < filled; ++c) {
          multiply_complex(even + c * axis.n, odd + c * axis.n, axis.phase.data(), 1, axis.n);
        }
        forward->execute(even);
        const T* weight = weights.data() + (parity * tiles + tile) * 4 * half;
        multiply_real(reinterpret_cast<const T*>(even), reinterpret_cast<T*>(even), weight, 1, 4 * half);
        inverse->execute(even);
        for (int64_t c = 0; c < filled; ++c) {
          multiply_complex(odd + c * axis.n, odd + c * axis.n, axis.back.data(), 1, axis.n);
        }
        for (int64_t j = 0; j < axis.n; ++j) {
          for (int64_t c = 0; c < filled; ++c) {
            corner[j * axis.inner + c] = even[c * axis.n + j] + odd[c * axis.n + j];
          }
        }
      }
    });
  }

  /// Every scratch array starts aligned.
  int64_t padded_volume() const { return (volume + 7) / 8 * 8; }

  int64_t volume = 1;
  std::vector<Axis> axes;
  int64_t tiles = 1, columns = 1;
  PlanPtr forward, inverse;
  std::vector<T> weights;
};

template <class T>
ToeplitzConvolution<T>::ToeplitzConvolution(std::array<int64_t, 3> extents, const double* spectrum)
    : passes_(std::make_unique<const Passes>(extents, spectrum)) {}
template <class T>
ToeplitzConvolution<T>::~ToeplitzConvolution() = default;

template <class T>
int64_t ToeplitzConvolution<T>::scratch_size() const {
  return std::max<int64_t>(0, static_cast<int64_t>(passes_->axes.size()) - 1) * passes_->padded_volume();
}

template <class T>
void ToeplitzConvolution<T>::apply(std::complex<T>* data, std::complex<T>* scratch) const {
  if (passes_->axes.empty()) {
    data[0] *= passes_->weights[0];
  } else {
    passes_->pass(static_cast<int>(passes_->axes.size()) - 1, 0, data, scratch);
  }
}

template class ToeplitzConvolution<float>;
template class ToeplitzConvolution<double>;

}  // namespace monarch::operators::kernels::cpu
