// What happens to whole rows in the fused Monarch kernel, compiled once per instruction set: the transpositions into
// and out of tiles, bias and activation on the way, and dot products for few rows.
#include "monarch/operators/kernels/cpu/monarch_block.hpp"

// AVX-512 with VNNI adds nothing to what these loops use.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "monarch/operators/kernels/cpu/monarch_rows.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstring>

#include "monarch/operators/kernels/cpu/curve-inl.hpp"
#include "monarch/operators/kernels/cpu/monarch_vector-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace monarch::operators::kernels::cpu::HWY_NAMESPACE {
#if HWY_TARGET != HWY_SCALAR

// ---- transpositions ------------------------------------------------------------------------------------------------

/// v[r] lane c <-> v[c] lane r, for as many vectors as lanes.
template <class T>
HWY_INLINE void transpose(Vector<T>* HWY_RESTRICT v) {
  const Tag<T> d;
  constexpr int in_block = 16 / sizeof(T), blocks = static_cast<int>(lanes<T>()) / in_block;
  // Inside blocks of 128 bits: rows of one group of in_block vectors.
  Vector<T> t[lanes<T>()];
#pragma GCC unroll 16
  for (int g = 0; g < blocks; ++g) {
    Vector<T>* a = v + g * in_block;
    if constexpr (in_block == 4) {
      const hn::Repartition<double, Tag<T>> dd;
      const auto wide = [&](Vector<T> x) { return hn::BitCast(dd, x); };
      const auto p = wide(hn::InterleaveLower(d, a[0], a[1])), q = wide(hn::InterleaveLower(d, a[2], a[3]));
      const auto r = wide(hn::InterleaveUpper(d, a[0], a[1])), s = wide(hn::InterleaveUpper(d, a[2], a[3]));
      t[0 * blocks + g] = hn::BitCast(d, hn::InterleaveLower(dd, p, q));
      t[1 * blocks + g] = hn::BitCast(d, hn::InterleaveUpper(dd, p, q));
      t[2 * blocks + g] = hn::BitCast(d, hn::InterleaveLower(dd, r, s));
      t[3 * blocks + g] = hn::BitCast(d, hn::InterleaveUpper(dd, r, s));
    } else {
      t[0 * blocks + g] = hn::InterleaveLower(d, a[0], a[1]);
      t[1 * blocks + g] = hn::InterleaveUpper(d, a[0], a[1]);
    }
  }
  // Blocks among vectors: t[i][g] block k -> v[k in_block + i] block g.
#pragma GCC unroll 4
  for (int i = 0; i < in_block; ++i) {
    Vector<T>* b = t + i * blocks;
    if constexpr (blocks == 1) {
      v[i] = b[0];
    } else if constexpr (blocks == 2) {
      v[i] = hn::ConcatLowerLower(d, b[1], b[0]);
      v[in_block + i] = hn::ConcatUpperUpper(d, b[1], b[0]);
    } else {
      const auto p = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(b[1]), b[0]);
      const auto q = hn::OddEvenBlocks(b[1], hn::SwapAdjacentBlocks(b[0]));
      const auto r = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(b[3]), b[2]);
      const auto s = hn::OddEvenBlocks(b[3], hn::SwapAdjacentBlocks(b[2]));
      v[0 * in_block + i] = hn::ConcatLowerLower(d, r, p);
      v[1 * in_block + i] = hn::ConcatLowerLower(d, s, q);
      v[2 * in_block + i] = hn::ConcatUpperUpper(d, r, p);
      v[3 * in_block + i] = hn::ConcatUpperUpper(d, s, q);
    }
  }
}

template <class T, class From>
void pack_of(const From* x, int64_t x_row, int64_t columns, int64_t padded_columns, const int32_t* place, T* tile,
             int64_t tile_panel, const Panels& panels) {
  const Tag<T> d;
  constexpr int64_t N = lanes<T>();
  const int64_t ahead = std::min(columns, x_row / 2);  // the next block's columns, while they are this row's
  for (int64_t panel = 0; panel < panels.count; ++panel) {
    const int64_t m = panels.m(panel), valid = panels.valid(panel);
    T* base = tile + panel * tile_panel;
    for (int64_t row = 0; row < m; row += N) {
      const From* from = x + (panel * panels.width + row) * x_row;
      const int64_t have = std::min<int64_t>(N, valid - row);
      T* to = base + row;
      for (int64_t at = 0; at < columns; at += N) {
        Vector<T> v[N];
        const int64_t c = columns >= N ? std::min(at, columns - N) : 0;  // the last block overlaps the one before
        const int64_t count = std::min(N, columns);
        if (have == N && count == N) {
#pragma GCC unroll 16
          for (int r = 0; r < N; ++r) {
            hwy::Prefetch(from + r * x_row + c + ahead);
            v[r] = load(d, from + r * x_row + c);
          }
        } else {
          const auto width = static_cast<size_t>(count) * sizeof(From);
          for (int r = 0; r < N; ++r) {
            From part[N] = {};
            if (r < have) std::memcpy(part, from + r * x_row + c, width);
            v[r] = load(d, part);
          }
        }
        transpose<T>(v);
        if (!place && count == N) {
#pragma GCC unroll 16
          for (int i = 0; i < N; ++i) hn::StoreU(v[i], d, to + (c + i) * m);
        } else {
          for (int64_t i = 0; i < count; ++i) hn::StoreU(v[i], d, to + (place ? place[c + i] : c + i) * m);
        }
      }
    }
    for (int64_t c = columns; c < padded_columns; ++c) {
      std::memset(base + (place ? place[c] : c) * m, 0, static_cast<size_t>(m) * sizeof(T));
    }
  }
}

// ---- curves --------------------------------------------------------------------------------------------------------

template <class T>
void curve_gradient_of(const T* g, const T* z, Curve curve, T* dz, int64_t n) {
  const Tag<T> d;
  constexpr int64_t N = lanes<T>();
  int64_t i = 0;
  for (; i + N <= n; i += N) {
    hn::StoreU(hn::Mul(hn::LoadU(d, g + i), slope_of<T>(d, hn::LoadU(d, z + i), curve)), d, dz + i);
  }
  if (i < n) {
    T part_g[N] = {}, part_z[N] = {};
    std::memcpy(part_g, g + i, static_cast<size_t>(n - i) * sizeof(T));
    std::memcpy(part_z, z + i, static_cast<size_t>(n - i) * sizeof(T));
    hn::StoreU(hn::Mul(hn::LoadU(d, part_g), slope_of<T>(d, hn::LoadU(d, part_z), curve)), d, part_g);
    std::memcpy(dz + i, part_g, static_cast<size_t>(n - i) * sizeof(T));
  }
}

template <class T, class To, bool Curved>
void unpack_mode(const T* tile, int64_t tile_panel, int64_t first, int64_t columns, const T* bias, Curve curve, To* y,
                 To* before, int64_t y_row, const Panels& panels) {
  const Tag<T> d;
  constexpr int64_t N = lanes<T>();
  for (int64_t panel = 0; panel < panels.count; ++panel) {
    const int64_t m = panels.m(panel), valid = panels.valid(panel);
    const T* base = tile + panel * tile_panel + first * m;
    for (int64_t row = 0; row < valid; row += N) {
      const T* from = base + row;
      const int64_t have = std::min<int64_t>(N, valid - row);
      const int64_t at = (panel * panels.width + row) * y_row;
      for (int64_t done = 0; done < columns; done += N) {
        Vector<T> v[N];
        const int64_t c = columns >= N ? std::min(done, columns - N) : 0;  // the last block overlaps the one before
        const int64_t count = std::min(N, columns);
        if (count == N) {
#pragma GCC unroll 16
          for (int i = 0; i < N; ++i) v[i] = hn::LoadU(d, from + (c + i) * m);
        } else {
          for (int i = 0; i < N; ++i) v[i] = i < count ? hn::LoadU(d, from + (c + i) * m) : hn::Zero(d);
        }
        transpose<T>(v);
        auto shift = hn::Zero(d);
        if (bias) {
          if (count == N) {
            shift = hn::LoadU(d, bias + c);
          } else {
            T part[N] = {};
            std::memcpy(part, bias + c, static_cast<size_t>(count) * sizeof(T));
            shift = hn::LoadU(d, part);
          }
        }
        if (have == N && count == N) {
#pragma GCC unroll 16
          for (int r = 0; r < N; ++r) {
            const auto z = hn::Add(v[r], shift);
            if constexpr (Curved) {
              if (before) store(d, z, before + at + r * y_row + c);
              store(d, curve_of<T>(d, z, curve), y + at + r * y_row + c);
            } else {
              store(d, z, y + at + r * y_row + c);
            }
          }
        } else {
          for (int r = 0; r < have; ++r) {
            To part[N];
            const auto z = hn::Add(v[r], shift);
            if (Curved && before) {
              store(d, z, part);
              std::memcpy(before + at + r * y_row + c, part, static_cast<size_t>(count) * sizeof(To));
            }
            store(d, Curved ? curve_of<T>(d, z, curve) : z, part);
            std::memcpy(y + at + r * y_row + c, part, static_cast<size_t>(count) * sizeof(To));
          }
        }
      }
    }
  }
}

template <class T, class To>
void unpack_of(const T* tile, int64_t tile_panel, int64_t first, int64_t columns, const T* bias, Curve curve, To* y,
               To* before, int64_t y_row, const Panels& panels) {
  if (curve == Curve::none) {
    unpack_mode<T, To, false>(tile, tile_panel, first, columns, bias, curve, y, before, y_row, panels);
  } else {
    unpack_mode<T, To, true>(tile, tile_panel, first, columns, bias, curve, y, before, y_row, panels);
  }
}

template <class T, class To>
void finish_of(const T* z, const T* bias, Curve curve, To* y, To* before, int64_t n) {
  const Tag<T> d;
  constexpr int64_t N = lanes<T>();
  const auto value = [&](const T* from, const T* add)
                         HWY_ATTR { return add ? hn::Add(hn::LoadU(d, from), hn::LoadU(d, add)) : hn::LoadU(d, from); };
  int64_t i = 0;
  for (; i + N <= n; i += N) {
    const auto v = value(z + i, bias ? bias + i : nullptr);
    if (before) store(d, v, before + i);
    store(d, curve_of<T>(d, v, curve), y + i);
  }
  if (i < n) {
    T part_z[N] = {}, part_b[N] = {};
    To part[N];
    const auto rest = static_cast<size_t>(n - i);
    std::memcpy(part_z, z + i, rest * sizeof(T));
    if (bias) std::memcpy(part_b, bias + i, rest * sizeof(T));
    const auto v = value(part_z, part_b);
    if (before) {
      store(d, v, part);
      std::memcpy(before + i, part, rest * sizeof(To));
    }
    store(d, curve_of<T>(d, v, curve), part);
    std::memcpy(y + i, part, rest * sizeof(To));
  }
}

// ---- few rows ------------------------------------------------------------------------------------------------------

template <class T, class Weight, int NB, int NW, bool Complex>
void dot_block(const DotProducts<T, Weight>& p, int64_t b, int64_t n) {
  const Tag<T> d;
  constexpr int64_t N = lanes<T>();
  const int64_t length = Complex ? 2 * p.K : p.K;
  Vector<T> sum[NW][NB], cross[Complex ? NW : 1][NB];
#pragma GCC unroll 8
  for (int i = 0; i < NW; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < NB; ++j) {
      sum[i][j] = hn::Zero(d);
      if constexpr (Complex) cross[i][j] = hn::Zero(d);
    }
  }
  const Weight* w = p.w + n * length;
  const T* x = p.x + b * p.x_row;
  const auto add = [&](const Weight* ws, int64_t w_row, const T* xs, int64_t x_row) HWY_ATTR {
    Vector<T> v[NB], s[NB];
#pragma GCC unroll 4
    for (int j = 0; j < NB; ++j) {
      v[j] = hn::LoadU(d, xs + j * x_row);
      if constexpr (Complex) s[j] = hn::Reverse2(d, v[j]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < NW; ++i) {
      const auto weight = load(d, ws + i * w_row);
#pragma GCC unroll 4
      for (int j = 0; j < NB; ++j) {
        sum[i][j] = hn::MulAdd(weight, v[j], sum[i][j]);
        if constexpr (Complex) cross[i][j] = hn::MulAdd(weight, s[j], cross[i][j]);
      }
    }
    (void)s;
  };
  int64_t k = 0;
  for (; k + N <= length; k += N) add(w + k, length, x + k, p.x_row);
  if (k < length) {
    Weight part_w[NW * N] = {};
    T part_x[NB * N] = {};
    const auto rest = static_cast<size_t>(length - k);
    for (int i = 0; i < NW; ++i) std::memcpy(part_w + i * N, w + i * length + k, rest * sizeof(Weight));
    for (int j = 0; j < NB; ++j) std::memcpy(part_x + j * N, x + j * p.x_row + k, rest * sizeof(T));
    add(part_w, N, part_x, N);
  }
  for (int i = 0; i < NW; ++i) {
    const int64_t at = p.place ? p.place[n + i] : (n + i) * p.y_step;
    for (int j = 0; j < NB; ++j) {
      T* to = p.y + (b + j) * p.y_row;
      if constexpr (Complex) {
        const auto re = hn::OddEven(hn::Neg(sum[i][j]), sum[i][j]);
        to[2 * at] = hn::GetLane(hn::SumOfLanes(d, re));
        to[2 * at + 1] = hn::GetLane(hn::SumOfLanes(d, cross[i][j]));
      } else {
        to[at] = hn::GetLane(hn::SumOfLanes(d, sum[i][j]));
      }
    }
  }
}

template <class T, class Weight, int NB, bool Complex>
void dot_rows(const DotProducts<T, Weight>& p, int64_t b) {
  constexpr int NW = Complex ? 2 : 4;
  int64_t n = 0;
  for (; n + NW <= p.N; n += NW) dot_block<T, Weight, NB, NW, Complex>(p, b, n);
  for (; n < p.N; ++n) dot_block<T, Weight, NB, 1, Complex>(p, b, n);
}

template <class T, class Weight, bool Complex>
void dot_mode(const DotProducts<T, Weight>& p) {
  int64_t b = 0;
  for (; b + 4 <= p.rows; b += 4) dot_rows<T, Weight, 4, Complex>(p, b);
  for (; b + 2 <= p.rows; b += 2) dot_rows<T, Weight, 2, Complex>(p, b);
  for (; b < p.rows; ++b) dot_rows<T, Weight, 1, Complex>(p, b);
}

/// Adds up to four rows of w to one row of y, or starts it with them.
template <class T, bool Complex, int Rows>
void add_rows(const RowSums<T>& s, int64_t b, int64_t k) {
  const Tag<T> d;
  constexpr int64_t N = lanes<T>();
  const T* const re = s.d + b * s.K * (Complex ? 2 : 1) + k;
  const T* const w = s.w + k * s.w_row;
  T* const y = s.y + b * s.y_row;
  Vector<T> factor[Rows], turned[Complex ? Rows : 1];
#pragma GCC unroll 4
  for (int i = 0; i < Rows; ++i) {
    factor[i] = hn::Set(d, re[i]);
    if constexpr (Complex) {
      factor[i] = hn::OddEven(hn::Neg(factor[i]), factor[i]);  // d (wr, -wi) + i d (wi, wr)
      turned[i] = hn::Set(d, re[s.K + i]);
    }
  }
  const auto add = [&](Vector<T>& value, int i, Vector<T> v) HWY_ATTR {
    value = hn::MulAdd(factor[i], v, value);
    if constexpr (Complex) value = hn::MulAdd(turned[i], hn::Reverse2(d, v), value);
  };
  int64_t c = 0;
  for (; c + N <= s.columns; c += N) {
    auto value = k == 0 ? hn::Zero(d) : hn::LoadU(d, y + c);
#pragma GCC unroll 4
    for (int i = 0; i < Rows; ++i) add(value, i, hn::LoadU(d, w + i * s.w_row + c));
    hn::StoreU(value, d, y + c);
  }
  if (c < s.columns) {
    const auto mask = hn::FirstN(d, static_cast<size_t>(s.columns - c));
    auto value = k == 0 ? hn::Zero(d) : hn::MaskedLoad(mask, d, y + c);
#pragma GCC unroll 4
    for (int i = 0; i < Rows; ++i) add(value, i, hn::MaskedLoad(mask, d, w + i * s.w_row + c));
    hn::BlendedStore(value, mask, d, y + c);
  }
}

template <class T, bool Complex>
void row_sums_mode(const RowSums<T>& s) {
  int64_t k = 0;
  for (; k + 4 <= s.K; k += 4) {
    for (int64_t b = 0; b < s.rows; ++b) add_rows<T, Complex, 4>(s, b, k);
  }
  for (; k < s.K; ++k) {
    for (int64_t b = 0; b < s.rows; ++b) add_rows<T, Complex, 1>(s, b, k);
  }
}

// ---- what dispatch sees --------------------------------------------------------------------------------------------

void pack_f(const float* x, int64_t x_row, int64_t columns, int64_t padded, const int32_t* place, float* tile,
            int64_t tile_panel, const Panels& panels) {
  pack_of(x, x_row, columns, padded, place, tile, tile_panel, panels);
}
void pack_d(const double* x, int64_t x_row, int64_t columns, int64_t padded, const int32_t* place, double* tile,
            int64_t tile_panel, const Panels& panels) {
  pack_of(x, x_row, columns, padded, place, tile, tile_panel, panels);
}
void pack_h(const uint16_t* x, int64_t x_row, int64_t columns, int64_t padded, const int32_t* place, float* tile,
            int64_t tile_panel, const Panels& panels) {
  pack_of(x, x_row, columns, padded, place, tile, tile_panel, panels);
}
void unpack_f(const float* tile, int64_t tile_panel, int64_t first, int64_t columns, const float* bias, Curve curve,
              float* y, float* before, int64_t y_row, const Panels& panels) {
  unpack_of(tile, tile_panel, first, columns, bias, curve, y, before, y_row, panels);
}
void unpack_d(const double* tile, int64_t tile_panel, int64_t first, int64_t columns, const double* bias, Curve curve,
              double* y, double* before, int64_t y_row, const Panels& panels) {
  unpack_of(tile, tile_panel, first, columns, bias, curve, y, before, y_row, panels);
}
void unpack_h(const float* tile, int64_t tile_panel, int64_t first, int64_t columns, const float* bias, Curve curve,
              uint16_t* y, uint16_t* before, int64_t y_row, const Panels& panels) {
  unpack_of(tile, tile_panel, first, columns, bias, curve, y, before, y_row, panels);
}
void curve_f(const float* g, const float* z, Curve curve, float* dz, int64_t n) {
  curve_gradient_of(g, z, curve, dz, n);
}
void curve_d(const double* g, const double* z, Curve curve, double* dz, int64_t n) {
  curve_gradient_of(g, z, curve, dz, n);
}
void finish_f(const float* z, const float* bias, Curve curve, float* y, float* before, int64_t n) {
  finish_of(z, bias, curve, y, before, n);
}
void finish_d(const double* z, const double* bias, Curve curve, double* y, double* before, int64_t n) {
  finish_of(z, bias, curve, y, before, n);
}
void finish_h(const float* z, const float* bias, Curve curve, uint16_t* y, uint16_t* before, int64_t n) {
  finish_of(z, bias, curve, y, before, n);
}
template <class T, class Weight>
void dots(const DotProducts<T, Weight>& p) {
  p.numbers == Numbers::real ? dot_mode<T, Weight, false>(p) : dot_mode<T, Weight, true>(p);
}
void sums_f(const RowSums<float>& s) {
  s.complex ? row_sums_mode<float, true>(s) : row_sums_mode<float, false>(s);
}
void sums_d(const RowSums<double>& s) {
  s.complex ? row_sums_mode<double, true>(s) : row_sums_mode<double, false>(s);
}
void dots_f(const DotProducts<float, float>& p) {
  dots(p);
}
void dots_d(const DotProducts<double, double>& p) {
  dots(p);
}
void dots_h(const DotProducts<float, uint16_t>& p) {
  dots(p);
}

#else

void pack_f(const float*, int64_t, int64_t, int64_t, const int32_t*, float*, int64_t, const Panels&) {
  absent();
}
void pack_d(const double*, int64_t, int64_t, int64_t, const int32_t*, double*, int64_t, const Panels&) {
  absent();
}
void pack_h(const uint16_t*, int64_t, int64_t, int64_t, const int32_t*, float*, int64_t, const Panels&) {
  absent();
}
void unpack_f(const float*, int64_t, int64_t, int64_t, const float*, Curve, float*, float*, int64_t, const Panels&) {
  absent();
}
void unpack_d(const double*, int64_t, int64_t, int64_t, const double*, Curve, double*, double*, int64_t,
              const Panels&) {
  absent();
}
void unpack_h(const float*, int64_t, int64_t, int64_t, const float*, Curve, uint16_t*, uint16_t*, int64_t,
              const Panels&) {
  absent();
}
void curve_f(const float*, const float*, Curve, float*, int64_t) {
  absent();
}
void curve_d(const double*, const double*, Curve, double*, int64_t) {
  absent();
}
void sums_f(const RowSums<float>&) {
  absent();
}
void sums_d(const RowSums<double>&) {
  absent();
}
void dots_f(const DotProducts<float, float>&) {
  absent();
}
void finish_f(const float*, const float*, Curve, float*, float*, int64_t) {
  absent();
}
void dots_d(const DotProducts<double, double>&) {
  absent();
}
void finish_d(const double*, const double*, Curve, double*, double*, int64_t) {
  absent();
}
void dots_h(const DotProducts<float, uint16_t>&) {
  absent();
}
void finish_h(const float*, const float*, Curve, uint16_t*, uint16_t*, int64_t) {
  absent();
}

#endif
}  // namespace monarch::operators::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace monarch::operators::kernels::cpu {

HWY_EXPORT(pack_f);
HWY_EXPORT(pack_d);
HWY_EXPORT(pack_h);
HWY_EXPORT(unpack_f);
HWY_EXPORT(unpack_d);
HWY_EXPORT(unpack_h);
HWY_EXPORT(curve_f);
HWY_EXPORT(curve_d);
HWY_EXPORT(sums_f);
HWY_EXPORT(sums_d);
HWY_EXPORT(dots_f);
HWY_EXPORT(finish_f);
HWY_EXPORT(dots_d);
HWY_EXPORT(finish_d);
HWY_EXPORT(dots_h);
HWY_EXPORT(finish_h);

template <>
void pack(const float* x, int64_t x_row, int64_t columns, int64_t padded_columns, const int32_t* place, float* tile,
          int64_t tile_panel, const Panels& panels) {
  HWY_DYNAMIC_DISPATCH(pack_f)(x, x_row, columns, padded_columns, place, tile, tile_panel, panels);
}
template <>
void pack(const double* x, int64_t x_row, int64_t columns, int64_t padded_columns, const int32_t* place, double* tile,
          int64_t tile_panel, const Panels& panels) {
  HWY_DYNAMIC_DISPATCH(pack_d)(x, x_row, columns, padded_columns, place, tile, tile_panel, panels);
}
template <>
void pack(const uint16_t* x, int64_t x_row, int64_t columns, int64_t padded_columns, const int32_t* place, float* tile,
          int64_t tile_panel, const Panels& panels) {
  HWY_DYNAMIC_DISPATCH(pack_h)(x, x_row, columns, padded_columns, place, tile, tile_panel, panels);
}
template <>
void unpack(const float* tile, int64_t tile_panel, int64_t first, int64_t columns, const float* bias, Curve curve,
            float* y, float* before, int64_t y_row, const Panels& panels) {
  HWY_DYNAMIC_DISPATCH(unpack_f)(tile, tile_panel, first, columns, bias, curve, y, before, y_row, panels);
}
template <>
void unpack(const double* tile, int64_t tile_panel, int64_t first, int64_t columns, const double* bias, Curve curve,
            double* y, double* before, int64_t y_row, const Panels& panels) {
  HWY_DYNAMIC_DISPATCH(unpack_d)(tile, tile_panel, first, columns, bias, curve, y, before, y_row, panels);
}
template <>
void unpack(const float* tile, int64_t tile_panel, int64_t first, int64_t columns, const float* bias, Curve curve,
            uint16_t* y, uint16_t* before, int64_t y_row, const Panels& panels) {
  HWY_DYNAMIC_DISPATCH(unpack_h)(tile, tile_panel, first, columns, bias, curve, y, before, y_row, panels);
}
template <>
void curve_gradient(const float* g, const float* z, Curve curve, float* dz, int64_t n) {
  HWY_DYNAMIC_DISPATCH(curve_f)(g, z, curve, dz, n);
}
template <>
void curve_gradient(const double* g, const double* z, Curve curve, double* dz, int64_t n) {
  HWY_DYNAMIC_DISPATCH(curve_d)(g, z, curve, dz, n);
}
template <>
void finish_row(const float* z, const float* bias, Curve curve, float* y, float* before, int64_t n) {
  HWY_DYNAMIC_DISPATCH(finish_f)(z, bias, curve, y, before, n);
}
template <>
void dot_products(const DotProducts<float, float>& products) {
  HWY_DYNAMIC_DISPATCH(dots_f)(products);
}
template <>
void finish_row(const double* z, const double* bias, Curve curve, double* y, double* before, int64_t n) {
  HWY_DYNAMIC_DISPATCH(finish_d)(z, bias, curve, y, before, n);
}
template <>
void dot_products(const DotProducts<double, double>& products) {
  HWY_DYNAMIC_DISPATCH(dots_d)(products);
}
template <>
void finish_row(const float* z, const float* bias, Curve curve, uint16_t* y, uint16_t* before, int64_t n) {
  HWY_DYNAMIC_DISPATCH(finish_h)(z, bias, curve, y, before, n);
}
template <>
void dot_products(const DotProducts<float, uint16_t>& products) {
  HWY_DYNAMIC_DISPATCH(dots_h)(products);
}

template <>
void row_sums(const RowSums<float>& sums) {
  HWY_DYNAMIC_DISPATCH(sums_f)(sums);
}
template <>
void row_sums(const RowSums<double>& sums) {
  HWY_DYNAMIC_DISPATCH(sums_d)(sums);
}

}  // namespace monarch::operators::kernels::cpu
#endif
