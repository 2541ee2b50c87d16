#include "monarch/training/trainer.hpp"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <fcntl.h>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <csignal>
#include <fstream>
#include <limits>
#include <numeric>

#include "monarch/core/error.hpp"
#include "monarch/core/files.hpp"
#include "monarch/core/log.hpp"
#include "monarch/core/plot.hpp"
#include "monarch/core/progress.hpp"
#include "monarch/core/provenance.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/core/text.hpp"
#include "monarch/training/checkpoint.hpp"
#include "monarch/training/event_file.hpp"
#include "monarch/training/optimiser.hpp"

namespace fs = std::filesystem;

namespace monarch::training {
namespace {

std::atomic<int> stop_signal = 0;
extern "C" void remember_stop(int signal_number) {
  stop_signal = signal_number;
}

/// While it lives, SIGINT and SIGTERM only ask the loop to stop.
class StopRequests {
 public:
  StopRequests() {
    stop_signal = 0;
    interrupt_ = std::signal(SIGINT, remember_stop);
    terminate_ = std::signal(SIGTERM, remember_stop);
  }
  ~StopRequests() {
    std::signal(SIGINT, interrupt_);
    std::signal(SIGTERM, terminate_);
  }

 private:
  void (*interrupt_)(int);
  void (*terminate_)(int);
};

/// One process at a time trains into a folder; the lock goes with the process.
class FolderLock {
 public:
  explicit FolderLock(const fs::path& folder)
      : descriptor_(open((folder / ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
    check<DataError>(descriptor_ >= 0, [&] { return fmt::format("{}: cannot be written", folder.string()); });
    check<ConfigError>(flock(descriptor_, LOCK_EX | LOCK_NB) == 0,
                       [&] { return fmt::format("{}: another process trains here", folder.string()); });
  }
  ~FolderLock() { close(descriptor_); }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_;
};

/// Where training stands; what state.json holds.
struct Position {
  int64_t epoch = 0;    ///< that is being made
  int64_t batches = 0;  ///< of it that are done
  int64_t step = 0;     ///< optimiser steps in all
  double loss_sum = 0;  ///< over the samples of this epoch so far
  double norm = 0;      ///< of the last gradient
  int64_t best_epoch = 0;
  double best = std::numeric_limits<double>::infinity();
  int64_t epochs_without_gain = 0;
  double seconds = 0;  ///< of training, earlier runs included
  Metrics last, best_metrics;
};

nlohmann::json to_json(const Metrics& metrics) {
  nlohmann::json json = nlohmann::json::array();  // in order
  for (const auto& [name, value] : metrics)
    json.push_back({name, std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(nullptr)});
  return json;
}

Metrics metrics_from(const nlohmann::json& json) {
  Metrics metrics;
  for (const auto& item : json)
    metrics.emplace_back(item.at(0).get<std::string>(),
                         item.at(1).is_number() ? item.at(1).get<double>() : std::nan(""));
  return metrics;
}

nlohmann::json metric_object(const Metrics& metrics) {
  nlohmann::json json = nlohmann::json::object();
  for (const auto& [name, value] : metrics)
    json[name] = std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(nullptr);
  return json;
}

double value_of(const Metrics& metrics, const std::string& name) {
  for (const auto& [key, value] : metrics)
    if (key == name) return value;
  fail<ConfigError>(fmt::format("the task has no metric '{}' to select by", name));
}

class Trainer {
 public:
  Trainer(Task& task, const TrainerOptions& options, const Config& config, const fs::path& folder,
          std::shared_ptr<Communicator> communicator)
      : task_(task),
        options_(options),
        folder_(folder),
        communicator_(std::move(communicator)),
        parameters_(task.parameters()),
        optimiser_(parameters_, options.optimiser) {
    for (const auto& [key, value] : config.effective()) effective_[key] = nlohmann::json::parse(value);
    config_text_ = config.toml();
    samples_ = task.training_size();
    check<ConfigError>(samples_ > 0 || options.epochs == 0, "there are no training samples");
    epoch_steps_ = (samples_ + options.batch - 1) / options.batch;
    if (options.ema_decay > 0)
      for (const auto& p : parameters_) average_.push_back(p.tensor.detach().clone());
  }

  TrainingResult run(bool resume);

 private:
  bool leader() const { return communicator_->rank() == 0; }
  void go_on();
  bool restore(const fs::path& folder);
  void check_config(const nlohmann::json& state, const fs::path& place) const;
  void drop_later_log_lines() const;
  void step(const std::vector<int64_t>& order);
  void finish_epoch();
  void evaluate();
  void save(const fs::path& folder, bool whole);
  void checkpoint();
  void exchange_average();
  void write_curves() const;
  [[noreturn]] void refuse_batch(std::span<const int64_t> ids, const std::string& what, double value);
  double rate() const {
    return options_.optimiser.learning_rate *
           schedule_factor(options_.schedule, at_.step, options_.epochs * epoch_steps_, epoch_steps_);
  }

  Task& task_;
  const TrainerOptions& options_;
  fs::path folder_;
  std::shared_ptr<Communicator> communicator_;
  std::vector<operators::ParameterGroup> parameters_;
  Optimiser optimiser_;
  std::vector<at::Tensor> average_;  // EMA of the parameters
  nlohmann::json effective_;
  std::string config_text_;
  int64_t samples_ = 0, epoch_steps_ = 0;
  Position at_;
  std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now(), saved_ = begun_;
  double seconds_before_ = 0;
  std::unique_ptr<EventFile> events_;
};

void Trainer::exchange_average() {
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < average_.size(); ++i) {
    const at::Tensor raw = parameters_[i].tensor.detach().clone();
    parameters_[i].tensor.detach().copy_(average_[i]);
    average_[i].copy_(raw);
  }
}

void Trainer::save(const fs::path& folder, bool whole) {
  if (!leader()) return;
  TrainingCheckpoint c;
  if (!average_.empty()) exchange_average();  // the model is the average; the raw weights are the optimiser's
  for (const auto& [name, tensor] : module_tensors(task_.module())) c.model.emplace_back(name, tensor.detach().clone());
  if (!average_.empty()) exchange_average();
  for (const auto& [name, tensor] : task_.constants()) c.constants.emplace_back(name, tensor);
  if (whole) {
    c.optimiser = optimiser_.state();
    if (!average_.empty())
      for (const auto& p : parameters_) c.optimiser.emplace_back("raw." + p.name, p.tensor);
    c.optimiser.emplace_back("generator", at::globalContext().defaultGenerator(at::kCPU).get_state());
  }
  c.state = {{"config", config_text_},
             {"effective", effective_},
             {"epoch", at_.epoch},
             {"batches", at_.batches},
             {"step", at_.step},
             {"loss_sum", at_.loss_sum},
             {"gradient_norm", at_.norm},
             {"best_epoch", at_.best_epoch},
             {"best", std::isfinite(at_.best) ? nlohmann::json(at_.best) : nlohmann::json(nullptr)},
             {"epochs_without_gain", at_.epochs_without_gain},
             {"seconds", at_.seconds},
             {"last", to_json(at_.last)},
             {"best_metrics", to_json(at_.best_metrics)},
             {"processes", communicator_->size()},
             {"provenance", provenance()}};
  save_training_checkpoint(folder, c);
}

void Trainer::checkpoint() {
  const auto now = std::chrono::steady_clock::now();
  at_.seconds = seconds_before_ + std::chrono::duration<double>(now - begun_).count();
  saved_ = now;
  if (!leader()) return;
  fs::create_directories(folder_ / "checkpoints");
  save(folder_ / "checkpoints" / fmt::format("step-{:09}", at_.step), true);
  const auto all = checkpoint_folders(folder_);
  std::error_code ignored;
  for (size_t i = 2; i < all.size(); ++i) fs::remove_all(all[i], ignored);
}

void Trainer::check_config(const nlohmann::json& state, const fs::path& place) const {
  const nlohmann::json known = state.value("effective", nlohmann::json::object());
  std::string differences;
  const auto compare = [&](const std::string& key) {
    if (key == "training.epochs" || key == "training.checkpoint_minutes") return;  // may change
    const auto text = [&](const nlohmann::json& json) { return json.contains(key) ? json[key].dump() : "absent"; };
    if (text(known) != text(effective_))
      differences += fmt::format("\n  {} was {}, now {}", key, text(known), text(effective_));
  };
  for (const auto& item : known.items()) compare(item.key());
  for (const auto& item : effective_.items())
    if (!known.contains(item.key())) compare(item.key());
  check<ConfigError>(
      differences.empty(),
      [&] { return fmt::format("{}: this run has another configuration:{}", place.string(), differences); },
      "choose another output folder, or take the old configuration");
}

bool Trainer::restore(const fs::path& folder) {
  const TrainingCheckpoint c = load_training_checkpoint(folder);
  check_config(c.state, folder_);
  const std::string origin = folder;
  NamedTensors moments = c.optimiser;
  load_weights(task_.module(), c.model, origin);
  if (!average_.empty()) {
    const at::NoGradGuard no_grad;
    const std::map<std::string, at::Tensor> found(moments.begin(), moments.end());
    for (size_t i = 0; i < average_.size(); ++i) {
      average_[i].copy_(parameters_[i].tensor.detach());
      const auto raw = found.find("raw." + parameters_[i].name);
      check<DataError>(raw != found.end() && raw->second.sizes() == average_[i].sizes(),
                       [&] { return fmt::format("{}: no raw weights of {}", origin, parameters_[i].name); });
      parameters_[i].tensor.detach().copy_(raw->second);
    }
  }
  optimiser_.load(moments, origin);
  const auto generator =
      std::find_if(moments.begin(), moments.end(), [](const auto& m) { return m.first == "generator"; });
  check<DataError>(generator != moments.end(), [&] { return fmt::format("{}: no generator state", origin); });
  at::Generator state = at::globalContext().defaultGenerator(at::kCPU);
  state.set_state(generator->second);
  const auto& s = c.state;
  try {
    at_.epoch = s.at("epoch");
    at_.batches = s.at("batches");
    at_.step = s.at("step");
    at_.loss_sum = s.at("loss_sum");
    at_.norm = s.at("gradient_norm");
    at_.best_epoch = s.at("best_epoch");
    at_.best = s.at("best").is_number() ? s.at("best").get<double>() : std::numeric_limits<double>::infinity();
    at_.epochs_without_gain = s.at("epochs_without_gain");
    at_.seconds = seconds_before_ = s.at("seconds");
    at_.last = metrics_from(s.at("last"));
    at_.best_metrics = metrics_from(s.at("best_metrics"));
  } catch (const nlohmann::json::exception& error) {
    fail<DataError>(fmt::format("{}/state.json: {}", origin, error.what()));
  }
  log::info(fmt::format("resuming at epoch {}, step {} from {}", at_.epoch + 1, at_.step, origin));
  return true;
}

void Trainer::go_on() {
  for (const auto& folder : checkpoint_folders(folder_)) {
    try {
      restore(folder);
      return;
    } catch (const DataError& error) {
      log::warning(fmt::format("{}: not usable, trying the one before ({})", folder.string(), error.message()));
    }
  }
}

void Trainer::drop_later_log_lines() const {
  const fs::path file = folder_ / "log.jsonl";
  std::ifstream stream(file);
  if (!stream) return;
  std::string kept;
  for (std::string line; std::getline(stream, line);) {
    const auto json = nlohmann::json::parse(line, nullptr, false);
    if (json.is_object() && json.value("step", int64_t{0}) <= at_.step && json.value("epoch", int64_t{0}) <= at_.epoch)
      kept += line + "\n";
  }
  write_file_atomically(file, kept);
}

void Trainer::refuse_batch(std::span<const int64_t> ids, const std::string& what, double value) {
  const nlohmann::json json{{"epoch", at_.epoch + 1},
                            {"step", at_.step},
                            {"what", what},
                            {"value", fmt::format("{}", value)},
                            {"samples", std::vector<int64_t>(ids.begin(), ids.end())},
                            {"description", task_.describe_samples(ids)}};
  write_file_atomically(
      folder_ / fmt::format("failed_batch{}.json", leader() ? "" : std::to_string(communicator_->rank())),
      json.dump(2) + "\n");
  fail<DataError>(fmt::format("epoch {}, step {}: the {} is not finite ({}) for {}", at_.epoch + 1, at_.step, what,
                              value, task_.describe_samples(ids)),
                  "lower the learning rate, or set training.clip_norm; the last checkpoint is good, and "
                  "failed_batch.json names the samples");
}

void Trainer::step(const std::vector<int64_t>& order) {
  const int64_t first = at_.batches * options_.batch, last = std::min(samples_, first + options_.batch);
  const int64_t count = last - first, ranks = communicator_->size(), rank = communicator_->rank();
  const int64_t from = first + count * rank / ranks, to = first + count * (rank + 1) / ranks;
  const std::span<const int64_t> mine(order.data() + from, static_cast<size_t>(to - from));
  const double weight = options_.sum_loss ? 1.0 : 1.0 / static_cast<double>(count);
  const int64_t micro = options_.micro_batch > 0 ? options_.micro_batch : options_.batch;
  const Step place{options_.seed, at_.epoch, at_.step};

  for (const auto& p : parameters_) p.tensor.mutable_grad() = at::Tensor();
  double loss = 0;
  for (size_t i = 0; i < mine.size(); i += static_cast<size_t>(micro)) {
    const auto ids = mine.subspan(i, std::min(static_cast<size_t>(micro), mine.size() - i));
    const bool mixed = options_.precision == "bfloat16";
    if (mixed) at::autocast::set_autocast_enabled(at::kCPU, true);
    const double part = task_.accumulate_gradients(ids, weight, place);
    if (mixed) {
      at::autocast::clear_cache();
      at::autocast::set_autocast_enabled(at::kCPU, false);
    }
    if (!std::isfinite(part)) refuse_batch(ids, "loss", part);
    loss += part;
  }
  if (ranks > 1) {
    std::vector<at::Tensor> sums{at::full({1}, loss, at::kDouble)};
    for (const auto& p : parameters_) {
      if (!p.tensor.grad().defined()) p.tensor.mutable_grad() = at::zeros_like(p.tensor);
      sums.push_back(p.tensor.grad());
    }
    communicator_->all_reduce(sums);
    loss = sums[0].item<double>();
  }
  {
    const at::NoGradGuard no_grad;
    double square = 0;
    for (const auto& p : parameters_)
      if (p.tensor.grad().defined()) {
        const double norm = at::linalg_vector_norm(p.tensor.grad()).item<double>();
        square += norm * norm;
      }
    at_.norm = std::sqrt(square);
    if (!std::isfinite(at_.norm)) refuse_batch(mine, "gradient", at_.norm);
    if (options_.clip_norm > 0 && at_.norm > options_.clip_norm)
      for (const auto& p : parameters_)
        if (p.tensor.grad().defined()) p.tensor.mutable_grad().mul_(options_.clip_norm / at_.norm);
  }
  optimiser_.step(rate());
  if (!average_.empty()) {
    const at::NoGradGuard no_grad;
    for (size_t i = 0; i < average_.size(); ++i)
      average_[i].mul_(options_.ema_decay).add_(parameters_[i].tensor.detach(), 1 - options_.ema_decay);
  }
  ++at_.step;
  ++at_.batches;
  at_.loss_sum += loss;
}

void Trainer::evaluate() {
  const at::NoGradGuard no_grad;
  // Running statistics differ between processes, which saw different samples: everybody takes the leader's.
  if (communicator_->size() > 1) {
    std::vector<at::Tensor> buffers;
    for (const auto& buffer : task_.module().buffers()) buffers.push_back(buffer);
    if (!buffers.empty()) communicator_->broadcast(buffers);
  }
  if (!average_.empty()) exchange_average();
  task_.module().eval();
  at_.last = task_.evaluate();
  task_.module().train();
  if (!average_.empty()) exchange_average();
  const double score = value_of(at_.last, task_.selection_metric());
  if (score < at_.best || at_.best_metrics.empty()) {
    at_.best = score;
    at_.best_epoch = at_.epoch;
    at_.best_metrics = at_.last;
    at_.epochs_without_gain = 0;
    save(folder_ / "best", false);
  } else {
    at_.epochs_without_gain += options_.evaluate_epochs;
  }
}

void Trainer::finish_epoch() {
  const double loss = at_.loss_sum / static_cast<double>(samples_), learning_rate = rate();
  ++at_.epoch;
  at_.batches = 0;
  at_.loss_sum = 0;
  const bool evaluated = at_.epoch % options_.evaluate_epochs == 0 || at_.epoch == options_.epochs;
  if (evaluated) evaluate();
  if (leader()) {
    const double seconds =
        seconds_before_ + std::chrono::duration<double>(std::chrono::steady_clock::now() - begun_).count();
    nlohmann::json line{{"epoch", at_.epoch},
                        {"step", at_.step},
                        {"loss", loss},
                        {"learning_rate", learning_rate},
                        {"gradient_norm", at_.norm},
                        {"seconds", seconds},
                        {"samples_per_second", static_cast<double>(at_.epoch * samples_) / std::max(1e-9, seconds)}};
    if (evaluated) line["metrics"] = metric_object(at_.last);
    std::ofstream(folder_ / "log.jsonl", std::ios::app) << line.dump() << "\n" << std::flush;
    events_->scalar("train/loss", at_.step, loss);
    events_->scalar("train/learning_rate", at_.step, learning_rate);
    events_->scalar("train/gradient_norm", at_.step, at_.norm);
    if (evaluated)
      for (const auto& [name, value] : at_.last) events_->scalar("validation/" + name, at_.step, value);
    events_->flush();
  }
  const std::chrono::duration<double> since = std::chrono::steady_clock::now() - saved_;
  if (evaluated || since.count() > 60 * options_.checkpoint_minutes) checkpoint();
}

void Trainer::write_curves() const {
  plot::Series loss{.name = "training loss"}, metric{.name = "validation " + task_.selection_metric()};
  std::ifstream stream(folder_ / "log.jsonl");
  for (std::string line; std::getline(stream, line);) {
    const auto json = nlohmann::json::parse(line, nullptr, false);
    if (!json.is_object()) continue;
    const double epoch = json.value("epoch", 0.0);
    if (const double value = json.value("loss", 0.0); value > 0) {
      loss.x.push_back(epoch);
      loss.y.push_back(value);
    }
    const auto& values = json.value("metrics", nlohmann::json::object());
    if (values.contains(task_.selection_metric()) && values[task_.selection_metric()].is_number()) {
      const double value = values[task_.selection_metric()];
      if (value > 0) {
        metric.x.push_back(epoch);
        metric.y.push_back(value);
      }
    }
  }
  plot::Chart chart{.title = "Training", .x = {.label = "epoch"}, .y = {.label = "", .scale = plot::Scale::log}};
  if (loss.x.size() > 1) chart.series.push_back(loss);
  if (metric.x.size() > 1) chart.series.push_back(metric);
  if (!chart.series.empty()) write_file_atomically(folder_ / "results" / "curves.svg", plot::svg(chart));
}

TrainingResult Trainer::run(bool resume) {
  at::manual_seed(options_.seed);
  const bool has_run = !checkpoint_folders(folder_).empty();
  check<ConfigError>(
      resume || !has_run, [&] { return fmt::format("{} holds a run already", folder_.string()); },
      "continue it with --resume, or choose another folder");
  if (has_run) go_on();
  if (communicator_->size() > 1) {  // the same start everywhere
    std::vector<at::Tensor> values;
    for (const auto& [name, tensor] : module_tensors(task_.module())) values.push_back(tensor.detach());
    communicator_->broadcast(values);
  }
  if (leader()) {
    fs::create_directories(folder_ / "results");
    write_file_atomically(folder_ / "config.toml", config_text_);
    drop_later_log_lines();
    events_ = std::make_unique<EventFile>(folder_, at_.step);
  }
  task_.module().train();
  bool stopped = false;
  {
    const StopRequests requests;
    Progress progress("training", std::max<int64_t>(1, (options_.epochs - at_.epoch) * epoch_steps_ - at_.batches));
    if (at_.step == 0 && at_.last.empty()) evaluate();  // what the start is worth
    while (at_.epoch < options_.epochs && !stopped) {
      std::vector<int64_t> order(static_cast<size_t>(samples_));
      std::iota(order.begin(), order.end(), 0);
      Rng rng(options_.seed, fmt::format("order {}", at_.epoch));
      for (size_t i = order.size(); i > 1; --i)
        std::swap(order[i - 1], order[static_cast<size_t>(rng.below(static_cast<int64_t>(i)))]);
      while (at_.batches < epoch_steps_) {
        step(order);
        progress.advance();
        const bool asked = stop_signal != 0;
        const std::chrono::duration<double> since = std::chrono::steady_clock::now() - saved_;
        if (at_.batches < epoch_steps_ && (asked || since.count() > 60 * options_.checkpoint_minutes)) checkpoint();
        if (asked) {
          if (at_.batches == epoch_steps_) finish_epoch();
          fail<BackendError>(fmt::format("stopped at epoch {}, step {}", at_.epoch + 1, at_.step),
                             fmt::format("continue with --resume; the checkpoint is in {}", folder_.string()));
        }
      }
      const double loss = at_.loss_sum / static_cast<double>(samples_);
      finish_epoch();
      progress.note(
          fmt::format("epoch {}, loss {:.4g}, best {} {:.4g}", at_.epoch, loss, task_.selection_metric(), at_.best));
      stopped = options_.patience > 0 && at_.epochs_without_gain >= options_.patience;
    }
  }
  if (stopped)
    log::info(fmt::format("no better {} for {} epochs: stopped", task_.selection_metric(), at_.epochs_without_gain));
  checkpoint();
  if (leader()) {
    const TrainingCheckpoint best = load_training_checkpoint(folder_ / "best");
    load_weights(task_.module(), best.model, (folder_ / "best").string());
    const at::NoGradGuard no_grad;
    task_.module().eval();
    task_.write_results(folder_ / "results");
    write_curves();
  }
  communicator_->barrier();
  TrainingResult result;
  result.epochs = at_.epoch;
  result.best_epoch = at_.best_epoch;
  result.best = at_.best;
  result.last = at_.last;
  result.best_metrics = at_.best_metrics;
  result.seconds = at_.seconds;
  result.stopped_early = stopped;
  return result;
}

}  // namespace

TrainingResult train(Task& task, const TrainerOptions& options, const Config& config, const fs::path& folder,
                     bool resume, const std::shared_ptr<Communicator>& communicator) {
  if (options.precision == "bfloat16")
    check<ConfigError>(__builtin_cpu_supports("avx512bf16") != 0,
                       "training.precision is \"bfloat16\", which this processor computes slower than float32",
                       "use \"float32\"");
  std::error_code error;
  fs::create_directories(folder, error);
  check<DataError>(!error, [&] { return fmt::format("{}: cannot be made: {}", folder.string(), error.message()); });
  std::unique_ptr<FolderLock> lock;
  if (communicator->rank() == 0) lock = std::make_unique<FolderLock>(folder);
  communicator->barrier();
  if (options.precision == "float64") task.module().to(at::kDouble);
  return Trainer(task, options, config, folder, communicator).run(resume);
}

}  // namespace monarch::training
