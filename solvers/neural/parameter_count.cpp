#include "monarch/solvers/neural/neural_solver.hpp"

namespace monarch::solvers {

int64_t parameter_count(const torch::nn::Module& module, bool complex_once) {
  int64_t count = 0;
  for (const at::Tensor& parameter : module.parameters())
    if (parameter.requires_grad()) count += parameter.numel() * (parameter.is_complex() && !complex_once ? 2 : 1);
  return count;
}

}  // namespace monarch::solvers
