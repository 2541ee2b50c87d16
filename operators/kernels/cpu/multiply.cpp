#include "monarch/operators/kernels/cpu/multiply.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "monarch/operators/kernels/cpu/multiply.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace monarch::operators::kernels::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class T>
void real_products(const T* in, T* out, const T* signs, T scale, int64_t n) {
  const hn::ScalableTag<T> d;
  const auto s = hn::Set(d, scale);
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  if (signs) {
    for (; i + lanes <= n; i += lanes) {
      hn::StoreU(hn::Mul(hn::Mul(hn::LoadU(d, in + i), hn::LoadU(d, signs + i)), s), d, out + i);
    }
    for (; i < n; ++i) out[i] = in[i] * signs[i] * scale;
  } else {
    for (; i + lanes <= n; i += lanes) hn::StoreU(hn::Mul(hn::LoadU(d, in + i), s), d, out + i);
    for (; i < n; ++i) out[i] = in[i] * scale;
  }
}

#if HWY_TARGET != HWY_SCALAR
/// a * b on interleaved (re, im) pairs.
template <class V>
HWY_INLINE V product(V a, V b) {
  const V cross = hn::Mul(hn::Reverse2(hn::DFromV<V>(), a), hn::DupOdd(b));
  const V direct = hn::Mul(a, hn::DupEven(b));
  return hn::OddEven(hn::Add(direct, cross), hn::Sub(direct, cross));
}
#endif

template <class T>
void complex_products(const std::complex<T>* in, std::complex<T>* out, const std::complex<T>* phase,
                      std::complex<T> scale, int64_t n) {
  const T* a = reinterpret_cast<const T*>(in);
  const T* b = reinterpret_cast<const T*>(phase);
  T* c = reinterpret_cast<T*>(out);
  int64_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::ScalableTag<T> d;
  const auto s = hn::OddEven(hn::Set(d, scale.imag()), hn::Set(d, scale.real()));
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  if (phase) {
    for (; i + lanes <= 2 * n; i += lanes) {
      hn::StoreU(product(product(hn::LoadU(d, a + i), hn::LoadU(d, b + i)), s), d, c + i);
    }
  } else {
    for (; i + lanes <= 2 * n; i += lanes) hn::StoreU(product(hn::LoadU(d, a + i), s), d, c + i);
  }
#endif
  for (; i < 2 * n; i += 2) {
    T re = a[i], im = a[i + 1];
    if (phase) {
      const T turned = re * b[i] - im * b[i + 1];
      im = re * b[i + 1] + im * b[i];
      re = turned;
    }
    c[i] = re * scale.real() - im * scale.imag();
    c[i + 1] = re * scale.imag() + im * scale.real();
  }
}

void real_float(const float* in, float* out, const float* signs, float scale, int64_t n) {
  real_products(in, out, signs, scale, n);
}
void real_double(const double* in, double* out, const double* signs, double scale, int64_t n) {
  real_products(in, out, signs, scale, n);
}
void complex_float(const std::complex<float>* in, std::complex<float>* out, const std::complex<float>* phase,
                   std::complex<float> scale, int64_t n) {
  complex_products(in, out, phase, scale, n);
}
void complex_double(const std::complex<double>* in, std::complex<double>* out, const std::complex<double>* phase,
                    std::complex<double> scale, int64_t n) {
  complex_products(in, out, phase, scale, n);
}

}  // namespace monarch::operators::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace monarch::operators::kernels::cpu {

HWY_EXPORT(real_float);
HWY_EXPORT(real_double);
HWY_EXPORT(complex_float);
HWY_EXPORT(complex_double);

void multiply_real(const float* in, float* out, const float* signs, float scale, int64_t n) {
  HWY_DYNAMIC_DISPATCH(real_float)(in, out, signs, scale, n);
}
void multiply_real(const double* in, double* out, const double* signs, double scale, int64_t n) {
  HWY_DYNAMIC_DISPATCH(real_double)(in, out, signs, scale, n);
}
void multiply_complex(const std::complex<float>* in, std::complex<float>* out, const std::complex<float>* phase,
                      std::complex<float> scale, int64_t n) {
  HWY_DYNAMIC_DISPATCH(complex_float)(in, out, phase, scale, n);
}
void multiply_complex(const std::complex<double>* in, std::complex<double>* out, const std::complex<double>* phase,
                      std::complex<double> scale, int64_t n) {
  HWY_DYNAMIC_DISPATCH(complex_double)(in, out, phase, scale, n);
}

}  // namespace monarch::operators::kernels::cpu
#endif
