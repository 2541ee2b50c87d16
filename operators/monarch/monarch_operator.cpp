#include "monarch/operators/monarch/monarch_operator.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace monarch::operators {
namespace {

void check_factors(const char* what, const MonarchFactors& f) {
  monarch_sizes(f.w1, f.w2);
  const auto dtype = f.w1.scalar_type();
  const bool known =
      dtype == at::kFloat || dtype == at::kDouble || dtype == at::kComplexFloat || dtype == at::kComplexDouble;
  check<DtypeError>(
      known && f.w2.scalar_type() == dtype && f.w1.device() == f.w2.device(),
      [&] {
        return fmt::format("{}: factors of {} on {} and {} on {}", what, dtype_text(dtype), f.w1.device().str(),
                           dtype_text(f.w2.scalar_type()), f.w2.device().str());
      },
      "both must be float32, float64, complex64 or complex128, and on one device");
}

Space side(const char* what, const MonarchFactors& f, std::optional<int64_t> length, bool input) {
  check_factors(what, f);
  const MonarchSizes z = monarch_sizes(f.w1, f.w2);
  const int64_t most = input ? z.in() : z.out(), least = most - (input ? z.k : z.l) + 1;
  const int64_t n = length.value_or(most);
  check<ShapeError>(least <= n && n <= most, [&] {
    return fmt::format("{}: the factors w1 {}, w2 {} make {} to {} {}, {} were asked for", what,
                       shape_text(f.w1.sizes()), shape_text(f.w2.sizes()), least, most, input ? "columns" : "rows", n);
  });
  return {{n}, f.w1.scalar_type(), f.w1.device()};
}

bool is_complex(at::ScalarType dtype) {
  return at::isComplexType(dtype);
}

Space transformed(const Space& domain, const std::vector<TransformFactors>& axes) {
  check<ShapeError>(
      !axes.empty() && axes.size() <= domain.shape.size(),
      [&] { return fmt::format("MonarchTransform: {} transforms for a space {}", axes.size(), domain.text()); },
      "one for each of the last axes");
  Space codomain = domain;
  const size_t first = domain.shape.size() - axes.size();
  for (size_t i = 0; i < axes.size(); ++i) {
    const TransformFactors& f = axes[i];
    check_factors("MonarchTransform", f.factors);
    check<ShapeError>(domain.shape[first + i] == f.in, [&] {
      return fmt::format("MonarchTransform: axis {} of {} meets a transform {} -> {}", first + i, domain.text(), f.in,
                         f.out);
    });
    const auto dtype = f.factors.w1.scalar_type();
    check<DtypeError>(
        c10::toRealValueType(dtype) == c10::toRealValueType(domain.dtype) &&
            Space{{}, dtype, domain.device} == Space{{}, dtype, f.factors.w1.device()},
        [&] {
          return fmt::format("MonarchTransform: factors of {} on {} for the space {}", dtype_text(dtype),
                             f.factors.w1.device().str(), domain.text());
        },
        "one precision and one device; convert the factors with to()");
    codomain.shape[first + i] = f.out;
    if (is_complex(dtype)) codomain.dtype = dtype;
  }
  return codomain;
}

at::Tensor detached(const at::Tensor& t) {
  return t.defined() ? t.detach() : t;
}

}  // namespace

Monarch::Monarch(MonarchFactors factors, std::optional<int64_t> in, std::optional<int64_t> out)
    : LinearOperator(side("Monarch", factors, in, true), side("Monarch", factors, out, false)),
      factors_{factors.w1.detach().contiguous(), factors.w2.detach().contiguous()} {}

std::string Monarch::describe() const {
  return fmt::format("Monarch(w1 {}, w2 {}) on {} -> {}", shape_text(factors_.w1.sizes()),
                     shape_text(factors_.w2.sizes()), domain().text(), shape_text(codomain().shape));
}

at::Tensor Monarch::do_apply(const at::Tensor& x) const {
  MultiplyOptions options;
  options.out_features = codomain().shape[0];
  return monarch_multiply(x, factors_.w1, factors_.w2, options);
}

at::Tensor Monarch::do_adjoint(const at::Tensor& y) const {
  const MonarchSizes z = monarch_sizes(factors_.w1, factors_.w2);
  const at::Tensor padded = y.size(1) == z.out() ? y : at::constant_pad_nd(y, {0, z.out() - y.size(1)});
  return monarch_multiply_adjoint(padded, factors_.w1, factors_.w2).narrow(1, 0, domain().shape[0]);
}

MonarchTransform::MonarchTransform(const Space& domain, std::vector<TransformFactors> axes)
    : LinearOperator(
          domain, transformed(domain, axes),
          is_complex(transformed(domain, axes).dtype) && !is_complex(domain.dtype) ? Field::real : Field::complex) {
  for (TransformFactors& f : axes) {
    parameters_ += (f.factors.w1.is_complex() ? 2 : 1) * (f.factors.w1.numel() + f.factors.w2.numel());
    // Complex vectors meet complex factors, made here once.
    const auto dtype = is_complex(domain.dtype) ? domain.dtype : f.factors.w1.scalar_type();
    axes_.push_back({{f.factors.w1.detach().to(dtype), f.factors.w2.detach().to(dtype)},
                     detached(f.input),
                     detached(f.output),
                     f.in,
                     f.out});
  }
}

std::string MonarchTransform::describe() const {
  std::vector<std::string> sizes;
  for (const TransformFactors& f : axes_) {
    sizes.push_back(fmt::format("{} -> {}: w1 {}, w2 {}", f.in, f.out, shape_text(f.factors.w1.sizes()),
                                shape_text(f.factors.w2.sizes())));
  }
  return fmt::format("MonarchTransform({}) on {}", fmt::join(sizes, "; "), domain().text());
}

at::Tensor MonarchTransform::do_apply(const at::Tensor& x) const {
  at::Tensor y = x;
  const auto count = static_cast<int64_t>(axes_.size());
  for (int64_t i = count - 1; i >= 0; --i) {
    const int64_t axis = i - count;
    y = transform_multiply(y.movedim(axis, -1), axes_[i]).movedim(-1, axis);
  }
  return y;
}

at::Tensor MonarchTransform::do_adjoint(const at::Tensor& y) const {
  at::Tensor x = y;
  const auto count = static_cast<int64_t>(axes_.size());
  for (int64_t i = 0; i < count; ++i) {
    const int64_t axis = i - count;
    x = transform_adjoint(x.movedim(axis, -1), axes_[i]).movedim(-1, axis);
  }
  return is_complex(x.scalar_type()) && !is_complex(domain().dtype) ? at::real(x) : x;
}

}  // namespace monarch::operators
