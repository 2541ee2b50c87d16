#include "monarch/mri/kernels/complex_arrays.hpp"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "monarch/mri/kernels/complex_arrays.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace monarch::mri::kernels {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using Tag = hn::ScalableTag<float>;
using Vector = hn::Vec<Tag>;

// Lanes hold re, im, re, im …. The scalar target has one lane and thus no pairs: there every loop over vectors is
// skipped, and the loop over the rest does all.
#if HWY_TARGET == HWY_SCALAR
HWY_INLINE int64_t lane_count(Tag) {
  return int64_t{1} << 60;
}
HWY_INLINE Vector alternating(Tag d) {
  return hn::Set(d, 1.0f);
}
HWY_INLINE Vector product(Vector a, Vector, Vector) {
  return a;
}
HWY_INLINE Vector product_add(Vector a, Vector, Vector, Vector) {
  return a;
}
#else
HWY_INLINE int64_t lane_count(Tag d) {
  return static_cast<int64_t>(hn::Lanes(d));
}
// (-1, +1, -1, +1, …)
HWY_INLINE Vector alternating(Tag d) {
  return hn::OddEven(hn::Set(d, 1.0f), hn::Set(d, -1.0f));
}
// a b for sign = alternating(d), conj(a) b for its negative.
HWY_INLINE Vector product(Vector a, Vector b, Vector sign) {
  return hn::MulAdd(hn::DupEven(a), b, hn::Mul(hn::Mul(hn::DupOdd(a), sign), hn::Reverse2(Tag(), b)));
}
HWY_INLINE Vector product_add(Vector a, Vector b, Vector sign, Vector c) {
  return hn::MulAdd(hn::DupEven(a), b, hn::MulAdd(hn::Mul(hn::DupOdd(a), sign), hn::Reverse2(Tag(), b), c));
}
#endif

void multiply(const float* HWY_RESTRICT a, const float* HWY_RESTRICT b, float* out, int64_t n) {
  const Tag d;
  const auto sign = alternating(d);
  const int64_t lanes = lane_count(d);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    hn::StoreU(product(hn::LoadU(d, a + i), hn::LoadU(d, b + i), sign), d, out + i);
  }
  for (; i < n; i += 2) {
    const float re = a[i] * b[i] - a[i + 1] * b[i + 1];
    out[i + 1] = a[i] * b[i + 1] + a[i + 1] * b[i];
    out[i] = re;
  }
}

template <bool kConjugate>
HWY_INLINE void accumulate(const float* HWY_RESTRICT a, const float* HWY_RESTRICT b, float* HWY_RESTRICT out,
                           int64_t n) {
  const Tag d;
  const auto sign = kConjugate ? hn::Neg(alternating(d)) : alternating(d);
  const int64_t lanes = lane_count(d);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    hn::StoreU(product_add(hn::LoadU(d, a + i), hn::LoadU(d, b + i), sign, hn::LoadU(d, out + i)), d, out + i);
  }
  const float s = kConjugate ? -1.0f : 1.0f;
  for (; i < n; i += 2) {
    out[i] += a[i] * b[i] - s * a[i + 1] * b[i + 1];
    out[i + 1] += a[i] * b[i + 1] + s * a[i + 1] * b[i];
  }
}

void multiply_add(const float* a, const float* b, float* out, int64_t n) {
  accumulate<false>(a, b, out, n);
}
void conjugate_multiply_add(const float* a, const float* b, float* out, int64_t n) {
  accumulate<true>(a, b, out, n);
}

void scale_reals(const float* HWY_RESTRICT weight, float* HWY_RESTRICT data, int64_t n) {
  const Tag d;
  const int64_t lanes = lane_count(d);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(hn::Mul(hn::LoadU(d, weight + i), hn::LoadU(d, data + i)), d, data + i);
  for (; i < n; ++i) data[i] *= weight[i];
}

// Sums of at most this many float lanes before they go into a double keep the rounding near single precision.
constexpr int64_t kRun = 2048;

double dot(const float* HWY_RESTRICT x, const float* HWY_RESTRICT y, int64_t n) {
  const Tag d;
  const int64_t lanes = lane_count(d);
  double total = 0;
  int64_t i = 0;
  while (i + lanes <= n) {
    const int64_t end = std::min(n - lanes, i + kRun * 2 - lanes);
    auto s0 = hn::Zero(d);
    auto s1 = hn::Zero(d);
    for (; i + lanes <= end; i += 2 * lanes) {
      s0 = hn::MulAdd(hn::LoadU(d, x + i), hn::LoadU(d, y + i), s0);
      s1 = hn::MulAdd(hn::LoadU(d, x + i + lanes), hn::LoadU(d, y + i + lanes), s1);
    }
    for (; i <= end; i += lanes) s0 = hn::MulAdd(hn::LoadU(d, x + i), hn::LoadU(d, y + i), s0);
    total += hn::GetLane(hn::SumOfLanes(d, hn::Add(s0, s1)));
  }
  for (; i < n; ++i) total += static_cast<double>(x[i]) * y[i];
  return total;
}

double step_and_residual(float* HWY_RESTRICT x, const float* HWY_RESTRICT p, float* HWY_RESTRICT r,
                         const float* HWY_RESTRICT q, float alpha, int64_t n) {
  const Tag d;
  const int64_t lanes = lane_count(d);
  const auto a = hn::Set(d, alpha);
  double total = 0;
  int64_t i = 0;
  while (i + lanes <= n) {
    const int64_t end = std::min(n - lanes, i + kRun - lanes);
    auto sum = hn::Zero(d);
    for (; i <= end; i += lanes) {
      hn::StoreU(hn::MulAdd(a, hn::LoadU(d, p + i), hn::LoadU(d, x + i)), d, x + i);
      const auto residual = hn::NegMulAdd(a, hn::LoadU(d, q + i), hn::LoadU(d, r + i));
      hn::StoreU(residual, d, r + i);
      sum = hn::MulAdd(residual, residual, sum);
    }
    total += hn::GetLane(hn::SumOfLanes(d, sum));
  }
  for (; i < n; ++i) {
    x[i] += alpha * p[i];
    r[i] -= alpha * q[i];
    total += static_cast<double>(r[i]) * r[i];
  }
  return total;
}

void scale_and_add(const float* HWY_RESTRICT r, float beta, float* HWY_RESTRICT p, int64_t n) {
  const Tag d;
  const int64_t lanes = lane_count(d);
  const auto b = hn::Set(d, beta);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(hn::MulAdd(b, hn::LoadU(d, p + i), hn::LoadU(d, r + i)), d, p + i);
  for (; i < n; ++i) p[i] = r[i] + beta * p[i];
}

double gradient_step(const float* y, const float* HWY_RESTRICT b, const float* gradient, float step, float* out,
                     int64_t n) {
  const Tag d;
  const int64_t lanes = lane_count(d);
  const auto s = hn::Set(d, step);
  double total = 0;
  int64_t i = 0;
  while (i + lanes <= n) {
    const int64_t end = std::min(n - lanes, i + kRun - lanes);
    auto sum = hn::Zero(d);
    for (; i <= end; i += lanes) {
      const auto residual = hn::Sub(hn::LoadU(d, b + i), hn::LoadU(d, gradient + i));
      hn::StoreU(hn::MulAdd(s, residual, hn::LoadU(d, y + i)), d, out + i);
      sum = hn::MulAdd(residual, residual, sum);
    }
    total += hn::GetLane(hn::SumOfLanes(d, sum));
  }
  for (; i < n; ++i) {
    const float residual = b[i] - gradient[i];
    out[i] = y[i] + step * residual;
    total += static_cast<double>(residual) * residual;
  }
  return total;
}

double extrapolate(const float* HWY_RESTRICT x, const float* HWY_RESTRICT previous, float beta, float* HWY_RESTRICT y,
                   int64_t n) {
  const Tag d;
  const int64_t lanes = lane_count(d);
  const auto b = hn::Set(d, beta);
  double total = 0;
  int64_t i = 0;
  while (i + lanes <= n) {
    const int64_t end = std::min(n - lanes, i + kRun - lanes);
    auto sum = hn::Zero(d);
    for (; i <= end; i += lanes) {
      const auto v = hn::LoadU(d, x + i);
      const auto change = hn::Sub(v, hn::LoadU(d, previous + i));
      hn::StoreU(hn::MulAdd(b, change, v), d, y + i);
      sum = hn::MulAdd(change, change, sum);
    }
    total += hn::GetLane(hn::SumOfLanes(d, sum));
  }
  for (; i < n; ++i) {
    const float change = x[i] - previous[i];
    y[i] = x[i] + beta * change;
    total += static_cast<double>(change) * change;
  }
  return total;
}

}  // namespace HWY_NAMESPACE
}  // namespace monarch::mri::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace monarch::mri::kernels {

HWY_EXPORT(multiply);
HWY_EXPORT(multiply_add);
HWY_EXPORT(conjugate_multiply_add);
HWY_EXPORT(scale_reals);
HWY_EXPORT(dot);
HWY_EXPORT(step_and_residual);
HWY_EXPORT(scale_and_add);
HWY_EXPORT(gradient_step);
HWY_EXPORT(extrapolate);

namespace {
// std::complex<float> arrays may be read as arrays of pairs (C++20 [complex.numbers]).
const float* pairs(const complex64* z) {
  return reinterpret_cast<const float*>(z);
}
float* pairs(complex64* z) {
  return reinterpret_cast<float*>(z);
}
}  // namespace

void multiply(const complex64* a, const complex64* b, complex64* out, int64_t n) {
  HWY_DYNAMIC_DISPATCH(multiply)(pairs(a), pairs(b), pairs(out), 2 * n);
}
void multiply_add(const complex64* a, const complex64* b, complex64* out, int64_t n) {
  HWY_DYNAMIC_DISPATCH(multiply_add)(pairs(a), pairs(b), pairs(out), 2 * n);
}
void conjugate_multiply_add(const complex64* a, const complex64* b, complex64* out, int64_t n) {
  HWY_DYNAMIC_DISPATCH(conjugate_multiply_add)(pairs(a), pairs(b), pairs(out), 2 * n);
}
void scale_pairs(const float* weight_pairs, complex64* data, int64_t n) {
  HWY_DYNAMIC_DISPATCH(scale_reals)(weight_pairs, pairs(data), 2 * n);
}
double dot(const float* x, const float* y, int64_t n) {
  return HWY_DYNAMIC_DISPATCH(dot)(x, y, n);
}
double step_and_residual(float* x, const float* p, float* r, const float* q, float alpha, int64_t n) {
  return HWY_DYNAMIC_DISPATCH(step_and_residual)(x, p, r, q, alpha, n);
}
void scale_and_add(const float* r, float beta, float* p, int64_t n) {
  HWY_DYNAMIC_DISPATCH(scale_and_add)(r, beta, p, n);
}
double gradient_step(const float* y, const float* b, const float* gradient, float step, float* out, int64_t n) {
  return HWY_DYNAMIC_DISPATCH(gradient_step)(y, b, gradient, step, out, n);
}
double extrapolate(const float* x, const float* previous, float beta, float* y, int64_t n) {
  return HWY_DYNAMIC_DISPATCH(extrapolate)(x, previous, beta, y, n);
}

}  // namespace monarch::mri::kernels
#endif  // HWY_ONCE
