#include "monarch/training/average.hpp"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <utility>

namespace monarch::training {

WeightAverage::WeightAverage(std::vector<operators::ParameterGroup> parameters, double decay) : decay_(decay) {
  if (decay == 0) return;
  parameters_ = std::move(parameters);
  for (const auto& p : parameters_) tensors_.push_back(p.tensor.detach().clone());
}

void WeightAverage::update() {
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < tensors_.size(); ++i)
    tensors_[i].mul_(decay_).add_(parameters_[i].tensor.detach(), 1 - decay_);
}

void WeightAverage::exchange() {
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const at::Tensor raw = parameters_[i].tensor.detach().clone();
    parameters_[i].tensor.detach().copy_(tensors_[i]);
    tensors_[i].copy_(raw);
  }
}

}  // namespace monarch::training
