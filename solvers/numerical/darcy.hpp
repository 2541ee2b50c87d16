#pragma once
// Darcy flow -∇·(a ∇u) = f on the unit square, u = 0 on its boundary.

#include <ATen/core/Tensor.h>

#include <string>
#include <string_view>

#include "monarch/solvers/numerical/neumann_random_field.hpp"
#include "monarch/solvers/numerical/simulation.hpp"

namespace monarch::solvers {

/// Coefficient between two cells: the published scheme's arithmetic mean, or the harmonic mean, which keeps the flux
/// across a jump that lies on a face.
enum class FaceMean { arithmetic, harmonic };

/// -∇·(a ∇u) by five points of second order: cells of size h = 1/n with values at their centres, flux
/// a_face (u_i - u_j)/h through each face, and 2 a_i u_i/h through a face on the boundary. [sample, n, n] float64.
/// Throws ShapeError.
at::Tensor darcy_operator(const at::Tensor& coefficient, const at::Tensor& u, FaceMean mean = FaceMean::arithmetic);

/// Solves darcy_operator(a, u) = source by a sparse LDLᵀ decomposition (Eigen; minimum-degree ordering) with one step
/// of iterative refinement. coefficient: [sample, n, n]; source: [n, n] or [sample, n, n]; result: [sample, n, n]
/// float64. Each sample is solved on its own, in parallel; at 421² one takes about a second and 100 MB. `first`: the
/// number of the first sample, for messages. Throws ShapeError; DataError naming a sample whose coefficient is not
/// positive; BackendError where the residual stays above 1e-10 of the source.
at::Tensor solve_darcy(const at::Tensor& coefficient, const at::Tensor& source, FaceMean mean = FaceMean::arithmetic,
                       int64_t first = 0);

struct DarcyOptions {
  int64_t points = 421;
  NeumannFieldLaw field;   ///< of w
  bool lognormal = false;  ///< a = exp(amplitude w) instead of a = upper where w >= 0, else lower
  double upper = 12, lower = 3;
  double amplitude = 1;
  double source = 1;
  FaceMean mean = FaceMean::arithmetic;
};

/// The published coefficients by name: "paper" 12 and 3, "script" 12 and 4 (the generating script's), "lognormal"
/// exp(w). Throws ConfigError naming the closest name.
DarcyOptions darcy_set(std::string_view name);

/// Variables coeff [s, s] and sol [s, s] at the cell centres ((i + 1/2)/s, (j + 1/2)/s).
class DarcySimulation final : public Simulation {
 public:
  /// Throws ConfigError for options that make no sense.
  explicit DarcySimulation(DarcyOptions options);
  std::string equation() const override { return "darcy"; }
  std::string describe() const override;
  std::vector<SampleVariable> variables() const override;
  std::map<std::string, at::Tensor> constants() const override;
  std::map<std::string, double> parameters() const override;
  std::vector<at::Tensor> samples(uint64_t seed, int64_t first, int64_t count) const override;
  int64_t preferred_batch() const override;

 private:
  DarcyOptions options_;
};

}  // namespace monarch::solvers
