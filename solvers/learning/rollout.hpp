#pragma once
// Rollouts of a one-step model, and the gradient through them in memory that does not grow with their length.

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <cstdint>
#include <functional>

#include "monarch/training/losses.hpp"

namespace monarch::solvers {

/// One step: window [batch, frames · channels, grid…] (oldest frame first, the channels of a frame together) -> the
/// next frame [batch, channels, grid…]. Differentiable.
using StepFunction = std::function<at::Tensor(const at::Tensor& window)>;

/// û_{t+1} = step(û_{t−F+1}, …, û_t), `steps` times from input [batch, F, channel, grid…] -> [batch, steps, channel,
/// grid…]. The graph is recorded where gradients are on.
at::Tensor roll_out(const StepFunction& step, const at::Tensor& input, int64_t steps);

struct RolloutLoss {
  double loss = 0;        ///< sum over the samples and steps, not weighted
  at::Tensor prediction;  ///< [batch, steps, channel, grid…], no graph
};

/// Adds weight · ∂/∂θ Σ_t Σ_b loss(û_t, u_t)[b] to the gradients of all leaves of the graph, û rolled out from `input`
/// over the frames of `target` [batch, steps, channel, grid…] (back-propagation through time).
///
/// recompute = false: one graph of the whole rollout.
/// recompute = true: forward without a graph, keeping predicted frames only; then from the last step to the first, each
/// step is computed again with its graph, which receives ∂loss/∂û_t + Σ (what later windows sent back to that frame),
/// and freed. Memory: one step's graph and two frames per step; time: one forward more. The gradient is the same up to
/// the order of sums. `module` is the one that step() uses: running statistics of normalisation layers are updated by
/// the forward sweep only, and random numbers (dropout) of a step are the same both times.
RolloutLoss rollout_gradient(const StepFunction& step, torch::nn::Module& module, const at::Tensor& input,
                             const at::Tensor& target, const training::Loss& loss, double weight, bool recompute);

/// Pushforward (Brandstetter et al., ICLR 2022): `free_steps` steps without gradient from input, then one step whose
/// loss against target [batch, channel, grid…] has a gradient in the weights only. Returns the sum of the losses.
double pushforward_gradient(const StepFunction& step, torch::nn::Module& module, const at::Tensor& input,
                            int64_t free_steps, const at::Tensor& target, const training::Loss& loss, double weight);

}  // namespace monarch::solvers
