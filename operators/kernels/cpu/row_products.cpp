// Small row-major products, compiled once per instruction set.
//
// One micro-kernel carries the flops: MR rows × NR vectors of the result are held in registers while k runs; each step
// loads NR vectors of a row of b and broadcasts MR numbers of A. b is read in place: the callers' panels of b (64
// columns of at most some hundred rows) fit the first-level cache.
#include "monarch/operators/kernels/cpu/row_products.hpp"

// AVX-512 with VNNI adds nothing to what these loops use.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "monarch/operators/kernels/cpu/row_products.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h

#include <hwy/highway.h>

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "monarch/operators/kernels/cpu/curve-inl.hpp"
#include "monarch/operators/kernels/cpu/monarch_vector-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace monarch::operators::kernels::cpu::HWY_NAMESPACE {
#if HWY_TARGET != HWY_SCALAR

using F = Tag<float>;
using V = Vector<float>;
constexpr int64_t kLanes = lanes<float>();
#if HWY_TARGET <= HWY_AVX3
constexpr int kMostVectors = 4;  // of a micro-kernel's columns
constexpr int kMostSums = 24;    // vectors of sums in registers
constexpr int kDotRows = 4, kDotColumns = 4;
constexpr int kModeRows = 4, kModeColumns = 2;
#else
constexpr int kMostVectors = 2;
constexpr int kMostSums = 12;
constexpr int kDotRows = 4, kDotColumns = 2;
constexpr int kModeRows = 2, kModeColumns = 2;
#endif
constexpr int most_rows(int vectors) {
  return std::min(12, kMostSums / vectors);
}

/// The first `count` numbers, the rest zero.
HWY_INLINE V load_part(F d, const float* from, int64_t count) {
  HWY_ALIGN float part[kLanes] = {};
  std::memcpy(part, from, static_cast<size_t>(count) * sizeof(float));
  return hn::Load(d, part);
}

// ---- products of rows ----------------------------------------------------------------------------------------------

/// Columns behind the NR whole vectors: none, up to half a vector (which costs half where wide vectors are made of
/// two), or nearly a whole one.
enum class Tail { none, half, masked };

template <int MR, int NR, Tail End>
HWY_INLINE void row_micro(const RowProduct& p, const float* HWY_RESTRICT a, const float* HWY_RESTRICT b, float* c,
                          const float* bias, int64_t tail) {
  const F d;
  using E = std::conditional_t<End == Tail::half, hn::Half<F>, F>;
  const E e;
  const auto mask = hn::FirstN(e, static_cast<size_t>(tail));
  constexpr int N = NR > 0 ? NR : 1;  // no array is empty
  V sum[MR][N];
  hn::Vec<E> end[MR];
  const float* rows[MR];
#pragma GCC unroll 16
  for (int m = 0; m < MR; ++m) {
    rows[m] = a + m * p.am;
    end[m] = hn::Zero(e);
#pragma GCC unroll 4
    for (int i = 0; i < NR; ++i) sum[m][i] = hn::Zero(d);
  }
  const int64_t ak = p.ak, b_row = p.b_row;
  for (int64_t k = 0, at = 0; k < p.K; ++k, at += ak) {
    V x[N];
    auto x_end = hn::Zero(e);
#pragma GCC unroll 4
    for (int i = 0; i < NR; ++i) x[i] = hn::LoadU(d, b + i * kLanes);
    if constexpr (End != Tail::none) x_end = hn::MaskedLoad(mask, e, b + NR * kLanes);
    b += b_row;
#pragma GCC unroll 16
    for (int m = 0; m < MR; ++m) {
      const V w = hn::Set(d, rows[m][at]);
#pragma GCC unroll 4
      for (int i = 0; i < NR; ++i) sum[m][i] = hn::MulAdd(w, x[i], sum[m][i]);
      if constexpr (End == Tail::half) end[m] = hn::MulAdd(hn::LowerHalf(e, w), x_end, end[m]);
      if constexpr (End == Tail::masked) end[m] = hn::MulAdd(w, x_end, end[m]);
    }
  }
#pragma GCC unroll 16
  for (int m = 0; m < MR; ++m) {
    float* row = c + m * p.c_row;
    const float shift = bias ? bias[m] : 0;
#pragma GCC unroll 4
    for (int i = 0; i < NR; ++i) {
      V v = hn::Add(sum[m][i], hn::Set(d, shift));
      if (p.accumulate) v = hn::Add(v, hn::LoadU(d, row + i * kLanes));
      hn::StoreU(v, d, row + i * kLanes);
    }
    if constexpr (End != Tail::none) {
      auto v = hn::Add(end[m], hn::Set(e, shift));
      if (p.accumulate) v = hn::Add(v, hn::MaskedLoad(mask, e, row + NR * kLanes));
      hn::BlendedStore(v, mask, e, row + NR * kLanes);
    }
  }
}

template <int NR, Tail End, int MR>
HWY_INLINE void row_micro_of(int64_t rows, const RowProduct& p, const float* a, const float* b, float* c,
                             const float* bias, int64_t tail) {
  if (rows == MR) return row_micro<MR, NR, End>(p, a, b, c, bias, tail);
  if constexpr (MR > 1) row_micro_of<NR, End, MR - 1>(rows, p, a, b, c, bias, tail);
}

/// All rows of NR vectors of columns and what is behind them, in blocks of nearly equal height.
template <int NR, Tail End>
void row_columns(const RowProduct& p, int64_t n0, int64_t tail) {
  constexpr int64_t most = most_rows(NR + (End != Tail::none));
  const int64_t blocks = (p.M + most - 1) / most;
  for (int64_t i = 0; i < blocks; ++i) {
    const int64_t m0 = i * p.M / blocks, rows = (i + 1) * p.M / blocks - m0;
    row_micro_of<NR, End, most>(rows, p, p.a + m0 * p.am, p.b + n0, p.c + m0 * p.c_row + n0,
                                p.bias ? p.bias + m0 : nullptr, tail);
  }
}

template <int NR>
void row_columns_of(const RowProduct& p, int64_t n0, int64_t tail) {
  if (tail == 0) {
    if constexpr (NR > 0) row_columns<NR, Tail::none>(p, n0, tail);
  } else if constexpr (NR < kMostVectors) {
    tail <= kLanes / 2 ? row_columns<NR, Tail::half>(p, n0, tail) : row_columns<NR, Tail::masked>(p, n0, tail);
  }
}

void multiply_rows_of(const RowProduct& p) {
  const int64_t tail = p.N % kLanes;
  int64_t left = p.N / kLanes, n0 = 0;
  for (; left + (tail > 0) > kMostVectors; left -= kMostVectors, n0 += kMostVectors * kLanes)
    row_columns_of<kMostVectors>(p, n0, 0);
  switch (left) {
    case 0:
      return row_columns_of<0>(p, n0, tail);
    case 1:
      return row_columns_of<1>(p, n0, tail);
    case 2:
      return row_columns_of<2>(p, n0, tail);
    case 3:
      if constexpr (kMostVectors > 2) return row_columns_of<3>(p, n0, tail);
      break;
    default:
      if constexpr (kMostVectors > 3) return row_columns_of<4>(p, n0, tail);
  }
}

// ---- dots of rows --------------------------------------------------------------------------------------------------

template <int MR, int NR>
void dot_micro(const RowDots& p, int64_t m0, int64_t n0) {
  const F d;
  const float* a[MR];
  const float* b[NR];
  V sum[MR][NR];
#pragma GCC unroll 4
  for (int m = 0; m < MR; ++m) {
    a[m] = p.a + std::min(m0 + m, p.M - 1) * p.a_row;  // rows that are not there repeat the last one
#pragma GCC unroll 4
    for (int n = 0; n < NR; ++n) sum[m][n] = hn::Zero(d);
  }
#pragma GCC unroll 4
  for (int n = 0; n < NR; ++n) b[n] = p.b + std::min(n0 + n, p.N - 1) * p.b_row;
  const auto step = [&](auto get) HWY_ATTR {
    V x[NR];
#pragma GCC unroll 4
    for (int n = 0; n < NR; ++n) x[n] = get(b[n]);
#pragma GCC unroll 4
    for (int m = 0; m < MR; ++m) {
      const V w = get(a[m]);
#pragma GCC unroll 4
      for (int n = 0; n < NR; ++n) sum[m][n] = hn::MulAdd(w, x[n], sum[m][n]);
    }
  };
  int64_t k = 0;
  for (; k + kLanes <= p.K; k += kLanes) step([&](const float* from) HWY_ATTR { return hn::LoadU(d, from + k); });
  if (k < p.K) step([&](const float* from) HWY_ATTR { return load_part(d, from + k, p.K - k); });
#pragma GCC unroll 4
  for (int m = 0; m < MR; ++m) {
#pragma GCC unroll 4
    for (int n = 0; n < NR; ++n) {
      const float total = hn::GetLane(hn::SumOfLanes(d, sum[m][n]));
      if (m0 + m < p.M && n0 + n < p.N) p.c[(m0 + m) * p.c_row + n0 + n] += total;
    }
  }
}

void add_row_dots_of(const RowDots& p) {
  for (int64_t m = 0; m < p.M;) {
    const bool tall = p.M - m > 1;
    for (int64_t n = 0; n < p.N;) {
      const bool wide = p.N - n > 1;
      if (tall)
        wide ? dot_micro<kDotRows, kDotColumns>(p, m, n) : dot_micro<kDotRows, 1>(p, m, n);
      else
        wide ? dot_micro<1, kDotColumns>(p, m, n) : dot_micro<1, 1>(p, m, n);
      n += wide ? kDotColumns : 1;
    }
    m += tall ? kDotRows : 1;
  }
}

void add_row_sums_of(const float* a, int64_t a_row, int64_t M, int64_t K, float* to) {
  const F d;
  for (int64_t m = 0; m < M; ++m, a += a_row) {
    V sum[4] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
    int64_t k = 0;
    for (; k + 4 * kLanes <= K; k += 4 * kLanes)
      for (int i = 0; i < 4; ++i) sum[i] = hn::Add(sum[i], hn::LoadU(d, a + k + i * kLanes));
    for (; k < K; k += kLanes) sum[0] = hn::Add(sum[0], load_part(d, a + k, std::min(kLanes, K - k)));
    to[m] += hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(sum[0], sum[1]), hn::Add(sum[2], sum[3]))));
  }
}

// ---- curves --------------------------------------------------------------------------------------------------------

void store_part(V v, float* to, int64_t count) {
  HWY_ALIGN float part[kLanes];
  hn::Store(v, F(), part);
  std::memcpy(to, part, static_cast<size_t>(count) * sizeof(float));
}

template <Curve C>
void curve_rows(const float* z, float* y, int64_t n) {
  const F d;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) hn::StoreU(curve_of<float>(d, hn::LoadU(d, z + i), C), d, y + i);
  if (i < n) store_part(curve_of<float>(d, load_part(d, z + i, n - i), C), y + i, n - i);
}

template <Curve C>
void curve_slope_rows(const float* z, const float* dh, float* h, float* dz, int64_t n) {
  const F d;
  const auto both = [&](V v, V g, V& value) HWY_ATTR {
    if constexpr (C == Curve::gelu) {  // one exponential for both
      const auto [cdf, bell] = normal_of(d, v);
      value = hn::Mul(v, cdf);
      return hn::Mul(g, hn::MulAdd(v, hn::Mul(bell, hn::Set(d, 0.39894228040143267794f)), cdf));
    } else {
      value = curve_of<float>(d, v, C);
      return hn::Mul(g, slope_of<float>(d, v, C));
    }
  };
  int64_t i = 0;
  V value;
  for (; i + kLanes <= n; i += kLanes) {
    hn::StoreU(both(hn::LoadU(d, z + i), hn::LoadU(d, dh + i), value), d, dz + i);
    hn::StoreU(value, d, h + i);
  }
  if (i < n) {
    store_part(both(load_part(d, z + i, n - i), load_part(d, dh + i, n - i), value), dz + i, n - i);
    store_part(value, h + i, n - i);
  }
}

void apply_curve_of(const float* z, Curve curve, float* y, int64_t n) {
  switch (curve) {
    case Curve::relu:
      return curve_rows<Curve::relu>(z, y, n);
    case Curve::gelu:
      return curve_rows<Curve::gelu>(z, y, n);
    case Curve::gelu_tanh:
      return curve_rows<Curve::gelu_tanh>(z, y, n);
    case Curve::none:
      return curve_rows<Curve::none>(z, y, n);
  }
}

void apply_curve_and_slope_of(const float* z, const float* dh, Curve curve, float* h, float* dz, int64_t n) {
  switch (curve) {
    case Curve::relu:
      return curve_slope_rows<Curve::relu>(z, dh, h, dz, n);
    case Curve::gelu:
      return curve_slope_rows<Curve::gelu>(z, dh, h, dz, n);
    case Curve::gelu_tanh:
      return curve_slope_rows<Curve::gelu_tanh>(z, dh, h, dz, n);
    case Curve::none:
      return curve_slope_rows<Curve::none>(z, dh, h, dz, n);
  }
}

// ---- products of modes ---------------------------------------------------------------------------------------------

struct Complex {
  V re, im;
};

/// kLanes modes (or the first `count`) from mode k on.
template <bool Interleaved>
HWY_INLINE Complex load_modes(const float* from, int64_t im, int64_t k, int64_t count) {
  const F d;
  Complex z;
  if constexpr (Interleaved) {
    if (count == kLanes) {
      hn::LoadInterleaved2(d, from + 2 * k, z.re, z.im);
    } else {
      HWY_ALIGN float part[2 * kLanes] = {};
      std::memcpy(part, from + 2 * k, static_cast<size_t>(2 * count) * sizeof(float));
      hn::LoadInterleaved2(d, part, z.re, z.im);
    }
  } else if (count == kLanes) {
    z = {hn::LoadU(d, from + k), hn::LoadU(d, from + im + k)};
  } else {
    z = {load_part(d, from + k, count), load_part(d, from + im + k, count)};
  }
  return z;
}

HWY_INLINE void store_modes(Complex z, float* to, int64_t im, int64_t k, int64_t count) {
  const F d;
  if (im == 1) {
    HWY_ALIGN float part[2 * kLanes];
    hn::StoreInterleaved2(z.re, z.im, d, part);
    std::memcpy(to + 2 * k, part, static_cast<size_t>(2 * count) * sizeof(float));
  } else if (count == kLanes) {
    hn::StoreU(z.re, d, to + k), hn::StoreU(z.im, d, to + im + k);
  } else {
    store_part(z.re, to + k, count), store_part(z.im, to + im + k, count);
  }
}

/// One vector of modes of a matrix, in the order that mode_micro reads: [blocks of W columns][R rows][W][re | im].
/// Columns that are not there repeat the last one. `row`, `column`: steps of the source.
template <int W, bool Interleaved>
void pack_modes(const float* from, int64_t row, int64_t column, int64_t im, int64_t R, int64_t columns, int64_t k,
                int64_t count, float* to) {
  const F d;
  for (int64_t c0 = 0; c0 < columns; c0 += W) {
    for (int64_t r = 0; r < R; ++r) {
      for (int64_t c = c0; c < c0 + W; ++c, to += 2 * kLanes) {
        const Complex z = load_modes<Interleaved>(from + r * row + std::min(c, columns - 1) * column, im, k, count);
        hn::Store(z.re, d, to), hn::Store(z.im, d, to + kLanes);
      }
    }
  }
}

/// sum[p][q] over r of packed a and b.
template <int PR, int QR, bool ConjugateA, bool ConjugateB>
HWY_INLINE void mode_micro(const float* HWY_RESTRICT a, const float* HWY_RESTRICT b, int64_t R, Complex (*sum)[QR]) {
  const F d;
#pragma GCC unroll 4
  for (int p = 0; p < PR; ++p)
#pragma GCC unroll 2
    for (int q = 0; q < QR; ++q) sum[p][q] = {hn::Zero(d), hn::Zero(d)};
  for (int64_t r = 0; r < R; ++r, a += PR * 2 * kLanes, b += QR * 2 * kLanes) {
#pragma GCC unroll 4
    for (int p = 0; p < PR; ++p) {
      const V re = hn::Load(d, a + 2 * p * kLanes), im = hn::Load(d, a + (2 * p + 1) * kLanes);
#pragma GCC unroll 2
      for (int q = 0; q < QR; ++q) {
        const V b_re = hn::Load(d, b + 2 * q * kLanes), b_im = hn::Load(d, b + (2 * q + 1) * kLanes);
        Complex& s = sum[p][q];
        s.re = hn::MulAdd(re, b_re, s.re);
        s.im = ConjugateB ? hn::NegMulAdd(re, b_im, s.im) : hn::MulAdd(re, b_im, s.im);
        s.re = ConjugateA != ConjugateB ? hn::MulAdd(im, b_im, s.re) : hn::NegMulAdd(im, b_im, s.re);
        s.im = ConjugateA ? hn::NegMulAdd(im, b_re, s.im) : hn::MulAdd(im, b_re, s.im);
      }
    }
  }
}

template <bool ConjugateA, bool ConjugateB>
void mode_chunks(const ModeProduct& t, int64_t begin, int64_t end) {
  constexpr int PR = kModeRows, QR = kModeColumns;
  const int64_t p_blocks = (t.P + PR - 1) / PR, q_blocks = (t.Q + QR - 1) / QR;
  float* const a = t.scratch;
  float* const b = a + p_blocks * PR * t.R * 2 * kLanes;
  for (int64_t k = begin; k < end; k += kLanes) {
    const int64_t count = std::min(kLanes, end - k);
    pack_modes<PR, false>(t.a, t.a_steps.q_step, t.a_steps.p_step, t.a_steps.im, t.R, t.P, k, count, a);
    t.b_steps.im == 1
        ? pack_modes<QR, true>(t.b, t.b_steps.p_step, t.b_steps.q_step, 1, t.R, t.Q, k, count, b)
        : pack_modes<QR, false>(t.b, t.b_steps.p_step, t.b_steps.q_step, t.b_steps.im, t.R, t.Q, k, count, b);
    for (int64_t j = 0; j < q_blocks; ++j) {
      for (int64_t i = 0; i < p_blocks; ++i) {
        Complex sum[PR][QR];
        mode_micro<PR, QR, ConjugateA, ConjugateB>(a + i * PR * t.R * 2 * kLanes, b + j * QR * t.R * 2 * kLanes, t.R,
                                                   sum);
        for (int64_t p = i * PR; p < std::min((i + 1) * PR, t.P); ++p)
          for (int64_t q = j * QR; q < std::min((j + 1) * QR, t.Q); ++q)
            store_modes(sum[p - i * PR][q - j * QR], t.c + p * t.c_steps.p_step + q * t.c_steps.q_step, t.c_steps.im, k,
                        count);
      }
    }
  }
}

void multiply_modes_of(const ModeProduct& t, int64_t begin, int64_t end) {
  if (t.conjugate_a) {
    t.conjugate_b ? mode_chunks<true, true>(t, begin, end) : mode_chunks<true, false>(t, begin, end);
  } else {
    t.conjugate_b ? mode_chunks<false, true>(t, begin, end) : mode_chunks<false, false>(t, begin, end);
  }
}

#else

void multiply_rows_of(const RowProduct&) {
  absent();
}
void add_row_dots_of(const RowDots&) {
  absent();
}
void add_row_sums_of(const float*, int64_t, int64_t, int64_t, float*) {
  absent();
}
void apply_curve_of(const float*, Curve, float*, int64_t) {
  absent();
}
void apply_curve_and_slope_of(const float*, const float*, Curve, float*, float*, int64_t) {
  absent();
}
void multiply_modes_of(const ModeProduct&, int64_t, int64_t) {
  absent();
}

#endif
}  // namespace monarch::operators::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace monarch::operators::kernels::cpu {

HWY_EXPORT(multiply_rows_of);
HWY_EXPORT(add_row_dots_of);
HWY_EXPORT(add_row_sums_of);
HWY_EXPORT(apply_curve_of);
HWY_EXPORT(apply_curve_and_slope_of);
HWY_EXPORT(multiply_modes_of);

void multiply_rows(const RowProduct& product) {
  HWY_DYNAMIC_DISPATCH(multiply_rows_of)(product);
}
void add_row_dots(const RowDots& dots) {
  HWY_DYNAMIC_DISPATCH(add_row_dots_of)(dots);
}
void add_row_sums(const float* a, int64_t a_row, int64_t M, int64_t K, float* to) {
  HWY_DYNAMIC_DISPATCH(add_row_sums_of)(a, a_row, M, K, to);
}
void apply_curve(const float* z, Curve curve, float* y, int64_t n) {
  HWY_DYNAMIC_DISPATCH(apply_curve_of)(z, curve, y, n);
}
void apply_curve_and_slope(const float* z, const float* dh, Curve curve, float* h, float* dz, int64_t n) {
  HWY_DYNAMIC_DISPATCH(apply_curve_and_slope_of)(z, dh, curve, h, dz, n);
}
void multiply_modes(const ModeProduct& product, int64_t begin, int64_t end) {
  HWY_DYNAMIC_DISPATCH(multiply_modes_of)(product, begin, end);
}

}  // namespace monarch::operators::kernels::cpu
#endif
