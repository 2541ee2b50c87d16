#pragma once
// Discrete gradients.

#include "monarch/operators/linear_operator.hpp"

#include <vector>

namespace monarch::operators {

/// What lies beyond the last sample of an axis. `periodic`: the first one. `neumann`: a copy of the last one, so
/// that the difference at the edge is 0.
enum class Boundary { periodic, neumann };

/// Forward differences: y[a, i] = x[i + e_a] - x[i] for each chosen axis a, e_a one sample along it.
///
/// The adjoint is the negative divergence Σ_a y[a, i - e_a] - y[a, i]; the normal operator is the negative Laplacian,
/// computed in one go. Shapes: domain [..., z, y, x] -> codomain [axis, ..., z, y, x] with a new leading axis in the
/// order of `axes`. float32, float64, complex64, complex128, any device. Cost: about one pass over input and output.
/// Throws ConfigError for axes out of range, given twice, or none.
class FiniteDifference final : public LinearOperator {
 public:
  /// domain: [..., z, y, x]. axes: of the domain; negative ones count from the end.
  FiniteDifference(Space domain, std::vector<int64_t> axes, Boundary boundary = Boundary::neumann);

  std::string describe() const override;
  /// The axes, counted from the front.
  const std::vector<int64_t>& axes() const { return axes_; }
  Boundary boundary() const { return boundary_; }
  /// An upper bound of the largest eigenvalue of A^H A: 4 per axis longer than 1. Tight for periodic even extents,
  /// and in the limit of long axes otherwise.
  double norm_bound() const;

 protected:
  at::Tensor do_apply(const at::Tensor& x) const override;
  at::Tensor do_adjoint(const at::Tensor& y) const override;
  at::Tensor do_normal(const at::Tensor& x) const override;

 private:
  std::vector<int64_t> axes_;
  Boundary boundary_;
};

}  // namespace monarch::operators
