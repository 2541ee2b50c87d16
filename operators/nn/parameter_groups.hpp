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
  bool weight_decay = true;  ///< false for biases, gains, norms, embeddings (see parameter_groups)
};

struct ParameterGroupOptions {
  /// Columns of a layer in the narrow model whose learning rate was tuned; 0: the rate was tuned at this width.
  int64_t base_in = 0;
  bool decay_embeddings = false;
};

/// A module with parameters of its own that get no weight decay although they have two axes or more: learned positions,
/// class tokens.
class WithoutWeightDecay {
 public:
  virtual ~WithoutWeightDecay() = default;
  /// Their names in this module, "pos_embed".
  virtual std::vector<std::string> without_weight_decay() const = 0;
};

/// Every parameter of `root` that trains, once each. No weight decay for what has fewer than two axes, for torch::nn::
/// LayerNorm, for torch::nn::Embedding (but for decay_embeddings), and for what a module names as WithoutWeightDecay.
/// Multipliers (Qiu et al., ICML 2024):
///   * factors of Monarch layers with init mup: (in / fan_in of the block) / 2, times base_in / in where base_in is
///   given;
///   * weights of torch::nn::Linear: base_in / in where base_in is given;
///   * everything else: 1.
std::vector<ParameterGroup> parameter_groups(const torch::nn::Module& root, const ParameterGroupOptions& options = {});

}  // namespace monarch::operators
