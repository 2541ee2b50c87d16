#pragma once
// What the trainer trains: a module with data, loss and metrics. The trainer knows nothing else of it.

#include <torch/nn/module.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "monarch/operators/nn/convert.hpp"
#include "monarch/operators/nn/parameter_groups.hpp"

namespace monarch::training {

/// Name -> value, in the order that people should read: "loss", "l2_step", "l2_full" …
using Metrics = std::vector<std::pair<std::string, double>>;

/// Where training stands when a batch is asked for. Random draws of a task (noise, augmentation) are made by
/// Rng(seed, "<what> <epoch> <sample id>"), so that they depend on neither batching nor order nor process count.
struct Step {
  uint64_t seed = 0;
  int64_t epoch = 0;  ///< from 0
  int64_t step = 0;   ///< optimiser steps made before this one
};

class Task {
 public:
  virtual ~Task() = default;
  virtual torch::nn::Module& module() = 0;
  /// Default: operators::parameter_groups(module()).
  virtual std::vector<operators::ParameterGroup> parameters();
  /// Exchanges the structured layers of the module for dense ones with the same function ([training.densify]). Also
  /// called before weights of a densified checkpoint are loaded. Default: operators::to_dense(module()).
  virtual operators::ConversionReport densify();
  /// Training samples; ids are 0 … size-1.
  virtual int64_t training_size() const = 0;
  /// Adds weight · d(sum over ids of the sample's loss)/dθ to the parameters' gradients, and returns that sum (not
  /// weighted). The module is in training mode. How the gradient is made (in one graph, or by recomputing rollout steps)
  /// is the task's own affair.
  virtual double accumulate_gradients(std::span<const int64_t> ids, double weight, const Step& step) = 0;
  /// Metrics over the validation (or test) data. The module is in evaluation mode, gradients are off.
  virtual Metrics evaluate() = 0;
  /// Which of evaluate()'s metrics chooses the best epoch; smaller is better.
  virtual std::string selection_metric() const = 0;
  /// Tensors beside the module's own that inference needs (normaliser statistics); saved in every checkpoint.
  virtual std::map<std::string, at::Tensor> constants() const { return {}; }
  /// Pictures and tables of the trained model into `folder`; called with the best weights when training ends.
  virtual void write_results(const std::filesystem::path& folder) { (void)folder; }
  /// Floating-point operations of a training step (forward and backward) per sample as the module is; 0: not known.
  virtual double flops_per_sample() const { return 0; }
  /// 0: the task has no tokens.
  virtual int64_t tokens_per_sample() const { return 0; }
  /// Names the samples of a batch in errors: "samples 3, 17 of ns.mat".
  virtual std::string describe_samples(std::span<const int64_t> ids) const;
};

}  // namespace monarch::training
