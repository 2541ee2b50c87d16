#pragma once
// Optimisers over parameter groups; complex parameters are pairs of real numbers, but for adam_fno.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "monarch/operators/nn/parameter_groups.hpp"
#include "monarch/training/checkpoint.hpp"
#include "monarch/training/communicator.hpp"
#include "monarch/training/options.hpp"

namespace monarch::training {

/// One step: with g the gradient, λ the weight decay (0 where the group says so), η the rate times the group's
/// multiplier, m and v the moments, m̂ = m/c₁ and v̂ = v/c₂ the bias-corrected ones (cᵢ = 1 − βᵢᵗ),
///   adamw     θ ← θ − ηλθ − η m̂/(√v̂ + ε)                                    (Loshchilov & Hutter 2019)
///   adam      g ← g + λθ; θ ← θ − η m̂/(√v̂ + ε)
///   adam_fno  as adam, but v averages |g|² of a complex parameter, one number for both parts
///   lamb      u = m̂/(√v̂ + ε) + λθ; θ ← θ − η ρ u, the trust ratio ρ = ‖θ‖/‖u‖, 1 where a norm is 0 (You et al. 2020):
///     paper      for every tensor;
///     nvidia     ρ = 1 for tensors without weight decay (apex FusedLAMB; gradients are clipped to norm 1 before);
///     deepspeed  u = m/(√v + ε) + λθ, θ ← θ − η (√c₂/c₁) ρ u, ρ within [min, max] (DeepSpeed FusedLamb)
///   sgd       g ← g + λθ; m ← μm + g; θ ← θ − ηm
/// The Adam family of real numbers runs in LibTorch's fused kernels, lamb in passes over all tensors at once.
///
/// With `shards` every process keeps the moments of a part of the parameters (ZeRO-1): all of them in a row are cut into
/// equal pieces, one for each process, which updates its piece and sends it to the others. Gradients are those of the
/// whole group of processes already. Norms of lamb are those of whole tensors. Functions marked * are then collective.
class Optimiser {
 public:
  Optimiser(std::vector<operators::ParameterGroup> groups, const OptimiserOptions& options,
            std::shared_ptr<Communicator> shards = nullptr);

  /// * One step with this learning rate; parameters without a gradient stay, with their moments.
  void step(double learning_rate);
  /// * Moments and step counts under "<kind of moment>.<parameter>". Without shards they are shared with the optimiser,
  /// not copied; with shards process 0 gets copies of the whole and the others nothing.
  NamedTensors state() const;
  /// Takes a state. With shards process 0 does, and share() follows. Throws DataError where a tensor is missing or of
  /// another shape.
  void load(const NamedTensors& state, const std::string& origin);
  /// Takes the state of those parameters for which all of it is there in the right shape; the others stay.
  void load_matching(const NamedTensors& state);
  /// * With shards: every process takes its part of what process 0 has loaded.
  void share();
  /// Bytes of moments that this process keeps.
  int64_t bytes() const;

 private:
  struct Slot {
    operators::ParameterGroup group;
    at::Tensor whole;          // the parameter, complex ones as pairs but for adam_fno
    int64_t offset = 0;        // of its first number in the row of all parameters
    at::Tensor value;          // the piece of it that is updated here, empty where none is
    at::Tensor first, second;  // moments of that
    at::Tensor steps;          // float32 scalar, as the fused kernels want it
  };
  struct Moment {
    std::string name;
    at::Tensor here;          // of the piece, or of the whole without shards
    std::vector<int64_t> shape;  // of the whole
    at::ScalarType type;
  };
  static std::vector<Moment> moments(const Slot& slot);
  /// The numbers of a slot that a process updates: first and behind the last.
  std::pair<int64_t, int64_t> range(const Slot& slot, int64_t rank) const;
  at::Tensor gradient(const Slot& slot) const;
  void fused_step(double learning_rate);
  void lamb_step(double learning_rate);
  void plain_step(Slot& slot, const at::Tensor& gradient, double learning_rate) const;
  void gather_values();
  double decay(const Slot& slot) const { return slot.group.weight_decay ? options_.weight_decay : 0.0; }

  OptimiserOptions options_;
  std::shared_ptr<Communicator> shards_;
  std::vector<Slot> slots_;
  int64_t numbers_ = 0;  // of all slots
  std::map<std::string, at::Tensor> loaded_;  // process 0, between load and share
};

}  // namespace monarch::training
