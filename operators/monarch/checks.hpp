#pragma once
// What every form of the product demands of its arguments.

#include "monarch/operators/monarch/multiply.hpp"

namespace monarch::operators {

/// t.size(axis) as a number also where a trace carries a symbol there, which it pins down: factors and columns are
/// structure, batch sizes are not.
int64_t extent(const at::Tensor& t, int64_t axis);

/// Checks the arguments of monarch_multiply and returns the number of output columns.
int64_t check_multiply(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2, const MultiplyOptions& options);

}  // namespace monarch::operators
