#include "monarch/training/optimiser.hpp"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace monarch::training {
namespace {

/// The fused kernels walk through memory as if everything were contiguous.
bool is_fused(const OptimiserOptions& options, const at::Tensor& value) {
  if (!value.is_contiguous()) return false;
  switch (options.kind) {
    case OptimiserKind::adamw:
    case OptimiserKind::adam:
      return true;
    case OptimiserKind::adam_fno:
      return !value.is_complex();
    default:
      return false;
  }
}

}  // namespace

Optimiser::Optimiser(std::vector<operators::ParameterGroup> groups, const OptimiserOptions& options)
    : options_(options) {
  const at::NoGradGuard no_grad;
  for (auto& group : groups) {
    Slot slot;
    const at::Tensor& parameter = group.tensor;
    const bool whole = !parameter.is_complex() || options.kind == OptimiserKind::adam_fno;
    slot.value = whole ? parameter.detach() : at::view_as_real(parameter.detach());
    slot.first = at::zeros_like(slot.value);
    if (options.kind != OptimiserKind::sgd)
      slot.second = slot.value.is_complex() ? at::zeros_like(at::real(slot.value), at::MemoryFormat::Contiguous)
                                            : at::zeros_like(slot.value);
    slot.steps = at::zeros({}, at::TensorOptions().dtype(at::kFloat).device(parameter.device()));
    slot.group = std::move(group);
    slots_.push_back(std::move(slot));
  }
}

at::Tensor Optimiser::gradient(const Slot& slot) const {
  const at::Tensor& gradient = slot.group.tensor.grad();
  if (!gradient.defined()) return {};
  return slot.value.is_complex() == gradient.is_complex() ? gradient : at::view_as_real(gradient.resolve_conj());
}

void Optimiser::fused_step(double learning_rate) {
  struct Lists {
    std::vector<at::Tensor> values, gradients, first, second, none, steps;
  };
  std::map<std::pair<double, double>, Lists> lists;  // (rate, decay) -> tensors
  for (Slot& slot : slots_) {
    if (!is_fused(options_, slot.value)) continue;
    const at::Tensor g = gradient(slot);
    if (!g.defined()) continue;
    Lists& list =
        lists[{learning_rate * slot.group.lr_multiplier, slot.group.weight_decay ? options_.weight_decay : 0.0}];
    slot.steps.add_(1);
    list.values.push_back(slot.value);
    list.gradients.push_back(g.contiguous());
    list.first.push_back(slot.first);
    list.second.push_back(slot.second);
    list.steps.push_back(slot.steps);
  }
  for (auto& [key, list] : lists) {
    if (options_.kind == OptimiserKind::adamw)
      at::_fused_adamw_(list.values, list.gradients, list.first, list.second, list.none, list.steps, key.first,
                        options_.beta1, options_.beta2, key.second, options_.epsilon, false, false);
    else
      at::_fused_adam_(list.values, list.gradients, list.first, list.second, list.none, list.steps, key.first,
                       options_.beta1, options_.beta2, key.second, options_.epsilon, false, false);
  }
}

void Optimiser::plain_step(Slot& slot, const at::Tensor& raw, double learning_rate) const {
  const double rate = learning_rate * slot.group.lr_multiplier;
  const double decay = slot.group.weight_decay ? options_.weight_decay : 0.0;
  slot.steps.add_(1);
  at::Tensor g = raw;
  if (options_.kind == OptimiserKind::adamw)
    slot.value.mul_(1 - rate * decay);
  else if (options_.kind != OptimiserKind::lamb && decay != 0)
    g = g + decay * slot.value;
  if (options_.kind == OptimiserKind::sgd) {
    slot.first.mul_(options_.momentum).add_(g);
    slot.value.add_(slot.first, -rate);
    return;
  }
  const double t = slot.steps.item<double>();
  const double correction1 = 1 - std::pow(options_.beta1, t), correction2 = 1 - std::pow(options_.beta2, t);
  slot.first.mul_(options_.beta1).add_(g, 1 - options_.beta1);
  const at::Tensor square = g.is_complex() ? at::real(g * g.conj()) : g * g;
  slot.second.mul_(options_.beta2).add_(square, 1 - options_.beta2);
  const at::Tensor update = (slot.first / correction1) / ((slot.second / correction2).sqrt() + options_.epsilon);
  if (options_.kind != OptimiserKind::lamb) {
    slot.value.sub_(update * rate);
    return;
  }
  const at::Tensor u = update + decay * slot.value;
  const double size = slot.value.norm().item<double>(), length = u.norm().item<double>();
  slot.value.sub_(u * (rate * (size > 0 && length > 0 ? size / length : 1.0)));
}

void Optimiser::step(double learning_rate) {
  const at::NoGradGuard no_grad;
  fused_step(learning_rate);
  for (Slot& slot : slots_) {
    if (is_fused(options_, slot.value)) continue;
    const at::Tensor g = gradient(slot);
    if (g.defined()) plain_step(slot, g, learning_rate);
  }
}

NamedTensors Optimiser::state_of(const Slot& slot) {
  NamedTensors tensors{{"first." + slot.group.name, slot.first}};
  if (slot.second.defined()) tensors.emplace_back("second." + slot.group.name, slot.second);
  tensors.emplace_back("steps." + slot.group.name, slot.steps);
  return tensors;
}

NamedTensors Optimiser::state() const {
  NamedTensors tensors;
  for (const Slot& slot : slots_)
    for (auto& item : state_of(slot)) tensors.push_back(std::move(item));
  return tensors;
}

void Optimiser::load(const NamedTensors& state, const std::string& origin) {
  const at::NoGradGuard no_grad;
  std::map<std::string, at::Tensor> found(state.begin(), state.end());
  for (auto& [name, tensor] : this->state()) {
    const auto it = found.find(name);
    check<DataError>(it != found.end(), [&] { return fmt::format("{}: no tensor '{}'", origin, name); });
    check<DataError>(it->second.sizes() == tensor.sizes() && it->second.scalar_type() == tensor.scalar_type(), [&] {
      return fmt::format("{}: '{}' is {} {}, expected {} {}", origin, name, toString(it->second.scalar_type()),
                         shape_text(it->second.sizes()), toString(tensor.scalar_type()), shape_text(tensor.sizes()));
    });
    tensor.copy_(it->second);
  }
}

void Optimiser::load_matching(const NamedTensors& state) {
  const at::NoGradGuard no_grad;
  const std::map<std::string, at::Tensor> found(state.begin(), state.end());
  for (const Slot& slot : slots_) {
    const NamedTensors own = state_of(slot);
    const bool matches = std::all_of(own.begin(), own.end(), [&](const auto& item) {
      const auto it = found.find(item.first);
      return it != found.end() && it->second.sizes() == item.second.sizes() &&
             it->second.scalar_type() == item.second.scalar_type();
    });
    if (!matches) continue;
    for (const auto& [name, tensor] : own) tensor.copy_(found.at(name));
  }
}

}  // namespace monarch::training
