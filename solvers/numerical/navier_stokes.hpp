#pragma once
// Two-dimensional incompressible Navier–Stokes equations in vorticity form on the unit torus, pseudo-spectral.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace monarch::solvers {

/// euler_cn: the published scheme: forward Euler for advection and forcing, Crank–Nicolson for viscosity; first order.
/// cn_rk4: Carpenter and Kennedy's five-stage Runge–Kutta method (NASA TM-109112, two registers) with Crank–Nicolson
///   viscosity within each stage (Canuto et al., Spectral Methods, 2006, D.3): fourth order where viscosity does not
///   matter, second order in the viscous term, whose error constant is small.
/// etdrk4: exponential time differencing (Cox and Matthews, J. Comput. Phys. 176, 2002; coefficients as in Kassam and
///   Trefethen, SIAM J. Sci. Comput. 26, 2005): fourth order.
enum class Integrator { euler_cn, cn_rk4, etdrk4 };
Integrator integrator_from_text(std::string_view text);  ///< "euler-cn" …; ConfigError naming the closest one
std::string integrator_text(Integrator integrator);

/// Which products are dealiased. products: fields are truncated to 3|k_i| < n before they are multiplied, so that u·∇w
/// is free of aliasing and conserves energy and enstrophy; what w0 holds beyond decays by viscosity alone. result: as
/// published, u·∇w is formed from all modes and truncated after (3|k_i| <= n). They agree for truncated w.
enum class Dealiasing { automatic, products, result };

struct NavierStokesOptions {
  double viscosity = 1e-3;  ///< >= 0
  int64_t size = 64;        ///< points along each axis, even
  Integrator integrator = Integrator::cn_rk4;
  Dealiasing dealiasing = Dealiasing::automatic;  ///< euler_cn: result; else products
  double dt = 0;   ///< largest time step; 0: 1e-4 for euler_cn, else min(0.04, 2.56/size)
  double cfl = 1;  ///< largest dt·max(|u|+|v|)·size; a step beyond is split into 2, 4, 8 …; 0: no control
  /// True: mean vorticity decays as exp(−νt), as in the published script, whose Laplacian is 1 at k = 0. False:
  /// conserved.
  bool decaying_mean = false;
  at::Tensor forcing;  ///< f [size, size] at points (x, y) = (i, j)/size, constant in time; undefined: none
  at::ScalarType precision = at::kFloat;  ///< or double
};

/// f = amplitude (sin 2π(x+y) + cos 2π(x+y)), float64 [n, n]; the published one has amplitude 0.1.
at::Tensor published_forcing(int64_t n, double amplitude = 0.1);
/// Vorticity of the body force amplitude · sin(2πky) along x: f = −2πk amplitude cos(2πky), float64 [n, n].
at::Tensor kolmogorov_forcing(int64_t n, double amplitude = 1, int64_t k = 4);

/// How a field is stored: all points; every stride-th (the published way, which folds fine scales onto coarse ones); or
/// the trigonometric polynomial of the modes |k_i| < size/2.
enum class Reduction { subsample, truncate };
/// Fields [batch, n, n] as [batch, stored, stored].
at::Tensor reduce_field(const at::Tensor& fields, int64_t stored, Reduction reduction);

/// ∂w/∂t + u·∇w = ν∇²w + f,  u = (∂ψ/∂y, −∂ψ/∂x),  −∇²ψ = w − mean(w), x along axis 0 and y along axis 1.
class NavierStokes {
 public:
  /// Throws ConfigError (viscosity below 0, size odd or below 4, dt or cfl below 0), ShapeError or DtypeError
  /// (forcing).
  explicit NavierStokes(NavierStokesOptions options);
  ~NavierStokes();
  NavierStokes(const NavierStokes&) = delete;
  NavierStokes& operator=(const NavierStokes&) = delete;

  /// Largest step: options.dt or its default.
  double dt() const;
  /// Options with defaults resolved.
  const NavierStokesOptions& options() const;

  /// Vorticity at `times` (> 0 and increasing, hit exactly) from `vorticity` [batch, n, n] at time 0:
  /// [batch, times, s, s], s = `stored` or n for 0, in the solver's precision. The interval between two times is cut
  /// into equal steps of at most dt(). Samples are spread over threads and vector lanes; the result of one is the same
  /// bits however they are grouped. Cost of one sample and step: stages × O(n² log n). Memory: about 40 n² numbers a
  /// sample. Throws ShapeError, ConfigError (times; `stored` must divide n for subsample and be at most n),
  /// BackendError naming sample and time where the solution stops being finite or would need steps below dt()/4096.
  at::Tensor solve(const at::Tensor& vorticity, const std::vector<double>& times, int64_t stored = 0,
                   Reduction reduction = Reduction::subsample) const;

  /// −u·∇w + f of `vorticity` [batch, n, n], as the integrators evaluate it, in the solver's precision: for tests and
  /// timings. `repeats`: evaluations, all but the last thrown away.
  at::Tensor tendency(const at::Tensor& vorticity, int64_t repeats = 1) const;

  /// Samples that keep all lanes of all threads busy.
  int64_t preferred_batch() const;

 private:
  struct State;
  std::unique_ptr<const State> state_;
};

/// Integral quantities of vorticity fields, means over the torus; each [batch] float64.
struct FlowBudget {
  at::Tensor energy;                 ///< ½⟨|u|²⟩
  at::Tensor enstrophy;              ///< ½⟨w²⟩
  at::Tensor energy_dissipation;     ///< ν⟨w²⟩ (without the mean)
  at::Tensor enstrophy_dissipation;  ///< ν⟨|∇w|²⟩
  at::Tensor energy_input;           ///< ⟨ψ f⟩
  at::Tensor enstrophy_input;        ///< ⟨w f⟩
};
/// dE/dt = energy_input − energy_dissipation and likewise for the enstrophy. vorticity [batch, n, n]; forcing [n, n] or
/// undefined. Computes in double.
FlowBudget flow_budget(const at::Tensor& vorticity, double viscosity, const at::Tensor& forcing = {});

}  // namespace monarch::solvers
