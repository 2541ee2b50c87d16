#pragma once
// Navier–Stokes data in the layout of the published files.

#include <memory>
#include <string>

#include "monarch/solvers/numerical/gaussian_random_field.hpp"
#include "monarch/solvers/numerical/navier_stokes.hpp"
#include "monarch/solvers/numerical/simulation.hpp"

namespace monarch::solvers {

struct NavierStokesSimulationOptions {
  double viscosity = 1e-3;
  int64_t grid = 0;     ///< points of the solver along each axis; 0: 64 for viscosity >= 1e-3, else 256
  int64_t stored = 64;  ///< points of the stored fields along each axis
  Reduction reduction = Reduction::subsample;
  double duration = 50;  ///< T
  double interval = 1;   ///< between two records; divides the duration
  double dt = 0;         ///< 0: NavierStokesOptions' default
  double cfl = 1;
  Integrator integrator = Integrator::cn_rk4;
  Dealiasing dealiasing = Dealiasing::automatic;
  bool decaying_mean = false;
  std::string amplitude = "2020";     ///< of the initial field: "2020", "2022" or "paper"
  std::string forcing = "published";  ///< or "none", "kolmogorov"
  double forcing_amplitude = 0;       ///< 0: 0.1 for published, 1 for kolmogorov
  int64_t forcing_wavenumber = 4;     ///< of kolmogorov
  at::Tensor initial;                 ///< [samples, grid, grid]: initial vorticity in place of random fields
  at::ScalarType precision = at::kFloat;
};

/// Variables "a" [s, s], the initial vorticity, and "u" [s, s, T/interval], the vorticity at t = interval, 2 interval
/// …, T (time last); constant "t" float64 [1, T/interval]. Throws ConfigError.
class NavierStokesSimulation final : public Simulation {
 public:
  explicit NavierStokesSimulation(const NavierStokesSimulationOptions& options);
  std::string equation() const override { return "navier-stokes"; }
  std::string describe() const override;
  std::vector<SampleVariable> variables() const override;
  std::map<std::string, at::Tensor> constants() const override;
  std::map<std::string, double> parameters() const override;
  std::vector<at::Tensor> samples(uint64_t seed, int64_t first, int64_t count) const override;
  int64_t preferred_batch() const override { return solver_->preferred_batch(); }

  const NavierStokes& solver() const { return *solver_; }

 private:
  NavierStokesSimulationOptions options_;
  RandomFieldLaw law_;
  std::vector<double> times_;
  std::unique_ptr<const NavierStokes> solver_;
};

}  // namespace monarch::solvers
