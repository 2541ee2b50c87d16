#pragma once
// What tasks on text share when they evaluate.

#include <ATen/core/grad_mode.h>
#include <torch/nn/module.h>

#include <cstdint>
#include <functional>
#include <vector>

namespace monarch::experiments {

/// A module in evaluation mode without gradients while it lives; afterwards as it was.
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
  at::NoGradGuard no_gradients_;
};

/// Batches of at most `size` ids, those of similar length together, so that little is padding; the longest first.
std::vector<std::vector<int64_t>> batches_by_length(std::vector<int64_t> ids,
                                                    const std::function<int64_t(int64_t id)>& length, int64_t size);

}  // namespace monarch::experiments
