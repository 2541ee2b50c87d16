#pragma once
// `monarch bench models`: dense and Monarch transformers and mixers beside the same models in PyTorch.

#include <string>
#include <vector>

#include "models_worker.hpp"

namespace monarch::bench {

struct ModelsBenchmarkOptions {
  std::vector<std::string> models = benchmark_models();
  ModelsCase sizes;
  std::vector<int> threads = {1, 2};
  int repeats = 5;              ///< rounds, in each of which every program runs once, in turn
  int warm_ups = 1;             ///< rounds before, which do not count
  bool compile = true;          ///< torch.compile, too
  bool quick = false;           ///< small and short, to see that everything works
  std::string python;           ///< a Python that imports torch; "": .deps/peers, .deps/venv, python3
  std::string monarch_program;  ///< what runs our models; "": this very program
  std::string json;             ///< file for the report as JSON; "-": stdout instead of the table; "": none
  bool goals_decide = false;    ///< exit code 1 when a goal that was measured is missed
};

/// Seconds of a training step and of inference, for the paper's models cut to `sizes.depth` blocks: dense and Monarch
/// here, dense in PyTorch, eager and compiled (docs/performance.md). Each program lives in a process of its own. Logits
/// of the dense models are compared first: BackendError where they differ by more than 1e-4. Goals: dense as fast as
/// PyTorch; Monarch at least 0.85 of the ratio of multiplications faster than dense in a step; in inference never
/// slower, and 1.5 times as fast at 32 samples. Throws ConfigError. Returns the exit code.
int run_models_benchmark(const ModelsBenchmarkOptions& options);

}  // namespace monarch::bench
