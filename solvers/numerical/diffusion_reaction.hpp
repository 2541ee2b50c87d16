#pragma once
// Two-dimensional diffusion-reaction of FitzHugh-Nagumo type with zero normal derivative, as in PDEBench.

#include <ATen/core/Tensor.h>

#include <span>

#include "monarch/solvers/numerical/simulation.hpp"

namespace monarch::solvers {

/// u_t = Du Δu + reaction (u - u³ - k - v), v_t = Dv Δv + reaction (u - v) on a square. reaction = 0: diffusion alone.
struct DiffusionReaction {
  double length = 2;  ///< of the square's sides: [-1, 1]²
  double diffusion_u = 1e-3;
  double diffusion_v = 5e-3;
  double k = 5e-3;
  double reaction = 1;
};

/// States at `times` (not negative, increasing) from [sample, 2, n, n] (u, v) at cell centres: [sample, 2, n, n, time]
/// float64. In space the finite volumes of second order of PDEBench (five points, no flux through the boundary), which
/// the cosine transform makes diagonal: the wave (p, q) decays with D (2/h)² (sin²(πp/2n) + sin²(πq/2n)). In time
/// ETDRK4 with steps of at most `step` that divide the intervals evenly: diffusion is exact. Each sample is computed on
/// its own, in parallel. `first`: the number of the first sample, for messages. Throws BackendError naming sample and
/// time where a solution stops being finite, ShapeError, ConfigError.
at::Tensor solve_diffusion_reaction(const DiffusionReaction& equation, const at::Tensor& initial,
                                    std::span<const double> times, double step, int64_t first = 0);

struct DiffusionReactionOptions {
  DiffusionReaction equation;
  double noise = 1;  ///< standard deviation of the initial values, independent at every point
  int64_t points = 128;
  double final_time = 5;
  int64_t times = 100;  ///< moments behind the initial one
  double step = 0.01;
  bool channels = false;  ///< one variable data [T + 1, s, s, 2] in PDEBench's order of axes
};

/// Variables u and v [s, s, T + 1], or one of both; the initial state first; moments k T/times.
class DiffusionReactionSimulation final : public Simulation {
 public:
  /// Throws ConfigError for options that make no sense.
  explicit DiffusionReactionSimulation(DiffusionReactionOptions options);
  std::string equation() const override { return "diffusion-reaction"; }
  std::string describe() const override;
  std::vector<SampleVariable> variables() const override;
  std::map<std::string, at::Tensor> constants() const override;
  std::map<std::string, double> parameters() const override;
  std::vector<at::Tensor> samples(uint64_t seed, int64_t first, int64_t count) const override;
  int64_t preferred_batch() const override;

 private:
  DiffusionReactionOptions options_;
};

}  // namespace monarch::solvers
