#pragma once
// One-dimensional periodic equations with a quadratic flux: Burgers and Kuramoto-Sivashinsky.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

namespace monarch::solvers {

/// u_t + advection (u²/2)_x = diffusion u_xx + hyperdiffusion u_xxxx on [0, length), periodic. Burgers: diffusion ν >
/// 0. Kuramoto-Sivashinsky: both negative.
struct ConvectiveFlow {
  double length = 1;
  double advection = 1;
  double diffusion = 0;
  double hyperdiffusion = 0;
};

/// A time step at which ETDRK4's error is below that of float32 storage for smooth initial states of the given
/// maximum |u|. Burgers: a tenth of the time in which the fastest wave passes a shock's thickness ν/(advection max|u|),
/// and at most 1/400 of that in which it goes around. Kuramoto-Sivashinsky: 0.15 of the time in which it passes the
/// length sqrt(γ/β), where max|u| is at least that of the attractor, 3 β sqrt(β/γ)/advection. Throws ConfigError for an
/// equation that amplifies its shortest waves.
double convective_time_step(const ConvectiveFlow& flow, double max_abs);

/// Solutions at `times` (not negative, increasing) from initial states [sample, x] at x_j = j length/n: [sample, x,
/// time] float64. Fourier in space, products by the 2/3 rule, so that the mean is kept to rounding and the flux does no
/// work on the modes that it acts on; ETDRK4 in time with steps of at most `step` (0: convective_time_step of each
/// state) that divide the intervals evenly. Each row is computed on its own, in parallel. `first`: the number of the
/// first row, for messages. Throws BackendError naming sample and time where a solution stops being finite, ShapeError,
/// ConfigError.
at::Tensor solve_convective_flow(const ConvectiveFlow& flow, const at::Tensor& initial, std::span<const double> times,
                                 double step = 0, int64_t first = 0);

}  // namespace monarch::solvers
