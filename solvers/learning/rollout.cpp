#include "monarch/solvers/learning/rollout.hpp"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <torch/csrc/autograd/autograd.h>

#include <deque>
#include <string>
#include <vector>

#include "monarch/core/error.hpp"

namespace monarch::solvers {
namespace {

/// Frames 0 … F-1 are given, later ones predicted; window t is frames t … t+F-1.
at::Tensor window_of(const std::vector<at::Tensor>& frames, int64_t first, int64_t count) {
  const auto begin = frames.begin() + first;
  return at::cat(std::vector<at::Tensor>(begin, begin + count), 1);
}

std::vector<at::Tensor> frames_of(const at::Tensor& input) {
  check<ShapeError>(input.dim() >= 4, "a rollout starts from [batch, frame, channel, grid…]");
  return input.unbind(1);
}

/// What a forward pass in training mode changes besides its result.
struct ModuleState {
  std::vector<std::pair<at::Tensor, at::Tensor>> statistics;  ///< buffer, copy

  /// Running statistics of normalisation layers (and whatever else is small: constants may be large, and do not
  /// change).
  static ModuleState of(torch::nn::Module& module) {
    ModuleState state;
    for (const auto& item : module.named_buffers()) {
      const std::string& name = item.key();
      if (name.ends_with("running_mean") || name.ends_with("running_var") || name.ends_with("num_batches_tracked"))
        state.statistics.emplace_back(item.value(), item.value().clone());
    }
    return state;
  }
  void restore() const {
    const at::NoGradGuard guard;
    for (const auto& [buffer, copy] : statistics) buffer.copy_(copy);
  }
};

at::Tensor generator_state(at::Device device) {
  return at::globalContext().defaultGenerator(device).get_state();
}
void set_generator_state(at::Device device, const at::Tensor& state) {
  at::Generator generator = at::globalContext().defaultGenerator(device);
  generator.set_state(state);
}

at::Tensor step_loss(const training::Loss& loss, const at::Tensor& prediction, const at::Tensor& target) {
  return loss(prediction, target).sum();
}

void backward(const std::vector<at::Tensor>& roots, const std::vector<at::Tensor>& gradients) {
  std::vector<at::Tensor> r, g;
  for (size_t i = 0; i < roots.size(); ++i) {
    if (!roots[i].requires_grad()) continue;  // a model without parameters at the first step
    r.push_back(roots[i]);
    g.push_back(gradients[i]);
  }
  if (!r.empty()) torch::autograd::backward(r, g);
}

RolloutLoss one_graph(const StepFunction& step, const at::Tensor& input, const at::Tensor& target,
                      const training::Loss& loss, double weight) {
  const at::AutoGradMode on(true);
  const at::Tensor prediction = roll_out(step, input, target.size(1));
  at::Tensor total;
  for (int64_t t = 0; t < target.size(1); ++t) {
    const at::Tensor one = step_loss(loss, prediction.select(1, t), target.select(1, t));
    total = total.defined() ? total + one : one;
  }
  backward({total}, {at::full_like(total, weight)});
  return {total.item<double>(), prediction.detach()};
}

}  // namespace

at::Tensor roll_out(const StepFunction& step, const at::Tensor& input, int64_t steps) {
  std::vector<at::Tensor> frames = frames_of(input), predictions;
  const auto count = static_cast<int64_t>(frames.size());
  for (int64_t t = 0; t < steps; ++t) {
    frames.push_back(step(window_of(frames, t, count)));
    predictions.push_back(frames.back());
    if (!at::GradMode::is_enabled() && t > 0) frames[static_cast<size_t>(t - 1)].reset();  // no window needs it again
  }
  return at::stack(predictions, 1);
}

RolloutLoss rollout_gradient(const StepFunction& step, torch::nn::Module& module, const at::Tensor& input,
                             const at::Tensor& target, const training::Loss& loss, double weight, bool recompute) {
  const int64_t steps = target.size(1);
  if (!recompute || steps == 1) return one_graph(step, input, target, loss, weight);
  const at::Device device = input.device();
  std::vector<at::Tensor> frames = frames_of(input);
  const auto count = static_cast<int64_t>(frames.size());
  std::vector<at::Tensor> random;
  {
    const at::NoGradGuard guard;
    for (int64_t t = 0; t < steps - 1; ++t) {
      random.push_back(generator_state(device));
      frames.push_back(step(window_of(frames, t, count)));
    }
    random.push_back(generator_state(device));
  }
  // The last step runs once, with its graph; what it leaves behind is what the whole sweep leaves behind.
  ModuleState state;
  at::Tensor after;
  double total = 0;
  std::deque<at::Tensor> waiting(static_cast<size_t>(count));  // gradients of frames t+1 … t+F, first the nearest
  at::Tensor prediction = at::empty(target.sizes(), target.options());
  const at::AutoGradMode on(true);
  for (int64_t t = steps - 1; t >= 0; --t) {
    if (t < steps - 1) set_generator_state(device, random[static_cast<size_t>(t)]);
    at::Tensor window = window_of(frames, t, count).detach();
    const bool reaches_predictions = t > 0;
    window.set_requires_grad(reaches_predictions);
    const at::Tensor next = step(window);
    if (t == steps - 1) {
      state = ModuleState::of(module);
      after = generator_state(device);
    }
    const at::Tensor value = step_loss(loss, next, target.select(1, t));
    total += value.item<double>();
    prediction.select(1, t).copy_(next.detach());
    const at::Tensor incoming = waiting[static_cast<size_t>(count - 1)];
    std::vector<at::Tensor> roots{value}, gradients{at::full_like(value, weight)};
    if (incoming.defined()) {
      roots.push_back(next);
      gradients.push_back(incoming);
    }
    backward(roots, gradients);
    // waiting[j] belongs to frame t+1+j of the window of step t+1; those of this window lie one frame earlier.
    waiting.pop_back();
    waiting.emplace_front();
    if (reaches_predictions && window.grad().defined()) {
      const auto parts = window.grad().chunk(count, 1);
      for (int64_t j = 0; j < count; ++j) {
        if (t + j < count) continue;  // a given frame
        at::Tensor& sum = waiting[static_cast<size_t>(j)];
        sum = sum.defined() ? sum + parts[static_cast<size_t>(j)] : parts[static_cast<size_t>(j)];
      }
    }
    if (t + count < static_cast<int64_t>(frames.size())) frames.resize(static_cast<size_t>(t + count));
  }
  state.restore();
  set_generator_state(device, after);
  return {total, prediction};
}

double pushforward_gradient(const StepFunction& step, torch::nn::Module& module, const at::Tensor& input,
                            int64_t free_steps, const at::Tensor& target, const training::Loss& loss, double weight) {
  at::Tensor window = input;
  if (free_steps > 0) {
    // Only the step with a loss updates running statistics.
    const ModuleState state = ModuleState::of(module);
    const at::NoGradGuard guard;
    const at::Tensor predicted = roll_out(step, input, free_steps);
    state.restore();
    window = at::cat({input, predicted}, 1).slice(1, free_steps);
  }
  const at::AutoGradMode on(true);
  const at::Tensor value = step_loss(loss, step(window.flatten(1, 2)), target);
  backward({value}, {at::full_like(value, weight)});
  return value.item<double>();
}

}  // namespace monarch::solvers
