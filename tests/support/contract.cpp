#include "support/contract.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include <array>
#include <cmath>
#include <exception>
#include <functional>
#include <thread>
#include <utility>

#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/core/text.hpp"
#include "support/poison.hpp"
#include "support/support.hpp"

namespace monarch::test {
namespace {

using operators::Field;
using operators::LinearOperator;
using operators::Space;

/// One of apply, adjoint and normal, with the spaces between which it maps.
struct Map {
  const char* name;
  const Space& from;
  const Space& to;
  std::function<at::Tensor(const at::Tensor&)> run;
};

std::vector<Map> maps_of(const LinearOperator& op) {
  return {{"apply", op.domain(), op.codomain(), [&op](const at::Tensor& x) { return op.apply(x); }},
          {"adjoint", op.codomain(), op.domain(), [&op](const at::Tensor& x) { return op.adjoint(x); }},
          {"normal", op.domain(), op.domain(), [&op](const at::Tensor& x) { return op.normal(x); }}};
}

double allowed(const LinearOperator& op) {
  return tolerance(op.domain().dtype, std::max({op.domain().numel(), op.codomain().numel(), int64_t{16}}));
}

at::Tensor wide(const at::Tensor& t) {
  return t.detach().to(at::kCPU).to(t.is_complex() ? at::kComplexDouble : at::kDouble);
}

double magnitude(const at::Tensor& t) { return at::linalg_vector_norm(wide(t)).item<double>(); }

std::complex<double> inner_product(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor product = (wide(a).conj() * wide(b)).sum().to(at::kComplexDouble);
  const auto value = product.item<c10::complex<double>>();
  return {value.real(), value.imag()};
}

/// "" when error <= allowed * scale and everything is finite.
std::string verdict(const std::string& what, double error, double limit, double scale) {
  if (std::isfinite(scale) && error <= limit * scale) return "";
  return fmt::format("{}: error {:.3e} of {:.3e}, allowed {:.1e} of it", what, error, scale, limit);
}

std::string compare(const std::string& what, const at::Tensor& found, const at::Tensor& expected, double limit) {
  if (found.sizes() != expected.sizes() || found.scalar_type() != expected.scalar_type()) {
    return fmt::format("{}: {} {} instead of {} {}", what, operators::dtype_text(found.scalar_type()),
                       shape_text(found.sizes()), operators::dtype_text(expected.scalar_type()),
                       shape_text(expected.sizes()));
  }
  return verdict(what, magnitude(wide(found) - wide(expected)), limit, magnitude(expected));
}

std::vector<int64_t> joined(std::vector<int64_t> front, const std::vector<int64_t>& back) {
  front.insert(front.end(), back.begin(), back.end());
  return front;
}

at::Tensor dense(const Map& map) {
  const bool complex = at::isComplexType(map.from.dtype);
  const int64_t n = map.from.numel();
  at::Tensor basis = at::eye(n, at::kDouble).to(at::TensorOptions().dtype(map.from.dtype).device(map.from.device));
  if (complex) basis = at::stack({basis, basis * c10::Scalar(c10::complex<double>(0, 1))}, 1);
  at::Tensor columns = map.run(basis.reshape(joined({complex ? 2 * n : n}, map.from.shape)));
  columns = wide(columns.reshape({columns.size(0), map.to.numel()}));
  if (columns.is_complex()) columns = at::view_as_real(columns).flatten(1);
  return columns.t().contiguous();
}

/// Calls f, which must throw E with all of `words` in its message.
template <class E>
std::string expect_throw(const std::string& what, const std::function<void()>& f,
                         const std::vector<std::string>& words) {
  try {
    f();
  } catch (const E& error) {
    for (const auto& word : words) {
      if (error.message().find(word) == std::string::npos) {
        return fmt::format("{}: the message lacks \"{}\": {}", what, word, error.message());
      }
    }
    return error.hint().empty() ? what + ": the error has no hint" : "";
  } catch (const std::exception& error) {
    return fmt::format("{}: an error of another type: {}", what, error.what());
  }
  return what + ": nothing was thrown";
}

/// The same values in other memory layouts.
std::vector<std::pair<std::string, at::Tensor>> layouts(const at::Tensor& x) {
  std::vector<int64_t> reversed;
  for (int64_t a = x.dim(); a-- > 0;) reversed.push_back(a);
  at::Tensor strided = at::full(joined(x.sizes().vec(), {2}), std::nan(""), x.options());
  strided.select(-1, 0).copy_(x);
  std::vector<std::pair<std::string, at::Tensor>> all = {
      {"transposed", x.permute(reversed).contiguous().permute(reversed)},
      {"strided", strided.select(-1, 0)},
      {"flipped axis order of batch", at::stack({x[1], x[0]}).flip(0)},
  };
  if (x.is_complex()) all.emplace_back("lazily conjugated", at::conj_physical(x).conj());
  return all;
}

/// 1/4 sum |y|^4, with derivatives of any order.
at::Tensor quartic(const at::Tensor& y) {
  const at::Tensor square = y.is_complex() ? at::view_as_real(y).square().sum(-1) : y.square();
  return square.square().sum() / 4;
}

at::Tensor gradient_of(const at::Tensor& value, const at::Tensor& x, bool create_graph) {
  return torch::autograd::grad({value}, {x}, {}, /*retain_graph=*/create_graph, create_graph)[0];
}

/// f'(0) by the five-point formula, exact for polynomials of degree 4. Steps of size 1/2 keep rounding small.
template <class F>
auto derivative(const F& f) {
  const double h = 0.5;
  return (f(-2 * h) - 8 * f(-h) + 8 * f(h) - f(2 * h)) / (12 * h);
}

std::string check_gradient_of(const Map& map, double limit) {
  const at::Tensor x0 = random_vector(map.from, "point", {2}), d = random_vector(map.from, "direction", {2});
  const auto gradient_at = [&](double t) {
    at::Tensor x = (x0 + t * d).detach().set_requires_grad(true);
    return gradient_of(quartic(map.run(x)), x, false);
  };
  const auto value_at = [&](double t) { return wide(quartic(map.run(x0 + t * d))).item<double>(); };
  const at::Tensor gradient = gradient_at(0);
  const double slope = inner_product(gradient, d).real();
  // Rounding of the differences is relative to the values, not to the slope.
  std::string finding = verdict(fmt::format("derivative of {}", map.name), std::abs(derivative(value_at) - slope),
                                limit, std::abs(value_at(1)) + std::abs(value_at(-1)));
  if (!finding.empty()) return finding;

  at::Tensor x = x0.clone().set_requires_grad(true);
  const at::Tensor first = gradient_of(quartic(map.run(x)), x, true);
  const at::Tensor along = at::real(first * d.conj()).sum();
  const at::Tensor second = gradient_of(along, x, false);
  const at::Tensor differences = derivative([&](double t) { return wide(gradient_at(t)); });
  return verdict(fmt::format("second derivative of {}", map.name), magnitude(wide(second) - differences), limit,
                 magnitude(gradient_at(1)) + magnitude(gradient_at(-1)));
}

}  // namespace

at::Tensor random_vector(const Space& space, const std::string& stream, std::vector<int64_t> batch) {
  return Rng(17, stream).normal(joined(std::move(batch), space.shape), space.dtype).to(space.device);
}

at::Tensor dense_matrix(const LinearOperator& op) { return dense(maps_of(op)[0]); }
at::Tensor dense_adjoint_matrix(const LinearOperator& op) { return dense(maps_of(op)[1]); }

std::string check_linearity(const LinearOperator& op) {
  const bool complex = op.field() == Field::complex && at::isComplexType(op.domain().dtype) &&
                       at::isComplexType(op.codomain().dtype);
  const auto number = [&](double re, double im) {
    return complex ? c10::Scalar(c10::complex<double>(re, im)) : c10::Scalar(re);
  };
  const c10::Scalar a = number(0.7, -1.3), b = number(-1.1, 0.4);
  for (const Map& map : maps_of(op)) {
    const at::Tensor x = random_vector(map.from, "x"), y = random_vector(map.from, "y");
    const at::Tensor ax = map.run(x), ay = map.run(y);
    const double error = magnitude(wide(map.run(x * a + y * b)) - (wide(ax) * a + wide(ay) * b));
    auto finding = verdict(map.name, error, 2 * allowed(op), magnitude(ax) + magnitude(ay));
    if (!finding.empty()) return finding;
  }
  return "";
}

std::string check_dot(const LinearOperator& op) {
  for (const char* const stream : {"first", "second"}) {
    const at::Tensor x = random_vector(op.domain(), std::string("x") + stream);
    const at::Tensor y = random_vector(op.codomain(), std::string("y") + stream);
    const at::Tensor ax = op.apply(x), ay = op.adjoint(y);
    std::complex<double> difference = inner_product(ax, y) - inner_product(x, ay);
    if (op.field() == Field::real) difference = difference.real();
    auto finding = verdict("<Ax, y> - <x, A^H y>", std::abs(difference), allowed(op),
                           std::max(magnitude(ax) * magnitude(y), magnitude(x) * magnitude(ay)));
    if (!finding.empty()) return finding;
  }
  return "";
}

std::string check_normal(const LinearOperator& op) {
  const at::Tensor x = random_vector(op.domain(), "x", {2});
  return compare("normal against adjoint of apply", op.normal(x), op.adjoint(op.apply(x)), 4 * allowed(op));
}

std::string check_dense_adjoint(const LinearOperator& op) {
  if (4 * op.domain().numel() * op.codomain().numel() > 1'000'000) return "";
  const at::Tensor matrix = dense_matrix(op), adjoint = dense_adjoint_matrix(op);
  auto finding = compare("matrix of the adjoint against the transpose", adjoint, matrix.t(), allowed(op));
  if (!finding.empty()) return finding;
  return compare("matrix of the normal operator", dense(maps_of(op)[2]), matrix.t().matmul(matrix), 4 * allowed(op));
}

std::string check_batch(const LinearOperator& op) {
  for (const Map& map : maps_of(op)) {
    const at::Tensor x = random_vector(map.from, "x", {2, 3});
    std::vector<at::Tensor> one_by_one;
    for (const at::Tensor& entry : x.flatten(0, 1).unbind(0)) one_by_one.push_back(map.run(entry));
    const at::Tensor expected = at::stack(one_by_one).reshape(joined({2, 3}, map.to.shape));
    auto finding = compare(fmt::format("{} of a batch", map.name), map.run(x), expected, allowed(op));
    if (!finding.empty()) return finding;
    const at::Tensor none = map.run(x.narrow(0, 0, 0));
    finding = compare(fmt::format("{} of an empty batch", map.name), none, expected.narrow(0, 0, 0), 0);
    if (!finding.empty()) return finding;
  }
  return "";
}

std::string check_refusals(const LinearOperator& op) {
  for (const Map& map : maps_of(op)) {
    const at::Tensor x = random_vector(map.from, "x");
    const std::string expected = shape_text(map.from.shape);
    const auto refused_shape = [&](const char* what, const at::Tensor& wrong) {
      return expect_throw<ShapeError>(fmt::format("{} of {}", map.name, what), [&] { map.run(wrong); },
                                      {expected, shape_text(wrong.sizes())});
    };
    const auto refused_type = [&](const char* what, const at::Tensor& wrong, const std::vector<std::string>& words) {
      return expect_throw<DtypeError>(fmt::format("{} of {}", map.name, what), [&] { map.run(wrong); }, words);
    };
    std::vector<std::string> findings;
    if (x.dim() > 0) findings.push_back(refused_shape("a wrong rank", x.select(0, 0)));
    for (int64_t a = 0; a < x.dim(); ++a) {
      findings.push_back(refused_shape("one more along an axis", at::cat({x, x.narrow(a, 0, 1)}, a)));
      findings.push_back(refused_shape("nothing along an axis", x.narrow(a, 0, 0)));
    }
    findings.push_back(expect_throw<ShapeError>(fmt::format("{} of an undefined tensor", map.name),
                                                [&] { map.run(at::Tensor()); }, {expected}));
    const std::string dtype = operators::dtype_text(map.from.dtype);
    for (const auto other : {at::kFloat, at::kDouble, at::kComplexFloat, at::kComplexDouble, at::kLong}) {
      if (other == map.from.dtype) continue;
      const at::Tensor wrong = at::ones(map.from.shape, x.options().dtype(other));
      findings.push_back(refused_type("a wrong dtype", wrong, {dtype, operators::dtype_text(other)}));
    }
    findings.push_back(refused_type("another device", at::empty(map.from.shape, x.options().device(at::kMeta)),
                                    {map.from.device.str(), "meta"}));
    for (auto& finding : findings) {
      if (!finding.empty()) return finding;
    }
  }
  return "";
}

std::string check_overwriting(const LinearOperator& op) {
  if (!op.domain().device.is_cpu()) return "";
  for (const Map& map : maps_of(op)) {
    const at::Tensor x = random_vector(map.from, "x", {2});
    const auto poisoned = [&](unsigned char byte) {
      const Poison poison(byte);
      return map.run(x);
    };
    const at::Tensor after_nan = poisoned(0xff), after_number = poisoned(0x45);
    auto finding = compare(fmt::format("{} into memory of NaN", map.name), after_nan, after_number, allowed(op));
    if (!finding.empty()) return finding;
  }
  return "";
}

std::string check_strides(const LinearOperator& op) {
  for (const Map& map : maps_of(op)) {
    const at::Tensor x = random_vector(map.from, "x", {2}).contiguous();
    const at::Tensor expected = map.run(x);
    for (const auto& [name, y] : layouts(x)) {
      auto finding = compare(fmt::format("{} of a {} argument", map.name, name), map.run(y), expected, allowed(op));
      if (!finding.empty()) return finding;
    }
    const at::Tensor expanded = x[0].expand(joined({3}, map.from.shape));
    auto finding = compare(fmt::format("{} of an expanded argument", map.name), map.run(expanded),
                           expected[0].expand(joined({3}, map.to.shape)), allowed(op));
    if (!finding.empty()) return finding;
  }
  return "";
}

std::string check_argument_unchanged(const LinearOperator& op) {
  for (const Map& map : maps_of(op)) {
    // With and without a batch dimension: only one of them reaches the implementation as it is.
    for (const std::vector<int64_t>& batch : {std::vector<int64_t>{}, {1}, {2}}) {
      const at::Tensor x = random_vector(map.from, "x", batch), before = x.clone();
      const at::Tensor result = map.run(x);
      if (!x.equal(before)) return fmt::format("{} changed its argument", map.name);
      if (result.is_alias_of(x)) return fmt::format("{} returned memory of its argument", map.name);
    }
  }
  return "";
}

std::string check_gradient(const LinearOperator& op) {
  const at::AutoGradMode on(true);
  for (const Map& map : maps_of(op)) {
    auto finding = check_gradient_of(map, 16 * allowed(op));
    if (!finding.empty()) return finding;
  }
  return "";
}

std::string check_threads(const LinearOperator& op) {
  if (!op.domain().device.is_cpu()) return "";
  const at::Tensor x = random_vector(op.domain(), "x", {4});
  const at::Tensor expected = op.normal(x);
  std::array<at::Tensor, 4> results;
  std::array<std::exception_ptr, 4> errors;
  std::vector<std::thread> threads;
  for (size_t i = 0; i < results.size(); ++i) {
    threads.emplace_back([&, i] {
      try {
        results[i] = op.adjoint(op.apply(x[static_cast<int64_t>(i)]));
      } catch (...) {
        errors[i] = std::current_exception();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  for (const auto& error : errors) {
    if (error) std::rethrow_exception(error);
  }
  for (size_t i = 0; i < results.size(); ++i) {
    auto finding = compare("a thread of four", results[i], expected[static_cast<int64_t>(i)], 4 * allowed(op));
    if (!finding.empty()) return finding;
  }
  return "";
}

std::string check_description(const LinearOperator& op) {
  const std::string text = op.describe();
  if (text.empty() || text.find('\n') != std::string::npos) return "describe() is not one line: " + text;
  if (text.find(shape_text(op.domain().shape)) != std::string::npos) return "";
  if (text.find(shape_text(op.codomain().shape)) != std::string::npos) return "";
  return "describe() holds no shape: " + text;
}

const std::vector<Law>& contract() {
  static const std::vector<Law> laws = {
      {"linearity", check_linearity},
      {"dot test", check_dot},
      {"normal", check_normal},
      {"dense adjoint", check_dense_adjoint},
      {"batch", check_batch},
      {"refusals", check_refusals},
      {"overwriting", check_overwriting},
      {"strides", check_strides},
      {"argument unchanged", check_argument_unchanged},
      {"gradient", check_gradient},
      {"threads", check_threads},
      {"description", check_description},
  };
  return laws;
}

std::vector<std::string> contract_violations(const LinearOperator& op) {
  std::vector<std::string> violations;
  for (const Law& law : contract()) {
    std::string finding;
    try {
      finding = law.check(op);
    } catch (const std::exception& error) {
      finding = fmt::format("threw {}", error.what());
    }
    if (!finding.empty()) violations.push_back(fmt::format("{}: {}", law.name, finding));
  }
  return violations;
}

}  // namespace monarch::test
