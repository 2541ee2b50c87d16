#pragma once
// Activation recomputation: memory of a block against a second forward pass.

#include <torch/nn/module.h>

#include <functional>

namespace monarch::experiments {

/// call(x), of which only x is kept for backward; backward runs it again and differentiates that. Gradients go to x and
/// to the parameters of `module`, which must hold every parameter that `call` uses. They equal those of call(x) bit for
/// bit: the generators of random numbers (dropout) and the autocast mode are those of the first pass. Buffers that a
/// call changes (running means) would change twice. Without gradients to compute it is call(x).
/// Cost: one more forward pass; a backward of backward is not supported.
at::Tensor recompute(const torch::nn::Module& module, const std::function<at::Tensor(const at::Tensor&)>& call,
                     const at::Tensor& x);

}  // namespace monarch::experiments
