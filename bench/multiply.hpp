#pragma once
// `monarch bench multiply`: the Monarch product beside a dense one and the batched products of the paper's own code.

#include <string>
#include <vector>

namespace monarch::bench {

struct MultiplyBenchmarkOptions {
  std::vector<std::string> shapes = {"768", "1024", "4096", "768:3072", "3072:768"};
  std::vector<int64_t> batches = {1, 16, 256, 4096};
  std::vector<std::string> nblocks = {"4", "sqrt"};  ///< a number: MonarchLinear's sizes; sqrt: block rank 1
  std::vector<std::string> passes = {"forward", "training"};
  std::vector<int> threads = {1, 2};
  std::string dtype = "float32";  ///< float32, float64, bfloat16, complex64, complex128; float16 on CUDA
  std::string device = "cpu";     ///< or "cuda": one GPU, thread counts do not apply
  int repeats = 7;                ///< rounds; each runs every program in turn
  double sample_seconds = 0.005;  ///< least time of a sample: short calls are repeated within it
  bool quick = false;             ///< tiny shapes and few rounds, to see that everything works
  bool fresh_memory = false;      ///< results in pages fresh from the system (glibc's way with large blocks)
  std::string json;               ///< file for the report as JSON; "-": stdout instead of the table; "": none
  std::string svg;                ///< file for the roofline chart; "": none
  bool goals_decide = false;      ///< exit code 1 when a goal that was measured is missed
};

/// Times monarch_multiply, monarch_multiply_composite ("bmm": two batched products and copies) and at::linear with a
/// dense weight ("dense") on the same x in one process: in every round each runs in turn, medians over the rounds
/// count. Each case is first compared with the composite, result and gradients; a deviation is a BackendError, and
/// nothing is timed. Peak rate and memory bandwidth are measured in the same run.
/// Throws ConfigError for options that make no sense, BackendError where there is no device. Returns the exit code.
int run_multiply_benchmark(const MultiplyBenchmarkOptions& options);

}  // namespace monarch::bench
