#pragma once
// The course of a training, as log.jsonl of a run has it.

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace monarch::experiments {

/// A validation metric after some steps of a run.
struct Evaluation {
  double epoch = 0, step = 0;
  double seconds = 0;  ///< of the run so far, evaluations included
  double value = 0;
};

/// Finite values of a metric in the lines of `folder`/log.jsonl that have metrics, in order; none without the file.
std::vector<Evaluation> evaluations(const std::filesystem::path& folder, const std::string& metric);

/// Steps or seconds until the metric is first as good as `aim`, by linear interpolation between evaluations; none
/// where it never is.
std::optional<double> time_to_value(const std::vector<Evaluation>& course, double aim, bool steps,
                                    bool higher_is_better);

}  // namespace monarch::experiments
