#pragma once
// `monarch bench simulate`: our Navier–Stokes solver beside the published scheme in PyTorch.

#include <string>
#include <vector>

namespace monarch::bench {

struct SimulateBenchmarkOptions {
  std::vector<int64_t> sizes = {64, 256};
  std::vector<int> threads = {1, 2};
  int64_t batch = 20;         ///< samples at once, as published
  int repeats = 5;            ///< the least time counts, of both
  bool quick = false;         ///< small and short, to see that everything works
  std::string python;         ///< a Python that imports torch; "": .deps/venv/bin/python, python3
  std::string json;           ///< file for the report as JSON; "-": stdout instead of the table; "": none
  bool goals_decide = false;  ///< exit code 1 when a goal that was measured is missed
};

/// Right-hand sides per second of the default scheme (cn-rk4, float32, products dealiased) and of euler-cn against a
/// PyTorch script of the published scheme on the same samples, whose fields after 20 steps must equal euler-cn's to
/// 1e-5 first (BackendError otherwise); time for the published error (dt = 1e-4) on one grid; time for 1,000 samples of
/// ν = 1e-3, T = 50. Without PyTorch only our own times are given. Throws ConfigError. Returns the exit code.
int run_simulate_benchmark(const SimulateBenchmarkOptions& options);

}  // namespace monarch::bench
