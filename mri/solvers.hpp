#pragma once
// Iterative solvers that see nothing but linear operators. They work on any shape, device and element type; CPU
// complex64 and float32 take fused vector kernels.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "monarch/operators/linear_operator.hpp"

namespace monarch::mri {

/// Called after each iteration (counted from 1) with the relative residual that the solver stops on.
using IterationCallback = std::function<void(int64_t iteration, double residual)>;

struct SolverResult {
  at::Tensor x;
  int64_t iterations = 0;         ///< iterations done
  std::vector<double> residuals;  ///< relative residual after each iteration
  bool converged = false;         ///< true where the tolerance ended the run
};

struct ConjugateGradientOptions {
  double lambda = 0;  ///< weight of ‖x‖²
  int64_t iterations = 30;
  double tolerance = 0;     ///< stop at ‖r‖ / ‖b‖ <= tolerance; 0 runs all iterations
  at::Tensor initial = {};  ///< start; zero where undefined
  IterationCallback callback = {};
};

/// Minimises ‖A x - y‖² + λ‖x‖² by conjugate gradients on (A^H A + λ) x = b, where b = A^H y has A's domain shape.
///
/// Leading dimensions of b beyond the domain are solved as one system. Costs one normal() and two passes over the
/// vectors per iteration. The residual is that of the normal equations, by recurrence. Stops early, with x exact,
/// when the residual vanishes. Throws BackendError where a residual is NaN or infinite (the data hold such values,
/// or the operator is no A^H A), ConfigError for a negative λ, tolerance or iteration count, ShapeError for b.
/// Hestenes, Stiefel, J. Res. Natl. Bur. Stand. 49 (1952).
SolverResult conjugate_gradient(const operators::LinearOperator& a, const at::Tensor& b,
                                const ConjugateGradientOptions& options = {});

/// Largest eigenvalue of A^H A (the squared spectral norm of A) by power iteration from a seeded random start. The
/// value approaches from below; 30 iterations are within about 1 % for encoding operators.
double largest_eigenvalue(const operators::LinearOperator& a, int64_t iterations = 30, uint64_t seed = 0);

/// The proximal map argmin_z ½‖z - x‖² + step·g(z), for iteration k (from 0). May overwrite and return x.
using ProximalMap = std::function<at::Tensor(at::Tensor x, double step, int64_t iteration)>;

struct FistaOptions {
  int64_t iterations = 30;
  double step = 0;  ///< <= 1/λmax(A^H A); 0: `step_fraction`/λmax by power iteration
  double step_fraction = 0.95;
  double tolerance = 0;  ///< stop at ‖x_k - x_{k-1}‖ / ‖x_k‖ <= tolerance; 0 runs all iterations
  /// Return z + step (b - A^H A z) for the last extrapolated z instead of x: a gradient step that no proximal map
  /// follows takes back part of the penalty's bias. One more normal().
  bool closing_gradient_step = false;
  at::Tensor initial = {};  ///< start; zero where undefined
  IterationCallback callback = {};
};

/// Minimises ½‖A x - y‖² + g(x) by accelerated proximal gradients, with b = A^H y:
///   x_k = prox_{step·g}(z_k + step (b - A^H A z_k)),  z_{k+1} = x_k + (t_k - 1)/t_{k+1} (x_k - x_{k-1}).
/// Costs one normal(), one proximal map and three passes over the vectors per iteration. `residuals` holds the
/// relative change of x. Throws as conjugate_gradient. Beck, Teboulle, SIAM J. Imaging Sci. 2 (2009).
SolverResult fista(const operators::LinearOperator& a, const at::Tensor& b, const ProximalMap& proximal,
                   const FistaOptions& options = {});

struct PrimalDualOptions {
  int64_t iterations = 100;
  double data_norm = 1;      ///< upper bound L of λmax(A^H A)
  double analysis_norm = 1;  ///< upper bound of λmax(K^H K)
  double dual_step = 0;      ///< σ; 0: 0.15 L / λmax(K^H K), near the best for total variation within 30 to 100 steps
  double tolerance = 0;      ///< stop at ‖x_k - x_{k-1}‖ / ‖x_k‖ <= tolerance; 0 runs all iterations
  at::Tensor initial = {};   ///< start; zero where undefined
  IterationCallback callback = {};
};

/// The proximal map of the convex conjugate: argmin_v ½‖v - u‖² + σ g*(v). May overwrite and return u.
using DualProximalMap = std::function<at::Tensor(at::Tensor u, double sigma)>;

/// Minimises ½‖A x - y‖² + g(K x), with b = A^H y, by the primal-dual iteration with an explicit gradient step:
///   x⁺ = x - τ (A^H A x - b + K^H u),   u⁺ = prox_{σ g*}(u + σ K (2 x⁺ - x)),
/// which converges for 1/τ >= L/2 + σ‖K‖² (we take 0.99 of that τ). Needs only A^H A, so that its shortcut serves.
/// Costs one normal(), one K and one K^H per iteration. Throws as conjugate_gradient.
/// Chambolle, Pock, J. Math. Imaging Vis. 40 (2011); with explicit gradient: Condat, J. Optim. Theory Appl. 158 (2013).
SolverResult primal_dual(const operators::LinearOperator& a, const operators::LinearOperator& k, const at::Tensor& b,
                         const DualProximalMap& dual_proximal, const PrimalDualOptions& options = {});

}  // namespace monarch::mri
