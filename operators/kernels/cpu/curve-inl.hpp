// Activations and their slopes as vectors; included once per instruction set.
#if defined(MONARCH_CURVE_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef MONARCH_CURVE_INL_HPP
#undef MONARCH_CURVE_INL_HPP
#else
#define MONARCH_CURVE_INL_HPP
#endif

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <cmath>

#include "monarch/operators/kernels/cpu/monarch_block.hpp"
#include "monarch/operators/kernels/cpu/monarch_vector-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace monarch::operators::kernels::cpu::HWY_NAMESPACE {
#if HWY_TARGET != HWY_SCALAR

template <class T>
constexpr T kSqrtHalf = T(0.70710678118654752440);
template <class T>
constexpr T kSqrtTwoOverPi = T(0.79788456080286535588);

/// Phi(z) = (1 + erf(z / sqrt 2)) / 2 and exp(-z² / 2), of which the float32 erf is made anyway.
template <class T>
struct Normal {
  Vector<T> cdf, bell;
};

/// exp(-s) for s >= 0 (or NaN), to 2 units in the last place; below 2^-126: 2^-126.
HWY_INLINE Vector<float> exp_minus(Tag<float> d, Vector<float> s) {
  const hn::RebindToSigned<Tag<float>> di;
  const auto t = hn::Max(hn::Mul(s, hn::Set(d, -1.44269504089f)), hn::Set(d, -126.0f));
  const auto n = hn::Round(t);
  const auto f = hn::Sub(t, n);  // 2^f on [-1/2, 1/2], minimax
  auto p = hn::Set(d, 1.535336188e-4f);
  p = hn::MulAdd(p, f, hn::Set(d, 1.339887440e-3f));
  p = hn::MulAdd(p, f, hn::Set(d, 9.618437357e-3f));
  p = hn::MulAdd(p, f, hn::Set(d, 5.550332548e-2f));
  p = hn::MulAdd(p, f, hn::Set(d, 2.402264791e-1f));
  p = hn::MulAdd(p, f, hn::Set(d, 6.931472028e-1f));
  p = hn::MulAdd(p, f, hn::Set(d, 1.0f));
  return hn::BitCast(d, hn::Add(hn::BitCast(di, p), hn::ShiftLeft<23>(hn::ConvertTo(di, n))));
}

/// erf by Abramowitz and Stegun 7.1.26: absolute error 1.5e-7, the rounding of float32.
HWY_INLINE Normal<float> normal_of(Tag<float> d, Vector<float> z) {
  const auto a = hn::Min(hn::Mul(hn::Abs(z), hn::Set(d, kSqrtHalf<float>)), hn::Set(d, 10.0f));  // infinity: 1
  const auto b = hn::MulAdd(a, hn::Set(d, 0.3275911f), hn::Set(d, 1.0f));
  auto t = hn::ApproximateReciprocal(b);
  t = hn::Mul(t, hn::NegMulAdd(b, t, hn::Set(d, 2.0f)));  // a step of Newton's: all bits
  auto p = hn::Set(d, 1.061405429f);
  p = hn::MulAdd(p, t, hn::Set(d, -1.453152027f));
  p = hn::MulAdd(p, t, hn::Set(d, 1.421413741f));
  p = hn::MulAdd(p, t, hn::Set(d, -0.284496736f));
  p = hn::MulAdd(p, t, hn::Set(d, 0.254829592f));
  const auto e = exp_minus(d, hn::Mul(a, a));
  const auto erf = hn::CopySign(hn::NegMulAdd(hn::Mul(p, t), e, hn::Set(d, 1.0f)), z);
  return {hn::MulAdd(hn::Set(d, 0.5f), erf, hn::Set(d, 0.5f)), e};
}
HWY_INLINE Normal<double> normal_of(Tag<double> d, Vector<double> z) {
  HWY_ALIGN double values[lanes<double>()];
  hn::Store(z, d, values);
  for (auto& value : values) value = 0.5 * (1 + std::erf(value * kSqrtHalf<double>));
  return {hn::Load(d, values), hn::Exp(d, hn::Mul(hn::Mul(z, z), hn::Set(d, -0.5)))};
}

/// NaN in, NaN out; large arguments keep their sign.
template <class T>
HWY_INLINE Vector<T> curve_of(Tag<T> d, Vector<T> z, Curve curve) {
  const auto half = hn::Set(d, T(0.5)), one = hn::Set(d, T(1));
  switch (curve) {
    case Curve::relu:
      return hn::IfThenElse(hn::Lt(z, hn::Zero(d)), hn::Zero(d), z);
    case Curve::gelu:
      return hn::Mul(z, normal_of(d, z).cdf);
    case Curve::gelu_tanh: {
      const auto inner =
          hn::Mul(hn::Mul(z, hn::Set(d, kSqrtTwoOverPi<T>)), hn::MulAdd(hn::Mul(z, z), hn::Set(d, T(0.044715)), one));
      return hn::IfThenElse(hn::IsNaN(z), z, hn::Mul(hn::Mul(half, z), hn::Add(one, hn::Tanh(d, inner))));
    }
    case Curve::none:
      break;
  }
  return z;
}

template <class T>
HWY_INLINE Vector<T> slope_of(Tag<T> d, Vector<T> z, Curve curve) {
  const auto half = hn::Set(d, T(0.5)), one = hn::Set(d, T(1));
  switch (curve) {
    case Curve::relu:
      return hn::IfThenElse(hn::Gt(z, hn::Zero(d)), one, hn::IfThenElse(hn::IsNaN(z), z, hn::Zero(d)));
    case Curve::gelu: {
      const auto [cdf, bell] = normal_of(d, z);
      return hn::MulAdd(z, hn::Mul(bell, hn::Set(d, T(0.39894228040143267794))), cdf);
    }
    case Curve::gelu_tanh: {
      const auto square = hn::Mul(z, z);
      const auto t = hn::Tanh(
          d, hn::Mul(hn::Mul(z, hn::Set(d, kSqrtTwoOverPi<T>)), hn::MulAdd(square, hn::Set(d, T(0.044715)), one)));
      const auto inner = hn::Mul(hn::Set(d, kSqrtTwoOverPi<T>), hn::MulAdd(square, hn::Set(d, T(3 * 0.044715)), one));
      const auto slope =
          hn::MulAdd(hn::Mul(hn::Mul(half, z), hn::NegMulAdd(t, t, one)), inner, hn::Mul(half, hn::Add(one, t)));
      return hn::IfThenElse(hn::IsNaN(z), z, slope);
    }
    case Curve::none:
      break;
  }
  return one;
}

#endif  // HWY_TARGET != HWY_SCALAR

}  // namespace monarch::operators::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // include guard
