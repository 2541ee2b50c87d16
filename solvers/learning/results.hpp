#pragma once
// Pictures, curves and numbers of predicted fields.

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "monarch/solvers/learning/evaluation.hpp"

namespace monarch::solvers {

struct ResultContent {
  std::string title;
  TaskOptions task;
  FieldScores scores;
  std::vector<std::pair<std::string, FieldScores>> baselines, extra;
  at::Tensor truth, prediction;  ///< [sample, time, channel, grid…]: a few samples to show
  bool time_known = false;       ///< scores.times are of the file, else they count frames
};

/// metrics.json; error_time.svg (more than one time) and spectrum.svg (where there is one) unless pictures are off; and
/// what write_pictures writes, as panel.png and rollout.gif.
void write_results(const ResultContent& content, const std::filesystem::path& folder);

/// Truth | prediction | error of the first sample and first channel at up to five times, into `picture` (PNG); a line
/// over time is one space–time picture, of three axes the middle of the last is shown. For several times in the plane
/// also `animation` (GIF). truth may be undefined: the prediction alone.
void write_pictures(const at::Tensor& truth, const at::Tensor& prediction, const std::vector<double>& times,
                    const std::string& title, const std::filesystem::path& picture,
                    const std::filesystem::path& animation);

}  // namespace monarch::solvers
