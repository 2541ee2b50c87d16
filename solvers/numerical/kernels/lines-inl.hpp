// Transforms of lines whose every number is a vector of samples; included once per instruction set.
#if defined(MONARCH_LINES_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef MONARCH_LINES_INL_HPP
#undef MONARCH_LINES_INL_HPP
#else
#define MONARCH_LINES_INL_HPP
#endif

#include <hwy/highway.h>

#include "monarch/solvers/numerical/kernels/lines.hpp"

HWY_BEFORE_NAMESPACE();
namespace monarch::solvers::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// A complex number of each lane. D: a tag of W lanes.
template <class D>
struct Complex {
  hn::Vec<D> re, im;
};

template <class D>
HWY_INLINE Complex<D> load(D d, const hn::TFromD<D>* at) {
  return {hn::Load(d, at), hn::Load(d, at + hn::MaxLanes(d))};
}
template <class D>
HWY_INLINE void store(D d, const Complex<D>& v, hn::TFromD<D>* at) {
  hn::Store(v.re, d, at);
  hn::Store(v.im, d, at + hn::MaxLanes(d));
}
template <class D>
HWY_INLINE Complex<D> add(const Complex<D>& a, const Complex<D>& b) {
  return {hn::Add(a.re, b.re), hn::Add(a.im, b.im)};
}
template <class D>
HWY_INLINE Complex<D> subtract(const Complex<D>& a, const Complex<D>& b) {
  return {hn::Sub(a.re, b.re), hn::Sub(a.im, b.im)};
}
/// a ± i b: plus to points, minus to frequencies.
template <class D, bool kToPoints>
HWY_INLINE Complex<D> add_turned(const Complex<D>& a, const Complex<D>& b) {
  if constexpr (kToPoints) return {hn::Sub(a.re, b.im), hn::Add(a.im, b.re)};
  return {hn::Add(a.re, b.im), hn::Sub(a.im, b.re)};
}
/// a times (c ± i s), as above.
template <class D, bool kToPoints>
HWY_INLINE Complex<D> rotate(D d, const Complex<D>& a, hn::TFromD<D> c, hn::TFromD<D> s) {
  const auto cv = hn::Set(d, c), sv = hn::Set(d, s);
  if constexpr (kToPoints) {
    return {hn::NegMulAdd(a.im, sv, hn::Mul(a.re, cv)), hn::MulAdd(a.re, sv, hn::Mul(a.im, cv))};
  }
  return {hn::MulAdd(a.im, sv, hn::Mul(a.re, cv)), hn::NegMulAdd(a.re, sv, hn::Mul(a.im, cv))};
}

template <class D, bool kToPoints>
HWY_INLINE void butterfly4(Complex<D>& a, Complex<D>& b, Complex<D>& c, Complex<D>& e) {
  const auto s = add<D>(a, c), m = subtract<D>(a, c), t = add<D>(b, e), u = subtract<D>(b, e);
  a = add<D>(s, t);
  b = add_turned<D, kToPoints>(m, u);
  c = subtract<D>(s, t);
  e = add_turned<D, !kToPoints>(m, u);
}

/// y_p = sum over q of x_q exp(± 2πi pq/R), in place.
template <class D, bool kToPoints, int R>
HWY_INLINE void butterfly(D d, Complex<D>* x) {
  using T = hn::TFromD<D>;
  if constexpr (R == 2) {
    const auto s = add<D>(x[0], x[1]);
    x[1] = subtract<D>(x[0], x[1]);
    x[0] = s;
  } else if constexpr (R == 3) {
    const auto half = hn::Set(d, T(0.5)), sine = hn::Set(d, T(0.866025403784438646763723170752936L));
    const auto s = add<D>(x[1], x[2]), m = subtract<D>(x[1], x[2]);
    const Complex<D> c = {hn::NegMulAdd(half, s.re, x[0].re), hn::NegMulAdd(half, s.im, x[0].im)};
    const Complex<D> t = {hn::Mul(sine, m.re), hn::Mul(sine, m.im)};
    x[0] = add<D>(x[0], s);
    x[1] = add_turned<D, kToPoints>(c, t);
    x[2] = add_turned<D, !kToPoints>(c, t);
  } else if constexpr (R == 4) {
    butterfly4<D, kToPoints>(x[0], x[1], x[2], x[3]);
  } else if constexpr (R == 5) {
    const auto c1 = hn::Set(d, T(0.309016994374947424102293417182819L));
    const auto c2 = hn::Set(d, T(-0.809016994374947424102293417182819L));
    const auto s1 = hn::Set(d, T(0.951056516295153572116439333379382L));
    const auto s2 = hn::Set(d, T(0.587785252292473129168705954639073L));
    const auto p = add<D>(x[1], x[4]), m = subtract<D>(x[1], x[4]);
    const auto q = add<D>(x[2], x[3]), r = subtract<D>(x[2], x[3]);
    const Complex<D> a = {hn::MulAdd(c2, q.re, hn::MulAdd(c1, p.re, x[0].re)),
                          hn::MulAdd(c2, q.im, hn::MulAdd(c1, p.im, x[0].im))};
    const Complex<D> b = {hn::MulAdd(c1, q.re, hn::MulAdd(c2, p.re, x[0].re)),
                          hn::MulAdd(c1, q.im, hn::MulAdd(c2, p.im, x[0].im))};
    const Complex<D> t = {hn::MulAdd(s2, r.re, hn::Mul(s1, m.re)), hn::MulAdd(s2, r.im, hn::Mul(s1, m.im))};
    const Complex<D> u = {hn::NegMulAdd(s1, r.re, hn::Mul(s2, m.re)), hn::NegMulAdd(s1, r.im, hn::Mul(s2, m.im))};
    x[0] = add<D>(x[0], add<D>(p, q));
    x[1] = add_turned<D, kToPoints>(a, t);
    x[2] = add_turned<D, kToPoints>(b, u);
    x[3] = add_turned<D, !kToPoints>(b, u);
    x[4] = add_turned<D, !kToPoints>(a, t);
  } else {
    static_assert(R == 8);
    Complex<D> a = x[0], b = x[2], c = x[4], e = x[6];
    butterfly4<D, kToPoints>(a, b, c, e);
    Complex<D> f = x[1], g = x[3], h = x[5], k = x[7];
    butterfly4<D, kToPoints>(f, g, h, k);
    const auto root = hn::Set(d, T(0.707106781186547524400844362104849L));
    const Complex<D> gt = add_turned<D, kToPoints>(g, g), kt = add_turned<D, !kToPoints>(k, k);
    const Complex<D> g8 = {hn::Mul(root, gt.re), hn::Mul(root, gt.im)};
    const Complex<D> k8 = {hn::Mul(root, kt.re), hn::Mul(root, kt.im)};  // to be subtracted
    x[0] = add<D>(a, f);
    x[4] = subtract<D>(a, f);
    x[1] = add<D>(b, g8);
    x[5] = subtract<D>(b, g8);
    x[2] = add_turned<D, kToPoints>(c, h);
    x[6] = add_turned<D, !kToPoints>(c, h);
    x[3] = subtract<D>(e, k8);
    x[7] = add<D>(e, k8);
  }
}

/// One stage of radix R on the n numbers of a line.
template <class D, bool kToPoints, int R>
HWY_NOINLINE void stage_of(D d, const LinePlan<hn::TFromD<D>>& plan,
                           const typename LinePlan<hn::TFromD<D>>::Stage& stage, hn::TFromD<D>* line) {
  using T = hn::TFromD<D>;
  const int64_t element = 2 * static_cast<int64_t>(hn::MaxLanes(d));
  const int64_t part = stage.length / R, apart = part * element;
  for (int64_t block = 0; block < plan.n; block += stage.length) {
    T* const from = line + block * element;
    const T* twiddle = stage.twiddles.data();
    for (int64_t j = 0; j < part; ++j, twiddle += 2 * (R - 1)) {
      T* at = from + j * element;
      Complex<D> x[R];
      for (int q = 0; q < R; ++q) x[q] = load(d, at + q * apart);
      const bool twiddles = j > 0;  // the first are all one
      if (!kToPoints && twiddles) {
        for (int q = 1; q < R; ++q) x[q] = rotate<D, false>(d, x[q], twiddle[2 * q - 2], twiddle[2 * q - 1]);
      }
      butterfly<D, kToPoints, R>(d, x);
      if (kToPoints && twiddles) {
        for (int p = 1; p < R; ++p) x[p] = rotate<D, true>(d, x[p], twiddle[2 * p - 2], twiddle[2 * p - 1]);
      }
      for (int p = 0; p < R; ++p) store(d, x[p], at + p * apart);
    }
  }
}

/// A stage of any radix, by its definition; scratch: [radix] complex numbers.
template <class D, bool kToPoints>
HWY_NOINLINE void stage_any(D d, const LinePlan<hn::TFromD<D>>& plan,
                            const typename LinePlan<hn::TFromD<D>>::Stage& stage, hn::TFromD<D>* line,
                            hn::TFromD<D>* scratch) {
  using T = hn::TFromD<D>;
  const int64_t element = 2 * static_cast<int64_t>(hn::MaxLanes(d));
  const int64_t radix = stage.radix, part = stage.length / radix;
  const int64_t apart = part * element;
  for (int64_t block = 0; block < plan.n; block += stage.length) {
    T* const from = line + block * element;
    for (int64_t j = 0; j < part; ++j) {
      const T* twiddle = part > 1 ? stage.twiddles.data() + j * 2 * (radix - 1) : nullptr;
      T* at = from + j * element;
      for (int64_t q = 0; q < radix; ++q) {
        Complex<D> x = load(d, at + q * apart);
        if (!kToPoints && twiddle && q) x = rotate<D, false>(d, x, twiddle[2 * q - 2], twiddle[2 * q - 1]);
        store(d, x, scratch + q * element);
      }
      for (int64_t p = 0; p < radix; ++p) {
        Complex<D> sum = load(d, scratch);
        for (int64_t q = 1, turn = p; q < radix; ++q, turn = (turn + p) % radix) {
          const T* root = stage.roots.data() + 2 * turn;
          sum = add<D>(sum, rotate<D, kToPoints>(d, load(d, scratch + q * element), root[0], root[1]));
        }
        if (kToPoints && twiddle && p) sum = rotate<D, true>(d, sum, twiddle[2 * p - 2], twiddle[2 * p - 1]);
        store(d, sum, at + p * apart);
      }
    }
  }
}

template <class D, bool kToPoints>
HWY_INLINE void transform_line(D d, const LinePlan<hn::TFromD<D>>& plan, hn::TFromD<D>* line, hn::TFromD<D>* scratch) {
  const auto count = static_cast<int64_t>(plan.stages.size());
  for (int64_t i = 0; i < count; ++i) {
    const auto& stage = plan.stages[static_cast<size_t>(kToPoints ? i : count - 1 - i)];
    switch (stage.radix) {
      case 2:
        stage_of<D, kToPoints, 2>(d, plan, stage, line);
        break;
      case 3:
        stage_of<D, kToPoints, 3>(d, plan, stage, line);
        break;
      case 4:
        stage_of<D, kToPoints, 4>(d, plan, stage, line);
        break;
      case 5:
        stage_of<D, kToPoints, 5>(d, plan, stage, line);
        break;
      case 8:
        stage_of<D, kToPoints, 8>(d, plan, stage, line);
        break;
      default:
        stage_any<D, kToPoints>(d, plan, stage, line, scratch);
    }
  }
}

}  // namespace monarch::solvers::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
