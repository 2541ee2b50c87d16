#pragma once
// Weights of the published FNO scripts.

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

#include "monarch/solvers/neural/neural_solver.hpp"

namespace monarch::solvers {

/// Copies a state dict of the published scripts (fourier_1d, fourier_2d_time, fourier_3d …) into an FNO or Monarch-NO
/// of the same sizes: `fc0`, `conv<i>.weights1` to `weights4` (the corners; complex, or real with a last axis of 2),
/// `w<i>`, `bn<i>`, `fc1`, `fc2`, below any common prefix. Transforms are left as they are; `bn<i>` is left out where
/// the model has no normalisation (later scripts declare it and do not use it). The model must have been made with
/// coordinates "inclusive" and mixing "dense".
/// Throws DataError, in which `origin` appears, for tensors that are missing, superfluous or of another shape.
void load_published_fno(NeuralSolver& solver, const std::map<std::string, at::Tensor>& tensors,
                        const std::string& origin);

}  // namespace monarch::solvers
