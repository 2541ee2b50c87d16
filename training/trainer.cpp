#include "monarch/training/trainer.hpp"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <numeric>

#include "monarch/core/error.hpp"
#include "monarch/core/files.hpp"
#include "monarch/core/log.hpp"
#include "monarch/core/progress.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/core/text.hpp"
#include "monarch/training/gradients.hpp"
#include "monarch/training/precision.hpp"
#include "monarch/training/trainer_loop.hpp"

namespace fs = std::filesystem;

namespace monarch::training {
namespace {

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double value_of(const Metrics& metrics, const std::string& name) {
  std::vector<std::string> names;
  for (const auto& [key, value] : metrics) {
    if (key == name) return value;
    names.push_back(key);
  }
  fail<ConfigError>(fmt::format("the task has no metric '{}' to select by", name), "it has " + join_or(names));
}

}  // namespace

double Trainer::seconds() const {
  return seconds_before_ + seconds_since(begun_);
}

double Trainer::rate(int64_t step) const {
  double factor = schedule_factor(options_.schedule, step, total_steps_, epoch_steps_);
  const DensifyOptions& d = options_.densify;
  if (d.warmup_steps > 0 && at_.densified() && step >= at_.densified_step)
    factor *= std::min(1.0, static_cast<double>(step - at_.densified_step + 1) / static_cast<double>(d.warmup_steps));
  return options_.optimiser.learning_rate * factor;
}

nlohmann::json Trainer::throughput() const {
  const auto processes = static_cast<double>(communicator_->size());
  nlohmann::json json =
      throughput_.json(task_.tokens_per_sample(), 1e12 * options_.peak_tflops * processes, device_.is_cpu());
  if (!json.empty()) json["optimiser_mib"] = static_cast<double>(optimiser_.bytes()) / (1 << 20);
  return json;
}

bool Trainer::own_checkpoint_due() const {
  return seconds_since(saved_) > 60 * options_.checkpoint_minutes;
}

std::vector<int64_t> Trainer::order_of_epoch() const {
  std::vector<int64_t> order(static_cast<size_t>(samples_));
  std::iota(order.begin(), order.end(), 0);
  Rng rng(options_.seed, fmt::format("order {}", at_.epoch));
  for (size_t i = order.size(); i > 1; --i)
    std::swap(order[i - 1], order[static_cast<size_t>(rng.below(static_cast<int64_t>(i)))]);
  return order;
}

void Trainer::refuse_batch(std::span<const int64_t> ids, const std::string& what, double value) const {
  const std::string samples = task_.describe_samples(ids);
  const nlohmann::json json{{"epoch", at_.epoch + 1},
                            {"step", at_.step},
                            {"what", what},
                            {"value", fmt::format("{}", value)},
                            {"samples", std::vector<int64_t>(ids.begin(), ids.end())},
                            {"description", samples}};
  const std::string name = leader() ? "failed_batch.json" : fmt::format("failed_batch_{}.json", communicator_->rank());
  try {
    write_file_atomically(folder_ / name, json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  } catch (const DataError& error) {
    log::warning(error.message());  // what happened matters more
  }
  fail<DataError>(
      fmt::format("epoch {}, step {}: the {} is not finite ({}) for {}", at_.epoch + 1, at_.step, what, value, samples),
      fmt::format("lower the learning rate, or set training.clip_norm; the last checkpoint is good, and {} names the "
                  "samples",
                  name));
}

/// Adds gradients and losses over the processes, and says whether one of them was asked to stop. A gradient that no
/// process has stays undefined, as with one process.
double Trainer::sum_over_processes(double loss) {
  std::vector<double> flags = {loss, requests_->asked() ? 1.0 : 0.0, leader() && own_checkpoint_due() ? 1.0 : 0.0};
  const size_t first = flags.size();
  for (const auto& p : parameters_) flags.push_back(p.tensor.grad().defined() ? 1 : 0);
  const at::Tensor words = at::tensor(flags, at::kDouble).to(device_);
  std::vector<at::Tensor> sums{words};
  for (const auto& p : parameters_) {
    if (!p.tensor.grad().defined()) p.tensor.mutable_grad() = at::zeros_like(p.tensor);
    sums.push_back(p.tensor.grad());
  }
  communicator_->all_reduce(sums);
  const at::Tensor said = words.cpu();
  const double* total = said.const_data_ptr<double>();
  for (size_t i = 0; i < parameters_.size(); ++i)
    if (total[first + i] == 0) parameters_[i].tensor.mutable_grad() = at::Tensor();
  stop_ = total[1] > 0;
  checkpoint_due_ = total[2] > 0;
  return total[0];
}

void Trainer::step(std::span<const int64_t> order) {
  const auto begin = Clock::now();
  const int64_t first = at_.batches * options_.batch, count = std::min(options_.batch, samples_ - first);
  const int64_t ranks = communicator_->size(), rank = communicator_->rank();
  const int64_t from = first + count * rank / ranks, to = first + count * (rank + 1) / ranks;
  const auto mine = order.subspan(static_cast<size_t>(from), static_cast<size_t>(to - from));
  const double weight = options_.sum_loss ? 1.0 : 1.0 / static_cast<double>(count);
  const auto micro = static_cast<size_t>(micro_batch());
  profile_.before_step();
  const Step place{options_.seed, at_.epoch, at_.step};

  clear_gradients(parameters_);
  double loss = 0;
  std::span<const int64_t> bad;
  for (size_t i = 0; i < mine.size() && bad.empty(); i += micro) {
    const auto ids = mine.subspan(i, std::min(micro, mine.size() - i));
    const MixedPrecision mixed(options_.precision == "bfloat16", device_.type());
    const double part = task_.accumulate_gradients(ids, weight, place);
    loss += part;
    if (!std::isfinite(part)) bad = ids;
  }
  if (ranks > 1) {
    const double own = loss;
    loss = sum_over_processes(loss);
    check<DataError>(
        std::isfinite(loss) || !std::isfinite(own),
        [&] {
          return fmt::format("epoch {}, step {}: the loss of another process is not finite", at_.epoch + 1, at_.step);
        },
        "its message and its failed_batch file name the samples");
  }
  if (!bad.empty()) refuse_batch(bad, "loss", loss);
  at_.gradient_norm = gradient_norm(parameters_);
  if (!std::isfinite(at_.gradient_norm)) refuse_batch(mine, "gradient", at_.gradient_norm);
  if (options_.clip_norm > 0) clip_gradients(parameters_, at_.gradient_norm, options_.clip_norm);
  const double learning_rate = rate(at_.step);
  optimiser_.step(learning_rate);
  average_.update();
  ++at_.step;
  ++at_.batches;
  at_.loss_sum += loss;
  at_.loss_samples += count;
  if (ranks == 1) {
    stop_ = requests_->asked();
    checkpoint_due_ = own_checkpoint_due();
  }
  const double took = seconds_since(begin);
  interval_seconds_ += took;
  throughput_.add(took, count, task_.flops_per_sample());
  interval_samples_ += count;
  if (log_ && options_.log_steps > 0 && at_.step % options_.log_steps == 0)
    log_->step({static_cast<double>(at_.epoch + 1), at_.step, loss / static_cast<double>(count), learning_rate,
                at_.gradient_norm},
               at_.batches);
  if (at_.batches == epoch_steps_) {
    ++at_.epoch;
    at_.batches = 0;
  }
}

/// True where the weights are the best so far.
bool Trainer::evaluate() {
  const at::NoGradGuard no_grad;
  if (communicator_->size() > 1) {  // running statistics differ: every process saw other samples
    const std::vector<at::Tensor> buffers = task_.module().buffers();
    if (!buffers.empty()) broadcast(buffers);
  }
  average_.exchange();
  task_.module().eval();
  at_.last = task_.evaluate();
  task_.module().train();
  average_.exchange();
  if (communicator_->size() > 1) {  // one opinion of what is best
    std::vector<double> values;
    for (const auto& [name, value] : at_.last) values.push_back(value);
    const at::Tensor shared = at::tensor(values, at::kDouble);
    broadcast({shared});
    for (size_t i = 0; i < values.size(); ++i) at_.last[i].second = shared.const_data_ptr<double>()[i];
  }
  const double score = value_of(at_.last, task_.selection_metric());
  if (std::isnan(score)) log::warning(fmt::format("epoch {}: {} is NaN", at_.epoch, task_.selection_metric()));
  if (!(score < at_.best) && !at_.best_metrics.empty()) return false;
  at_.best = std::isnan(score) ? std::numeric_limits<double>::infinity() : score;
  at_.best_epoch = at_.epoch;
  at_.best_step = at_.step;
  at_.best_metrics = at_.last;
  return true;
}

/// After how much the log gets a line: an epoch, or evaluate_steps; the last interval may be shorter.
bool Trainer::interval_ends() const {
  if (at_.step == total_steps_) return true;
  return options_.evaluate_steps > 0 ? at_.step % options_.evaluate_steps == 0 : at_.batches == 0;
}

/// Epochs, or evaluations, between the best and the last evaluation.
int64_t Trainer::unimproved() const {
  if (options_.evaluate_steps > 0) return at_.step / options_.evaluate_steps - at_.best_step / options_.evaluate_steps;
  return at_.epoch - at_.epoch % options_.evaluate_epochs - at_.best_epoch;
}

void Trainer::finish_interval() {
  const double loss = at_.loss_sum / static_cast<double>(at_.loss_samples), learning_rate = rate(at_.step - 1);
  at_.loss_sum = 0;
  at_.loss_samples = 0;
  const bool evaluated =
      options_.evaluate_steps > 0 || at_.step == total_steps_ || at_.epoch % options_.evaluate_epochs == 0;
  const bool better = evaluated && evaluate();
  if (log_)
    log_->interval({epochs_made(), at_.step, loss, learning_rate, at_.gradient_norm}, seconds(),
                   static_cast<double>(interval_samples_) / std::max(1e-9, interval_seconds_),
                   evaluated ? &at_.last : nullptr, throughput());
  interval_seconds_ = 0;
  interval_samples_ = 0;
  agree_on_stop();
  if (evaluated || stop_ || checkpoint_due_) checkpoint();
  if (better) save(folder_ / "best");
}

/// Evaluation takes long: somebody may have been asked since the last step.
void Trainer::agree_on_stop() {
  stop_ = requests_->asked();
  checkpoint_due_ = leader() && own_checkpoint_due();
  if (communicator_->size() == 1) return;
  const at::Tensor words =
      at::tensor({stop_ ? 1.0 : 0.0, checkpoint_due_ ? 1.0 : 0.0}, at::kDouble).to(device_);
  communicator_->all_reduce({words});
  const at::Tensor said = words.cpu();
  stop_ = said[0].item<double>() > 0;
  checkpoint_due_ = said[1].item<double>() > 0;
}

void Trainer::stop_if_asked() {
  if (!stop_) return;
  const std::string signal = requests_->signal_name();
  fail<BackendError>(fmt::format("stopped{} in epoch {} of {}, after step {}", signal.empty() ? "" : " by " + signal,
                                 std::min(at_.epoch + 1, epochs_in_all()), epochs_in_all(), at_.step),
                     fmt::format("continue with --resume; the checkpoint is in {}", folder_.string()));
}

/// With the best weights, which stay in the module.
void Trainer::write_results() {
  const TrainingCheckpoint best = load_training_checkpoint(folder_ / "best");
  if (best.state.value("densified", false) && !at_.densified()) become_dense();  // killed at the exchange, then stopped
  load_weights(task_.module(), best.model, (folder_ / "best").string());
  const at::NoGradGuard no_grad;
  task_.module().eval();
  task_.write_results(folder_ / "results");
  const std::string curves = curves_svg(folder_ / "log.jsonl", task_.selection_metric());
  if (!curves.empty()) write_file_atomically(folder_ / "results" / "curves.svg", curves);
  std::string table = fmt::format("{:<24} {:>12} {:>12}", "", "last", 
                                  options_.evaluate_steps > 0 ? fmt::format("step {}", at_.best_step)
                                                              : fmt::format("epoch {}", at_.best_epoch));
  for (size_t i = 0; i < at_.last.size(); ++i)
    table += fmt::format("\n{:<24} {:>12.5g} {:>12.5g}", at_.last[i].first, at_.last[i].second,
                         value_of(at_.best_metrics, at_.last[i].first));
  log::info(fmt::format("{} epochs, {} steps in {}\n{}", at_.epoch, at_.step, duration_text(seconds()), table));
}

TrainingResult Trainer::run(bool resume) {
  at::manual_seed(options_.seed);
  if (leader()) start(resume);
  share_start();
  if (leader()) {
    std::error_code ignored;
    fs::create_directories(folder_ / "results", ignored);
    fs::remove(folder_ / "failed_batch.json", ignored);
    write_file_atomically(folder_ / "config.toml", config_text_);
    log_ = std::make_unique<RunLog>(folder_, at_.step);
  }
  task_.module().train();
  requests_ = std::make_unique<StopRequests>();
  if (options_.profile && leader()) profile_ = StepProfile(folder_ / "results", device_);
  if (options_.zero == 1)
    log::info(fmt::format("optimiser state: {:.1f} MiB in process {} of {}",
                          static_cast<double>(optimiser_.bytes()) / (1 << 20), communicator_->rank(),
                          communicator_->size()));
  begun_ = saved_ = Clock::now();
  if (at_.best_metrics.empty() && evaluate()) save(folder_ / "best");  // what the start is worth
  {
    Progress progress("training", total_steps_ - at_.step);
    std::vector<int64_t> order;
    while (!finished()) {
      if (order.empty() || at_.batches == 0) order = order_of_epoch();
      if (densify_due()) densify(order);
      step(order);
      progress.note(fmt::format("epoch {:.4g}/{}, loss {:.4g}, best {} {:.4g}", epochs_made(), epochs_in_all(),
                                at_.loss_sum / static_cast<double>(at_.loss_samples), task_.selection_metric(),
                                at_.best));
      progress.advance();
      if (interval_ends())
        finish_interval();
      else if (stop_ || checkpoint_due_)
        checkpoint();
      stop_if_asked();
    }
  }
  const bool early = at_.step < total_steps_;
  if (early)
    log::info(fmt::format("no better {} for {} {}: stopped", task_.selection_metric(), unimproved(),
                          options_.evaluate_steps > 0 ? "evaluations" : "epochs"));
  if (at_.step == 0) checkpoint();
  profile_.finish();
  requests_.reset();
  const double seconds_in_all = seconds();
  if (leader()) write_results();
  communicator_->barrier();
  TrainingResult result;
  result.epochs = at_.epoch;
  result.steps = at_.step;
  result.best_epoch = at_.best_epoch;
  result.best_step = at_.best_step;
  result.best = at_.best;
  result.last = at_.last;
  result.best_metrics = at_.best_metrics;
  result.seconds = seconds_in_all;
  result.stopped_early = early;
  result.densified_step = at_.densified_step;
  result.throughput = throughput_.empty() ? at_.throughput : throughput();
  return result;
}

TrainingResult train(Task& task, const TrainerOptions& options, const Config& config, const fs::path& folder,
                     bool resume, const std::shared_ptr<Communicator>& communicator) {
  set_precision(task.module(), options.precision);
  return Trainer(task, options, config, folder, communicator).run(resume);
}

}  // namespace monarch::training
