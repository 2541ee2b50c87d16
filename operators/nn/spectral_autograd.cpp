#include "monarch/operators/nn/spectral_autograd.hpp"

#include <ATen/ATen.h>
#include <ATen/functorch/DynamicLayer.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <vector>

#include "monarch/operators/kernels/spectral.hpp"

namespace monarch::operators {
namespace {

using at::Tensor;
using kernels::PointwiseProblem;
using kernels::SpectralForward;
using kernels::SpectralProblem;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

bool needs_graph(const variable_list& tensors) {
  return at::GradMode::is_enabled() &&
         std::any_of(tensors.begin(), tensors.end(), [](const Tensor& t) { return t.defined() && t.requires_grad(); });
}

using Optional = std::optional<Tensor>;  // an undefined tensor may not be an argument of a Function
Optional optional(const Tensor& t) {
  return t.defined() ? Optional(t) : std::nullopt;
}
Tensor tensor(const Optional& t) {
  return t.value_or(Tensor());
}

/// Which of the arguments (undefined ones have no edge) a backward pass is to differentiate by.
std::vector<bool> wanted_of(const AutogradContext& context, const variable_list& arguments) {
  std::vector<bool> wanted;
  size_t edge = 0;
  for (const Tensor& t : arguments) wanted.push_back(t.defined() && context.needs_input_grad(edge++));
  return wanted;
}

bool plain_cpu(const Tensor& t, at::ScalarType dtype) {
  return !t.defined() || (t.is_cpu() && t.scalar_type() == dtype && t.layout() == at::kStrided);
}

Tensor dense(const Tensor& t) {
  return t.defined() ? t.resolve_conj().contiguous() : t;
}

/// The gradients of `inputs` that are wanted, with a graph: by the composite, since kernels have no derivative.
variable_list differentiable_gradients(const variable_list& inputs, const std::function<Tensor()>& composite,
                                       const Tensor& gradient) {
  const at::AutoGradMode on(true);
  variable_list wanted;
  for (const Tensor& t : inputs)
    if (t.defined() && t.requires_grad()) wanted.push_back(t);
  const variable_list found = torch::autograd::grad({composite()}, wanted, {gradient}, true, true, true);
  variable_list result;
  size_t next = 0;
  for (const Tensor& t : inputs) result.push_back(t.defined() && t.requires_grad() ? found[next++] : Tensor());
  return result;
}

SpectralWeights weights_of(const variable_list& t, Activation activation) {
  SpectralWeights w{t[1], {}, t[6], t[7], activation};
  if (t[2].defined()) w.axes.push_back({t[2], t[3]});
  w.axes.push_back({t[4], t[5]});
  return w;
}

/// x, weight, F1, G1, F2, G2, pointwise, bias.
variable_list inputs_of(const Tensor& x, const SpectralWeights& w) {
  const bool planes = w.axes.size() == 2;
  return {x,
          w.weight,
          planes ? w.axes[0].forward : Tensor(),
          planes ? w.axes[0].inverse : Tensor(),
          w.axes.back().forward,
          w.axes.back().inverse,
          w.pointwise,
          w.bias};
}

SpectralProblem problem_of(const variable_list& t, Activation activation) {
  SpectralProblem p;
  p.x = dense(t[0]);
  p.weight = dense(t[1]);
  p.forward1 = dense(t[2]);
  p.inverse1 = dense(t[3]);
  p.forward2 = dense(t[4]);
  p.inverse2 = dense(t[5]);
  p.pointwise = dense(t[6]);
  p.bias = dense(t[7]);
  p.activation = activation;
  return p;
}

struct SpectralFunction : torch::autograd::Function<SpectralFunction> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& weight, const Optional& f1,
                        const Optional& g1, const Tensor& f2, const Tensor& g2, const Optional& pointwise,
                        const Optional& bias, int64_t activation) {
    variable_list inputs{x, weight, tensor(f1), tensor(g1), f2, g2, tensor(pointwise), tensor(bias)};
    const SpectralForward result =
        kernels::cpu::spectral_forward(problem_of(inputs, static_cast<Activation>(activation)), true);
    inputs.insert(inputs.end(), {result.modes, result.mixed, result.before});
    context->save_for_backward(std::move(inputs));
    context->saved_data["activation"] = activation;
    return result.y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    variable_list saved = context->get_saved_variables();
    const auto activation = static_cast<Activation>(context->saved_data["activation"].toInt());
    const SpectralForward kept{{}, saved[8], saved[9], saved[10]};
    saved.resize(8);
    variable_list result;
    if (at::GradMode::is_enabled()) {
      result = differentiable_gradients(
          saved, [&] { return spectral_layer_composite(saved[0], weights_of(saved, activation)); }, gradients[0]);
    } else {
      const std::vector<bool> wants = wanted_of(*context, saved);
      const kernels::SpectralGradients g =
          kernels::cpu::spectral_backward(problem_of(saved, activation), kept, gradients[0].contiguous(),
                                          {.x = wants[0],
                                           .weight = wants[1],
                                           .forward = wants[2] || wants[4],
                                           .inverse = wants[3] || wants[5],
                                           .pointwise = wants[6],
                                           .bias = wants[7]});
      result = {g.x, g.weight, g.forward1, g.inverse1, g.forward2, g.inverse2, g.pointwise, g.bias};
    }
    result.emplace_back();
    return result;
  }
};

PointwiseProblem problem_of(const Tensor& x, const Tensor& w1, const Tensor& b1, const Tensor& w2, const Tensor& b2,
                            Activation activation) {
  return {x.contiguous().flatten(2), dense(w1), dense(b1), dense(w2), dense(b2), activation};
}

struct PointwiseFunction : torch::autograd::Function<PointwiseFunction> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& w1, const Optional& b1,
                        const Optional& w2, const Optional& b2, int64_t activation) {
    const variable_list t{x, w1, tensor(b1), tensor(w2), tensor(b2)};
    context->save_for_backward(t);
    context->saved_data["activation"] = activation;
    return kernels::cpu::pointwise_forward(
        problem_of(t[0], t[1], t[2], t[3], t[4], static_cast<Activation>(activation)));
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list s = context->get_saved_variables();
    const auto activation = static_cast<Activation>(context->saved_data["activation"].toInt());
    variable_list result;
    if (at::GradMode::is_enabled()) {
      const auto composite = [&] {
        return s[3].defined() ? pointwise_mlp_composite(s[0], s[1], s[2], s[3], s[4], activation).flatten(2)
                              : pointwise_linear_composite(s[0], s[1], s[2]).flatten(2);
      };
      result = differentiable_gradients(s, composite, gradients[0]);
    } else {
      const std::vector<bool> wants = wanted_of(*context, s);
      std::array<bool, 5> wanted{};
      std::copy(wants.begin(), wants.end(), wanted.begin());
      const kernels::PointwiseGradients g = kernels::cpu::pointwise_backward(
          problem_of(s[0], s[1], s[2], s[3], s[4], activation), gradients[0].contiguous(), wanted);
      result = {g.x.defined() ? g.x.view(s[0].sizes()) : g.x, g.w1, g.b1, g.w2, g.b2};
    }
    result.emplace_back();
    return result;
  }
};

}  // namespace

bool spectral_fused(const Tensor& x, const SpectralWeights& w) {
  if (w.axes.size() > 2 || x.numel() == 0 || !x.is_cpu() || !kernels::cpu::spectral_available()) return false;
  if (at::functorch::maybeCurrentDynamicLayer()) return false;
  const variable_list t = inputs_of(x, w);
  for (size_t i = 0; i < t.size(); ++i)
    if (!plain_cpu(t[i], i == 0 || i >= 6 ? at::kFloat : at::kComplexFloat)) return false;
  return true;
}

bool pointwise_fused(const Tensor& x, const Tensor& w1, const Tensor& w2) {
  return x.numel() != 0 && plain_cpu(x, at::kFloat) && plain_cpu(w1, at::kFloat) && plain_cpu(w2, at::kFloat) &&
         kernels::cpu::spectral_available() && !at::functorch::maybeCurrentDynamicLayer();
}

Tensor spectral_layer_fused(const Tensor& x, const SpectralWeights& w) {
  const variable_list t = inputs_of(x, w);
  if (!needs_graph(t)) return kernels::cpu::spectral_forward(problem_of(t, w.activation), false).y;
  return SpectralFunction::apply(t[0], t[1], optional(t[2]), optional(t[3]), t[4], t[5], optional(t[6]), optional(t[7]),
                                 static_cast<int64_t>(w.activation));
}

Tensor pointwise_layer_fused(const Tensor& x, const Tensor& w1, const Tensor& b1, const Tensor& w2, const Tensor& b2,
                             Activation activation) {
  const Tensor y =
      needs_graph({x, w1, b1, w2, b2})
          ? PointwiseFunction::apply(x, w1, optional(b1), optional(w2), optional(b2), static_cast<int64_t>(activation))
          : kernels::cpu::pointwise_forward(problem_of(x, w1, b1, w2, b2, activation));
  std::vector<int64_t> shape(x.sizes().begin(), x.sizes().end());
  shape[1] = y.size(1);
  return y.view(shape);
}

}  // namespace monarch::operators
