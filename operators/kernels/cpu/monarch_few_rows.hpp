#pragma once
// The Monarch product for so few rows that reading the factors is what costs.
//
// Forward, both stages are dot products along the rows of the factors. Backward, the gradients of x and of the middle
// rows are sums of the factors' rows, and those of the factors are outer products: every factor is read, and every
// gradient written, exactly once.

#include <cstdint>
#include <vector>

#include "monarch/operators/kernels/cpu/monarch_tile.hpp"

namespace monarch::operators::kernels::cpu {

/// Batches of this size and below go here.
constexpr int64_t kFewRows = 4;

/// The middle rows as [row][j][middle_step], complex numbers interleaved.
template <class T, class Io>
int64_t few_rows_middle_size(const MonarchProblem<T, Io>& problem) {
  return problem.batch * problem.z.l * problem.middle_step * problem.unit();
}

/// Stage one: middle rows of x [batch, k p] (T; no missing columns). Weight: T, or bfloat16 bits.
template <class T, class Io, class Weight>
void few_rows_middle(const MonarchProblem<T, Io>& problem, const Weight* w1, const T* x, T* middle, bool parallel);

/// Stage two: y (and `before`) of the problem from the middle rows.
template <class T, class Io, class Weight>
void few_rows_result(const MonarchProblem<T, Io>& problem, const Weight* w2, const T* middle, bool parallel);

template <class T>
struct FewRowsGradients {
  const T* gradient = nullptr;  ///< dL/dz [batch, out]
  const T* middle = nullptr;    ///< needed with dw2
  T* dx = nullptr;              ///< each may be null
  T* dw1 = nullptr;
  T* dw2 = nullptr;
};
template <class T>
void few_rows_backward(const MonarchProblem<T, T>& problem, const FewRowsGradients<T>& gradients, bool parallel);

}  // namespace monarch::operators::kernels::cpu
