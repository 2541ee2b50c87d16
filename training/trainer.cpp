#include "monarch/training/trainer.hpp"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <set>

#include "monarch/core/error.hpp"
#include "monarch/core/files.hpp"
#include "monarch/core/log.hpp"
#include "monarch/core/progress.hpp"
#include "monarch/core/provenance.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/core/text.hpp"
#include "monarch/training/checkpoint.hpp"
#include "monarch/training/gradients.hpp"
#include "monarch/training/interruption.hpp"
#include "monarch/training/optimiser.hpp"
#include "monarch/training/position.hpp"
#include "monarch/training/precision.hpp"
#include "monarch/training/run_folder.hpp"
#include "monarch/training/run_log.hpp"

namespace fs = std::filesystem;

namespace monarch::training {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

double value_of(const Metrics& metrics, const std::string& name) {
  std::vector<std::string> names;
  for (const auto& [key, value] : metrics) {
    if (key == name) return value;
    names.push_back(key);
  }
  fail<ConfigError>(fmt::format("the task has no metric '{}' to select by", name), "it has " + join_or(names));
}

class Trainer {
 public:
  Trainer(Task& task, const TrainerOptions& options, const Config& config, const fs::path& folder,
          std::shared_ptr<Communicator> communicator);
  TrainingResult run(bool resume);

 private:
  bool leader() const { return communicator_->rank() == 0; }
  // Going on.
  void start(bool resume);
  void restore(const fs::path& checkpoint);
  void check_config(const nlohmann::json& state) const;
  void check_best();
  void share_start();
  // One step, one epoch.
  std::vector<int64_t> order_of_epoch() const;
  void step(std::span<const int64_t> order);
  double sum_over_processes(double loss);
  [[noreturn]] void refuse_batch(std::span<const int64_t> ids, const std::string& what, double value) const;
  bool interval_ends() const;
  void finish_interval();
  bool evaluate();
  bool finished() const { return at_.step >= total_steps_ || out_of_patience(); }
  int64_t unimproved() const;
  bool out_of_patience() const { return options_.patience > 0 && unimproved() >= options_.patience; }
  /// Complete ones and the part of the one being made.
  double epochs_made() const {
    return static_cast<double>(at_.epoch) + static_cast<double>(at_.batches) / static_cast<double>(epoch_steps_);
  }
  int64_t epochs_in_all() const { return epoch_steps_ > 0 ? (total_steps_ + epoch_steps_ - 1) / epoch_steps_ : 0; }
  // Keeping.
  void exchange_average();
  void save(const fs::path& folder, bool whole);
  void checkpoint();
  bool checkpoint_due() const { return seconds_since(saved_) > 60 * options_.checkpoint_minutes; }
  void agree_on_stop();
  void stop_if_asked();
  void write_results();

  /// Broadcasts tensors of any device.
  void broadcast(std::vector<at::Tensor> tensors) const;
  double seconds() const { return seconds_before_ + seconds_since(begun_); }
  double rate(int64_t step) const {
    return options_.optimiser.learning_rate *
           schedule_factor(options_.schedule, step, total_steps_, epoch_steps_);
  }

  Task& task_;
  const TrainerOptions& options_;
  const Config& config_;
  fs::path folder_;
  std::shared_ptr<Communicator> communicator_;
  std::unique_ptr<RunFolder> run_folder_;  // of the leader, as the log
  std::vector<operators::ParameterGroup> parameters_;
  Optimiser optimiser_;
  std::vector<at::Tensor> average_;  // EMA of the parameters
  at::Device device_ = at::kCPU;
  std::vector<std::pair<std::string, at::Generator>> generators_;  // and their names in checkpoints
  nlohmann::json effective_ = nlohmann::json::object();
  std::string config_text_;
  int64_t samples_ = 0, epoch_steps_ = 0, total_steps_ = 0;
  Position at_;
  std::unique_ptr<RunLog> log_;
  std::unique_ptr<StopRequests> requests_;
  bool stop_ = false;  // all processes agreed to
  Clock::time_point begun_ = Clock::now(), saved_ = begun_;
  double seconds_before_ = 0;
  double interval_seconds_ = 0;  // of the steps that this process made in this interval of the log
  int64_t interval_samples_ = 0;
};

Trainer::Trainer(Task& task, const TrainerOptions& options, const Config& config, const fs::path& folder,
                 std::shared_ptr<Communicator> communicator)
    : task_(task),
      options_(options),
      config_(config),
      folder_(folder),
      communicator_(std::move(communicator)),
      parameters_(task.parameters()),
      optimiser_(parameters_, options.optimiser),
      samples_(task.training_size()) {
  check<ConfigError>(!parameters_.empty(), "the model has no parameters to train");
  epoch_steps_ = (samples_ + options.batch - 1) / options.batch;
  total_steps_ = options.steps > 0 ? options.steps : options.epochs * epoch_steps_;
  check<ConfigError>(samples_ > 0 || (options.epochs == 0 && options.steps == 0), "there are no training samples");
  device_ = parameters_.front().tensor.device();
  generators_ = {{"generator", at::globalContext().defaultGenerator(at::kCPU)}};
  if (device_.is_cuda()) generators_.emplace_back("generator.cuda", at::globalContext().defaultGenerator(device_));
  for (const auto& [key, value] : config.effective()) effective_[key] = nlohmann::json::parse(value);
  config_text_ = config.toml();
  if (options.ema_decay > 0)
    for (const auto& p : parameters_) average_.push_back(p.tensor.detach().clone());
  if (leader()) run_folder_ = std::make_unique<RunFolder>(folder);
}

void Trainer::start(bool resume) {
  const auto folders = checkpoint_folders(folder_);
  check<ConfigError>(
      resume || folders.empty(), [&] { return fmt::format("{} holds a run already", folder_.string()); },
      "continue it with --resume, or choose another folder");
  std::string problems;
  for (const auto& folder : folders) {
    try {
      restore(folder);
      check_best();
      log::info(fmt::format("resuming at epoch {}, step {} from {}", at_.epoch + 1, at_.step, folder.string()));
      return;
    } catch (const DataError& error) {
      problems += "\n  " + error.message();
      if (folder != folders.back())
        log::warning(fmt::format("{}: not usable, taking the one before: {}", folder.string(), error.message()));
    }
  }
  check<DataError>(
      problems.empty(), [&] { return fmt::format("{}: no checkpoint can be used:{}", folder_.string(), problems); },
      "choose another folder to start anew");
}

void Trainer::check_config(const nlohmann::json& state) const {
  const nlohmann::json& before = state.at("effective");
  std::vector<std::string> keys;
  for (const auto& item : before.items()) keys.push_back(item.key());
  for (const auto& item : effective_.items())
    if (!before.contains(item.key())) keys.push_back(item.key());
  std::vector<std::string> differences;
  const auto text = [](const nlohmann::json& json, const std::string& key) {
    return json.contains(key) ? json[key].dump() : "absent";
  };
  for (const auto& key : keys) {
    static const std::set<std::string> free = {"training.epochs", "training.steps", "training.checkpoint_minutes",
                                               "training.log_steps"};
    if (free.contains(key)) continue;
    if (!before.contains(key) && !config_.has(key)) continue;  // a default that this version was the first to have
    const std::string was = text(before, key), is = text(effective_, key);
    if (was != is) differences.push_back(fmt::format("\n  {} was {}, now {}", key, was, is));
  }
  check<ConfigError>(
      differences.empty(),
      [&] {
        const size_t shown = std::min<size_t>(differences.size(), 10);
        std::string list;
        for (size_t i = 0; i < shown; ++i) list += differences[i];
        if (shown < differences.size()) list += fmt::format("\n  and {} more", differences.size() - shown);
        return fmt::format("{}: this run has another configuration:{}", folder_.string(), list);
      },
      "choose another output folder, or take the old configuration");
}

void Trainer::restore(const fs::path& folder) {
  const TrainingCheckpoint c = load_training_checkpoint(folder);
  const std::string origin = folder.string();
  try {
    check_config(c.state);
    const std::map<std::string, at::Tensor> found(c.optimiser.begin(), c.optimiser.end());
    const auto tensor = [&](const std::string& name) {
      const auto it = found.find(name);
      check<DataError>(it != found.end(), [&] { return fmt::format("{}: no tensor '{}'", origin, name); });
      return it->second;
    };
    load_weights(task_.module(), c.model, origin);
    optimiser_.load(c.optimiser, origin);
    const at::NoGradGuard no_grad;
    for (size_t i = 0; i < average_.size(); ++i) {
      const at::Tensor raw = tensor("raw." + parameters_[i].name);
      check<DataError>(raw.sizes() == average_[i].sizes() && raw.scalar_type() == average_[i].scalar_type(), [&] {
        return fmt::format("{}: 'raw.{}' is {}, expected {}", origin, parameters_[i].name, shape_text(raw.sizes()),
                           shape_text(average_[i].sizes()));
      });
      average_[i].copy_(parameters_[i].tensor.detach());
      parameters_[i].tensor.detach().copy_(raw);
    }
    for (auto& [name, generator] : generators_) generator.set_state(tensor(name));
    at_ = Position::from_json(c.state);
    if (at_.best_step < 0) at_.best_step = at_.best_epoch * epoch_steps_;
    if (at_.loss_samples < 0) at_.loss_samples = std::min(samples_, at_.batches * options_.batch);
    const auto& origins = c.state.at("provenance");
    const auto differs = [&](const char* what, const std::string& was, const std::string& is) {
      if (was != is)
        log::warning(
            fmt::format("this run had {} {}, now {}: the weights may differ in rounding from those of an "
                        "uninterrupted run",
                        was, what, is));
    };
    differs("threads", origins.at("threads").get<std::string>(), provenance().at("threads"));
    differs("processes", c.state.at("processes").dump(), std::to_string(communicator_->size()));
  } catch (const nlohmann::json::exception& error) {
    fail<DataError>(fmt::format("{}/state.json: {}", origin, error.what()));
  } catch (const c10::Error& error) {
    fail<DataError>(fmt::format("{}: {}", origin, error.what_without_backtrace()));
  }
  seconds_before_ = at_.seconds;
}

/// best/ is written after the checkpoint that names it: a kill between the two leaves it behind.
void Trainer::check_best() {
  if (at_.best_metrics.empty()) return;
  const bool is_here = at_.best_step == at_.step;
  try {
    const auto best = load_training_checkpoint(folder_ / "best");
    if (!is_here || best.state.value("step", int64_t{-1}) == at_.step) return;
  } catch (const std::exception& error) {
    if (!is_here) {
      log::warning(fmt::format("{}; the best weights are chosen anew", error.what()));
      at_.best_metrics.clear();
      at_.best = std::numeric_limits<double>::infinity();
      at_.best_epoch = at_.epoch;
      at_.best_step = at_.step;
    }
  }
  if (is_here) save(folder_ / "best", false);
}

void Trainer::broadcast(std::vector<at::Tensor> tensors) const {
  std::vector<at::Tensor> here;
  for (const auto& tensor : tensors) here.push_back(tensor.detach().to(device_));
  communicator_->broadcast(here);
  for (size_t i = 0; i < tensors.size(); ++i)
    if (!here[i].is_same(tensors[i])) tensors[i].detach().copy_(here[i]);
}

/// Everybody starts where the leader does; the others need not see its folder.
void Trainer::share_start() {
  if (communicator_->size() == 1) return;
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> tensors;
  for (const auto& [name, tensor] : module_tensors(task_.module())) tensors.push_back(tensor);
  for (const auto& [name, tensor] : optimiser_.state()) tensors.push_back(tensor);
  tensors.insert(tensors.end(), average_.begin(), average_.end());
  std::vector<at::Tensor> states;
  for (const auto& [name, generator] : generators_) states.push_back(generator.get_state().clone());
  tensors.insert(tensors.end(), states.begin(), states.end());
  broadcast(tensors);
  for (size_t i = 0; i < generators_.size(); ++i) generators_[i].second.set_state(states[i]);

  std::string text = at_.json().dump();
  const at::Tensor size = at::full({1}, static_cast<int64_t>(text.size()), at::kLong);
  broadcast({size});
  const at::Tensor bytes = at::zeros({size.item<int64_t>()}, at::kByte);
  if (leader()) std::copy(text.begin(), text.end(), bytes.mutable_data_ptr<uint8_t>());
  broadcast({bytes});
  text.assign(reinterpret_cast<const char*>(bytes.const_data_ptr<uint8_t>()), static_cast<size_t>(bytes.numel()));
  at_ = Position::from_json(nlohmann::json::parse(text));
  seconds_before_ = at_.seconds;
}

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
  if (whole) {
    c.optimiser = optimiser_.state();
    if (!average_.empty())
      for (const auto& p : parameters_) c.optimiser.emplace_back("raw." + p.name, p.tensor.detach().clone());
    for (const auto& [name, generator] : generators_) c.optimiser.emplace_back(name, generator.get_state());
  }
  exchange_average();  // the model is the average
  for (const auto& [name, tensor] : module_tensors(task_.module())) c.model.emplace_back(name, tensor.detach().clone());
  exchange_average();
  for (const auto& [name, tensor] : task_.constants()) c.constants.emplace_back(name, tensor);
  c.state = at_.json();
  c.state["config"] = config_text_;
  c.state["config_hash"] = text_hash(config_text_);
  c.state["effective"] = effective_;
  c.state["learning_rate"] = rate(at_.step);
  c.state["processes"] = communicator_->size();
  c.state["provenance"] = provenance();
  save_training_checkpoint(folder, c);
}

void Trainer::checkpoint() {
  saved_ = Clock::now();
  at_.seconds = seconds();
  if (!leader()) return;
  save(run_folder_->checkpoint(at_.step), true);
  run_folder_->prune();
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
  std::vector<double> flags = {loss, requests_->asked() ? 1.0 : 0.0};
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
    if (total[2 + i] == 0) parameters_[i].tensor.mutable_grad() = at::Tensor();
  stop_ = total[1] > 0;
  return total[0];
}

void Trainer::step(std::span<const int64_t> order) {
  const auto begin = Clock::now();
  const int64_t first = at_.batches * options_.batch, count = std::min(options_.batch, samples_ - first);
  const int64_t ranks = communicator_->size(), rank = communicator_->rank();
  const int64_t from = first + count * rank / ranks, to = first + count * (rank + 1) / ranks;
  const auto mine = order.subspan(static_cast<size_t>(from), static_cast<size_t>(to - from));
  const double weight = options_.sum_loss ? 1.0 : 1.0 / static_cast<double>(count);
  const auto micro = static_cast<size_t>(options_.micro_batch > 0 ? options_.micro_batch : options_.batch);
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
  {
    const at::NoGradGuard no_grad;
    for (size_t i = 0; i < average_.size(); ++i)
      average_[i].mul_(options_.ema_decay).add_(parameters_[i].tensor.detach(), 1 - options_.ema_decay);
  }
  ++at_.step;
  ++at_.batches;
  at_.loss_sum += loss;
  at_.loss_samples += count;
  if (ranks == 1) stop_ = requests_->asked();
  interval_seconds_ += seconds_since(begin);
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
  exchange_average();
  task_.module().eval();
  at_.last = task_.evaluate();
  task_.module().train();
  exchange_average();
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
                   evaluated ? &at_.last : nullptr);
  interval_seconds_ = 0;
  interval_samples_ = 0;
  agree_on_stop();
  if (evaluated || stop_ || checkpoint_due()) checkpoint();
  if (better) save(folder_ / "best", false);
}

/// Evaluation takes long: somebody may have been asked since the last step.
void Trainer::agree_on_stop() {
  stop_ = requests_->asked();
  if (communicator_->size() == 1) return;
  const at::Tensor word = at::full({1}, stop_ ? 1.0 : 0.0, at::TensorOptions().dtype(at::kDouble).device(device_));
  communicator_->all_reduce({word});
  stop_ = word.item<double>() > 0;
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
  begun_ = saved_ = Clock::now();
  if (at_.best_metrics.empty() && evaluate()) save(folder_ / "best", false);  // what the start is worth
  {
    Progress progress("training", total_steps_ - at_.step);
    std::vector<int64_t> order;
    while (!finished()) {
      if (order.empty() || at_.batches == 0) order = order_of_epoch();
      step(order);
      progress.note(fmt::format("epoch {:.4g}/{}, loss {:.4g}, best {} {:.4g}", epochs_made(), epochs_in_all(),
                                at_.loss_sum / static_cast<double>(at_.loss_samples), task_.selection_metric(),
                                at_.best));
      progress.advance();
      if (interval_ends())
        finish_interval();
      else if (stop_ || checkpoint_due())
        checkpoint();
      stop_if_asked();
    }
  }
  const bool early = at_.step < total_steps_;
  if (early)
    log::info(fmt::format("no better {} for {} {}: stopped", task_.selection_metric(), unimproved(),
                          options_.evaluate_steps > 0 ? "evaluations" : "epochs"));
  if (at_.step == 0) checkpoint();
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
  return result;
}

}  // namespace

TrainingResult train(Task& task, const TrainerOptions& options, const Config& config, const fs::path& folder,
                     bool resume, const std::shared_ptr<Communicator>& communicator) {
  set_precision(task.module(), options.precision);
  return Trainer(task, options, config, folder, communicator).run(resume);
}

}  // namespace monarch::training
