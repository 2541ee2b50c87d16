#pragma once
// `monarch bench recon`: reconstruction speed and quality beside BART, SigPy and the ISMRMRD tools.

#include <filesystem>
#include <string>
#include <vector>

namespace monarch::bench {

struct ReconBenchmarkOptions {
  int repeats = 5;  ///< timings per job and program; medians are reported
  std::vector<int> threads = {1, 2};
  std::string json;             ///< file for the report as JSON; "-": stdout instead of the table; "": none
  std::string sigpy_python;     ///< a Python that can import sigpy; "": .deps/peers/bin/python, python3
  std::string monarch_program;  ///< for whole-process times; "": this very program
  bool goals_decide = false;    ///< exit code 1 when a goal that could be measured is missed
};

/// Runs every job beside every peer that is installed, in one run, alternating between programs, and prints medians,
/// ratios, image quality and whether the goals are met. The data: BART's phantom (8 coils, 256 × 256, noise added) at
/// 2× and 4×, and a scan made by ISMRMRD's generator. All files live in a temporary folder that goes at the end.
/// Missing peers are named and skipped. Returns the exit code.
int run_recon_benchmark(const ReconBenchmarkOptions& options);

}  // namespace monarch::bench
