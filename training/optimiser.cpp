#include "monarch/training/optimiser.hpp"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

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

Optimiser::Optimiser(std::vector<operators::ParameterGroup> groups, const OptimiserOptions& options,
                     std::shared_ptr<Communicator> shards)
    : options_(options), shards_(std::move(shards)) {
  const at::NoGradGuard no_grad;
  if (shards_ && shards_->size() == 1) shards_ = nullptr;
  for (auto& group : groups) {
    Slot slot;
    const at::Tensor& parameter = group.tensor;
    const bool as_is = !parameter.is_complex() || options.kind == OptimiserKind::adam_fno;
    slot.whole = as_is ? parameter.detach() : at::view_as_real(parameter.detach());
    slot.offset = numbers_;
    numbers_ += slot.whole.numel();
    slot.group = std::move(group);
    slots_.push_back(std::move(slot));
  }
  for (Slot& slot : slots_) {
    slot.value = slot.whole;
    if (shards_) {
      const auto [begin, end] = range(slot, shards_->rank());
      if (slot.whole.is_contiguous())
        slot.value = slot.whole.view({-1}).narrow(0, begin, end - begin);
      else if (begin == end)
        slot.value = at::empty({0}, slot.whole.options());
    }
    slot.first = at::zeros_like(slot.value);
    if (options.kind != OptimiserKind::sgd)
      slot.second = slot.value.is_complex() ? at::zeros_like(at::real(slot.value), at::MemoryFormat::Contiguous)
                                            : at::zeros_like(slot.value);
    // Only the fused kernels want the count on the device; elsewhere reading it would wait for the device.
    const bool on_device = options.kind != OptimiserKind::lamb && options.kind != OptimiserKind::sgd;
    slot.steps = at::zeros({}, at::TensorOptions().dtype(at::kFloat).device(on_device ? slot.whole.device() : at::kCPU));
  }
}

std::pair<int64_t, int64_t> Optimiser::range(const Slot& slot, int64_t rank) const {
  const int64_t count = slot.whole.numel();
  const auto cut = [&](int64_t r) {
    return std::clamp<int64_t>(numbers_ * r / shards_->size() - slot.offset, 0, count);
  };
  if (slot.whole.is_contiguous()) return {cut(rank), cut(rank + 1)};
  // One that cannot be cut goes to the process that has its first number.
  const bool here = numbers_ * rank / shards_->size() <= slot.offset &&
                    slot.offset < numbers_ * (rank + 1) / shards_->size();
  return {0, here ? count : 0};
}

at::Tensor Optimiser::gradient(const Slot& slot) const {
  const at::Tensor& gradient = slot.group.tensor.grad();
  if (!gradient.defined()) return {};
  const at::Tensor whole =
      slot.whole.is_complex() == gradient.is_complex() ? gradient : at::view_as_real(gradient.resolve_conj());
  if (!shards_ || !slot.whole.is_contiguous()) return slot.value.numel() == 0 ? whole.flatten().narrow(0, 0, 0) : whole;
  const int64_t begin = range(slot, shards_->rank()).first;
  return whole.contiguous().view({-1}).narrow(0, begin, slot.value.numel());
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
    slot.steps.add_(1);
    if (slot.value.numel() == 0) continue;
    Lists& list = lists[{learning_rate * slot.group.lr_multiplier, decay(slot)}];
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

void Optimiser::lamb_step(double learning_rate) {
  struct Lists {
    std::vector<at::Tensor> values, gradients, first, second;
    std::vector<size_t> slots;
    std::vector<at::Tensor> updates;
  };
  std::map<std::pair<double, double>, Lists> lists;  // (decay, steps made) -> tensors
  for (size_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_[i];
    const at::Tensor g = gradient(slot);
    if (!g.defined()) continue;
    slot.steps.add_(1);
    if (slot.value.numel() == 0) continue;
    Lists& list = lists[{decay(slot), slot.steps.item<double>()}];
    list.values.push_back(slot.value);
    list.gradients.push_back(g);
    list.first.push_back(slot.first);
    list.second.push_back(slot.second);
    list.slots.push_back(i);
  }
  const bool deepspeed = options_.variant == LambVariant::deepspeed;
  std::vector<double> squares(2 * slots_.size(), 0.0);  // ‖θ‖², ‖u‖² of each slot
  for (auto& [key, list] : lists) {
    const auto [weight_decay, t] = key;
    at::_foreach_lerp_(list.first, list.gradients, 1 - options_.beta1);
    at::_foreach_mul_(list.second, options_.beta2);
    at::_foreach_addcmul_(list.second, list.gradients, list.gradients, 1 - options_.beta2);
    std::vector<at::Tensor> roots = at::_foreach_sqrt(list.second);
    if (!deepspeed) at::_foreach_div_(roots, std::sqrt(1 - std::pow(options_.beta2, t)));
    at::_foreach_add_(roots, options_.epsilon);
    if (!deepspeed) at::_foreach_mul_(roots, 1 - std::pow(options_.beta1, t));
    list.updates = at::_foreach_div(list.first, roots);
    if (weight_decay != 0) at::_foreach_add_(list.updates, list.values, weight_decay);
    const auto read = [&](const std::vector<at::Tensor>& tensors, size_t which) {
      std::vector<at::Tensor> norms = at::_foreach_norm(tensors);
      for (auto& norm : norms) norm = norm.to(at::kDouble);
      const at::Tensor all = at::stack(norms).cpu();
      for (size_t i = 0; i < list.slots.size(); ++i) {
        const double norm = all.const_data_ptr<double>()[i];
        squares[2 * list.slots[i] + which] = norm * norm;
      }
    };
    read(list.values, 0);
    read(list.updates, 1);
  }
  if (shards_) {
    const at::Tensor sums = at::tensor(squares, at::kDouble).to(slots_.front().whole.device());
    shards_->all_reduce({sums});
    const at::Tensor said = sums.cpu();
    std::copy_n(said.const_data_ptr<double>(), squares.size(), squares.begin());
  }
  for (auto& [key, list] : lists) {
    const auto [weight_decay, t] = key;
    const double corrected =
        deepspeed ? std::sqrt(1 - std::pow(options_.beta2, t)) / (1 - std::pow(options_.beta1, t)) : 1.0;
    std::vector<at::Scalar> lengths;
    for (const size_t i : list.slots) {
      const double size = std::sqrt(squares[2 * i]), length = std::sqrt(squares[2 * i + 1]);
      const bool trusts = options_.variant != LambVariant::nvidia || weight_decay != 0;
      const double ratio = trusts && size > 0 && length > 0
                               ? std::clamp(size / length, options_.min_trust_ratio, options_.max_trust_ratio)
                               : 1.0;
      lengths.emplace_back(-learning_rate * slots_[i].group.lr_multiplier * corrected * ratio);
    }
    at::_foreach_mul_(list.updates, lengths);
    at::_foreach_add_(list.values, list.updates);
  }
}

void Optimiser::plain_step(Slot& slot, const at::Tensor& raw, double learning_rate) const {
  const double rate = learning_rate * slot.group.lr_multiplier;
  slot.steps.add_(1);
  if (slot.value.numel() == 0) return;
  at::Tensor g = raw;
  if (options_.kind == OptimiserKind::adamw)
    slot.value.mul_(1 - rate * decay(slot));
  else if (decay(slot) != 0)
    g = g + decay(slot) * slot.value;
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
  slot.value.sub_(update * rate);
}

void Optimiser::step(double learning_rate) {
  const at::NoGradGuard no_grad;
  if (options_.kind == OptimiserKind::lamb) {
    lamb_step(learning_rate);
  } else {
    fused_step(learning_rate);
    for (Slot& slot : slots_) {
      if (is_fused(options_, slot.value)) continue;
      const at::Tensor g = gradient(slot);
      if (g.defined()) plain_step(slot, g, learning_rate);
    }
  }
  if (shards_) gather_values();
}

void Optimiser::gather_values() {
  for (int64_t rank = 0; rank < shards_->size(); ++rank) {
    std::vector<at::Tensor> pieces;
    for (const Slot& slot : slots_) {
      const auto [begin, end] = range(slot, rank);
      if (begin == end || !slot.group.tensor.grad().defined()) continue;
      pieces.push_back(slot.whole.is_contiguous() ? slot.whole.view({-1}).narrow(0, begin, end - begin) : slot.whole);
    }
    if (!pieces.empty()) shards_->broadcast(pieces, rank);
  }
}

std::vector<Optimiser::Moment> Optimiser::moments(const Slot& slot) {
  const std::vector<int64_t> shape = slot.whole.sizes().vec();
  std::vector<Moment> all{{"first." + slot.group.name, slot.first, shape, slot.first.scalar_type()}};
  if (slot.second.defined())
    all.push_back({"second." + slot.group.name, slot.second, shape, slot.second.scalar_type()});
  return all;
}

NamedTensors Optimiser::state() const {
  const at::NoGradGuard no_grad;
  NamedTensors tensors;
  if (!shards_) {
    for (const Slot& slot : slots_) {
      for (const Moment& moment : moments(slot)) tensors.emplace_back(moment.name, moment.here);
      tensors.emplace_back("steps." + slot.group.name, slot.steps);
    }
    return tensors;
  }
  std::map<std::string, at::Tensor> whole;
  const bool leader = shards_->rank() == 0;
  for (int64_t rank = 0; rank < shards_->size(); ++rank) {
    struct Piece {
      std::string name;
      std::vector<int64_t> shape;
      int64_t begin;
    };
    std::vector<Piece> pieces;
    std::vector<at::Tensor> buffers;
    for (const Slot& slot : slots_) {
      const auto [begin, end] = range(slot, rank);
      if (begin == end) continue;
      for (const Moment& moment : moments(slot)) {
        pieces.push_back({moment.name, moment.shape, begin});
        buffers.push_back(rank == shards_->rank() ? moment.here.flatten()
                                                  : at::empty({end - begin}, moment.here.options()));
      }
    }
    if (buffers.empty()) continue;
    shards_->broadcast(buffers, rank);
    for (size_t i = 0; leader && i < pieces.size(); ++i) {
      at::Tensor& target = whole[pieces[i].name];
      if (!target.defined()) target = at::zeros(pieces[i].shape, buffers[i].options());
      target.view({-1}).narrow(0, pieces[i].begin, buffers[i].numel()).copy_(buffers[i]);
    }
  }
  if (!leader) return {};
  for (const Slot& slot : slots_) {
    for (const Moment& moment : moments(slot)) {
      const auto found = whole.find(moment.name);
      tensors.emplace_back(moment.name, found != whole.end() ? found->second
                                                              : at::zeros(moment.shape, moment.here.options()));
    }
    tensors.emplace_back("steps." + slot.group.name, slot.steps.clone());
  }
  return tensors;
}

void Optimiser::load(const NamedTensors& state, const std::string& origin) {
  const std::map<std::string, at::Tensor> found(state.begin(), state.end());
  for (const Slot& slot : slots_) {
    std::vector<Moment> wanted = moments(slot);
    wanted.push_back({"steps." + slot.group.name, slot.steps, {}, at::kFloat});
    for (const Moment& moment : wanted) {
      const auto it = found.find(moment.name);
      check<DataError>(it != found.end(), [&] { return fmt::format("{}: no tensor '{}'", origin, moment.name); });
      check<DataError>(it->second.sizes() == moment.shape && it->second.scalar_type() == moment.type, [&] {
        return fmt::format("{}: '{}' is {} {}, expected {} {}", origin, moment.name,
                           toString(it->second.scalar_type()), shape_text(it->second.sizes()), toString(moment.type),
                           shape_text(moment.shape));
      });
    }
  }
  load_matching(state);
}

void Optimiser::load_matching(const NamedTensors& state) {
  const at::NoGradGuard no_grad;
  const std::map<std::string, at::Tensor> found(state.begin(), state.end());
  for (const Slot& slot : slots_) {
    std::vector<Moment> wanted = moments(slot);
    wanted.push_back({"steps." + slot.group.name, slot.steps, {}, at::kFloat});
    const bool matches = std::all_of(wanted.begin(), wanted.end(), [&](const Moment& moment) {
      const auto it = found.find(moment.name);
      return it != found.end() && it->second.sizes() == moment.shape && it->second.scalar_type() == moment.type;
    });
    if (!matches) continue;
    slot.steps.copy_(found.at("steps." + slot.group.name));
    for (const Moment& moment : moments(slot)) {
      if (shards_)
        loaded_[moment.name] = found.at(moment.name);
      else
        moment.here.copy_(found.at(moment.name));
    }
  }
}

void Optimiser::share() {
  if (!shards_) return;
  const at::NoGradGuard no_grad;
  const at::Device device = slots_.front().whole.device();
  for (const Slot& slot : slots_) {  // one parameter at a time: nobody holds all moments but the one that loaded them
    const at::Tensor steps = slot.steps.to(device).clone();
    std::vector<at::Tensor> whole{steps};
    const std::vector<Moment> all = moments(slot);
    for (const Moment& moment : all) {
      const auto found = loaded_.find(moment.name);
      whole.push_back(found != loaded_.end() ? found->second.to(device).contiguous()
                                             : at::zeros(moment.shape, moment.here.options()));
    }
    shards_->broadcast(whole);
    slot.steps.copy_(steps);
    const auto [begin, end] = range(slot, shards_->rank());
    for (size_t i = 0; i < all.size() && begin < end; ++i)
      all[i].here.copy_(whole[i + 1].view({-1}).narrow(0, begin, end - begin).view(all[i].here.sizes()));
  }
  loaded_.clear();
}

int64_t Optimiser::bytes() const {
  int64_t sum = 0;
  for (const Slot& slot : slots_)
    for (const Moment& moment : moments(slot)) sum += static_cast<int64_t>(moment.here.nbytes());
  return sum;
}

}  // namespace monarch::training
