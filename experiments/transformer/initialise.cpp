#include "monarch/experiments/transformer/initialise.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>

namespace monarch::experiments {

void truncated_normal_(const at::Tensor& tensor, double deviation) {
  // Inverse of the distribution function over (-2, 2): erf(2/sqrt(2)) = 0.9545; the cut normal deviates by 0.8796.
  const double limit = std::erf(std::sqrt(2.0));
  tensor.uniform_(-limit, limit).erfinv_().mul_(std::sqrt(2.0) * deviation / 0.87962566103423978);
}

void initialise_parameters(torch::nn::Module& module,
                           const std::function<void(const std::string& name, at::Tensor parameter)>& fill) {
  const c10::NoGradGuard no_gradient;
  for (const auto& item : module.named_parameters()) fill(item.key(), item.value());
}

}  // namespace monarch::experiments
