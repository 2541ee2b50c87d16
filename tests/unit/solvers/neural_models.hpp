#pragma once
// Models for tests, from a line of options.

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "monarch/solvers/neural/neural_solver.hpp"

namespace monarch::test {

/// The model of the lines below [model] ("name = 'fno'\nwidth = 4"), made after torch::manual_seed(seed). Every key
/// must have been read.
solvers::NeuralSolverPtr make_model(const std::string& lines, const solvers::FieldShape& shape, uint64_t seed = 1);

/// ||a - b|| / ||b|| in double.
double distance(const at::Tensor& a, const at::Tensor& b);

/// A smooth random field [batch, channels, grid…] on [0, 1)^d with frequencies up to `highest` of each sign along every
/// axis, the same function at every resolution. float64.
at::Tensor band_limited(int64_t batch, int64_t channels, const std::vector<int64_t>& grid, int64_t highest);

}  // namespace monarch::test
