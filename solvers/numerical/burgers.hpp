#pragma once
// Burgers' equation u_t + (u²/2)_x = ν u_xx on the unit circle from Gaussian random fields.

#include <string>
#include <string_view>

#include "monarch/solvers/numerical/gaussian_random_field.hpp"
#include "monarch/solvers/numerical/simulation.hpp"

namespace monarch::solvers {

/// How a sample lies in the file.
enum class BurgersLayout {
  final,       ///< a [s]: the initial state; u [s]: the state at the final time
  trajectory,  ///< a [s]; u [s, T]: the states at k T/times, k = 1 … times
  space_time   ///< neuraloperator's: x [s]; y [times + 1, s], the initial state first
};

struct BurgersOptions {
  double viscosity = 0.1;
  RandomFieldLaw initial{.alpha = 2, .tau = 5, .scale = 25, .length = 1};
  int64_t points = 8192;  ///< as stored: every (grid/points)-th of the solver's points
  int64_t grid = 8192;    ///< the solver's: a multiple of points
  double final_time = 1;
  int64_t times = 1;
  double step = 0;  ///< longest time step; 0: convective_time_step of each state
  BurgersLayout layout = BurgersLayout::final;
};

/// The published data sets by name:
///   "r10"         N(0, 625 (−Δ + 25)^−2), ν = 0.1, 8192 points, u(1): burgers_data_R10.mat as printed in the paper;
///   "v1000"       N(0, 49² (−Δ + 49)^−2.5), ν = 1e-3, 1024 points, 200 moments up to 1: the generating script's
///   values; "space-time"  N(0, 625² (−Δ + 25)^−4), ν = 0.01, 16 of 128 points, 17 moments 0, 0.06 … 0.96:
///   neuraloperator's
///                 burgers_train_16.pt, whose law, grid and moments were found by solving from its data.
/// Throws ConfigError naming the closest name.
BurgersOptions burgers_set(std::string_view name);

/// Solver: solve_convective_flow. preferred_batch: enough rows for the threads.
class BurgersSimulation final : public Simulation {
 public:
  /// Throws ConfigError for options that make no sense.
  explicit BurgersSimulation(BurgersOptions options);
  std::string equation() const override { return "burgers"; }
  std::string describe() const override;
  std::vector<SampleVariable> variables() const override;
  std::map<std::string, at::Tensor> constants() const override;
  std::map<std::string, double> parameters() const override;
  std::vector<at::Tensor> samples(uint64_t seed, int64_t first, int64_t count) const override;
  int64_t preferred_batch() const override;

 private:
  std::vector<double> times() const;
  BurgersOptions options_;
};

}  // namespace monarch::solvers
