#pragma once
// The parameters of a model with the learning rate and weight decay that each should get.

#include <torch/nn/module.h>

#include <cstdint>
#include <string>
#include <vector>

namespace monarch::operators {

struct ParameterGroup {
  std::string name;  ///< as in named_parameters()
  at::Tensor tensor;
  double lr_multiplier = 1;  ///< of Adam's learning rate
  bool weight_decay = true;  ///< false for biases, gains, norms: what has fewer than two axes
};

/// Every parameter of `root` that trains, once each. Multipliers (Qiu et al., ICML 2024):
///   * factors of Monarch layers with init mup: (in / fan_in of the block) / 2, times base_in / in where base_in is
///   given;
///   * weights of torch::nn::Linear: base_in / in where base_in is given;
///   * everything else: 1.
/// base_in: columns of the layer in the narrow model whose learning rate was tuned, 0: the rate was tuned at this
/// width.
std::vector<ParameterGroup> parameter_groups(const torch::nn::Module& root, int64_t base_in = 0);

}  // namespace monarch::operators
