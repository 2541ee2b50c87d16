#pragma once
// `monarch bench nufft`: the non-uniform Fourier transform and radial CG-SENSE beside BART and SigPy.

#include <string>
#include <vector>

namespace monarch::bench {

struct NufftBenchmarkOptions {
  std::vector<int> threads = {1, 2};
  int repeats = 5;            ///< rounds, in each of which every program runs once, in turn
  int64_t spokes = 101;       ///< of 512 samples
  int64_t iterations = 30;    ///< of conjugate gradients
  bool quick = false;         ///< few and short, to see that everything works
  std::string python;         ///< a Python that imports sigpy; "": .deps/peers, python3
  std::string json;           ///< file for the report as JSON; "-": stdout instead of the table; "": none
  bool goals_decide = false;  ///< exit code 1 when a goal that was measured is missed
};

/// Seconds of forward and adjoint of 8 coils of 256² and of CG-SENSE with the Toeplitz normal operator, set-up included
/// (docs/performance.md), for us and for each peer that is there. Accuracy: against direct sums in float64 at some
/// samples or pixels, up to a complex factor; of CG-SENSE against BART's image. Throws ConfigError, and BackendError
/// where a peer fails. Returns the exit code.
int run_nufft_benchmark(const NufftBenchmarkOptions& options);

}  // namespace monarch::bench
