#pragma once
// Optimisers over parameter groups; complex parameters are pairs of real numbers, but for adam_fno.

#include <ATen/core/Tensor.h>

#include <vector>

#include "monarch/operators/nn/parameter_groups.hpp"
#include "monarch/training/checkpoint.hpp"
#include "monarch/training/options.hpp"

namespace monarch::training {

/// One step: with g the gradient, λ the weight decay (0 where the group says so), η the rate times the group's
/// multiplier, m̂ and v̂ the bias-corrected moments,
///   adamw     θ ← θ − ηλθ − η m̂/(√v̂ + ε)                                    (Loshchilov & Hutter 2019)
///   adam      g ← g + λθ; θ ← θ − η m̂/(√v̂ + ε)
///   adam_fno  as adam, but v averages |g|² of a complex parameter, one number for both parts
///   lamb      u = m̂/(√v̂ + ε) + λθ; θ ← θ − η (‖θ‖/‖u‖) u, the ratio 1 where a norm is 0   (You et al. 2020)
///   sgd       g ← g + λθ; m ← μm + g; θ ← θ − ηm
/// The Adam family of real numbers runs in LibTorch's fused kernels.
class Optimiser {
 public:
  Optimiser(std::vector<operators::ParameterGroup> groups, const OptimiserOptions& options);

  /// One step with this learning rate; parameters without a gradient stay, with their moments.
  void step(double learning_rate);
  /// Moments and step counts under "<kind of moment>.<parameter>"; shared with the optimiser, not copied.
  NamedTensors state() const;
  /// Throws DataError where a tensor is missing or of another shape.
  void load(const NamedTensors& state, const std::string& origin);
  /// Takes the state of those parameters for which all of it is there in the right shape; the others stay.
  void load_matching(const NamedTensors& state);

 private:
  struct Slot {
    operators::ParameterGroup group;
    at::Tensor value;          // the parameter, complex ones as pairs but for adam_fno
    at::Tensor first, second;  // moments
    at::Tensor steps;          // float32 scalar, as the fused kernels want it
  };
  static NamedTensors state_of(const Slot& slot);
  at::Tensor gradient(const Slot& slot) const;
  void fused_step(double learning_rate);
  void plain_step(Slot& slot, const at::Tensor& gradient, double learning_rate) const;

  OptimiserOptions options_;
  std::vector<Slot> slots_;
};

}  // namespace monarch::training
