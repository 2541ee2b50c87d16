// What the vector sources of the Monarch product share; included once per instruction set.
#if defined(MONARCH_VECTOR_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef MONARCH_VECTOR_INL_HPP
#undef MONARCH_VECTOR_INL_HPP
#else
#define MONARCH_VECTOR_INL_HPP
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace monarch::operators::kernels::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// For a processor without vectors, where has_vectors() is false and nothing of these sources is called.
template <class... Arguments>
void absent(Arguments...) {
  HWY_ABORT("vector kernels called on a processor without vectors");
}

#if HWY_TARGET != HWY_SCALAR

template <class T>
using Tag = hn::ScalableTag<T>;
template <class T>
using Vector = hn::Vec<Tag<T>>;

template <class T>
constexpr int64_t kLine = 64 / sizeof(T);  // numbers in a cache line
template <class T>
constexpr int64_t lanes() {
  return static_cast<int64_t>(HWY_LANES(T));
}

/// n numbers; `to` has room up to a whole vector, which is filled with zeros.
template <class T>
HWY_INLINE void copy_row(const T* from, T* to, int64_t n) {
  const Tag<T> d;
  int64_t i = 0;
  for (; i + lanes<T>() <= n; i += lanes<T>()) hn::StoreU(hn::LoadU(d, from + i), d, to + i);
  if (i < n) hn::StoreU(hn::MaskedLoad(hn::FirstN(d, static_cast<size_t>(n - i)), d, from + i), d, to + i);
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

#endif  // HWY_TARGET != HWY_SCALAR

}  // namespace monarch::operators::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // include guard
