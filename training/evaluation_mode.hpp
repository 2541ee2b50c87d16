#pragma once
// Evaluation in the middle of something else.

#include <c10/core/GradMode.h>
#include <torch/nn/module.h>

namespace monarch::training {

/// Switches a module to evaluation mode and gradients off while it lives, then back to what was.
class EvaluationMode {
 public:
  explicit EvaluationMode(torch::nn::Module& module) : module_(module), training_(module.is_training()) {
    module_.eval();
  }
  ~EvaluationMode() { module_.train(training_); }
  EvaluationMode(const EvaluationMode&) = delete;
  EvaluationMode& operator=(const EvaluationMode&) = delete;

 private:
  torch::nn::Module& module_;
  bool training_;
  c10::NoGradGuard no_gradients_;
};

}  // namespace monarch::training
