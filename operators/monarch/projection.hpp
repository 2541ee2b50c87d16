#pragma once
// The nearest Monarch matrix (Theorem 1, Algorithm 1).

#include <ATen/core/Tensor.h>

#include "monarch/operators/monarch/multiply.hpp"

namespace monarch::operators {

struct MonarchFactors {
  at::Tensor w1;  ///< [k, q, p]
  at::Tensor w2;  ///< [l, s, r]
};

/// Sizes of a rows × columns Monarch matrix of k and l blocks whose (j, k) slices all have block rank `rank`:
/// p = ceil(columns/k), s = ceil(rows/l), q = l·rank, r = k·rank.
MonarchSizes monarch_sizes_of_rank(int64_t rows, int64_t columns, int64_t k, int64_t l, int64_t rank);

struct Projection {
  MonarchFactors factors;
  at::Tensor spectrum;        ///< singular values of the slices, float64 [k, l, min(s, p)], descending
  double relative_error = 0;  ///< ||A - M||_F / ||A||_F (0 for A = 0), from the discarded singular values
};

/// The Monarch matrix of the given sizes that is nearest to `a` in the Frobenius norm: for each (j, k) the slice
/// a[s l + j, k p + i] over (s, i) is replaced by its best approximation of the rank that the sizes leave it (the
/// number of middle rows t of block k with t mod l = j: q/l where l divides q, uneven otherwise). The singular values
/// are split evenly between the factors. a: [rows, columns], real or complex, rows and columns as the sizes pad them
/// (missing ones count as zeros); computed in double, returned in a's dtype. Throws ShapeError (not a matrix, sizes
/// that do not fit it, l·r != k·q, a rank beyond a slice) and DataError for NaN or infinity. Cost: k·l thin SVDs of s ×
/// p.
Projection monarch_project(const at::Tensor& a, const MonarchSizes& sizes);

}  // namespace monarch::operators
