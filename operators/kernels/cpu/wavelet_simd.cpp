// Vector primitives of the wavelet transform, compiled once per instruction set.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "monarch/operators/kernels/cpu/wavelet_simd.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

#include <cmath>
#include <cstring>

#include "monarch/operators/kernels/wavelet.hpp"

HWY_BEFORE_NAMESPACE();
namespace monarch::operators::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class T>
void filter_pair_of(const T* const* in, const T* HWY_RESTRICT a, const T* HWY_RESTRICT b, size_t count,
                    T* HWY_RESTRICT out_a, T* HWY_RESTRICT out_b, size_t n) {
  const hn::ScalableTag<T> d;
  const size_t lanes = hn::Lanes(d);
  const auto one = [&](size_t i) {
    auto sum_a = hn::Zero(d), sum_b = hn::Zero(d);
    for (size_t j = 0; j < count; ++j) {
      const auto x = hn::LoadU(d, in[j] + i);
      sum_a = hn::MulAdd(hn::Set(d, a[j]), x, sum_a);
      sum_b = hn::MulAdd(hn::Set(d, b[j]), x, sum_b);
    }
    hn::StoreU(sum_a, d, out_a + i);
    hn::StoreU(sum_b, d, out_b + i);
  };
  size_t i = 0;
  // Four vectors at a time: eight sums hide the latency of the multiplications and share the coefficients' loads.
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    auto a0 = hn::Zero(d), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
    for (size_t j = 0; j < count; ++j) {
      const T* x = in[j] + i;
      const auto ca = hn::Set(d, a[j]), cb = hn::Set(d, b[j]);
      const auto x0 = hn::LoadU(d, x), x1 = hn::LoadU(d, x + lanes);
      const auto x2 = hn::LoadU(d, x + 2 * lanes), x3 = hn::LoadU(d, x + 3 * lanes);
      a0 = hn::MulAdd(ca, x0, a0), b0 = hn::MulAdd(cb, x0, b0);
      a1 = hn::MulAdd(ca, x1, a1), b1 = hn::MulAdd(cb, x1, b1);
      a2 = hn::MulAdd(ca, x2, a2), b2 = hn::MulAdd(cb, x2, b2);
      a3 = hn::MulAdd(ca, x3, a3), b3 = hn::MulAdd(cb, x3, b3);
    }
    hn::StoreU(a0, d, out_a + i), hn::StoreU(a1, d, out_a + i + lanes);
    hn::StoreU(a2, d, out_a + i + 2 * lanes), hn::StoreU(a3, d, out_a + i + 3 * lanes);
    hn::StoreU(b0, d, out_b + i), hn::StoreU(b1, d, out_b + i + lanes);
    hn::StoreU(b2, d, out_b + i + 2 * lanes), hn::StoreU(b3, d, out_b + i + 3 * lanes);
  }
  for (; i + lanes <= n; i += lanes) one(i);
  if (i == n) return;
  if (n >= lanes) return one(n - lanes);
  for (; i < n; ++i) {
    T sum_a = 0, sum_b = 0;
    for (size_t j = 0; j < count; ++j) sum_a += a[j] * in[j][i], sum_b += b[j] * in[j][i];
    out_a[i] = sum_a, out_b[i] = sum_b;
  }
}

// Samples move as integers: a complex64 is one 64-bit lane, and no bit pattern is ever interpreted.
template <class T>
void deinterleave_of(const T* HWY_RESTRICT in, T* HWY_RESTRICT even, T* HWY_RESTRICT odd, size_t pairs) {
  const hn::ScalableTag<T> d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= pairs; i += lanes) {
    hn::Vec<decltype(d)> e, o;
    hn::LoadInterleaved2(d, in + 2 * i, e, o);
    hn::StoreU(e, d, even + i);
    hn::StoreU(o, d, odd + i);
  }
  for (; i < pairs; ++i) even[i] = in[2 * i], odd[i] = in[2 * i + 1];
}

template <class T>
void interleave_of(const T* HWY_RESTRICT even, const T* HWY_RESTRICT odd, T* HWY_RESTRICT out, size_t pairs) {
  const hn::ScalableTag<T> d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= pairs; i += lanes) {
    hn::StoreInterleaved2(hn::LoadU(d, even + i), hn::LoadU(d, odd + i), d, out + 2 * i);
  }
  for (; i < pairs; ++i) out[2 * i] = even[i], out[2 * i + 1] = odd[i];
}

// The comparison is `<=`, so that a NaN takes the other branch and stays one.
template <class T>
void soft_threshold_of(T* x, size_t n, int64_t components, double threshold) {
  const hn::ScalableTag<T> d;
  const size_t lanes = hn::Lanes(d);
  const T t = static_cast<T>(threshold);
  const auto limit = hn::Set(d, t), unity = hn::Set(d, T(1));
  size_t i = 0;
  if (components == 1) {
    for (; i + lanes <= n; i += lanes) {
      const auto v = hn::LoadU(d, x + i);
      const auto kept = hn::CopySign(hn::Sub(hn::Abs(v), limit), v);
      hn::StoreU(hn::IfThenZeroElse(hn::Le(hn::Abs(v), limit), kept), d, x + i);
    }
    for (; i < n; ++i) x[i] = std::abs(x[i]) <= t ? T(0) : std::copysign(std::abs(x[i]) - t, x[i]);
    return;
  }
  for (; i + lanes <= n; i += lanes) {
    hn::Vec<decltype(d)> re, im;
    hn::LoadInterleaved2(d, x + 2 * i, re, im);
    const auto modulus = hn::Sqrt(hn::MulAdd(re, re, hn::Mul(im, im)));
    const auto kept = hn::Sub(unity, hn::Div(limit, modulus));
    const auto factor = hn::IfThenZeroElse(hn::Le(modulus, limit), kept);
    hn::StoreInterleaved2(hn::Mul(re, factor), hn::Mul(im, factor), d, x + 2 * i);
  }
  for (; i < n; ++i) {
    const T modulus = std::sqrt(x[2 * i] * x[2 * i] + x[2 * i + 1] * x[2 * i + 1]);
    const T factor = modulus <= t ? T(0) : T(1) - t / modulus;
    x[2 * i] *= factor, x[2 * i + 1] *= factor;
  }
}

// HWY_EXPORT takes plain functions only.
void filter_pair_float(const float* const* in, const float* a, const float* b, size_t count, float* out_a,
                       float* out_b, size_t n) {
  filter_pair_of<float>(in, a, b, count, out_a, out_b, n);
}
void filter_pair_double(const double* const* in, const double* a, const double* b, size_t count, double* out_a,
                        double* out_b, size_t n) {
  filter_pair_of<double>(in, a, b, count, out_a, out_b, n);
}
void deinterleave_4(const void* in, void* even, void* odd, size_t pairs) {
  deinterleave_of(static_cast<const uint32_t*>(in), static_cast<uint32_t*>(even), static_cast<uint32_t*>(odd), pairs);
}
void deinterleave_8(const void* in, void* even, void* odd, size_t pairs) {
  deinterleave_of(static_cast<const uint64_t*>(in), static_cast<uint64_t*>(even), static_cast<uint64_t*>(odd), pairs);
}
void interleave_4(const void* even, const void* odd, void* out, size_t pairs) {
  interleave_of(static_cast<const uint32_t*>(even), static_cast<const uint32_t*>(odd), static_cast<uint32_t*>(out),
                pairs);
}
void interleave_8(const void* even, const void* odd, void* out, size_t pairs) {
  interleave_of(static_cast<const uint64_t*>(even), static_cast<const uint64_t*>(odd), static_cast<uint64_t*>(out),
                pairs);
}
void soft_threshold_float(float* x, size_t n, int64_t components, double threshold) {
  soft_threshold_of(x, n, components, threshold);
}
void soft_threshold_double(double* x, size_t n, int64_t components, double threshold) {
  soft_threshold_of(x, n, components, threshold);
}

}  // namespace monarch::operators::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace monarch::operators::kernels {

HWY_EXPORT(filter_pair_float);
HWY_EXPORT(filter_pair_double);
HWY_EXPORT(deinterleave_4);
HWY_EXPORT(deinterleave_8);
HWY_EXPORT(interleave_4);
HWY_EXPORT(interleave_8);
HWY_EXPORT(soft_threshold_float);
HWY_EXPORT(soft_threshold_double);

void filter_pair(const float* const* in, const float* a, const float* b, size_t count, float* out_a, float* out_b,
                 size_t n) {
  HWY_DYNAMIC_DISPATCH(filter_pair_float)(in, a, b, count, out_a, out_b, n);
}

void filter_pair(const double* const* in, const double* a, const double* b, size_t count, double* out_a,
                 double* out_b, size_t n) {
  HWY_DYNAMIC_DISPATCH(filter_pair_double)(in, a, b, count, out_a, out_b, n);
}

void deinterleave(const void* in, void* even, void* odd, size_t pairs, size_t bytes) {
  if (bytes == 4) return HWY_DYNAMIC_DISPATCH(deinterleave_4)(in, even, odd, pairs);
  if (bytes == 8) return HWY_DYNAMIC_DISPATCH(deinterleave_8)(in, even, odd, pairs);
  const auto* from = static_cast<const char*>(in);
  for (size_t i = 0; i < pairs; ++i) {
    std::memcpy(static_cast<char*>(even) + 16 * i, from + 32 * i, 16);
    std::memcpy(static_cast<char*>(odd) + 16 * i, from + 32 * i + 16, 16);
  }
}

void interleave(const void* even, const void* odd, void* out, size_t pairs, size_t bytes) {
  if (bytes == 4) return HWY_DYNAMIC_DISPATCH(interleave_4)(even, odd, out, pairs);
  if (bytes == 8) return HWY_DYNAMIC_DISPATCH(interleave_8)(even, odd, out, pairs);
  auto* to = static_cast<char*>(out);
  for (size_t i = 0; i < pairs; ++i) {
    std::memcpy(to + 32 * i, static_cast<const char*>(even) + 16 * i, 16);
    std::memcpy(to + 32 * i + 16, static_cast<const char*>(odd) + 16 * i, 16);
  }
}

void soft_threshold(float* x, size_t n, int64_t components, double threshold) {
  HWY_DYNAMIC_DISPATCH(soft_threshold_float)(x, n, components, threshold);
}

void soft_threshold(double* x, size_t n, int64_t components, double threshold) {
  HWY_DYNAMIC_DISPATCH(soft_threshold_double)(x, n, components, threshold);
}

}  // namespace monarch::operators::kernels
#endif
