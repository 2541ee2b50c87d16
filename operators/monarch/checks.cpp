#include "monarch/operators/monarch/checks.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/operators/linear_operator.hpp"

namespace monarch::operators {
namespace {

/// As shape_text; "?" for a symbolic extent.
std::string shape_of(const at::Tensor& t) {
  std::vector<std::string> extents;
  for (const c10::SymInt& n : t.sym_sizes()) extents.push_back(n.is_symbolic() ? "?" : std::to_string(n.expect_int()));
  return fmt::format("[{}]", fmt::join(extents, ", "));
}

std::string text(const at::Tensor& t) {
  return fmt::format("{} {} on {}", dtype_text(t.scalar_type()), shape_of(t), t.device().str());
}

const std::vector<std::string> activation_names = {"none", "gelu", "gelu_tanh", "relu"};

}  // namespace

Activation activation_from_name(const std::string& name) {
  for (size_t i = 0; i < activation_names.size(); ++i) {
    if (name == activation_names[i]) return static_cast<Activation>(i);
  }
  const std::string near = closest_match(name, activation_names);
  fail<ConfigError>(fmt::format("unknown activation '{}'; expected {}", name, join_or(activation_names)),
                    near.empty() ? "" : fmt::format("did you mean {}?", near));
}

int64_t extent(const at::Tensor& t, int64_t axis) {
  return t.sym_size(axis).guard_int(__FILE__, __LINE__);
}

std::string activation_name(Activation activation) {
  return activation_names.at(static_cast<size_t>(activation));
}

MonarchSizes monarch_sizes(const at::Tensor& w1, const at::Tensor& w2) {
  check<ShapeError>(w1.defined() && w2.defined(), "a Monarch factor is an undefined tensor");
  check<ShapeError>(
      w1.dim() == 3, [&] { return fmt::format("first Monarch factor: expected [k, q, p], got {}", text(w1)); },
      "k blocks of q rows and p columns");
  check<ShapeError>(
      w2.dim() == 3, [&] { return fmt::format("second Monarch factor: expected [l, s, r], got {}", text(w2)); },
      "l blocks of s rows and r columns");
  check<ShapeError>(w1.sym_numel() > 0 && w2.sym_numel() > 0, [&] {
    return fmt::format("a Monarch factor has an extent of 0: w1 {}, w2 {}", shape_of(w1), shape_of(w2));
  });
  const MonarchSizes z{extent(w1, 0), extent(w1, 1), extent(w1, 2), extent(w2, 0), extent(w2, 1), extent(w2, 2)};
  check<ShapeError>(
      z.l * z.r == z.k * z.q,
      [&] {
        return fmt::format("Monarch factors do not meet: w1 {} gives k*q = {} middle rows, w2 {} takes l*r = {}",
                           shape_of(w1), z.k * z.q, shape_of(w2), z.l * z.r);
      },
      "choose sizes with l*r = k*q");
  return z;
}

int64_t check_multiply(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2,
                       const MultiplyOptions& options) {
  const MonarchSizes z = monarch_sizes(w1, w2);
  check<ShapeError>(x.defined() && x.dim() >= 1, "monarch multiply: the argument has no axis", "give [..., in]");
  const int64_t in = extent(x, -1);
  check<ShapeError>(
      z.k * (z.p - 1) < in && in <= z.in(),
      [&] {
        return fmt::format(
            "monarch multiply: w1 {} takes {} columns, got x {}", shape_of(w1),
            z.p == 1 || z.k == 1 ? std::to_string(z.in()) : fmt::format("{} to {}", z.k * (z.p - 1) + 1, z.in()),
            text(x));
      },
      "the last axis of x is multiplied; p = ceil(in / k)");
  const int64_t out = options.out_features.value_or(z.out());
  check<ShapeError>(
      z.l * (z.s - 1) < out && out <= z.out(),
      [&] {
        return fmt::format("monarch multiply: w2 {} gives {} to {} columns, {} were asked for", shape_of(w2),
                           z.l * (z.s - 1) + 1, z.out(), out);
      },
      "s = ceil(out / l)");
  const auto dtype = w1.scalar_type();
  const bool real_input = at::isComplexType(dtype) && x.scalar_type() == c10::toRealValueType(dtype);
  check<DtypeError>(
      w2.scalar_type() == dtype && (x.scalar_type() == dtype || real_input),
      [&] {
        return fmt::format("monarch multiply: mixed element types: x {}, w1 {}, w2 {}", dtype_text(x.scalar_type()),
                           dtype_text(dtype), dtype_text(w2.scalar_type()));
      },
      "convert them to one type with to()");
  const bool known = dtype == at::kFloat || dtype == at::kDouble || dtype == at::kComplexFloat ||
                     dtype == at::kComplexDouble || dtype == at::kBFloat16 || (dtype == at::kHalf && !w1.is_cpu());
  check<DtypeError>(
      known,
      [&] { return fmt::format("monarch multiply: {} is not supported on {}", dtype_text(dtype), w1.device().str()); },
      "use float32, float64, complex64, complex128, bfloat16, or float16 on CUDA");
  check<DtypeError>(
      x.device() == w1.device() && w2.device() == w1.device(),
      [&] {
        return fmt::format("monarch multiply: tensors on different devices: x {}, w1 {}, w2 {}", x.device().str(),
                           w1.device().str(), w2.device().str());
      },
      "move them to one device with to()");
  if (options.bias) {
    const at::Tensor& bias = *options.bias;
    check<ShapeError>(bias.dim() == 1 && extent(bias, 0) == out,
                      [&] { return fmt::format("monarch multiply: expected a bias [{}], got {}", out, text(bias)); });
    check<DtypeError>(
        bias.scalar_type() == dtype && bias.device() == w1.device(),
        [&] { return fmt::format("monarch multiply: the bias is {}, the factors are {}", text(bias), text(w1)); },
        "convert it with to()");
  }
  check<ConfigError>(
      options.activation == Activation::none || !at::isComplexType(dtype),
      [&] {
        return fmt::format("monarch multiply: activation {} is not defined for complex numbers",
                           activation_name(options.activation));
      },
      "apply it to real and imaginary parts, or leave it out");
  return out;
}

}  // namespace monarch::operators
