#pragma once
// How the weights of transformers and mixers start.

#include <torch/nn/module.h>

#include <functional>
#include <string>

namespace monarch::experiments {

/// Normal numbers of standard deviation `deviation / 0.8796` cut at two of these, so that what remains has `deviation`.
void truncated_normal_(const at::Tensor& tensor, double deviation);

/// Every parameter with its dotted name, without gradients: `fill` sets it.
void initialise_parameters(torch::nn::Module& module,
                           const std::function<void(const std::string& name, at::Tensor parameter)>& fill);

}  // namespace monarch::experiments
