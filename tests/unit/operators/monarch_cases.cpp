#include "monarch_cases.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "monarch/core/rng.hpp"
#include "monarch/core/text.hpp"
#include "monarch/operators/kernels/monarch.hpp"
#include "monarch/operators/linear_operator.hpp"
#include "support/support.hpp"

namespace monarch::test {
namespace {

using operators::Activation;
using operators::MonarchSizes;
namespace reference = operators::kernels::reference;

at::Tensor wide(const at::Tensor& t) {
  return t.detach().cpu().to(t.is_complex() ? at::kComplexDouble : at::kDouble);
}

std::string compare(const std::string& what, const at::Tensor& got, const at::Tensor& expected, double allowed) {
  if (got.sizes() != expected.sizes() || got.scalar_type() != expected.scalar_type()) {
    return fmt::format("{}: {} {} instead of {} {}", what, operators::dtype_text(got.scalar_type()),
                       shape_text(got.sizes()), operators::dtype_text(expected.scalar_type()),
                       shape_text(expected.sizes()));
  }
  const double error = relative_error(got, expected);
  if (!(error <= allowed)) return fmt::format("{}: relative error {:.2e} > {:.2e}", what, error, allowed);
  if (got.numel() == 0) return "";
  // One wrong element among many hides in the norm.
  const double scale = std::sqrt(wide(expected).abs().square().mean().item<double>());
  const double worst = (wide(got) - wide(expected)).abs().max().item<double>();
  if (!(worst <= 8 * allowed * scale)) {
    return fmt::format("{}: an element is off by {:.2e}, {:.2e} is allowed", what, worst, 8 * allowed * scale);
  }
  return "";
}

/// bfloat16 sums in float32 and rounds four times on the longest way (the middle vector, the two gradients on the way
/// back, the result), by 2^-9 each; the others as usual.
double allowed_error(const MonarchCase& shape) {
  if (shape.dtype == at::kBFloat16 || shape.dtype == at::kHalf) return std::ldexp(1, -6);
  const MonarchSizes& z = shape.sizes;
  return tolerance(shape.dtype, z.p + z.q + z.r + z.s + shape.batch);
}

}  // namespace

std::string MonarchCase::text() const {
  return fmt::format("{}{} k {} q {} p {}, l {} s {} r {}, batch {}, in {}, out {}{}{}{}{}, {} threads",
                     operators::dtype_text(dtype), real_input ? " of real x" : "", sizes.k, sizes.q, sizes.p, sizes.l,
                     sizes.s, sizes.r, batch, in ? in : sizes.in(), out ? out : sizes.out(), bias ? ", bias" : "",
                     activation == Activation::none ? "" : ", " + operators::activation_name(activation),
                     recompute ? ", recompute" : "", strided ? ", strided" : "", at::get_num_threads());
}

MonarchArguments monarch_arguments(const MonarchCase& shape) {
  const MonarchSizes& z = shape.sizes;
  const auto random = [&](const char* name, std::vector<int64_t> extents, at::ScalarType dtype, int64_t terms) {
    const at::Tensor values =
        Rng(4, name).normal(std::move(extents), at::isComplexType(dtype) ? at::kComplexDouble : at::kDouble);
    return (values / std::sqrt(static_cast<double>(terms))).to(dtype).to(shape.device);
  };
  const at::ScalarType input = shape.real_input ? c10::toRealValueType(shape.dtype) : shape.dtype;
  const int64_t in = shape.in ? shape.in : z.in(), out = shape.out ? shape.out : z.out();
  MonarchArguments a;
  a.x = shape.strided ? random("x", {in, 2 * shape.batch}, input, 1).t().slice(0, 0, 2 * shape.batch, 2)
                      : random("x", {shape.batch, in}, input, 1);
  a.w1 = random("w1", {z.k, z.q, z.p}, shape.dtype, z.p);
  a.w2 = random("w2", {z.l, z.s, z.r}, shape.dtype, z.r);
  if (shape.bias) a.options.bias = random("bias", {out}, shape.dtype, 1);
  a.options.activation = shape.activation;
  a.options.out_features = out;
  a.options.recompute = shape.recompute;
  return a;
}

const std::vector<MonarchSizes>& monarch_sizes_to_test() {
  static const std::vector<MonarchSizes> all = {
      {1, 1, 1, 1, 1, 1},      {1, 5, 3, 1, 4, 5},       {2, 3, 4, 3, 3, 2},       {3, 4, 2, 6, 5, 2},
      {4, 6, 5, 3, 4, 8},      {4, 3, 7, 6, 3, 2},       {5, 7, 3, 7, 3, 5},       {7, 11, 13, 11, 5, 7},
      {2, 8, 8, 4, 4, 4},      {8, 8, 8, 8, 8, 8},       {16, 16, 17, 64, 5, 4},   {4, 17, 33, 2, 65, 34},
      {4, 64, 63, 4, 65, 64},  {31, 31, 31, 31, 31, 31}, {32, 32, 32, 32, 32, 32}, {1, 129, 65, 3, 43, 43},
      {300, 2, 3, 200, 1, 3},  {2, 300, 7, 300, 3, 2},   {3, 300, 1, 1, 2, 900},   {257, 1, 2, 1, 3, 257},
      {4, 96, 288, 4, 24, 96},
  };
  return all;
}

std::string check_against_reference(const MonarchCase& shape, const MonarchProduct& product) {
  const MonarchArguments a = monarch_arguments(shape);
  const operators::MultiplyOptions& o = a.options;
  const at::Tensor x = a.x.contiguous(), bias = o.bias.value_or(at::Tensor());
  const double allowed = allowed_error(shape);
  const auto expected = reference::monarch_forward(x, a.w1, a.w2, bias, *o.out_features, o.activation, false);
  const auto finding = [&](const std::string& what) { return what.empty() ? "" : shape.text() + ": " + what; };

  std::vector<at::Tensor> leaves = {a.x.detach(), a.w1.clone(), a.w2.clone()};
  if (bias.defined()) leaves.push_back(bias.clone());
  for (at::Tensor& t : leaves) t.requires_grad_();
  operators::MultiplyOptions options = o;
  if (bias.defined()) options.bias = leaves[3];
  const auto run = [&] {
    return product ? product(leaves[0], leaves[1], leaves[2], options)
                   : operators::monarch_multiply(leaves[0], leaves[1], leaves[2], options);
  };
  {
    const at::NoGradGuard no_graph;
    if (auto what = compare("without a graph", run(), expected.y, allowed); !what.empty()) return finding(what);
  }
  const at::Tensor y = run();
  if (auto what = compare("result", y, expected.y, allowed); !what.empty()) return finding(what);

  operators::kernels::MonarchBackwardTask task;
  task.x = x;
  task.w1 = a.w1;
  task.w2 = a.w2;
  task.bias = bias;
  task.gradient = Rng(4, "gradient").normal(y.sizes().vec(), shape.dtype).to(shape.device);
  task.y = y.detach();  // the kinks of relu where the result has them
  task.activation = o.activation;
  task.wanted[3] = bias.defined();
  const auto gradients = reference::monarch_backward(task);
  const auto found = torch::autograd::grad({y}, leaves, {task.gradient});
  const char* const names[] = {"gradient of x", "gradient of w1", "gradient of w2", "gradient of the bias"};
  for (size_t i = 0; i < leaves.size(); ++i) {
    if (auto what = compare(names[i], found[i], gradients[i], allowed); !what.empty()) return finding(what);
  }
  return "";
}

at::Tensor numeric_gradient(const std::function<double()>& value, const at::Tensor& t) {
  const at::NoGradGuard no_graph;
  const at::Tensor numbers = (t.is_complex() ? at::view_as_real(t.detach()) : t.detach()).view(-1);
  at::Tensor gradient = at::empty_like(numbers);
  const double h = 1e-4;
  for (int64_t i = 0; i < numbers.numel(); ++i) {
    double& element = numbers.mutable_data_ptr<double>()[i];
    const double middle = element;
    const auto at = [&](double step) {
      element = middle + step;
      return value();
    };
    const double slope = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h);
    element = middle;
    gradient.mutable_data_ptr<double>()[i] = slope;
  }
  return t.is_complex() ? at::view_as_complex(gradient.view({-1, 2})).view(t.sizes()) : gradient.view(t.sizes());
}

std::string check_gradient(const TensorFunction& f, const std::vector<at::Tensor>& arguments) {
  std::vector<at::Tensor> leaves;
  for (const at::Tensor& t : arguments) leaves.push_back(t.detach().clone().requires_grad_());
  const at::Tensor y = f(leaves);
  const at::Tensor cotangent = Rng(5, "cotangent").normal(y.sizes().vec(), y.scalar_type());
  const auto value = [&] { return at::real(cotangent.conj() * f(leaves)).sum().item<double>(); };
  const auto gradients = torch::autograd::grad({y}, leaves, {cotangent}, std::nullopt, false, /*allow_unused=*/true);
  for (size_t i = 0; i < leaves.size(); ++i) {
    const at::Tensor expected = numeric_gradient(value, leaves[i]);
    const at::Tensor got = gradients[i].defined() ? gradients[i] : at::zeros_like(expected);
    const double error = (got - expected).abs().max().item<double>();
    const double allowed = 1e-9 * (1 + std::abs(value()) + expected.abs().max().item<double>());
    if (!(error <= allowed)) return fmt::format("gradient {}: off by {:.2e}, {:.2e} is allowed", i, error, allowed);
  }
  return "";
}

TensorFunction gradient_of(const TensorFunction& f) {
  return [f](const std::vector<at::Tensor>& arguments) {
    const at::AutoGradMode graph(true);
    std::vector<at::Tensor> inputs;
    for (const at::Tensor& t : arguments) inputs.push_back(t.requires_grad() ? t : t.detach().requires_grad_());
    const at::Tensor cotangent = inputs.back();
    inputs.pop_back();
    const auto gradients = torch::autograd::grad({f(inputs)}, inputs, {cotangent}, std::nullopt, /*create_graph=*/true,
                                                 /*allow_unused=*/true);
    std::vector<at::Tensor> flat;
    for (size_t i = 0; i < inputs.size(); ++i) {
      const at::Tensor g = gradients[i].defined() ? gradients[i] : at::zeros_like(inputs[i]);
      flat.push_back((g.is_complex() ? at::view_as_real(g.resolve_conj()) : g).flatten());
    }
    return at::cat(flat);
  };
}

}  // namespace monarch::test
