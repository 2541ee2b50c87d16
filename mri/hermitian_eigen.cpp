#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "monarch/mri/hermitian_eigen.cpp"
#include <hwy/foreach_target.h>
// Highway includes this file once per instruction set; everything before HWY_ONCE belongs to each of them.
#include <hwy/aligned_allocator.h>
#include <hwy/highway.h>

#include <algorithm>
#include <limits>

#include "monarch/mri/hermitian_eigen.hpp"

HWY_BEFORE_NAMESPACE();
namespace monarch::mri {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using Tag = hn::ScalableTag<float>;
using Vec = hn::Vec<Tag>;

// n^2 complex elements of one vector's width of pixels, and a few vectors beside them.
struct Scratch {
  float* real;  // packed upper triangle
  float* imag;
  float* x_real;  // present iterate
  float* x_imag;
  float* y_real;  // its image
  float* y_imag;
  float* done;  // finished eigenvectors: [vector][real, imag][coil]
};

// y = A x, touching each stored element once: a_ij serves row i, and conjugated row j.
HWY_INLINE void multiply(const Scratch& s, int64_t n) {
  const Tag tag;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(tag));
  for (int64_t i = 0; i < n; ++i) {
    const Vec diagonal = hn::Load(tag, s.real + packed_index(n, i, i) * lanes);
    hn::Store(hn::Mul(diagonal, hn::Load(tag, s.x_real + i * lanes)), tag, s.y_real + i * lanes);
    hn::Store(hn::Mul(diagonal, hn::Load(tag, s.x_imag + i * lanes)), tag, s.y_imag + i * lanes);
  }
  for (int64_t i = 0; i + 1 < n; ++i) {
    const Vec x_real = hn::Load(tag, s.x_real + i * lanes), x_imag = hn::Load(tag, s.x_imag + i * lanes);
    // Four accumulators: two would make the additions wait for each other.
    Vec real_a = hn::Load(tag, s.y_real + i * lanes), imag_a = hn::Load(tag, s.y_imag + i * lanes);
    Vec real_b = hn::Zero(tag), imag_b = hn::Zero(tag);
    const float* row_real = s.real + packed_index(n, i, i) * lanes;
    const float* row_imag = s.imag + packed_index(n, i, i) * lanes;
    for (int64_t j = i + 1; j < n; ++j) {
      const Vec a_real = hn::Load(tag, row_real + (j - i) * lanes), a_imag = hn::Load(tag, row_imag + (j - i) * lanes);
      const Vec u_real = hn::Load(tag, s.x_real + j * lanes), u_imag = hn::Load(tag, s.x_imag + j * lanes);
      real_a = hn::MulAdd(a_real, u_real, real_a);
      real_b = hn::NegMulAdd(a_imag, u_imag, real_b);
      imag_a = hn::MulAdd(a_real, u_imag, imag_a);
      imag_b = hn::MulAdd(a_imag, u_real, imag_b);
      Vec y_real = hn::Load(tag, s.y_real + j * lanes), y_imag = hn::Load(tag, s.y_imag + j * lanes);
      y_real = hn::MulAdd(a_imag, x_imag, hn::MulAdd(a_real, x_real, y_real));
      y_imag = hn::NegMulAdd(a_imag, x_real, hn::MulAdd(a_real, x_imag, y_imag));
      hn::Store(y_real, tag, s.y_real + j * lanes);
      hn::Store(y_imag, tag, s.y_imag + j * lanes);
    }
    hn::Store(hn::Add(real_a, real_b), tag, s.y_real + i * lanes);
    hn::Store(hn::Add(imag_a, imag_b), tag, s.y_imag + i * lanes);
  }
}

// y -= v <v, y> for the eigenvectors that are finished.
HWY_INLINE void deflate(const Scratch& s, int64_t n, int64_t finished) {
  const Tag tag;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(tag));
  for (int64_t m = 0; m < finished; ++m) {
    const float* v_real = s.done + 2 * m * n * lanes;
    const float* v_imag = v_real + n * lanes;
    Vec dot_real = hn::Zero(tag), dot_imag = hn::Zero(tag);
    for (int64_t k = 0; k < n * lanes; k += lanes) {
      const Vec a = hn::Load(tag, v_real + k), b = hn::Load(tag, v_imag + k);
      const Vec c = hn::Load(tag, s.y_real + k), d = hn::Load(tag, s.y_imag + k);
      dot_real = hn::MulAdd(a, c, hn::MulAdd(b, d, dot_real));
      dot_imag = hn::MulAdd(a, d, hn::NegMulAdd(b, c, dot_imag));
    }
    for (int64_t k = 0; k < n * lanes; k += lanes) {
      const Vec a = hn::Load(tag, v_real + k), b = hn::Load(tag, v_imag + k);
      const Vec c = hn::Load(tag, s.y_real + k), d = hn::Load(tag, s.y_imag + k);
      hn::Store(hn::MulAdd(b, dot_imag, hn::NegMulAdd(a, dot_real, c)), tag, s.y_real + k);
      hn::Store(hn::NegMulAdd(a, dot_imag, hn::NegMulAdd(b, dot_real, d)), tag, s.y_imag + k);
    }
  }
}

HWY_INLINE Vec inverse_norm(const float* real, const float* imag, int64_t length) {
  const Tag tag;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(tag));
  Vec sum = hn::Zero(tag);
  for (int64_t k = 0; k < length; k += lanes) {
    const Vec a = hn::Load(tag, real + k), b = hn::Load(tag, imag + k);
    sum = hn::MulAdd(a, a, hn::MulAdd(b, b, sum));
  }
  const Vec tiny = hn::Set(tag, 1e-30f);
  return hn::IfThenElse(hn::Gt(sum, tiny), hn::Div(hn::Set(tag, 1.0f), hn::Sqrt(hn::Max(sum, tiny))), hn::Zero(tag));
}

// x = y, or x = y / ||y||. Between normalisations vectors shrink by at most n^-4, since the trace is one.
HWY_INLINE void step(const Scratch& s, int64_t length, bool normalise) {
  const Tag tag;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(tag));
  const Vec scale = normalise ? inverse_norm(s.y_real, s.y_imag, length) : hn::Set(tag, 1.0f);
  for (int64_t k = 0; k < length; k += lanes) {
    hn::Store(hn::Mul(scale, hn::Load(tag, s.y_real + k)), tag, s.x_real + k);
    hn::Store(hn::Mul(scale, hn::Load(tag, s.y_imag + k)), tag, s.x_imag + k);
  }
}

// y = the column of A whose diagonal element, less the part of the finished vectors, is largest; or column `finished`.
HWY_INLINE void start(const Scratch& s, int64_t n, int64_t finished, const float* values, EigenStart rule) {
  const Tag tag;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(tag));
  Vec best = hn::Set(tag, -std::numeric_limits<float>::max());
  const bool fixed = rule == EigenStart::first_coil;
  for (int64_t j = fixed ? finished : 0; j < (fixed ? finished + 1 : n); ++j) {
    Vec left = hn::Load(tag, s.real + packed_index(n, j, j) * lanes);
    for (int64_t m = 0; m < finished; ++m) {
      const Vec a = hn::Load(tag, s.done + (2 * m * n + j) * lanes);
      const Vec b = hn::Load(tag, s.done + ((2 * m + 1) * n + j) * lanes);
      left = hn::NegMulAdd(hn::Load(tag, values + m * lanes), hn::MulAdd(a, a, hn::Mul(b, b)), left);
    }
    const auto better = hn::Gt(left, best);
    best = hn::IfThenElse(better, left, best);
    for (int64_t i = 0; i < n; ++i) {
      const int64_t pair = (i <= j ? packed_index(n, i, j) : packed_index(n, j, i)) * lanes;
      const Vec real = hn::Load(tag, s.real + pair);
      const Vec imag = i <= j ? hn::Load(tag, s.imag + pair) : hn::Neg(hn::Load(tag, s.imag + pair));
      hn::Store(hn::IfThenElse(better, real, hn::Load(tag, s.y_real + i * lanes)), tag, s.y_real + i * lanes);
      hn::Store(hn::IfThenElse(better, imag, hn::Load(tag, s.y_imag + i * lanes)), tag, s.y_imag + i * lanes);
    }
  }
}

void leading_eigenvectors_target(const HermitianRun& matrices, const EigenRequest& request, const EigenOutput& output) {
  const Tag tag;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(tag)), n = request.coils, pairs = packed_pairs(n);
  const int64_t length = n * lanes;
  const auto memory = hwy::AllocateAligned<float>(
      static_cast<size_t>((2 * pairs + 4 * n + 2 * request.vectors * n + request.vectors) * lanes));
  Scratch s{};
  s.real = memory.get();
  s.imag = s.real + pairs * lanes;
  s.x_real = s.imag + pairs * lanes;
  s.x_imag = s.x_real + length;
  s.y_real = s.x_imag + length;
  s.y_imag = s.y_real + length;
  s.done = s.y_imag + length;
  float* values = s.done + 2 * request.vectors * length;
  HWY_ALIGN float pixels[2 * hermitian_padding];

  for (int64_t x = 0; x < matrices.pixels; x += lanes) {
    const int64_t here = std::min(lanes, matrices.pixels - x);
    Vec trace = hn::Zero(tag);
    for (int64_t i = 0; i < n; ++i) {
      trace = hn::Add(trace, hn::LoadU(tag, matrices.real + packed_index(n, i, i) * matrices.stride + x));
    }
    const auto filled = hn::Gt(trace, hn::Zero(tag));
    const Vec scale = hn::IfThenElse(
        filled, hn::Div(hn::Set(tag, 1.0f), hn::IfThenElse(filled, trace, hn::Set(tag, 1.0f))), hn::Zero(tag));
    for (int64_t p = 0; p < pairs; ++p) {
      hn::Store(hn::Mul(scale, hn::LoadU(tag, matrices.real + p * matrices.stride + x)), tag, s.real + p * lanes);
      hn::Store(hn::Mul(scale, hn::LoadU(tag, matrices.imag + p * matrices.stride + x)), tag, s.imag + p * lanes);
    }
    for (int64_t m = 0; m < request.vectors; ++m) {
      start(s, n, m, values, request.start);
      deflate(s, n, m);
      step(s, length, true);
      for (int64_t iteration = 1; iteration <= request.iterations; ++iteration) {
        multiply(s, n);
        deflate(s, n, m);
        step(s, length, iteration % 4 == 0 || iteration == request.iterations);
      }
      multiply(s, n);
      Vec value = hn::Zero(tag), dot_real = hn::Zero(tag), dot_imag = hn::Zero(tag);
      for (int64_t i = 0; i < n; ++i) {
        const Vec a = hn::Load(tag, s.x_real + i * lanes), b = hn::Load(tag, s.x_imag + i * lanes);
        const Vec c = hn::Load(tag, s.y_real + i * lanes), d = hn::Load(tag, s.y_imag + i * lanes);
        const std::complex<float> u = request.reference[static_cast<size_t>(i)];
        const Vec u_real = hn::Set(tag, u.real()), u_imag = hn::Set(tag, u.imag());
        value = hn::MulAdd(a, c, hn::MulAdd(b, d, value));
        dot_real = hn::MulAdd(u_real, a, hn::MulAdd(u_imag, b, dot_real));
        dot_imag = hn::MulAdd(u_real, b, hn::NegMulAdd(u_imag, a, dot_imag));
        hn::Store(a, tag, s.done + (2 * m * n + i) * lanes);
        hn::Store(b, tag, s.done + ((2 * m + 1) * n + i) * lanes);
      }
      hn::Store(value, tag, values + m * lanes);
      value = hn::Mul(value, trace);
      const Vec norm = hn::Sqrt(hn::MulAdd(dot_real, dot_real, hn::Mul(dot_imag, dot_imag)));
      const auto rotates = hn::Gt(norm, hn::Set(tag, 1e-20f));
      const Vec safe = hn::IfThenElse(rotates, norm, hn::Set(tag, 1.0f));
      const auto kept = hn::And(hn::Ge(value, hn::Set(tag, request.crop)), filled);
      const Vec cosine = hn::IfThenElseZero(kept, hn::IfThenElse(rotates, hn::Div(dot_real, safe), hn::Set(tag, 1.0f)));
      const Vec sine = hn::IfThenElseZero(kept, hn::IfThenElse(rotates, hn::Div(dot_imag, safe), hn::Zero(tag)));
      for (int64_t i = 0; i < n; ++i) {
        const Vec a = hn::Load(tag, s.x_real + i * lanes), b = hn::Load(tag, s.x_imag + i * lanes);
        const Vec real = hn::MulAdd(b, sine, hn::Mul(a, cosine)), imag = hn::NegMulAdd(a, sine, hn::Mul(b, cosine));
        float* target =
            reinterpret_cast<float*>(output.vectors + m * output.vector_stride + i * output.coil_stride + x);
        if (here == lanes) {
          hn::StoreInterleaved2(real, imag, tag, target);
        } else {
          hn::StoreInterleaved2(real, imag, tag, pixels);
          std::copy_n(pixels, 2 * here, target);
        }
      }
      hn::Store(value, tag, pixels);
      std::copy_n(pixels, here, output.values + m * output.value_stride + x);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace monarch::mri
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace monarch::mri {

HWY_EXPORT(leading_eigenvectors_target);

void leading_eigenvectors(const HermitianRun& matrices, const EigenRequest& request, const EigenOutput& output) {
  HWY_DYNAMIC_DISPATCH(leading_eigenvectors_target)(matrices, request, output);
}

}  // namespace monarch::mri
#endif
