#pragma once
// An activation by itself, where no product is at hand to carry it.

#include <ATen/core/Tensor.h>

#include "monarch/operators/monarch/multiply.hpp"

namespace monarch::operators {

/// act(y), element by element; differentiable. Throws ConfigError for an activation on complex numbers.
at::Tensor activate(const at::Tensor& y, Activation activation);

}  // namespace monarch::operators
