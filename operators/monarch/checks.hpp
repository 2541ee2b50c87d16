#pragma once
// What every form of the product demands of its arguments.

#include "monarch/operators/monarch/multiply.hpp"

namespace monarch::operators {

/// Checks the arguments of monarch_multiply and returns the number of output columns.
int64_t check_multiply(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2,
                       const MultiplyOptions& options);

}  // namespace monarch::operators
