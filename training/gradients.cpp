#include "monarch/training/gradients.hpp"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

namespace monarch::training {

void clear_gradients(std::span<const operators::ParameterGroup> parameters) {
  for (const auto& p : parameters) p.tensor.mutable_grad() = at::Tensor();
}

double gradient_norm(std::span<const operators::ParameterGroup> parameters) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> norms;
  for (const auto& p : parameters) {
    const at::Tensor g = p.tensor.grad();
    if (!g.defined()) continue;
    // As real numbers: the norm of complex ones goes by their magnitudes, one hypot each.
    norms.push_back(at::linalg_vector_norm(g.is_complex() ? at::view_as_real(g) : g).to(at::kDouble));
  }
  return norms.empty() ? 0 : at::linalg_vector_norm(at::stack(norms)).item<double>();
}

void clip_gradients(std::span<const operators::ParameterGroup> parameters, double norm, double limit) {
  if (norm <= limit) return;
  const at::NoGradGuard no_grad;
  for (const auto& p : parameters)
    if (p.tensor.grad().defined()) p.tensor.mutable_grad().mul_(limit / norm);
}

}  // namespace monarch::training
