#pragma once
// Stochastic depth (Huang et al., ECCV 2016).

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace monarch::experiments {

/// Each sample of a residual branch x [batch, ...] survives with probability 1 - rate, and is then divided by it. The
/// branch itself outside training and for rate 0. Draws from PyTorch's generator.
at::Tensor drop_path(const at::Tensor& x, double rate, bool training);

/// The rate of block `layer` of `depth`: 0 for the first, `rate` for the last, linear between.
double drop_path_rate(double rate, int64_t layer, int64_t depth);

}  // namespace monarch::experiments
