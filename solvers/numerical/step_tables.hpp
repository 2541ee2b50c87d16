#pragma once
// The coefficients of the Navier–Stokes integrators, and their factors for each mode and size of step.

#include <vector>

#include "monarch/solvers/numerical/navier_stokes.hpp"

namespace monarch::solvers {

// Carpenter and Kennedy 1994: r = F + A r, w += B h r at the times C.
inline constexpr int stages_of_rk4 = 5;
inline constexpr double rk_a[] = {0.0, -567301805773.0 / 1357537059087.0, -2404267990393.0 / 2016746695238.0,
                                  -3550918686646.0 / 2091501179385.0, -1275806237668.0 / 842570457699.0};
inline constexpr double rk_b[] = {1432997174477.0 / 9575080441755.0, 5161836677717.0 / 13612068292357.0,
                                  1720146321549.0 / 2090206949498.0, 3134564353537.0 / 4481467310338.0,
                                  2277821191437.0 / 14882151754819.0};
inline constexpr double rk_c[] = {0.0,
                                  1432997174477.0 / 9575080441755.0,
                                  2526269341429.0 / 6820363962896.0,
                                  2006345519317.0 / 3224310063776.0,
                                  2802321613138.0 / 2924317926251.0,
                                  1.0};

/// Factors of each mode for one size of step. euler_cn and cn_rk4: of w and of r for each stage; etdrk4: six in the
/// order of the kernel's updates.
template <class T>
struct StepTables {
  std::vector<T> values[2 * stages_of_rk4];
};

/// decay: the rate at which viscosity damps each mode; h: the size of the step. Computed in extended precision.
template <class T>
StepTables<T> step_tables(const std::vector<double>& decay, Integrator integrator, double h);

}  // namespace monarch::solvers
