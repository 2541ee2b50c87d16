#pragma once
// Arithmetic of every element type of the Monarch kernels, and the activations.

#include <c10/util/complex.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "monarch/operators/kernels/cuda/monarch_launch.hpp"

namespace monarch::operators::kernels::cuda {

template <class T>
struct NumberTraits {
  using Wide = T;  ///< what sums are kept in
  using Real = T;
};
template <>
struct NumberTraits<__half> {
  using Wide = float;
  using Real = __half;
};
template <>
struct NumberTraits<__nv_bfloat16> {
  using Wide = float;
  using Real = __nv_bfloat16;
};
template <class T>
struct NumberTraits<c10::complex<T>> {
  using Wide = c10::complex<T>;
  using Real = T;
};
template <class T>
using Wide = typename NumberTraits<T>::Wide;
template <class T>
using Real = typename NumberTraits<T>::Real;
template <class T>
constexpr bool is_complex = !std::is_same_v<Real<T>, T>;

template <class T>
__device__ inline Wide<T> widen(T value) {
  if constexpr (std::is_same_v<T, __half>) {
    return __half2float(value);
  } else if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return __bfloat162float(value);
  } else {
    return value;
  }
}

template <class T>
__device__ inline T narrow(Wide<T> value) {
  if constexpr (std::is_same_v<T, __half>) {
    return __float2half(value);
  } else if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return __float2bfloat16(value);
  } else {
    return value;
  }
}

template <class T>
__device__ inline T conjugate(T value) {
  if constexpr (is_complex<T>) {
    return T(value.real(), -value.imag());
  } else {
    return value;
  }
}

template <class T>
__device__ inline T sum_of(T a, T b) {
  if constexpr (is_complex<T>) {
    return T(a.real() + b.real(), a.imag() + b.imag());
  } else {
    return a + b;
  }
}

/// sum += a b
template <class T>
__device__ inline void multiply_add(T& sum, T a, T b) {
  if constexpr (is_complex<T>) {
    const auto real = fma(a.real(), b.real(), fma(-a.imag(), b.imag(), sum.real()));
    const auto imag = fma(a.real(), b.imag(), fma(a.imag(), b.real(), sum.imag()));
    sum = T(real, imag);
  } else {
    sum = fma(a, b, sum);
  }
}

/// N numbers that are moved as one; at multiples of 16 bytes, or of their size where that is less.
template <class T, int N>
struct alignas(N * sizeof(T) < 16 ? N * sizeof(T) : 16) Run {
  T v[N];
};

/// As ATen: gelu(z) = z Phi(z); its tanh form z (1 + tanh(u)) / 2, u = sqrt(2/pi) (z + 0.044715 z³).
template <class T>
__device__ inline T activate(T z, Activation activation) {
  if constexpr (is_complex<T>) {
    return z;
  } else {
    switch (activation) {
      case Activation::gelu: return z * T(0.5) * (T(1) + erf(z * T(0.70710678118654752440)));
      case Activation::gelu_tanh:
        return T(0.5) * z * (T(1) + tanh(T(0.79788456080286535588) * (z + T(0.044715) * z * z * z)));
      case Activation::relu: return z < T(0) ? T(0) : z;
      case Activation::none: break;
    }
    return z;
  }
}

/// gradient · act'(z); for relu, z may be y.
template <class T>
__device__ inline T activation_gradient(T gradient, T z, Activation activation) {
  if constexpr (is_complex<T>) {
    return gradient;
  } else {
    switch (activation) {
      case Activation::gelu: {
        const T cdf = T(0.5) * (T(1) + erf(z * T(0.70710678118654752440)));
        const T pdf = exp(T(-0.5) * z * z) * T(0.39894228040143267794);
        return gradient * (cdf + z * pdf);
      }
      case Activation::gelu_tanh: {
        const T t = tanh(T(0.79788456080286535588) * (z + T(0.044715) * z * z * z));
        const T slope = T(0.79788456080286535588) * (T(1) + T(3 * 0.044715) * z * z);
        return gradient * T(0.5) * ((T(1) + t) + z * (T(1) - t * t) * slope);
      }
      case Activation::relu: return z <= T(0) ? T(0) : gradient;
      case Activation::none: break;
    }
    return gradient;
  }
}

}  // namespace monarch::operators::kernels::cuda
