#include "monarch/experiments/transformer/recompute.hpp"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <mutex>
#include <vector>

namespace monarch::experiments {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// The generators that a block on one device draws from, and the autocast mode.
class Surroundings {
 public:
  explicit Surroundings(at::Device device)
      : device_(device),
        autocast_(at::autocast::is_autocast_enabled(device.type())),
        autocast_dtype_(at::autocast::get_autocast_dtype(device.type())) {
    for (const at::Generator& generator : generators()) states_.push_back(state(generator));
  }

  void put_back() const {
    const auto all = generators();
    for (size_t i = 0; i < all.size(); ++i) {
      at::Generator generator = all[i];
      const std::lock_guard<std::mutex> lock(generator.mutex());
      generator.set_state(states_[i]);
    }
    at::autocast::set_autocast_enabled(device_.type(), autocast_);
    at::autocast::set_autocast_dtype(device_.type(), autocast_dtype_);
  }
  at::Device device() const { return device_; }

 private:
  std::vector<at::Generator> generators() const {
    std::vector<at::Generator> all{at::detail::getDefaultCPUGenerator()};
    if (device_.is_cuda()) all.push_back(at::globalContext().defaultGenerator(device_));
    return all;
  }
  static at::Tensor state(at::Generator generator) {
    const std::lock_guard<std::mutex> lock(generator.mutex());
    return generator.get_state();
  }

  at::Device device_;
  bool autocast_;
  at::ScalarType autocast_dtype_;
  std::vector<at::Tensor> states_;
};

/// Those of then, until the end of its life.
class Restored {
 public:
  explicit Restored(const Surroundings& then) : now_(then.device()) { then.put_back(); }
  ~Restored() { now_.put_back(); }
  Restored(const Restored&) = delete;
  Restored& operator=(const Restored&) = delete;

 private:
  Surroundings now_;
};

/// Weights that are cast inside a block must not be kept for outside: forward makes them without a graph, and backward
/// runs where nothing clears the cache.
class WithoutCastCache {
 public:
  WithoutCastCache() : was_(at::autocast::is_autocast_cache_enabled()) {
    at::autocast::set_autocast_cache_enabled(false);
  }
  ~WithoutCastCache() { at::autocast::set_autocast_cache_enabled(was_); }
  WithoutCastCache(const WithoutCastCache&) = delete;
  WithoutCastCache& operator=(const WithoutCastCache&) = delete;

 private:
  bool was_;
};

struct Call final : torch::CustomClassHolder {
  Call(std::function<at::Tensor(const at::Tensor&)> work, at::Device device)
      : run(std::move(work)), surroundings(device) {}
  std::function<at::Tensor(const at::Tensor&)> run;
  Surroundings surroundings;
};

struct Recompute : torch::autograd::Function<Recompute> {
  // The list holds x and the parameters, so that their gradients leave through the graph that called.
  static at::Tensor forward(AutogradContext* context, const c10::intrusive_ptr<Call>& call, at::TensorList inputs) {
    context->saved_data["call"] = c10::IValue::make_capsule(call);
    context->save_for_backward(inputs.vec());
    const WithoutCastCache no_cache;
    return call->run(inputs[0]);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto call = c10::static_intrusive_pointer_cast<Call>(context->saved_data["call"].toCapsule());
    variable_list inputs = context->get_saved_variables();
    const at::Tensor x = inputs[0].detach().requires_grad_(inputs[0].requires_grad());
    inputs[0] = x;
    at::Tensor y;
    {
      const Restored then(call->surroundings);
      const WithoutCastCache no_cache;
      const at::AutoGradMode with_graph(true);
      y = call->run(x);
    }
    variable_list wanted;
    for (const at::Tensor& input : inputs) {
      if (input.requires_grad()) wanted.push_back(input);
    }
    const variable_list found = torch::autograd::grad({y}, wanted, gradients, /*retain_graph=*/std::nullopt,
                                                      /*create_graph=*/false, /*allow_unused=*/true);
    variable_list result{at::Tensor()};  // of the call
    size_t next = 0;
    for (const at::Tensor& input : inputs) result.push_back(input.requires_grad() ? found[next++] : at::Tensor());
    return result;
  }
};

}  // namespace

at::Tensor recompute(const torch::nn::Module& module, const std::function<at::Tensor(const at::Tensor&)>& call,
                     const at::Tensor& x) {
  variable_list inputs{x};
  for (const at::Tensor& parameter : module.parameters()) {
    if (parameter.requires_grad()) inputs.push_back(parameter);
  }
  const bool gradient = at::GradMode::is_enabled() && (x.requires_grad() || inputs.size() > 1);
  if (!gradient) return call(x);
  return Recompute::apply(c10::make_intrusive<Call>(call, x.device()), at::TensorList(inputs));
}

}  // namespace monarch::experiments
