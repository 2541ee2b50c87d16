// The vector pieces of the fused Monarch product, compiled once per instruction set.
//
// One micro-kernel carries the flops: NR columns of the result × MR vectors of the batch are held in registers while k
// runs; each step loads MR vectors of the input and broadcasts NR weights. With 24 sums in flight (AVX-512) both
// multiply-add ports are busy and the load ports half so.
#include "monarch/operators/kernels/cpu/monarch_block.hpp"

// AVX-512 with VNNI or BF16 adds nothing to what these loops use.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "monarch/operators/kernels/cpu/monarch_block.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/cache_control.h>
#include <hwy/highway.h>
#include <hwy/contrib/math/math-inl.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <utility>

HWY_BEFORE_NAMESPACE();
namespace monarch::operators::kernels::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET != HWY_SCALAR

template <class T>
using Tag = hn::ScalableTag<T>;
template <class T>
using Vector = hn::Vec<Tag<T>>;

#if HWY_TARGET <= HWY_AVX3
constexpr int kMaxVectors = 4;  // vectors of a full panel
constexpr int kRealColumns[] = {12, 12, 8, 6};
constexpr int kComplexColumns[] = {8, 6, 4, 3};
#else
constexpr int kMaxVectors = 2;
constexpr int kRealColumns[] = {12, 6};
constexpr int kComplexColumns[] = {6, 3};
#endif
constexpr int kMostColumns = 12;
constexpr int64_t kFarApart = 2048;  // bytes between rows of a matrix from which it pays to copy them together
constexpr int64_t kGathered = 4;     // micro-kernels' columns that are copied at a time
constexpr int64_t kDepth = 256;  // k is cut into lengths whose input stays in the second-level cache

template <class T>
constexpr int64_t kLine = 64 / sizeof(T);  // numbers in a cache line
template <class T>
constexpr int64_t lanes() {
  return static_cast<int64_t>(HWY_LANES(T));
}

// ---- products of panels --------------------------------------------------------------------------------------------

/// c[n][m] (+)= sum_k W(n, k) a[k][m], with W(n, k) = Rows ? w[n wn + k] : w[k wn + n].
template <class T, int MR, int NR, bool Rows>
void real_micro(int64_t K, const T* HWY_RESTRICT a, int64_t lda, const T* HWY_RESTRICT w, int64_t wn, T* const* c,
                bool accumulate) {
  const Tag<T> d;
  Vector<T> sum[NR][MR];
  const T* rows[NR];
#pragma GCC unroll 16
  for (int n = 0; n < NR; ++n) {
    if constexpr (Rows) rows[n] = w + n * wn;
#pragma GCC unroll 4
    for (int i = 0; i < MR; ++i) sum[n][i] = hn::Zero(d);
  }
  for (int64_t k = 0; k < K; ++k) {
    Vector<T> x[MR];
#pragma GCC unroll 4
    for (int i = 0; i < MR; ++i) x[i] = hn::LoadU(d, a + i * lanes<T>());
    a += lda;
#pragma GCC unroll 16
    for (int n = 0; n < NR; ++n) {
      const auto weight = hn::Set(d, Rows ? rows[n][k] : w[n]);
#pragma GCC unroll 4
      for (int i = 0; i < MR; ++i) sum[n][i] = hn::MulAdd(weight, x[i], sum[n][i]);
    }
    if constexpr (!Rows) w += wn;
  }
#pragma GCC unroll 16
  for (int n = 0; n < NR; ++n) {
#pragma GCC unroll 4
    for (int i = 0; i < MR; ++i) {
      T* to = c[n] + i * lanes<T>();
      hn::StoreU(accumulate ? hn::Add(sum[n][i], hn::LoadU(d, to)) : sum[n][i], d, to);
    }
  }
}

/// The same for complex weights; `mode` 0: complex a, 1: complex a and conjugated weights, 2: real a.
template <class T, int MR, int NR, bool Rows, int Mode>
void complex_micro(int64_t K, const T* HWY_RESTRICT a, int64_t lda, const T* HWY_RESTRICT w, int64_t wn, T* const* c,
                   bool accumulate) {
  const Tag<T> d;
  constexpr int64_t m = MR * lanes<T>();
  Vector<T> re[NR][MR], im[NR][MR];
  const T* rows[NR];
#pragma GCC unroll 16
  for (int n = 0; n < NR; ++n) {
    if constexpr (Rows) rows[n] = w + 2 * n * wn;
#pragma GCC unroll 4
    for (int i = 0; i < MR; ++i) re[n][i] = im[n][i] = hn::Zero(d);
  }
  for (int64_t k = 0; k < K; ++k) {
#pragma GCC unroll 16
    for (int n = 0; n < NR; ++n) {
      const auto wr = hn::Set(d, Rows ? rows[n][2 * k] : w[2 * n]);
      const auto wi = hn::Set(d, Rows ? rows[n][2 * k + 1] : w[2 * n + 1]);
#pragma GCC unroll 4
      for (int i = 0; i < MR; ++i) {
        const auto xr = hn::LoadU(d, a + i * lanes<T>());
        re[n][i] = hn::MulAdd(wr, xr, re[n][i]);
        if constexpr (Mode == 1) {
          im[n][i] = hn::NegMulAdd(wi, xr, im[n][i]);
        } else {
          im[n][i] = hn::MulAdd(wi, xr, im[n][i]);
        }
        if constexpr (Mode != 2) {
          const auto xi = hn::LoadU(d, a + m + i * lanes<T>());
          re[n][i] = Mode == 1 ? hn::MulAdd(wi, xi, re[n][i]) : hn::NegMulAdd(wi, xi, re[n][i]);
          im[n][i] = hn::MulAdd(wr, xi, im[n][i]);
        }
      }
    }
    a += lda;
    if constexpr (!Rows) w += 2 * wn;
  }
#pragma GCC unroll 16
  for (int n = 0; n < NR; ++n) {
#pragma GCC unroll 4
    for (int i = 0; i < MR; ++i) {
      T* to = c[n] + i * lanes<T>();
      hn::StoreU(accumulate ? hn::Add(re[n][i], hn::LoadU(d, to)) : re[n][i], d, to);
      hn::StoreU(accumulate ? hn::Add(im[n][i], hn::LoadU(d, to + m)) : im[n][i], d, to + m);
    }
  }
}

template <class T>
using Micro = void (*)(int64_t, const T*, int64_t, const T*, int64_t, T* const*, bool);

/// Micro-kernels by number of vectors, columns and order of the weights. Mode -1: real.
template <class T, int Mode>
struct Micros {
  static constexpr int columns(int vectors) {
    return Mode < 0 ? kRealColumns[vectors - 1] : kComplexColumns[vectors - 1];
  }

  template <int MR, int NR, bool Rows>
  static constexpr Micro<T> one() {
    if constexpr (NR > columns(MR)) {
      return nullptr;
    } else if constexpr (Mode < 0) {
      return &real_micro<T, MR, NR, Rows>;
    } else {
      return &complex_micro<T, MR, NR, Rows, Mode>;
    }
  }
  template <int MR, bool Rows, size_t... N>
  static Micro<T> pick(int64_t nr, std::index_sequence<N...>) {
    static constexpr Micro<T> table[] = {one<MR, static_cast<int>(N) + 1, Rows>()...};
    return table[nr - 1];
  }
  template <bool Rows>
  static Micro<T> find(int64_t vectors, int64_t nr) {
    constexpr auto all = std::make_index_sequence<kMostColumns>();
    switch (vectors) {
      case 1: return pick<1, Rows>(nr, all);
      case 2: return pick<2, Rows>(nr, all);
#if HWY_TARGET <= HWY_AVX3
      case 3: return pick<3, Rows>(nr, all);
      default: return pick<4, Rows>(nr, all);
#else
      default: return pick<2, Rows>(nr, all);
#endif
    }
  }
};

/// The i-th of `parts` nearly equal parts of n.
struct Part {
  int64_t begin, size;
};
inline Part part_of(int64_t n, int64_t parts, int64_t i) {
  const int64_t base = n / parts, more = n % parts;
  return {i * base + std::min(i, more), base + (i < more)};
}

/// n numbers; `to` has room up to a whole vector, which is filled with zeros.
template <class T>
HWY_INLINE void copy_row(const T* from, T* to, int64_t n) {
  const Tag<T> d;
  int64_t i = 0;
  for (; i + lanes<T>() <= n; i += lanes<T>()) hn::StoreU(hn::LoadU(d, from + i), d, to + i);
  if (i < n) hn::StoreU(hn::MaskedLoad(hn::FirstN(d, static_cast<size_t>(n - i)), d, from + i), d, to + i);
}

template <class T, int Mode>
void multiply_mode(const Product<T>& p, const Panels& panels) {
  constexpr int64_t unit = Mode < 0 ? 1 : 2;                // numbers of T in a weight and in a result
  constexpr int64_t unit_a = Mode == 0 || Mode == 1 ? 2 : 1;  // and in an input
  const bool rows = p.wk == 1 && !(p.wn == 1 && p.N > 1 && p.K > 1);
  const int64_t widest = panels.count > 1 ? panels.width : panels.last_m;
  const int64_t most = Micros<T, Mode>::columns(static_cast<int>(widest / lanes<T>()));
  const int64_t parts = (p.N + most - 1) / most;
  // Steps of w that lie pages apart share cache sets: a group of columns is brought together first.
  constexpr int64_t row = (kGathered * kMostColumns * unit + lanes<T>() - 1) / lanes<T>() * lanes<T>();
  const bool gather = !rows && p.wk * unit * static_cast<int64_t>(sizeof(T)) >= kFarApart;
  HWY_ALIGN T gathered[kDepth * row];
  for (int64_t k0 = 0; k0 < p.K; k0 += kDepth) {
    const int64_t depth = std::min(kDepth, p.K - k0);
    const bool accumulate = p.accumulate || k0 > 0;
    int64_t gathered_from = 0;
    for (int64_t part = 0; part < parts; ++part) {
      const auto [n0, nr] = part_of(p.N, parts, part);
      const T* w = p.w + unit * (n0 * p.wn + k0 * p.wk);
      int64_t step = rows ? p.wn : p.wk;
      if (gather) {
        if (part % kGathered == 0) {
          gathered_from = n0;
          const auto [last, more] = part_of(p.N, parts, std::min(part + kGathered, parts) - 1);
          const int64_t count = unit * (last + more - n0);
          for (int64_t k = 0; k < depth; ++k) {
            const T* from = w + unit * k * p.wk;
            for (int64_t ahead = 0; ahead < count; ahead += kLine<T>) hwy::Prefetch(from + count + ahead);
            copy_row(from, gathered + k * row, count);
          }
        }
        w = gathered + unit * (n0 - gathered_from);
        step = row / unit;
      }
      for (int64_t i = 0; i < panels.count; ++i) {
        const int64_t m = panels.m(i);
        T* c[kMostColumns];
        for (int64_t n = 0; n < nr; ++n) {
          c[n] = p.c + i * p.c_panel + unit * m * (p.c_first + (p.c_place ? p.c_place[n0 + n] : (n0 + n) * p.c_step));
        }
        const int64_t lda = unit_a * m * p.a_step;
        const T* a = p.a + i * p.a_panel + unit_a * m * p.a_first + k0 * lda;
        const int64_t vectors = m / lanes<T>();
        const auto micro = rows ? Micros<T, Mode>::template find<true>(vectors, nr)
                                : Micros<T, Mode>::template find<false>(vectors, nr);
        micro(depth, a, lda, w, step, c, accumulate);
      }
    }
  }
}

template <class T>
void multiply_of(const Product<T>& p, const Panels& panels) {
  switch (p.numbers) {
    case Numbers::real: multiply_mode<T, -1>(p, panels); break;
    case Numbers::complex:
      if (p.conjugate) {
        multiply_mode<T, 1>(p, panels);
      } else {
        multiply_mode<T, 0>(p, panels);
      }
      break;
    case Numbers::real_columns: multiply_mode<T, 2>(p, panels); break;
  }
}

// ---- sums over the batch -------------------------------------------------------------------------------------------

/// c[n][MR vectors] (+)= sum over k of d[n][k] x[k], complex: d[n][k] conj(x[k]) with interleaved x and c. The last
/// vector is stored in part where `tail` lanes are fewer than a vector.
template <class T, int MR, int NR, bool Complex>
void outer_micro(const OuterSum<T>& s, const Panels& panels, int64_t n0, const T* x, int64_t x_row, T* c, int64_t tail) {
  const Tag<T> tag;
  Vector<T> sum[NR][MR], turned[Complex ? NR : 1][MR];
#pragma GCC unroll 16
  for (int n = 0; n < NR; ++n) {
#pragma GCC unroll 4
    for (int i = 0; i < MR; ++i) {
      sum[n][i] = hn::Zero(tag);
      if constexpr (Complex) turned[n][i] = hn::Zero(tag);
    }
  }
  for (int64_t panel = 0; panel < panels.count; ++panel) {
    const int64_t m = panels.m(panel), valid = panels.valid(panel);
    const int64_t step = m * (Complex ? 2 : 1);
    const T* d = s.d + panel * s.d_panel + (s.d_first + n0) * step;
    const T* rows[NR];
#pragma GCC unroll 16
    for (int n = 0; n < NR; ++n) rows[n] = d + n * step;
    for (int64_t k = 0; k < valid; ++k) {
      Vector<T> v[MR];
#pragma GCC unroll 4
      for (int i = 0; i < MR; ++i) v[i] = hn::LoadU(tag, x + i * lanes<T>());
      x += x_row;
#pragma GCC unroll 16
      for (int n = 0; n < NR; ++n) {
        const auto re = hn::Set(tag, rows[n][k]);
#pragma GCC unroll 4
        for (int i = 0; i < MR; ++i) sum[n][i] = hn::MulAdd(re, v[i], sum[n][i]);
        if constexpr (Complex) {
          const auto im = hn::Set(tag, rows[n][m + k]);
#pragma GCC unroll 4
          for (int i = 0; i < MR; ++i) turned[n][i] = hn::MulAdd(im, v[i], turned[n][i]);
        }
      }
    }
  }
#pragma GCC unroll 16
  for (int n = 0; n < NR; ++n) {
    T* to = c + n * s.dw_row;
#pragma GCC unroll 4
    for (int i = 0; i < MR; ++i) {
      auto value = sum[n][i];
      // (dr + i di)(xr - i xi) from dr·(xr, xi) and di·(xr, xi).
      if constexpr (Complex) {
        value = hn::Add(hn::Reverse2(tag, turned[n][i]), hn::OddEven(hn::Neg(value), value));
      }
      T* at = to + i * lanes<T>();
      if (i + 1 < MR || tail == lanes<T>()) {
        hn::StoreU(s.accumulate ? hn::Add(value, hn::LoadU(tag, at)) : value, tag, at);
      } else {
        const auto mask = hn::FirstN(tag, static_cast<size_t>(tail));
        hn::BlendedStore(s.accumulate ? hn::Add(value, hn::MaskedLoad(mask, tag, at)) : value, mask, tag, at);
      }
    }
  }
}

template <class T, bool Complex, int MR, int NR>
void outer_columns(const OuterSum<T>& s, const Panels& panels, int64_t n0, int64_t nr, const T* x, int64_t x_row, T* c,
                   int64_t tail) {
  if constexpr (NR > 1) {
    if (nr < NR) return outer_columns<T, Complex, MR, NR - 1>(s, panels, n0, nr, x, x_row, c, tail);
  }
  outer_micro<T, MR, NR, Complex>(s, panels, n0, x, x_row, c, tail);
}

template <class T, bool Complex, int MR>
void outer_vectors(const OuterSum<T>& s, const Panels& panels, const T* x, int64_t x_row, T* dw, int64_t tail) {
  constexpr int most = Complex ? kComplexColumns[MR - 1] : kRealColumns[MR - 1];
  const int64_t parts = (s.N + most - 1) / most;
  for (int64_t part = 0; part < parts; ++part) {
    const auto [n0, nr] = part_of(s.N, parts, part);
    outer_columns<T, Complex, MR, most>(s, panels, n0, nr, x, x_row, dw + n0 * s.dw_row, tail);
  }
}

template <class T, bool Complex>
void outer_sum_of(const OuterSum<T>& s, const Panels& panels) {
  // A strip of columns is copied beside each other first: rows that lie a power of two apart share cache sets.
  constexpr int64_t strip = kMaxVectors * lanes<T>();
  static thread_local struct Buffer {
    T* data = nullptr;
    int64_t size = 0;
    ~Buffer() { std::free(data); }
    T* get(int64_t count) {
      if (count > size) {
        std::free(data);
        data = static_cast<T*>(std::aligned_alloc(64, static_cast<size_t>(count) * sizeof(T)));
        size = data ? count : 0;
        if (!data) throw std::bad_alloc();
      }
      return data;
    }
  } buffer;
  T* copy = buffer.get(panels.rows * strip);
  for (int64_t column = 0; column < s.columns; column += strip) {
    const int64_t width = std::min(strip, s.columns - column);
    const int64_t vectors = (width + lanes<T>() - 1) / lanes<T>();
    const int64_t row = vectors * lanes<T>();
    const int64_t tail = width - (vectors - 1) * lanes<T>();
    const T* x = s.x + column;
    int64_t x_row = s.x_row;
    const bool often = s.N > kMostColumns;  // else the copy costs more than what it saves
    if ((often && x_row * static_cast<int64_t>(sizeof(T)) >= kFarApart) || (tail < lanes<T>() && !s.whole_vectors)) {
      for (int64_t b = 0; b < panels.rows; ++b) copy_row(x + b * x_row, copy + b * row, width);
      x = copy;
      x_row = row;
    }
    T* dw = s.dw + column;
    switch (vectors) {
      case 1: outer_vectors<T, Complex, 1>(s, panels, x, x_row, dw, tail); break;
      case 2: outer_vectors<T, Complex, 2>(s, panels, x, x_row, dw, tail); break;
#if HWY_TARGET <= HWY_AVX3
      case 3: outer_vectors<T, Complex, 3>(s, panels, x, x_row, dw, tail); break;
      default: outer_vectors<T, Complex, 4>(s, panels, x, x_row, dw, tail); break;
#endif
    }
  }
}

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

template <class T>
HWY_INLINE Vector<T> load(Tag<T> d, const T* from) {
  return hn::LoadU(d, from);
}
HWY_INLINE Vector<float> load(Tag<float> d, const uint16_t* from) {
  const hn::Rebind<uint16_t, Tag<float>> half;
  const hn::RebindToUnsigned<Tag<float>> bits;
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(bits, hn::LoadU(half, from))));
}
template <class T>
HWY_INLINE void store(Tag<T> d, Vector<T> v, T* to) {
  hn::StoreU(v, d, to);
}
/// Rounded to nearest even; NaN stays NaN.
HWY_INLINE void store(Tag<float> d, Vector<float> v, uint16_t* to) {
  const hn::RebindToUnsigned<Tag<float>> bits;
  const hn::RebindToSigned<Tag<float>> integers;
  const hn::Rebind<uint16_t, Tag<float>> half;
  const auto u = hn::BitCast(bits, v);
  const auto odd = hn::And(hn::ShiftRight<16>(u), hn::Set(bits, 1u));
  const auto rounded = hn::Add(u, hn::Add(odd, hn::Set(bits, 0x7fffu)));
  const auto result = hn::IfThenElse(hn::RebindMask(bits, hn::IsNaN(v)), hn::Set(bits, 0x7fc00000u), rounded);
  hn::StoreU(hn::DemoteTo(half, hn::BitCast(integers, hn::ShiftRight<16>(result))), half, to);
  (void)d;
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

/// erf by Abramowitz and Stegun 7.1.26: absolute error 1.5e-7, the rounding of float32.
HWY_INLINE Vector<float> erf_of(Tag<float> d, Vector<float> x) {
  const auto a = hn::Abs(x);
  const auto t = hn::Div(hn::Set(d, 1.0f), hn::MulAdd(a, hn::Set(d, 0.3275911f), hn::Set(d, 1.0f)));
  auto p = hn::Set(d, 1.061405429f);
  p = hn::MulAdd(p, t, hn::Set(d, -1.453152027f));
  p = hn::MulAdd(p, t, hn::Set(d, 1.421413741f));
  p = hn::MulAdd(p, t, hn::Set(d, -0.284496736f));
  p = hn::MulAdd(p, t, hn::Set(d, 0.254829592f));
  const auto e = hn::Exp(d, hn::Neg(hn::Mul(a, a)));
  return hn::CopySign(hn::NegMulAdd(hn::Mul(p, t), e, hn::Set(d, 1.0f)), x);
}
HWY_INLINE Vector<double> erf_of(Tag<double> d, Vector<double> x) {
  HWY_ALIGN double values[lanes<double>()];
  hn::Store(x, d, values);
  for (auto& value : values) value = std::erf(value);
  return hn::Load(d, values);
}

template <class T>
constexpr T kSqrtHalf = T(0.70710678118654752440);
template <class T>
constexpr T kSqrtTwoOverPi = T(0.79788456080286535588);

/// NaN in, NaN out; large arguments keep their sign.
template <class T>
HWY_INLINE Vector<T> curve_of(Tag<T> d, Vector<T> z, Curve curve) {
  const auto half = hn::Set(d, T(0.5)), one = hn::Set(d, T(1));
  switch (curve) {
    case Curve::relu: return hn::IfThenElse(hn::Lt(z, hn::Zero(d)), hn::Zero(d), z);
    case Curve::gelu: return hn::Mul(hn::Mul(half, z), hn::Add(one, erf_of(d, hn::Mul(z, hn::Set(d, kSqrtHalf<T>)))));
    case Curve::gelu_tanh: {
      const auto inner = hn::Mul(hn::Mul(z, hn::Set(d, kSqrtTwoOverPi<T>)),
                                 hn::MulAdd(hn::Mul(z, z), hn::Set(d, T(0.044715)), one));
      return hn::IfThenElse(hn::IsNaN(z), z, hn::Mul(hn::Mul(half, z), hn::Add(one, hn::Tanh(d, inner))));
    }
    case Curve::none: break;
  }
  return z;
}

template <class T>
HWY_INLINE Vector<T> slope_of(Tag<T> d, Vector<T> z, Curve curve) {
  const auto half = hn::Set(d, T(0.5)), one = hn::Set(d, T(1));
  switch (curve) {
    case Curve::relu: return hn::IfThenElse(hn::Gt(z, hn::Zero(d)), one, hn::IfThenElse(hn::IsNaN(z), z, hn::Zero(d)));
    case Curve::gelu: {
      const auto cdf = hn::Mul(half, hn::Add(one, erf_of(d, hn::Mul(z, hn::Set(d, kSqrtHalf<T>)))));
      const auto density = hn::Mul(hn::Exp(d, hn::Mul(hn::Mul(z, z), hn::Set(d, T(-0.5)))),
                                   hn::Set(d, T(0.39894228040143267794)));
      return hn::MulAdd(z, density, cdf);
    }
    case Curve::gelu_tanh: {
      const auto square = hn::Mul(z, z);
      const auto t = hn::Tanh(d, hn::Mul(hn::Mul(z, hn::Set(d, kSqrtTwoOverPi<T>)),
                                         hn::MulAdd(square, hn::Set(d, T(0.044715)), one)));
      const auto inner = hn::Mul(hn::Set(d, kSqrtTwoOverPi<T>), hn::MulAdd(square, hn::Set(d, T(3 * 0.044715)), one));
      const auto slope = hn::MulAdd(hn::Mul(hn::Mul(half, z), hn::NegMulAdd(t, t, one)), inner,
                                    hn::Mul(half, hn::Add(one, t)));
      return hn::IfThenElse(hn::IsNaN(z), z, slope);
    }
    case Curve::none: break;
  }
  return one;
}

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
void unpack_mode(const T* tile, int64_t tile_panel, int64_t first, int64_t columns, const T* bias, Curve curve, To* y, To* before,
                 int64_t y_row, const Panels& panels) {
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
void unpack_of(const T* tile, int64_t tile_panel, int64_t first, int64_t columns, const T* bias, Curve curve, To* y, To* before,
               int64_t y_row, const Panels& panels) {
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
  const auto value = [&](const T* from, const T* add) HWY_ATTR {
    return add ? hn::Add(hn::LoadU(d, from), hn::LoadU(d, add)) : hn::LoadU(d, from);
  };
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

// ---- what dispatch sees --------------------------------------------------------------------------------------------

void multiply_f(const Product<float>& p, const Panels& panels) { multiply_of(p, panels); }
void multiply_d(const Product<double>& p, const Panels& panels) { multiply_of(p, panels); }
void outer_f(const OuterSum<float>& s, const Panels& panels) {
  s.complex ? outer_sum_of<float, true>(s, panels) : outer_sum_of<float, false>(s, panels);
}
void outer_d(const OuterSum<double>& s, const Panels& panels) {
  s.complex ? outer_sum_of<double, true>(s, panels) : outer_sum_of<double, false>(s, panels);
}
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
void unpack_f(const float* tile, int64_t tile_panel, int64_t first, int64_t columns, const float* bias, Curve curve, float* y,
              float* before, int64_t y_row, const Panels& panels) {
  unpack_of(tile, tile_panel, first, columns, bias, curve, y, before, y_row, panels);
}
void unpack_d(const double* tile, int64_t tile_panel, int64_t first, int64_t columns, const double* bias, Curve curve, double* y,
              double* before, int64_t y_row, const Panels& panels) {
  unpack_of(tile, tile_panel, first, columns, bias, curve, y, before, y_row, panels);
}
void unpack_h(const float* tile, int64_t tile_panel, int64_t first, int64_t columns, const float* bias, Curve curve, uint16_t* y,
              uint16_t* before, int64_t y_row, const Panels& panels) {
  unpack_of(tile, tile_panel, first, columns, bias, curve, y, before, y_row, panels);
}
void curve_f(const float* g, const float* z, Curve curve, float* dz, int64_t n) { curve_gradient_of(g, z, curve, dz, n); }
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
void dots_f(const DotProducts<float, float>& p) { dots(p); }
void dots_d(const DotProducts<double, double>& p) { dots(p); }
void dots_h(const DotProducts<float, uint16_t>& p) { dots(p); }
int64_t lanes_of_float() { return lanes<float>(); }
int64_t vectors_of_panel() { return kMaxVectors; }
int64_t target() { return HWY_TARGET; }

#else

// A processor without SSE4: has_vectors() is false, and none of these is called.
template <class... Arguments>
void absent(Arguments...) {
  HWY_ABORT("vector kernels called on a processor without vectors");
}
void multiply_f(const Product<float>&, const Panels&) { absent(); }
void multiply_d(const Product<double>&, const Panels&) { absent(); }
void outer_f(const OuterSum<float>&, const Panels&) { absent(); }
void outer_d(const OuterSum<double>&, const Panels&) { absent(); }
void pack_f(const float*, int64_t, int64_t, int64_t, const int32_t*, float*, int64_t, const Panels&) { absent(); }
void pack_d(const double*, int64_t, int64_t, int64_t, const int32_t*, double*, int64_t, const Panels&) { absent(); }
void pack_h(const uint16_t*, int64_t, int64_t, int64_t, const int32_t*, float*, int64_t, const Panels&) { absent(); }
void unpack_f(const float*, int64_t, int64_t, int64_t, const float*, Curve, float*, float*, int64_t, const Panels&) { absent(); }
void unpack_d(const double*, int64_t, int64_t, int64_t, const double*, Curve, double*, double*, int64_t, const Panels&) { absent(); }
void unpack_h(const float*, int64_t, int64_t, int64_t, const float*, Curve, uint16_t*, uint16_t*, int64_t, const Panels&) { absent(); }
void curve_f(const float*, const float*, Curve, float*, int64_t) { absent(); }
void curve_d(const double*, const double*, Curve, double*, int64_t) { absent(); }
void dots_f(const DotProducts<float, float>&) { absent(); }
void finish_f(const float*, const float*, Curve, float*, float*, int64_t) { absent(); }
void dots_d(const DotProducts<double, double>&) { absent(); }
void finish_d(const double*, const double*, Curve, double*, double*, int64_t) { absent(); }
void dots_h(const DotProducts<float, uint16_t>&) { absent(); }
void finish_h(const float*, const float*, Curve, uint16_t*, uint16_t*, int64_t) { absent(); }
int64_t lanes_of_float() { return 1; }
int64_t vectors_of_panel() { return 1; }
int64_t target() { return HWY_TARGET; }

#endif

}  // namespace monarch::operators::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace monarch::operators::kernels::cpu {

HWY_EXPORT(multiply_f);
HWY_EXPORT(multiply_d);
HWY_EXPORT(outer_f);
HWY_EXPORT(outer_d);
HWY_EXPORT(pack_f);
HWY_EXPORT(pack_d);
HWY_EXPORT(pack_h);
HWY_EXPORT(unpack_f);
HWY_EXPORT(unpack_d);
HWY_EXPORT(unpack_h);
HWY_EXPORT(curve_f);
HWY_EXPORT(curve_d);
HWY_EXPORT(dots_f);
HWY_EXPORT(finish_f);
HWY_EXPORT(dots_d);
HWY_EXPORT(finish_d);
HWY_EXPORT(dots_h);
HWY_EXPORT(finish_h);
HWY_EXPORT(lanes_of_float);
HWY_EXPORT(vectors_of_panel);
HWY_EXPORT(target);

template <>
int64_t vector_lanes<float>() {
  static const int64_t lanes = HWY_DYNAMIC_DISPATCH(lanes_of_float)();
  return lanes;
}
template <>
int64_t vector_lanes<double>() {
  return vector_lanes<float>() / 2;
}
template <class T>
int64_t panel_width() {
  static const int64_t vectors = HWY_DYNAMIC_DISPATCH(vectors_of_panel)();
  return vectors * vector_lanes<T>();
}
template int64_t panel_width<float>();
template int64_t panel_width<double>();

const char* vector_target() {
  static const int64_t chosen = HWY_DYNAMIC_DISPATCH(target)();
  return chosen <= HWY_AVX3 ? "AVX-512" : chosen == HWY_AVX2 ? "AVX2" : hwy::TargetName(chosen);
}
bool has_vectors() { return vector_lanes<float>() > 1; }

template <>
void multiply_panels(const Product<float>& product, const Panels& panels) {
  HWY_DYNAMIC_DISPATCH(multiply_f)(product, panels);
}
template <>
void multiply_panels(const Product<double>& product, const Panels& panels) {
  HWY_DYNAMIC_DISPATCH(multiply_d)(product, panels);
}
template <>
void outer_sum(const OuterSum<float>& sum, const Panels& panels) {
  HWY_DYNAMIC_DISPATCH(outer_f)(sum, panels);
}
template <>
void outer_sum(const OuterSum<double>& sum, const Panels& panels) {
  HWY_DYNAMIC_DISPATCH(outer_d)(sum, panels);
}
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
void unpack(const float* tile, int64_t tile_panel, int64_t first, int64_t columns, const float* bias, Curve curve, float* y,
            float* before, int64_t y_row, const Panels& panels) {
  HWY_DYNAMIC_DISPATCH(unpack_f)(tile, tile_panel, first, columns, bias, curve, y, before, y_row, panels);
}
template <>
void unpack(const double* tile, int64_t tile_panel, int64_t first, int64_t columns, const double* bias, Curve curve, double* y,
            double* before, int64_t y_row, const Panels& panels) {
  HWY_DYNAMIC_DISPATCH(unpack_d)(tile, tile_panel, first, columns, bias, curve, y, before, y_row, panels);
}
template <>
void unpack(const float* tile, int64_t tile_panel, int64_t first, int64_t columns, const float* bias, Curve curve, uint16_t* y,
            uint16_t* before, int64_t y_row, const Panels& panels) {
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

}  // namespace monarch::operators::kernels::cpu
#endif
