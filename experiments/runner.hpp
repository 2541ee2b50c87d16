#pragma once
// Runs the trainings of an experiment as child processes, resumes what was interrupted, and collects the results.

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "monarch/experiments/experiment.hpp"

namespace monarch::experiments {

struct RunnerOptions {
  std::filesystem::path out;
  std::filesystem::path program;  ///< the `monarch` to start; empty: this one
  int jobs = 1;                   ///< runs at a time
  int threads = 0;                ///< of each run; 0: the cores shared among the jobs
};

/// One finished training.
struct RunResult {
  size_t row = 0, column = 0;
  int64_t seed = 0;
  double value = 0;  ///< the experiment's metric on the test data
  std::filesystem::path folder;
  nlohmann::json json;  ///< result.json of `monarch train`
};

/// What tuning found for one row and column.
struct TuningResult {
  size_t row = 0, column = 0;
  std::map<double, double> scores;  ///< value of the key -> selection metric on the validation data (NaN: diverged)
  double chosen = 0;
};

struct ExperimentResult {
  std::vector<RunResult> runs;
  std::vector<TuningResult> tuning;
  double seconds = 0;  ///< training time of all runs, tuning included
};

/// Makes missing data (`monarch simulate` into out/data), tunes, and trains every row × column × seed in
/// out/runs/<row>/<column>/seed<k>. What is finished under the same config is taken as it is; what was interrupted is
/// resumed. Throws ConfigError where `out` holds another experiment or preset, BackendError with the last lines of the
/// child's log where a run fails (the other runs in flight end first; nothing finished is lost).
ExperimentResult run_experiment(const Experiment& experiment, const RunnerOptions& options);

}  // namespace monarch::experiments
