#pragma once
// Measures of predicted trajectories against the truth, gathered batch by batch.

#include <ATen/core/Tensor.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <vector>

#include "monarch/solvers/field_metrics.hpp"
#include "monarch/solvers/learning/options.hpp"
#include "monarch/training/losses.hpp"
#include "monarch/training/task.hpp"

namespace monarch::solvers {

/// Loss of each sample as training counts it: summed (or averaged) over the steps of a rollout, over the whole block
/// of a space–time prediction. prediction, target [sample, time, channel, grid…] -> [sample].
at::Tensor sample_losses(const training::Loss& loss, const TaskOptions& task, const at::Tensor& prediction,
                         const at::Tensor& target);

/// The results of an evaluation.
struct FieldScores {
  training::Metrics metrics;        ///< l2_full, l2_step, loss, and where they apply correlation_time …
  Interval l2_full;                 ///< with the bootstrap interval over samples
  std::vector<double> times;        ///< of the frames
  std::vector<double> l2_per_time;  ///< mean over samples
  std::vector<double> correlation_per_time;
  std::vector<double> truth_spectrum,
      spectrum;  ///< per shell, averaged over samples and times; empty where not 1 or 2-D
  std::vector<double> truth_enstrophy, enstrophy;  ///< ½⟨w²⟩ per time, averaged over samples; empty but for vorticity
  std::vector<double> l2_per_sample;

  nlohmann::ordered_json json() const;
};

/// l2_full: ‖û − u‖/‖u‖ of the whole trajectory (all times, channels and points), mean over samples; l2_step: the same
/// of each frame, mean over frames and samples; correlation_time: until the correlation falls below 0.95, in the time
/// of the file, mean over samples (rollouts only); spectrum_error: root mean square over shells 1 … n/2 of log10 of the
/// ratio of the spectra (shells that hold 1e-12 of the truth or less are left out); enstrophy_error: mean over times of
/// |Z_û − Z_u|/Z_u of the averaged enstrophies.
class FieldEvaluation {
 public:
  FieldEvaluation(const TaskOptions& task, std::vector<double> times, double start);
  /// prediction, target: [sample, time, channel, grid…], on any device.
  void add(const at::Tensor& prediction, const at::Tensor& target, const at::Tensor& losses);
  FieldScores result() const;

 private:
  TaskOptions task_;
  std::vector<double> times_;
  double start_;
  std::vector<at::Tensor> full_, per_time_, correlation_, correlation_time_, losses_;
  at::Tensor spectrum_, truth_spectrum_, enstrophy_, truth_enstrophy_;
  int64_t shells_ = 0;
  double samples_ = 0;
};

}  // namespace monarch::solvers
