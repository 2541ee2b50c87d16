#pragma once
// The Kuramoto-Sivashinsky equation u_t + α (u²/2)_x + β u_xx + γ u_xxxx = 0, periodic: chaos in one dimension.

#include "monarch/solvers/numerical/gaussian_random_field.hpp"
#include "monarch/solvers/numerical/simulation.hpp"

namespace monarch::solvers {

struct KuramotoSivashinskyOptions {
  double length = 100.53096491487338;  ///< 32π
  double advection = 1;                ///< α
  double instability = 1;              ///< β > 0
  double damping = 1;                  ///< γ > 0
  double deviation = 1;                ///< standard deviation of the initial field, law (−Δ + β/γ)^(−4)
  double burn_in = 50;                 ///< time before the first recorded state
  double final_time = 50;
  int64_t times = 50;
  int64_t points = 256;  ///< as stored
  int64_t grid = 256;    ///< the solver's: a multiple of points
  double step = 0;       ///< longest time step; 0: convective_time_step
};

/// Variables a [s], the state after the burn-in, and u [s, T] at k T/times behind it. Solver: solve_convective_flow.
/// Trajectories separate by a factor e in about 10 units of time (α = β = γ = 1): they are a function of (seed, index)
/// on one machine, but their late parts depend on its rounding.
class KuramotoSivashinskySimulation final : public Simulation {
 public:
  /// Throws ConfigError for options that make no sense, among them a grid that does not resolve the damped waves.
  explicit KuramotoSivashinskySimulation(KuramotoSivashinskyOptions options);
  std::string equation() const override { return "kuramoto-sivashinsky"; }
  std::string describe() const override;
  std::vector<SampleVariable> variables() const override;
  std::map<std::string, at::Tensor> constants() const override;
  std::map<std::string, double> parameters() const override;
  std::vector<at::Tensor> samples(uint64_t seed, int64_t first, int64_t count) const override;
  int64_t preferred_batch() const override;

 private:
  KuramotoSivashinskyOptions options_;
  RandomFieldLaw law_;
};

}  // namespace monarch::solvers
