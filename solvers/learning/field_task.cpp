#include "monarch/solvers/learning/field_task.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>

#include "monarch/core/error.hpp"
#include "monarch/core/files.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/data/npy.hpp"
#include "monarch/solvers/learning/results.hpp"
#include "monarch/training/evaluation_mode.hpp"

namespace monarch::solvers {
namespace {

constexpr int64_t kFitBatch = 64;        // samples read at a time for statistics
constexpr int64_t kShownSamples = 3;     // in pictures
constexpr double kGraphBytes = 1 << 30;  // of a rollout in one graph, above which "auto" recomputes
constexpr double kMapsPerStep = 400;     // fields that a step's graph holds, as an FNO of width 20 through ATen does

void add_prefixed(training::Metrics& metrics, const FieldScores& scores, const std::string& suffix) {
  for (const auto& [name, value] : scores.metrics) metrics.emplace_back(name + suffix, value);
}

}  // namespace

FieldTask::FieldTask(TaskOptions task, const DataOptions& options, PdeDataset data,
                     const std::function<NeuralSolverPtr(const FieldShape&)>& make_network, at::Device device)
    : data_(std::move(data)), device_(device), loss_(training::make_loss(task.loss)) {
  const FieldRows& rows = data_.training.rows();
  FieldFormat format{rows.input_frames(), rows.input_channels(), rows.target_frames(), rows.target_channels(),
                     rows.grid(),         rows.names().input,    rows.names().target};
  const bool rollout = task.kind == TaskKind::rollout;
  NormaliserFit input(options.input_normaliser, rollout), target(options.target_normaliser, rollout);
  double sum = 0, squares = 0, count = 0;
  for (int64_t first = 0; first < data_.training.size(); first += kFitBatch) {
    const FieldBatch batch = data_.training.read(first, kFitBatch);
    input.add(batch.input);
    if (rollout) input.add(batch.target);  // a frame of the target becomes input
    target.add(batch.target);
    const at::Tensor truth = batch.target.to(at::kDouble);
    const at::Tensor part = truth.sum(0, true);
    mean_ = mean_.defined() ? mean_ + part : part;
    sum += truth.sum().item<double>();
    squares += truth.square().sum().item<double>();
    count += static_cast<double>(truth.numel());
  }
  mean_ /= data_.training.size();
  field_std_ = std::sqrt(std::max(0.0, squares / count - (sum / count) * (sum / count)));
  NeuralSolverPtr network = make_network(format.network_shape(task));
  network->to(device_);
  model_.emplace(std::move(network), std::move(task), std::move(format), input.result(), target.result());
}

std::vector<operators::ParameterGroup> FieldTask::parameters() {
  return solver_parameter_groups(model_->network());
}

int64_t FieldTask::training_size() const {
  const bool pairs = model_->task().mode == RolloutMode::one_step;
  return data_.training.size() * (pairs ? model_->task().horizon : 1);
}

FieldBatch FieldTask::to_device(FieldBatch batch) const {
  if (device_.is_cpu()) return batch;
  return {batch.input.to(device_), batch.target.defined() ? batch.target.to(device_) : batch.target};
}

bool FieldTask::recompute(int64_t samples, int64_t steps) const {
  const TaskOptions& task = model_->task();
  if (task.recompute != Recompute::automatic) return task.recompute == Recompute::on;
  double bytes = kMapsPerStep * 4 * static_cast<double>(samples * steps);
  for (const int64_t n : model_->format().grid) bytes *= static_cast<double>(n);
  return bytes > kGraphBytes;
}

double FieldTask::one_step_gradients(std::span<const int64_t> ids, double weight, const training::Step& step) {
  const TaskOptions& task = model_->task();
  std::vector<int64_t> places;
  for (const int64_t id : ids) places.push_back(id / task.horizon);
  const FieldBatch batch = data_.training.read(places);
  const at::Tensor frames = at::cat({batch.input, batch.target}, 1);
  std::vector<at::Tensor> windows, truths;
  for (size_t i = 0; i < ids.size(); ++i) {
    const int64_t t = ids[i] % task.horizon, row = static_cast<int64_t>(i);
    at::Tensor window = frames[row].slice(0, t, t + task.input_frames);
    if (task.noise > 0) {
      Rng rng(step.seed, fmt::format("noise {} {}", step.epoch, ids[i]));
      window = window + rng.normal(window.sizes().vec(), window.scalar_type()) * (task.noise * field_std_);
    }
    windows.push_back(window);
    truths.push_back(frames[row][t + task.input_frames]);
  }
  const FieldBatch pairs = to_device({at::stack(windows), at::stack(truths)});
  return pushforward_gradient([this](const at::Tensor& window) { return model_->step(window); }, module(), pairs.input,
                              0, pairs.target, loss_, weight);
}

double FieldTask::accumulate_gradients(std::span<const int64_t> ids, double weight, const training::Step& step) {
  const TaskOptions& task = model_->task();
  if (task.mode == RolloutMode::one_step) return one_step_gradients(ids, weight, step);
  const auto advance = [this](const at::Tensor& window) { return model_->step(window); };
  if (task.kind != TaskKind::rollout) {
    const FieldBatch batch = to_device(data_.training.read(ids));
    const at::AutoGradMode on(true);
    const at::Tensor prediction = model_->predict(batch.input, batch.target.size(1));
    const at::Tensor value = sample_losses(loss_, task, prediction, batch.target).sum();
    if (value.requires_grad()) torch::autograd::backward({value}, {at::full_like(value, weight)});
    return value.item<double>();
  }
  if (task.mode == RolloutMode::pushforward) {
    // The number of free steps is one for the whole batch, whatever its parts; where it starts is each sample's own.
    const int64_t most = std::min(task.pushforward_steps, task.horizon - 1);
    const int64_t free = Rng(step.seed, fmt::format("pushforward {}", step.step)).below(most + 1);
    const FieldBatch batch = data_.training.read(ids);
    const at::Tensor frames = at::cat({batch.input, batch.target}, 1);
    std::vector<at::Tensor> windows, truths;
    for (size_t i = 0; i < ids.size(); ++i) {
      const int64_t start =
          Rng(step.seed, fmt::format("pushforward start {} {}", step.epoch, ids[i])).below(task.horizon - free);
      const at::Tensor sample = frames[static_cast<int64_t>(i)];
      windows.push_back(sample.slice(0, start, start + task.input_frames));
      truths.push_back(sample[start + task.input_frames + free]);
    }
    const FieldBatch start = to_device({at::stack(windows), at::stack(truths)});
    return pushforward_gradient(advance, module(), start.input, free, start.target, loss_, weight);
  }
  FieldBatch batch = to_device(data_.training.read(ids));
  const int64_t steps = task.horizon_at(step.epoch);
  batch.target = batch.target.slice(1, 0, steps);
  const double scale = task.mean_over_steps ? 1.0 / static_cast<double>(steps) : 1.0;
  const auto samples = static_cast<int64_t>(ids.size());
  return scale * rollout_gradient(advance, module(), batch.input, batch.target, loss_, weight * scale,
                                  recompute(samples, steps))
                     .loss;
}

FieldScores FieldTask::score(const FieldSet& set, const Predict& predict,
                             const std::function<void(const FieldBatch&, const at::Tensor&)>& see) const {
  const TaskOptions& task = model_->task();
  const at::NoGradGuard guard;
  FieldEvaluation evaluation(task, set.rows().target_times(), set.rows().start_time());
  for (int64_t first = 0; first < set.size(); first += task.evaluation_batch) {
    const FieldBatch batch = to_device(set.read(first, task.evaluation_batch));
    const at::Tensor prediction = predict(batch);
    evaluation.add(prediction, batch.target, sample_losses(loss_, task, prediction, batch.target));
    if (see) see(batch, prediction);
  }
  return evaluation.result();
}

FieldScores FieldTask::score(const FieldSet& set) const {
  return score(set, [this](const FieldBatch& batch) { return model_->predict(batch.input, batch.target.size(1)); });
}

std::vector<Baseline> FieldTask::baselines(const FieldSet& set) const {
  std::vector<Baseline> result;
  const FieldFormat& format = model_->format();
  const bool same_kind = format.input == format.target || model_->task().kind == TaskKind::space_time;
  if (same_kind && format.input_channels == format.target_channels) {
    result.push_back({"persistence", score(set, [](const FieldBatch& batch) {
                        return batch.input.slice(1, -1).expand_as(batch.target);
                      })});
  }
  const at::Tensor mean = mean_;
  if (set.rows().grid() == format.grid) {
    result.push_back({"mean", score(set, [&](const FieldBatch& batch) {
                        return mean.to(batch.target.options()).expand_as(batch.target);
                      })});
  }
  return result;
}

training::Metrics FieldTask::evaluate() {
  if (data_.validation.size() > 0) return score(data_.validation).metrics;
  return score(data_.training.first(data_.test.size())).metrics;
}

std::string FieldTask::describe_samples(std::span<const int64_t> ids) const {
  std::vector<std::string> words;
  const TaskOptions& task = model_->task();
  for (const int64_t id : ids) {
    const bool pair = task.mode == RolloutMode::one_step;
    const int64_t row = data_.training.ids().at(static_cast<size_t>(pair ? id / task.horizon : id));
    words.push_back(pair ? fmt::format("{} (step {})", row, id % task.horizon) : std::to_string(row));
  }
  return fmt::format("samples {} of {}", fmt::join(words, ", "), data_.training.rows().source().name());
}

void FieldTask::run_test(const std::function<void(const FieldBatch&, const at::Tensor&)>& see) {
  const training::EvaluationMode mode(model_->network());
  const auto predict = [this](const FieldBatch& batch) { return model_->predict(batch.input, batch.target.size(1)); };
  test_ = score(data_.test, predict, see);
  extra_.clear();
  test_metrics_ = test_->metrics;
  for (const auto& extra : data_.extra) {
    extra_.emplace_back(extra.name, score(extra.set, predict));
    add_prefixed(test_metrics_, extra_.back().second, "_" + extra.name);
  }
}

const training::Metrics& FieldTask::test_metrics() {
  if (!test_) run_test({});
  return test_metrics_;
}

void FieldTask::write_results(const std::filesystem::path& folder) {
  const TaskOptions& task = model_->task();
  ResultContent content;
  content.task = task;
  content.title = model_->network().describe();
  std::vector<at::Tensor> truths, predictions, all;
  int64_t kept = 0;
  run_test([&](const FieldBatch& batch, const at::Tensor& prediction) {
    if (kept < kShownSamples) {
      truths.push_back(batch.target.slice(0, 0, kShownSamples - kept).cpu());
      predictions.push_back(prediction.slice(0, 0, kShownSamples - kept).cpu());
      kept += truths.back().size(0);
    }
    if (task.save_predictions) all.push_back(prediction.cpu());
  });
  content.scores = *test_;
  content.extra = extra_;
  content.truth = at::cat(truths);
  content.prediction = at::cat(predictions);
  content.time_known = data_.test.rows().times_known();
  for (auto& baseline : baselines(data_.test)) content.baselines.emplace_back(baseline.name, baseline.scores);
  solvers::write_results(content, folder);
  if (!all.empty()) data::save_npy(folder / "predictions.npy", at::cat(all));
}

}  // namespace monarch::solvers
