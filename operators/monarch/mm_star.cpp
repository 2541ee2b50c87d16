#include "monarch/operators/monarch/mm_star.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/operators/composition.hpp"
#include "monarch/operators/monarch/monarch_operator.hpp"

namespace monarch::operators {
namespace {

void check_meeting(const char* what, int64_t one, int64_t two) {
  check<ShapeError>(one == two, [&] {
    return fmt::format("{}: the two Monarch matrices meet in vectors of {} and {} elements", what, one, two);
  });
}

/// x in the element type of the factors: real vectors become complex where these are.
at::Tensor typed(const at::Tensor& x, const at::Tensor& w) {
  const bool widen = w.is_complex() && x.scalar_type() == c10::toRealValueType(w.scalar_type());
  return widen ? x.to(w.scalar_type()) : x;
}

void check_square(const char* what, const MonarchFactors& m1, const MonarchFactors& m2) {
  const MonarchSizes z = monarch_sizes(m1.w1, m1.w2);
  check<ShapeError>(
      z == monarch_sizes(m2.w1, m2.w2) && z.q == z.p && z.s == z.r && z.l == z.p && z.k == z.s,
      [&] {
        return fmt::format("{}: w1 {}, w2 {} and w1 {}, w2 {} are not the same w1 [n/b, b, b], w2 [b, n/b, n/b]", what,
                           shape_text(m1.w1.sizes()), shape_text(m1.w2.sizes()), shape_text(m2.w1.sizes()),
                           shape_text(m2.w2.sizes()));
      },
      "use the product of two factor pairs instead");
}

/// The extents of three factors: `outer` blocks of `inner` × `inner` outside, the other way round in the middle.
void check_three(const char* what, const ThreeFactors& f) {
  const bool defined = f.left.defined() && f.middle.defined() && f.right.defined();
  check<ShapeError>(
      defined && f.left.dim() == 3 && f.middle.dim() == 3 && f.left.sizes() == f.right.sizes() && f.left.numel() > 0 &&
          f.left.size(1) == f.left.size(2) &&
          f.middle.sizes() == at::IntArrayRef({f.left.size(1), f.left.size(0), f.left.size(0)}),
      [&] {
        return defined ? fmt::format("{}: factors {}, {}, {}", what, shape_text(f.left.sizes()),
                                     shape_text(f.middle.sizes()), shape_text(f.right.sizes()))
                       : fmt::format("{}: an undefined factor", what);
      },
      "expected [g, h, h], [h, g, g], [g, h, h]");
}

/// A Monarch factor that does nothing.
at::Tensor neutral(int64_t n, const at::Tensor& like) {
  return at::ones({n, 1, 1}, like.options());
}

}  // namespace

at::Tensor mm_star_multiply(const at::Tensor& x, const MonarchFactors& m1, const MonarchFactors& m2) {
  const MonarchSizes z2 = monarch_sizes(m2.w1, m2.w2);
  check_meeting("MM*", monarch_sizes(m1.w1, m1.w2).in(), z2.in());
  check<ShapeError>(x.defined() && x.dim() >= 1 && x.size(-1) == z2.out(), [&] {
    return fmt::format("MM*: expected [..., {}], got {}", z2.out(),
                       x.defined() ? shape_text(x.sizes()) : "an undefined tensor");
  });
  return monarch_multiply(monarch_multiply_adjoint(typed(x, m2.w1), m2.w1, m2.w2), m1.w1, m1.w2);
}

at::Tensor m_star_m_multiply(const at::Tensor& x, const MonarchFactors& m1, const MonarchFactors& m2) {
  check_meeting("M*M", monarch_sizes(m1.w1, m1.w2).out(), monarch_sizes(m2.w1, m2.w2).out());
  return monarch_multiply_adjoint(monarch_multiply(x, m2.w1, m2.w2), m1.w1, m1.w2);
}

OperatorPtr mm_star(const MonarchFactors& m1, const MonarchFactors& m2, std::optional<int64_t> rows,
                    std::optional<int64_t> columns) {
  check_meeting("MM*", monarch_sizes(m1.w1, m1.w2).in(), monarch_sizes(m2.w1, m2.w2).in());
  const OperatorPtr first = std::make_shared<Monarch>(m1, std::nullopt, rows);
  return first * adjoint_of(std::make_shared<Monarch>(m2, std::nullopt, columns));
}

OperatorPtr m_star_m(const MonarchFactors& m1, const MonarchFactors& m2, std::optional<int64_t> rows,
                     std::optional<int64_t> columns) {
  check_meeting("M*M", monarch_sizes(m1.w1, m1.w2).out(), monarch_sizes(m2.w1, m2.w2).out());
  const OperatorPtr first = std::make_shared<Monarch>(m1, rows);
  return adjoint_of(first) * std::make_shared<Monarch>(m2, columns);
}

ThreeFactors mm_star_factors(const MonarchFactors& m1, const MonarchFactors& m2) {
  check_square("MM*", m1, m2);
  return {m1.w2, at::matmul(m1.w1, m2.w1.mH()), m2.w2.mH()};
}

ThreeFactors m_star_m_factors(const MonarchFactors& m1, const MonarchFactors& m2) {
  check_square("M*M", m1, m2);
  return {m1.w1.mH(), at::matmul(m1.w2.mH(), m2.w2), m2.w1};
}

at::Tensor mm_star_multiply(const at::Tensor& x, const ThreeFactors& f) {
  check_three("MM*", f);
  const at::Tensor inner = monarch_multiply(x, neutral(f.left.size(0) * f.left.size(1), f.right), f.right);
  return monarch_multiply(inner, f.middle, f.left);
}

at::Tensor m_star_m_multiply(const at::Tensor& x, const ThreeFactors& f) {
  check_three("M*M", f);
  const at::Tensor inner = monarch_multiply(x, f.right, f.middle);
  return monarch_multiply(inner, f.left, neutral(f.left.size(0) * f.left.size(1), f.left));
}

}  // namespace monarch::operators
