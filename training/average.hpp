#pragma once
// An exponential moving average of weights.

#include <ATen/core/Tensor.h>

#include <vector>

#include "monarch/operators/nn/parameter_groups.hpp"

namespace monarch::training {

/// a ← d·a + (1 − d)·θ after every step, beside the parameters θ; it starts at θ.
class WeightAverage {
 public:
  WeightAverage() = default;
  /// decay 0: no average, and every function does nothing.
  WeightAverage(std::vector<operators::ParameterGroup> parameters, double decay);

  bool on() const { return !tensors_.empty(); }
  void update();
  /// The parameters take the averages' values and the averages theirs: what is evaluated and saved is the average.
  void exchange();
  /// In the order of the parameters; shared, not copied.
  const std::vector<at::Tensor>& tensors() const { return tensors_; }

 private:
  std::vector<operators::ParameterGroup> parameters_;
  double decay_ = 0;
  std::vector<at::Tensor> tensors_;
};

}  // namespace monarch::training
