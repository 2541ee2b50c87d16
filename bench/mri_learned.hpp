#pragma once
// `monarch bench mri-learned`: learned reconstruction of one slice beside the same networks in PyTorch.

#include <string>
#include <vector>

#include "mri_learned_worker.hpp"

namespace monarch::bench {

struct MriLearnedBenchmarkOptions {
  std::vector<std::string> models = {"msense", "u-net", "unrolled", "modl", "varnet", "patch"};  ///< or "unrolled-128"
  std::vector<int64_t> shape = {512, 160};                                                       ///< y, x
  int64_t coils = 8;
  std::vector<int> threads = {1, 2};
  int repeats = 5;              ///< rounds, in each of which every program runs once, in turn
  int warm_ups = 1;             ///< rounds before, which do not count
  bool quick = false;           ///< small and short, to see that everything works
  std::string python;           ///< a Python that imports torch; "": .deps/peers, .deps/venv, python3
  std::string monarch_program;  ///< what runs our models; "": this very program
  std::string json;             ///< file for the report as JSON; "-": stdout instead of the table; "": none
  bool goals_decide = false;    ///< exit code 1 when a goal that was measured is missed
};

/// Seconds of the inverse transform of all coils (FFTW here, Monarch, torch.fft), and for each model of the inference
/// of a slice and of a training step, here and in PyTorch with the same weights (docs/performance.md). Each program
/// lives in a process of its own. Output and gradient are compared first: BackendError where the output differs by
/// more than 1e-4 or the gradient by more than 1e-3 (VarNet 3e-2, which rounding takes). Throws ConfigError. Returns
/// the exit code.
int run_mri_learned_benchmark(const MriLearnedBenchmarkOptions& options);

}  // namespace monarch::bench
