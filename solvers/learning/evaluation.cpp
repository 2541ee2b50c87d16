#include "monarch/solvers/learning/evaluation.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "monarch/core/error.hpp"

namespace monarch::solvers {
namespace {

std::vector<double> values_of(const at::Tensor& t) {
  const at::Tensor v = t.to(at::kDouble).contiguous();
  return {v.data_ptr<double>(), v.data_ptr<double>() + v.numel()};
}

void accumulate(at::Tensor& sum, const at::Tensor& value) {
  sum = sum.defined() ? sum + value : value;
}

bool all_finite(const std::vector<double>& values) {
  return std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); });
}

double rms_log_ratio(const std::vector<double>& spectrum, const std::vector<double>& truth, int64_t shells) {
  double total = 0, sum = 0;
  int64_t count = 0;
  for (const double e : truth) total += e;
  for (size_t s = 1; s < truth.size() && static_cast<int64_t>(s) <= shells; ++s) {
    if (!(truth[s] > 1e-12 * total)) continue;
    const double ratio = std::log10(std::max(spectrum[s], 1e-300) / truth[s]);
    sum += ratio * ratio;
    ++count;
  }
  return count > 0 ? std::sqrt(sum / static_cast<double>(count)) : 0;
}

/// JSON has no NaN and no infinity.
nlohmann::json finite_json(const std::vector<double>& values) {
  nlohmann::json array = nlohmann::json::array();
  for (const double v : values) array.push_back(std::isfinite(v) ? nlohmann::json(v) : nlohmann::json());
  return array;
}

}  // namespace

at::Tensor sample_losses(const training::Loss& loss, const TaskOptions& task, const at::Tensor& prediction,
                         const at::Tensor& target) {
  if (task.kind == TaskKind::space_time) return loss(prediction.transpose(1, 2), target.transpose(1, 2));
  at::Tensor total;
  for (int64_t t = 0; t < target.size(1); ++t) accumulate(total, loss(prediction.select(1, t), target.select(1, t)));
  return task.mean_over_steps ? total / target.size(1) : total;
}

FieldEvaluation::FieldEvaluation(const TaskOptions& task, std::vector<double> times, double start)
    : task_(task), times_(std::move(times)), start_(start) {}

void FieldEvaluation::add(const at::Tensor& prediction, const at::Tensor& target, const at::Tensor& losses) {
  const at::Tensor p = prediction.detach().cpu(), u = target.detach().cpu();
  full_.push_back(relative_l2_full(p, u));
  per_time_.push_back(relative_l2_per_time(p, u));
  correlation_.push_back(correlation(p, u));
  losses_.push_back(losses.detach().to(at::kDouble).cpu());
  if (task_.kind == TaskKind::rollout)
    correlation_time_.push_back(correlation_time(p, u, times_, start_).time.to(at::kDouble));
  samples_ += static_cast<double>(u.size(0));
  const int64_t axes = u.dim() - 3;
  if (u.size(2) != 1 || axes > 2 || *std::min_element(u.sizes().begin() + 3, u.sizes().end()) < 4) return;
  const bool vorticity = task_.quantity == "vorticity" && axes == 2;
  const bool square = axes == 1 || u.size(3) == u.size(4);
  if (!square) return;
  const auto spectra = [&](const at::Tensor& f) {
    const at::Tensor field = f.select(2, 0);
    return (vorticity ? energy_spectrum(field) : spectrum(field, axes)).mean(1).sum(0);
  };
  accumulate(spectrum_, spectra(p));
  accumulate(truth_spectrum_, spectra(u));
  shells_ = u.size(3) / 2;
  if (vorticity) {
    accumulate(enstrophy_, enstrophy(p.select(2, 0)).sum(0));
    accumulate(truth_enstrophy_, enstrophy(u.select(2, 0)).sum(0));
  }
}

FieldScores FieldEvaluation::result() const {
  check<DataError>(!full_.empty(), "there are no samples to evaluate");
  FieldScores scores;
  scores.times = times_;
  const at::Tensor full = at::cat(full_), per_time = at::cat(per_time_), correlations = at::cat(correlation_);
  scores.l2_per_sample = values_of(full);
  scores.l2_per_time = values_of(per_time.mean(0));
  scores.correlation_per_time = values_of(correlations.mean(0));
  scores.l2_full.mean = full.mean().item<double>();
  scores.l2_full.low = scores.l2_full.high = scores.l2_full.mean;
  if (all_finite(scores.l2_per_sample)) scores.l2_full = bootstrap_mean(scores.l2_per_sample);
  auto& m = scores.metrics;
  m.emplace_back("l2_full", full.mean().item<double>());
  m.emplace_back("l2_step", per_time.mean().item<double>());
  m.emplace_back("loss", at::cat(losses_).mean().item<double>());
  if (!correlation_time_.empty()) m.emplace_back("correlation_time", at::cat(correlation_time_).mean().item<double>());
  if (spectrum_.defined()) {
    scores.spectrum = values_of(spectrum_ / samples_);
    scores.truth_spectrum = values_of(truth_spectrum_ / samples_);
    m.emplace_back("spectrum_error", rms_log_ratio(scores.spectrum, scores.truth_spectrum, shells_));
  }
  if (enstrophy_.defined()) {
    scores.enstrophy = values_of(enstrophy_ / samples_);
    scores.truth_enstrophy = values_of(truth_enstrophy_ / samples_);
    double error = 0;
    for (size_t t = 0; t < scores.enstrophy.size(); ++t)
      error += std::abs(scores.enstrophy[t] - scores.truth_enstrophy[t]) / scores.truth_enstrophy[t];
    m.emplace_back("enstrophy_error", error / static_cast<double>(scores.enstrophy.size()));
  }
  return scores;
}

nlohmann::ordered_json FieldScores::json() const {
  nlohmann::ordered_json json;
  for (const auto& [name, value] : metrics)
    json[name] = std::isfinite(value) ? nlohmann::json(value) : nlohmann::json();
  json["l2_full_interval"] = finite_json({l2_full.low, l2_full.high});
  json["samples"] = l2_per_sample.size();
  json["times"] = finite_json(times);
  json["l2_per_time"] = finite_json(l2_per_time);
  json["correlation_per_time"] = finite_json(correlation_per_time);
  json["l2_per_sample"] = finite_json(l2_per_sample);
  if (!spectrum.empty()) {
    json["spectrum"] = finite_json(spectrum);
    json["truth_spectrum"] = finite_json(truth_spectrum);
  }
  if (!enstrophy.empty()) {
    json["enstrophy"] = finite_json(enstrophy);
    json["truth_enstrophy"] = finite_json(truth_enstrophy);
  }
  return json;
}

}  // namespace monarch::solvers
