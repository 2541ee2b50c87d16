#pragma once
// Linear advection u_t + β u_x = 0 on the unit circle, exactly.

#include <span>

#include "monarch/solvers/numerical/gaussian_random_field.hpp"
#include "monarch/solvers/numerical/simulation.hpp"

namespace monarch::solvers {

/// [sample, x, time] float64: the trigonometric interpolant of each row of [sample, x] (period 1), shifted by
/// speed · time and sampled again. Exact to rounding for every n; the wave n/2 of an even n is taken as a cosine.
at::Tensor advect(const at::Tensor& initial, double speed, std::span<const double> times);

struct AdvectionOptions {
  double speed = 0.4;
  RandomFieldLaw initial{.alpha = 2.5, .tau = 7, .scale = 49, .length = 1};
  int64_t points = 1024;
  double final_time = 1;
  int64_t times = 1;
  bool trajectory = false;  ///< u [s, T] instead of the final state u [s]
};

/// Variables a [s] and u [s] (or [s, T] at k T/times).
class AdvectionSimulation final : public Simulation {
 public:
  /// Throws ConfigError for options that make no sense.
  explicit AdvectionSimulation(AdvectionOptions options);
  std::string equation() const override { return "advection"; }
  std::string describe() const override;
  std::vector<SampleVariable> variables() const override;
  std::map<std::string, at::Tensor> constants() const override;
  std::map<std::string, double> parameters() const override;
  std::vector<at::Tensor> samples(uint64_t seed, int64_t first, int64_t count) const override;
  int64_t preferred_batch() const override;

 private:
  AdvectionOptions options_;
};

}  // namespace monarch::solvers
