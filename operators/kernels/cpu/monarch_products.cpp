// The products of the fused Monarch kernel in vector instructions, compiled once per instruction set.
//
// One micro-kernel carries the flops: NR columns of the result × MR vectors of the batch are held in registers while k
// runs; each step loads MR vectors of the input and broadcasts NR weights. With 24 sums in flight (AVX-512) both
// multiply-add ports are busy and the load ports half so.
#include "monarch/operators/kernels/cpu/monarch_block.hpp"

// AVX-512 with VNNI adds nothing to what these loops use.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "monarch/operators/kernels/cpu/monarch_products.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstdlib>
#include <new>
#include <utility>

#include "monarch/operators/kernels/cpu/monarch_vector-inl.hpp"
#include "monarch/operators/kernels/cpu/target.hpp"

HWY_BEFORE_NAMESPACE();
namespace monarch::operators::kernels::cpu::HWY_NAMESPACE {
#if HWY_TARGET != HWY_SCALAR

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
constexpr int64_t kDepth = 256;      // k is cut into lengths whose input stays in the second-level cache

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
      case 1:
        return pick<1, Rows>(nr, all);
      case 2:
        return pick<2, Rows>(nr, all);
#if HWY_TARGET <= HWY_AVX3
      case 3:
        return pick<3, Rows>(nr, all);
      default:
        return pick<4, Rows>(nr, all);
#else
      default:
        return pick<2, Rows>(nr, all);
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

template <class T, int Mode>
void multiply_mode(const Product<T>& p, const Panels& panels) {
  constexpr int64_t unit = Mode < 0 ? 1 : 2;                  // numbers of T in a weight and in a result
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
    case Numbers::real:
      multiply_mode<T, -1>(p, panels);
      break;
    case Numbers::complex:
      if (p.conjugate) {
        multiply_mode<T, 1>(p, panels);
      } else {
        multiply_mode<T, 0>(p, panels);
      }
      break;
    case Numbers::real_columns:
      multiply_mode<T, 2>(p, panels);
      break;
  }
}

// ---- sums over the batch -------------------------------------------------------------------------------------------

/// c[n][MR vectors] (+)= sum over k of d[n][k] x[k], complex: d[n][k] conj(x[k]) with interleaved x and c. The last
/// vector is stored in part where `tail` lanes are fewer than a vector.
template <class T, int MR, int NR, bool Complex>
void outer_micro(const OuterSum<T>& s, const Panels& panels, int64_t n0, const T* x, int64_t x_row, T* c,
                 int64_t tail) {
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
  constexpr int64_t group = 8;  // rows of dw that are finished before the next ones
  if (panels.rows <= group && s.N > group) {
    // So few products per number: dw is written in its order.
    for (int64_t n = 0; n < s.N; n += group) {
      OuterSum<T> part = s;
      part.N = std::min(group, s.N - n);
      part.d_first = s.d_first + n;
      part.dw = s.dw + n * s.dw_row;
      outer_sum_of<T, Complex>(part, panels);
    }
    return;
  }
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
      case 1:
        outer_vectors<T, Complex, 1>(s, panels, x, x_row, dw, tail);
        break;
      case 2:
        outer_vectors<T, Complex, 2>(s, panels, x, x_row, dw, tail);
        break;
#if HWY_TARGET <= HWY_AVX3
      case 3:
        outer_vectors<T, Complex, 3>(s, panels, x, x_row, dw, tail);
        break;
      default:
        outer_vectors<T, Complex, 4>(s, panels, x, x_row, dw, tail);
        break;
#endif
    }
  }
}

// ---- what dispatch sees --------------------------------------------------------------------------------------------

void multiply_f(const Product<float>& p, const Panels& panels) {
  multiply_of(p, panels);
}
void multiply_d(const Product<double>& p, const Panels& panels) {
  multiply_of(p, panels);
}
void outer_f(const OuterSum<float>& s, const Panels& panels) {
  s.complex ? outer_sum_of<float, true>(s, panels) : outer_sum_of<float, false>(s, panels);
}
void outer_d(const OuterSum<double>& s, const Panels& panels) {
  s.complex ? outer_sum_of<double, true>(s, panels) : outer_sum_of<double, false>(s, panels);
}
int64_t lanes_of_float() {
  return lanes<float>();
}
int64_t vectors_of_panel() {
  return kMaxVectors;
}
int64_t target() {
  return HWY_TARGET;
}

#else

void multiply_f(const Product<float>&, const Panels&) {
  absent();
}
void multiply_d(const Product<double>&, const Panels&) {
  absent();
}
void outer_f(const OuterSum<float>&, const Panels&) {
  absent();
}
void outer_d(const OuterSum<double>&, const Panels&) {
  absent();
}
int64_t lanes_of_float() {
  return 1;
}
int64_t vectors_of_panel() {
  return 1;
}
int64_t target() {
  return HWY_TARGET;
}

#endif
}  // namespace monarch::operators::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace monarch::operators::kernels::cpu {

HWY_EXPORT(multiply_f);
HWY_EXPORT(multiply_d);
HWY_EXPORT(outer_f);
HWY_EXPORT(outer_d);
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
bool has_vectors() {
  static const bool vectors = [] {
    // Of Highway's bits, lower ones are better targets.
    if (most_instructions() == Instructions::avx2) hwy::DisableTargets(HWY_AVX2 - 1);
    return HWY_DYNAMIC_DISPATCH(lanes_of_float)() > 1;
  }();
  return vectors;
}

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
}  // namespace monarch::operators::kernels::cpu
#endif
