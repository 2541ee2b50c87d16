// monarch::multiply in PyTorch's dispatcher: one schema, a kernel per key. Static libraries drop object files that
// nothing refers to, so monarch_multiply, which needs the registration, is defined here too.
#include <ATen/ATen.h>
#include <ATen/FuncTorchTLS.h>
#include <ATen/autocast_mode.h>
#include <ATen/functorch/DynamicLayer.h>
#include <torch/csrc/autograd/autograd_not_implemented_fallback.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <fmt/format.h>

#include <string_view>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/operators/kernels/monarch.hpp"
#include "monarch/operators/linear_operator.hpp"
#include "monarch/operators/monarch/checks.hpp"

namespace monarch::operators {
namespace {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;
using OptionalExtent = std::optional<c10::SymInt>;
using kernels::MonarchBackwardTask;
using kernels::MonarchForward;
using kernels::MonarchGradients;

using ForwardResult = std::tuple<Tensor, Tensor, Tensor>;           // y, middle, input of the activation
using BackwardResult = std::tuple<Tensor, Tensor, Tensor, Tensor>;  // dx, dw1, dw2, dbias

using Multiply = Tensor(const Tensor&, const Tensor&, const Tensor&, const OptionalTensor&, OptionalExtent,
                        std::string_view, bool);
using MultiplyForward = ForwardResult(const Tensor&, const Tensor&, const Tensor&, const OptionalTensor&,
                                      OptionalExtent, std::string_view, bool);
using MultiplyBackward = BackwardResult(const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                                        const OptionalTensor&, const OptionalTensor&, const OptionalTensor&,
                                        const OptionalTensor&, std::string_view, std::array<bool, 4>);

template <class Signature>
c10::TypedOperatorHandle<Signature> find(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
}

const auto& multiply_op() {
  static const auto op = find<Multiply>("monarch::multiply");
  return op;
}

const auto& multiply_backward_op() {
  static const auto op = find<MultiplyBackward>("monarch::multiply_backward");
  return op;
}

bool is_gelu(Activation activation) {
  return activation == Activation::gelu || activation == Activation::gelu_tanh;
}

MultiplyOptions options_of(const OptionalTensor& bias, const OptionalExtent& out_features,
                           std::string_view activation) {
  MultiplyOptions options;
  if (bias && bias->defined()) options.bias = bias;
  options.activation = activation == "none" ? Activation::none : activation_from_name(std::string(activation));
  if (out_features) options.out_features = out_features->guard_int(__FILE__, __LINE__);
  return options;
}

Tensor defined_or_empty(const Tensor& t, const Tensor& like) {
  return t.defined() ? t : at::empty({0}, like.options());
}

/// [..., n] -> contiguous [batch, n].
Tensor rows_of(const Tensor& t) {
  return (t.dim() == 2 ? t : t.reshape_symint({-1, t.sym_size(-1)})).contiguous();
}

// --- back ends -------------------------------------------------------------------------------------------------

MonarchForward backend_forward(const Tensor& x, const Tensor& w1, const Tensor& w2, const Tensor& bias, int64_t out,
                               Activation activation, bool keep) {
  if (x.is_cuda()) return kernels::cuda::monarch_forward(x, w1, w2, bias, out, activation, keep);
  return kernels::cpu::monarch_forward(x, w1, w2, bias, out, activation, keep);
}

MonarchGradients backend_backward(const MonarchBackwardTask& task) {
  if (task.w1.is_cuda()) return kernels::cuda::monarch_backward(task);
  return kernels::cpu::monarch_backward(task);
}

/// Checks, [..., in] -> rows, kernel, rows -> [..., out].
MonarchForward run_forward(const Tensor& x, const Tensor& w1, const Tensor& w2, const MultiplyOptions& options,
                           bool keep) {
  const int64_t out = check_multiply(x, w1, w2, options);
  c10::DimVector shape(x.sizes());
  shape.back() = out;
  MonarchForward result;
  if (x.numel() == 0) {  // no rows; kernels want at least one
    result.y = at::empty(shape, w1.options());
    if (keep) result.middle = at::empty({0, w1.size(0) * w1.size(1)}, w1.options());
    if (keep && is_gelu(options.activation)) result.input_of_activation = at::empty({0, out}, w1.options());
    return result;
  }
  const c10::OptionalDeviceGuard guard(x.device());
  result = backend_forward(rows_of(x), w1.contiguous(), w2.contiguous(),
                           options.bias ? options.bias->contiguous() : Tensor(), out, options.activation, keep);
  // Meta says the same, so a kernel may not keep less.
  TORCH_INTERNAL_ASSERT(
      !keep || (result.middle.defined() && result.middle.numel() * out == result.y.numel() * w1.size(0) * w1.size(1)));
  TORCH_INTERNAL_ASSERT(!keep || !is_gelu(options.activation) || result.input_of_activation.defined());
  if (x.dim() != 2) result.y = result.y.view(shape);
  return result;
}

Tensor multiply(const Tensor& x, const Tensor& w1, const Tensor& w2, const OptionalTensor& bias,
                OptionalExtent out_features, std::string_view activation, bool /*recompute*/) {
  return run_forward(x, w1, w2, options_of(bias, out_features, activation), false).y;
}

ForwardResult multiply_forward(const Tensor& x, const Tensor& w1, const Tensor& w2, const OptionalTensor& bias,
                               OptionalExtent out_features, std::string_view activation, bool keep) {
  const MonarchForward result = run_forward(x, w1, w2, options_of(bias, out_features, activation), keep);
  return {result.y, defined_or_empty(result.middle, w1), defined_or_empty(result.input_of_activation, w1)};
}

/// True where the kernel reads the elements of x.
bool reads_input(const MonarchBackwardTask& task) {
  const bool needs_argument = is_gelu(task.activation) && !task.input_of_activation.defined();
  return task.wanted[1] || ((task.wanted[2] || needs_argument) && !task.middle.defined());
}

BackwardResult multiply_backward(const Tensor& gradient, const Tensor& x, const Tensor& w1, const Tensor& w2,
                                 const OptionalTensor& bias, const OptionalTensor& y, const OptionalTensor& middle,
                                 const OptionalTensor& input_of_activation, std::string_view activation,
                                 std::array<bool, 4> wanted) {
  MultiplyOptions options = options_of(bias, gradient.size(-1), activation);
  check_multiply(x, w1, w2, options);
  const auto dense = [](const OptionalTensor& t) { return t && t->defined() ? t->contiguous() : Tensor(); };
  MonarchBackwardTask task;
  task.w1 = w1.contiguous();
  task.w2 = w2.contiguous();
  task.bias = dense(bias);
  task.gradient = rows_of(gradient);
  task.y = y && y->defined() ? rows_of(*y) : Tensor();
  task.middle = dense(middle);
  task.input_of_activation = dense(input_of_activation);
  task.activation = options.activation;
  task.wanted = wanted;
  task.x = reads_input(task) ? rows_of(x) : x.reshape({-1, x.size(-1)});
  MonarchGradients result;
  if (x.numel() > 0) {
    const c10::OptionalDeviceGuard guard(x.device());
    result = backend_backward(task);
    if (wanted[0] && x.dim() != 2) result[0] = result[0].reshape(x.sizes());
    for (Tensor& t : result) {
      if (t.defined()) t = t.contiguous();
    }
  } else {
    if (wanted[0]) result[0] = at::empty(x.sizes(), x.options());
    if (wanted[1]) result[1] = at::zeros(w1.sizes(), w1.options());
    if (wanted[2]) result[2] = at::zeros(w2.sizes(), w2.options());
    if (wanted[3]) result[3] = at::zeros({gradient.size(-1)}, w1.options());
  }
  return {defined_or_empty(result[0], x), defined_or_empty(result[1], w1), defined_or_empty(result[2], w1),
          defined_or_empty(result[3], w1)};
}

// --- shapes alone (Meta tensors, FakeTensor) ---------------------------------------------------------------------

c10::SymInt rows_in(const Tensor& x) {
  c10::SymInt rows = 1;
  for (const c10::SymInt& n : x.sym_sizes().slice(0, x.dim() - 1)) rows = rows * n;
  return rows;
}

Tensor multiply_meta(const Tensor& x, const Tensor& w1, const Tensor& w2, const OptionalTensor& bias,
                     OptionalExtent out_features, std::string_view activation, bool /*recompute*/) {
  c10::SymDimVector shape(x.sym_sizes());
  shape.back() = check_multiply(x, w1, w2, options_of(bias, out_features, activation));
  return at::empty_symint(shape, w1.options());
}

ForwardResult multiply_forward_meta(const Tensor& x, const Tensor& w1, const Tensor& w2, const OptionalTensor& bias,
                                    OptionalExtent out_features, std::string_view activation, bool keep) {
  const Tensor y = multiply_meta(x, w1, w2, bias, out_features, activation, false);
  const c10::SymInt rows = rows_in(x);
  const auto kept = [&](bool is_kept, const c10::SymInt& columns) {
    return is_kept ? at::empty_symint({rows, columns}, w1.options()) : at::empty({0}, w1.options());
  };
  const bool gelu = is_gelu(activation_from_name(std::string(activation)));
  return {y, kept(keep, w1.sym_size(0) * w1.sym_size(1)), kept(keep && gelu, y.sym_size(-1))};
}

BackwardResult multiply_backward_meta(const Tensor& gradient, const Tensor& x, const Tensor& w1, const Tensor& w2,
                                      const OptionalTensor& bias, const OptionalTensor&, const OptionalTensor&,
                                      const OptionalTensor&, std::string_view activation, std::array<bool, 4> wanted) {
  check_multiply(x, w1, w2, options_of(bias, gradient.sym_size(-1), activation));
  const auto like = [](bool is_wanted, c10::SymIntArrayRef shape, const Tensor& t) {
    return is_wanted ? at::empty_symint(shape, t.options()) : at::empty({0}, t.options());
  };
  return {like(wanted[0], x.sym_sizes(), x), like(wanted[1], w1.sym_sizes(), w1), like(wanted[2], w2.sym_sizes(), w2),
          like(wanted[3], {gradient.sym_size(-1)}, w1)};
}

// --- autograd ----------------------------------------------------------------------------------------------------

class MonarchMultiply : public torch::autograd::Function<MonarchMultiply> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x, const Tensor& w1, const Tensor& w2,
                        const OptionalTensor& bias, const OptionalExtent& out_features, std::string_view name,
                        bool recompute) {
    static const auto op = find<MultiplyForward>("monarch::multiply_forward");
    const at::AutoDispatchBelowADInplaceOrView below;
    const Activation activation = activation_from_name(std::string(name));
    const bool gelu = is_gelu(activation);
    const bool keep = !recompute && (w2.requires_grad() || gelu);
    const auto [y, middle, argument] = op.call(x, w1, w2, bias, out_features, name, keep);
    // The elements of x serve the gradients of the factors, and second derivatives of gelu; else its shape will do.
    const bool needs_x = w1.requires_grad() || w2.requires_grad() || gelu;
    const Tensor none;
    context->save_for_backward({needs_x ? x : x.new_empty({}).expand_symint(x.sym_sizes()), w1, w2, bias.value_or(none),
                                activation == Activation::relu ? y : none, keep && w2.requires_grad() ? middle : none,
                                keep && gelu ? argument : none});
    context->saved_data["activation"] = static_cast<int64_t>(activation);
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto& [x, w1, w2, bias] = std::tie(saved[0], saved[1], saved[2], saved[3]);
    const auto& [y, middle, argument] = std::tie(saved[4], saved[5], saved[6]);
    const auto activation = static_cast<Activation>(context->saved_data["activation"].toInt());
    const std::array<bool, 4> wanted = {context->needs_input_grad(0), context->needs_input_grad(1),
                                        context->needs_input_grad(2), bias.defined() && context->needs_input_grad(3)};
    MonarchGradients result;
    if (at::GradMode::is_enabled()) {
      // The graph goes on: from the arguments again, by operations that are differentiable themselves.
      const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
      MonarchBackwardTask task;
      task.x = x.reshape_symint({-1, x.sym_size(-1)});
      task.w1 = w1;
      task.w2 = w2;
      task.bias = bias;
      task.gradient = gradients[0].reshape_symint({-1, gradients[0].sym_size(-1)});
      if (y.defined()) task.y = y.reshape_symint({-1, y.sym_size(-1)});
      task.activation = activation;
      task.wanted = wanted;
      result = kernels::composite::monarch_backward(task);
      if (result[0].defined()) result[0] = result[0].reshape_symint(x.sym_sizes());
    } else {
      const auto& op = multiply_backward_op();
      const auto optional = [](const Tensor& t) { return t.defined() ? OptionalTensor(t) : std::nullopt; };
      std::tie(result[0], result[1], result[2], result[3]) =
          op.call(gradients[0], x, w1, w2, optional(bias), optional(y), optional(middle), optional(argument),
                  activation_name(activation), wanted);
    }
    torch::autograd::variable_list all(7);  // one per argument of forward
    for (size_t i = 0; i < 4; ++i) {
      if (wanted[i]) all[i] = result[i];
    }
    return all;
  }
};

/// Through operations that know forward-mode tangents and the transforms of torch.func.
Tensor multiply_composite(const Tensor& x, const Tensor& w1, const Tensor& w2, const OptionalTensor& bias,
                          OptionalExtent out_features, std::string_view activation, bool /*recompute*/) {
  return monarch_multiply_composite(x, w1, w2, options_of(bias, out_features, activation));
}

Tensor multiply_autograd(const Tensor& x, const Tensor& w1, const Tensor& w2, const OptionalTensor& bias,
                         OptionalExtent out_features, std::string_view activation, bool recompute) {
  const std::array<const Tensor*, 4> arguments = {&x, &w1, &w2, bias ? &*bias : &x};
  const auto any = [&](auto holds) {
    return std::any_of(arguments.begin(), arguments.end(), [&](const Tensor* t) { return t->defined() && holds(*t); });
  };
  const bool transformed =
      at::functorch::functorchTLSAccessor() != nullptr && at::functorch::maybeCurrentDynamicLayer().has_value();
  if (transformed || any([](const Tensor& t) { return t._fw_grad(0).defined(); })) {
    return multiply_composite(x, w1, w2, bias, std::move(out_features), activation, recompute);
  }
  if (!at::GradMode::is_enabled() || !any([](const Tensor& t) { return t.requires_grad(); })) {
    const at::AutoDispatchBelowADInplaceOrView below;
    return multiply_op().call(x, w1, w2, bias, std::move(out_features), activation, recompute);
  }
  return MonarchMultiply::apply(x, w1, w2, bias, out_features, activation, recompute);
}

// --- autocast ----------------------------------------------------------------------------------------------------

/// Real tensors below float64 in the autocast type of the device, as PyTorch's own matrix products do it; the rest, and
/// any x that meets complex factors, as it is.
template <c10::DeviceType device, c10::DispatchKey key>
Tensor multiply_autocast(const Tensor& x, const Tensor& w1, const Tensor& w2, const OptionalTensor& bias,
                         OptionalExtent out_features, std::string_view activation, bool recompute) {
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(key);
  if (w1.is_complex()) return multiply_op().call(x, w1, w2, bias, std::move(out_features), activation, recompute);
  const auto type = at::autocast::get_autocast_dtype(device);
  const auto cast = [&](const Tensor& t) { return at::autocast::cached_cast(type, t, device); };
  return multiply_op().call(cast(x), cast(w1), cast(w2), bias ? OptionalTensor(cast(*bias)) : bias,
                            std::move(out_features), activation, recompute);
}

}  // namespace

TORCH_LIBRARY(monarch, library) {
  const std::vector<at::Tag> tags = {at::Tag::pt2_compliant_tag};
  library.def(
      "multiply(Tensor x, Tensor w1, Tensor w2, Tensor? bias=None, *, SymInt? out_features=None, "
      "str activation=\"none\", bool recompute=False) -> Tensor",
      tags);
  library.def(
      "multiply_forward(Tensor x, Tensor w1, Tensor w2, Tensor? bias, SymInt? out_features, str activation, bool keep) "
      "-> (Tensor y, Tensor middle, Tensor input_of_activation)",
      tags);
  library.def(
      "multiply_backward(Tensor gradient, Tensor x, Tensor w1, Tensor w2, Tensor? bias, Tensor? y, Tensor? middle, "
      "Tensor? input_of_activation, str activation, bool[4] wanted) -> (Tensor, Tensor, Tensor, Tensor)",
      tags);
}

TORCH_LIBRARY_IMPL(monarch, CPU, library) {
  library.impl("multiply", multiply);
  library.impl("multiply_forward", multiply_forward);
  library.impl("multiply_backward", multiply_backward);
}

TORCH_LIBRARY_IMPL(monarch, CUDA, library) {
  library.impl("multiply", multiply);
  library.impl("multiply_forward", multiply_forward);
  library.impl("multiply_backward", multiply_backward);
}

TORCH_LIBRARY_IMPL(monarch, Meta, library) {
  library.impl("multiply", multiply_meta);
  library.impl("multiply_forward", multiply_forward_meta);
  library.impl("multiply_backward", multiply_backward_meta);
}

TORCH_LIBRARY_IMPL(monarch, Autograd, library) {
  library.impl("multiply", multiply_autograd);
  library.impl("multiply_forward", torch::autograd::autogradNotImplementedFallback());
  library.impl("multiply_backward", torch::autograd::autogradNotImplementedFallback());
}

TORCH_LIBRARY_IMPL(monarch, FuncTorchBatchedDecomposition, library) {
  library.impl("multiply", multiply_composite);
}

TORCH_LIBRARY_IMPL(monarch, AutocastCPU, library) {
  library.impl("multiply", multiply_autocast<at::kCPU, c10::DispatchKey::AutocastCPU>);
}

TORCH_LIBRARY_IMPL(monarch, AutocastCUDA, library) {
  library.impl("multiply", multiply_autocast<at::kCUDA, c10::DispatchKey::AutocastCUDA>);
}

Tensor monarch_multiply(const Tensor& x, const Tensor& w1, const Tensor& w2, const MultiplyOptions& options) {
  if (!x.defined() || !w1.defined() || !w2.defined()) check_multiply(x, w1, w2, options);  // says which one
  return multiply_op().call(x, w1, w2, options.bias, options.out_features, activation_name(options.activation),
                            options.recompute);
}

Tensor monarch_multiply_adjoint(const Tensor& y, const Tensor& w1, const Tensor& w2) {
  const MonarchSizes z = monarch_sizes(w1, w2);
  check<ShapeError>(y.dim() >= 1 && y.size(-1) == z.out(), [&] {
    return fmt::format("adjoint of the Monarch product: w2 {} takes {} columns, got {}", shape_text(w2.sizes()),
                       z.out(), shape_text(y.sizes()));
  });
  check<DtypeError>(
      y.scalar_type() == w1.scalar_type() && w2.scalar_type() == w1.scalar_type(),
      [&] {
        return fmt::format("adjoint of the Monarch product: mixed element types: y {}, w1 {}, w2 {}",
                           dtype_text(y.scalar_type()), dtype_text(w1.scalar_type()), dtype_text(w2.scalar_type()));
      },
      "convert them to one type with to()");
  c10::SymDimVector shape(y.sym_sizes());
  shape.back() = z.in();
  const std::array<bool, 4> wanted = {true, false, false, false};
  // The adjoint is the gradient of x, of which the sizes alone are read.
  const Tensor x = at::empty({1}, w1.options()).expand_symint(shape);
  const bool differentiable =
      at::GradMode::is_enabled() && (y.requires_grad() || w1.requires_grad() || w2.requires_grad());
  if (!differentiable) {
    const auto& op = multiply_backward_op();
    return std::get<0>(op.call(y, x, w1, w2, std::nullopt, std::nullopt, std::nullopt, std::nullopt, "none", wanted));
  }
  MonarchBackwardTask task;
  task.w1 = w1;
  task.w2 = w2;
  task.gradient = y.reshape_symint({-1, y.sym_size(-1)});
  task.x = x.reshape_symint({-1, x.sym_size(-1)});
  task.wanted = wanted;
  return kernels::composite::monarch_backward(task)[0].reshape_symint(shape);
}

}  // namespace monarch::operators
