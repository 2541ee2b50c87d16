#pragma once
// `monarch bench fno`: FNO and Monarch-NO in training beside FNOs in PyTorch.

#include <string>
#include <vector>

#include "fno_worker.hpp"

namespace monarch::bench {

struct FnoBenchmarkOptions {
  std::vector<int64_t> sizes = {64};  ///< points along both axes
  std::vector<int64_t> modes = {12};  ///< as the published script counts them
  std::vector<int> threads = {1, 2};
  std::vector<std::string> jobs = {"forward", "step", "rollout", "memory"};
  int64_t batch = 20, steps = 10;
  int repeats = 20;             ///< rounds, in each of which every program runs once, in turn
  int rollout_repeats = 5;      ///< the same of rollouts
  int warm_ups = 5;             ///< rounds before, which do not count; at most one of rollouts
  bool quick = false;           ///< small and short, to see that everything works
  std::string python;           ///< a Python that imports torch; "": .deps/peers, .deps/venv, python3
  std::string monarch_program;  ///< what runs our models; "": this very program
  std::string json;             ///< file for the report as JSON; "-": stdout instead of the table; "": none
  bool goals_decide = false;    ///< exit code 1 when a goal that was measured is missed
};

/// Seconds of a forward pass, of an optimiser step and of a rollout's iteration, and the peak memory of the last, for
/// our models and for each peer that is there (docs/performance.md). Every program lives in a process of its own with
/// the same settings. Output and gradients are compared with those of the script-style peer first: BackendError where
/// they differ by more than 1e-5 or 1e-4. Throws ConfigError. Returns the exit code.
int run_fno_benchmark(const FnoBenchmarkOptions& options);

}  // namespace monarch::bench
