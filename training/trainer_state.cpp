// How the state of a training begins, is kept, and changes with the model.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "monarch/core/error.hpp"
#include "monarch/core/log.hpp"
#include "monarch/core/provenance.hpp"
#include "monarch/core/text.hpp"
#include "monarch/training/gradients.hpp"
#include "monarch/training/trainer_loop.hpp"

namespace fs = std::filesystem;

namespace monarch::training {

Trainer::Trainer(Task& task, const TrainerOptions& options, const Config& config, const fs::path& folder,
                 std::shared_ptr<Communicator> communicator)
    : task_(task),
      options_(options),
      config_(config),
      folder_(folder),
      communicator_(std::move(communicator)),
      parameters_(groups()),
      optimiser_(parameters_, options.optimiser, shards()),
      average_(parameters_, options.ema_decay),
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
  if (options.densify.on() && total_steps_ > 0) {
    const int64_t switch_step = options.densify.step_of(total_steps_);
    check<ConfigError>(
        switch_step >= 1 && switch_step < total_steps_,
        [&] {
          return fmt::format("[training.densify]: the layers become dense before step {}, but there are {} steps",
                             switch_step, total_steps_);
        },
        "choose 'at' or 'at_step' so that steps are left on both sides");
    check<ConfigError>(!operators::dense_parameters(task.module()).empty(),
                       "[training.densify]: the model has no structured layer that can become dense",
                       "remove the table, or give the model Monarch layers");
  }
  if (leader()) run_folder_ = std::make_unique<RunFolder>(folder);
}

/// What the task says, with the options that hold for every task where it left the defaults.
std::vector<operators::ParameterGroup> Trainer::groups() const {
  auto groups = task_.parameters();
  const operators::ParameterGroupOptions wanted{options_.optimiser.mup_base_width, options_.optimiser.decay_embeddings};
  if (wanted.base_in == 0 && !wanted.decay_embeddings) return groups;
  std::map<const void*, std::pair<operators::ParameterGroup, operators::ParameterGroup>> pairs;
  for (auto& plain : operators::parameter_groups(task_.module())) pairs[plain.tensor.unsafeGetTensorImpl()].first = plain;
  for (auto& with : operators::parameter_groups(task_.module(), wanted))
    pairs[with.tensor.unsafeGetTensorImpl()].second = with;
  for (auto& group : groups) {
    const auto found = pairs.find(group.tensor.unsafeGetTensorImpl());
    if (found == pairs.end()) continue;
    const auto& [plain, with] = found->second;
    if (group.lr_multiplier == plain.lr_multiplier) group.lr_multiplier = with.lr_multiplier;
    if (group.weight_decay == plain.weight_decay) group.weight_decay = with.weight_decay;
  }
  return groups;
}

std::shared_ptr<Communicator> Trainer::shards() const {
  return options_.zero == 1 ? communicator_ : nullptr;
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

void Trainer::restore(const fs::path& folder) {
  const TrainingCheckpoint c = load_training_checkpoint(folder);
  const std::string origin = folder.string();
  try {
    check_same_config(folder_, c.state.at("effective"), effective_, config_);
    const Position position = Position::from_json(c.state);
    check<DataError>(
        position.densified() || !at_.densified(),
        [&] { return fmt::format("{}: from before its layers became dense, which they are", origin); },
        "start again");
    if (position.densified() && !at_.densified()) become_dense();
    at_.densified_step = position.densified_step;
    const std::map<std::string, at::Tensor> found(c.optimiser.begin(), c.optimiser.end());
    const auto tensor = [&](const std::string& name) {
      const auto it = found.find(name);
      check<DataError>(it != found.end(), [&] { return fmt::format("{}: no tensor '{}'", origin, name); });
      return it->second;
    };
    load_weights(task_.module(), c.model, origin);
    optimiser_.load(c.optimiser, origin);
    const at::NoGradGuard no_grad;
    const auto& averages = average_.tensors();
    for (size_t i = 0; i < averages.size(); ++i) {
      const at::Tensor raw = tensor("raw." + parameters_[i].name);
      check<DataError>(raw.sizes() == averages[i].sizes() && raw.scalar_type() == averages[i].scalar_type(), [&] {
        return fmt::format("{}: 'raw.{}' is {}, expected {}", origin, parameters_[i].name, shape_text(raw.sizes()),
                           shape_text(averages[i].sizes()));
      });
      averages[i].copy_(parameters_[i].tensor.detach());
      parameters_[i].tensor.detach().copy_(raw);
    }
    for (auto& [name, generator] : generators_) generator.set_state(tensor(name));
    at_ = position;
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
      forget_best();
    }
  }
  if (is_here) save(folder_ / "best");
}

void Trainer::forget_best() {
  at_.best_metrics.clear();
  at_.best = std::numeric_limits<double>::infinity();
  at_.best_epoch = at_.epoch;
  at_.best_step = at_.step;
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
  const bool was_dense = at_.densified();
  share_position();
  seconds_before_ = at_.seconds;
  if (at_.densified() && !was_dense) become_dense();
  share_tensors();
  std::vector<at::Tensor> states;
  for (const auto& [name, generator] : generators_) states.push_back(generator.get_state().clone());
  broadcast(states);
  for (size_t i = 0; i < generators_.size(); ++i) generators_[i].second.set_state(states[i]);
}

void Trainer::share_position() {
  if (communicator_->size() == 1) return;
  std::string text = at_.json().dump();
  const at::Tensor size = at::full({1}, static_cast<int64_t>(text.size()), at::kLong);
  broadcast({size});
  const at::Tensor bytes = at::zeros({size.item<int64_t>()}, at::kByte);
  if (leader()) std::copy(text.begin(), text.end(), bytes.mutable_data_ptr<uint8_t>());
  broadcast({bytes});
  text.assign(reinterpret_cast<const char*>(bytes.const_data_ptr<uint8_t>()), static_cast<size_t>(bytes.numel()));
  at_ = Position::from_json(nlohmann::json::parse(text));
}

/// Weights, moments, averages.
void Trainer::share_tensors() {
  if (communicator_->size() == 1) return;
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> tensors;
  for (const auto& [name, tensor] : module_tensors(task_.module())) tensors.push_back(tensor);
  if (!shards())
    for (const auto& [name, tensor] : optimiser_.state()) tensors.push_back(tensor);
  tensors.insert(tensors.end(), average_.tensors().begin(), average_.tensors().end());
  broadcast(tensors);
  optimiser_.share();
}

nlohmann::json Trainer::state_of_run() const {
  nlohmann::json state = at_.json();
  state["config"] = config_text_;
  state["config_hash"] = text_hash(config_text_);
  state["effective"] = effective_;
  state["learning_rate"] = rate(at_.step);
  state["processes"] = communicator_->size();
  state["provenance"] = provenance();
  return state;
}

void Trainer::save(const fs::path& folder, const NamedTensors* moments) {
  if (!leader()) return;
  TrainingCheckpoint c;
  if (moments) {
    c.optimiser = *moments;
    if (average_.on())
      for (const auto& p : parameters_) c.optimiser.emplace_back("raw." + p.name, p.tensor.detach().clone());
    for (const auto& [name, generator] : generators_) c.optimiser.emplace_back(name, generator.get_state());
  }
  average_.exchange();  // the model is the average
  for (const auto& [name, tensor] : module_tensors(task_.module())) c.model.emplace_back(name, tensor.detach().clone());
  average_.exchange();
  for (const auto& [name, tensor] : task_.constants()) c.constants.emplace_back(name, tensor);
  c.state = state_of_run();
  save_training_checkpoint(folder, c);
}

void Trainer::checkpoint() {
  saved_ = Clock::now();
  at_.seconds = seconds();
  const NamedTensors moments = optimiser_.state();
  if (!leader()) return;
  at_.throughput = throughput();
  save(run_folder_->checkpoint(at_.step), &moments);
  run_folder_->prune();
}

/// What the weights of the structured module are in the dense one, under its names; the module keeps its own.
std::map<std::string, at::Tensor> Trainer::as_dense(const NamedTensors& weights) {
  NamedTensors own;
  for (const auto& [name, tensor] : module_tensors(task_.module())) own.emplace_back(name, tensor.detach().clone());
  load_weights(task_.module(), weights, (folder_ / "best").string());
  std::map<std::string, at::Tensor> dense(weights.begin(), weights.end());
  for (auto& [name, tensor] : operators::dense_parameters(task_.module())) dense[name] = tensor;
  load_weights(task_.module(), own, "the weights before");
  return dense;
}

/// The best weights so far, which have to fit the model that goes on: best/ with "model" under both kinds of names.
/// None where it is dense already (a process was killed behind the exchange) or nothing is there.
std::optional<TrainingCheckpoint> Trainer::best_as_dense() {
  if (!leader() || at_.best_metrics.empty()) return std::nullopt;
  try {
    TrainingCheckpoint best = load_training_checkpoint(folder_ / "best");
    if (best.state.value("densified", false)) return std::nullopt;
    const auto dense = as_dense(best.model);
    best.model.assign(dense.begin(), dense.end());
    return best;
  } catch (const DataError& error) {
    log::warning(fmt::format("{}; the best weights are chosen anew", error.message()));
    forget_best();
    return std::nullopt;
  }
}

/// The model, and everything that holds its parameters.
operators::ConversionReport Trainer::become_dense() {
  operators::ConversionReport report = task_.densify();
  parameters_ = groups();
  optimiser_ = Optimiser(parameters_, options_.optimiser, shards());
  average_ = WeightAverage(parameters_, options_.ema_decay);
  return report;
}

/// Mean loss of samples without dropout and in full precision; gradients, buffers and generators stay as they are.
double Trainer::loss_of(std::span<const int64_t> ids) {
  std::vector<at::Tensor> states;
  for (const auto& [name, generator] : generators_) states.push_back(generator.get_state().clone());
  task_.module().eval();
  const double sum = task_.accumulate_gradients(ids, 1.0, {options_.seed, at_.epoch, at_.step});
  task_.module().train();
  for (size_t i = 0; i < generators_.size(); ++i) generators_[i].second.set_state(states[i]);
  clear_gradients(parameters_);
  return sum / static_cast<double>(ids.size());
}

namespace {

int64_t numbers_in(std::span<const operators::ParameterGroup> parameters) {
  int64_t count = 0;
  for (const auto& p : parameters) count += p.tensor.numel() * (p.tensor.is_complex() ? 2 : 1);
  return count;
}

}  // namespace

/// Before the step that is next in `order`.
void Trainer::densify(std::span<const int64_t> order) {
  const int64_t first = at_.batches * options_.batch;
  const auto ids = order.subspan(static_cast<size_t>(first),
                                 static_cast<size_t>(std::min({micro_batch(), options_.batch, samples_ - first})));
  const double before = loss_of(ids);
  const int64_t had = numbers_in(parameters_);
  std::map<std::string, at::Tensor> averages;
  if (average_.on()) {
    average_.exchange();
    NamedTensors weights;
    for (const auto& [name, t] : module_tensors(task_.module())) weights.emplace_back(name, t.detach().clone());
    average_.exchange();
    averages = as_dense(weights);
  }
  std::optional<TrainingCheckpoint> best = best_as_dense();
  NamedTensors moments;
  if (options_.densify.optimiser == MomentPolicy::keep) moments = optimiser_.state();

  const operators::ConversionReport report = become_dense();
  at_.densified_step = at_.step;
  optimiser_.load_matching(moments);
  {
    const at::NoGradGuard no_grad;
    for (size_t i = 0; i < average_.tensors().size(); ++i)
      if (const auto it = averages.find(parameters_[i].name); it != averages.end())
        average_.tensors()[i].copy_(it->second);
  }
  share_tensors();
  share_position();
  const double after = loss_of(ids);
  check<BackendError>(
      std::abs(after - before) <= 1e-4 * std::abs(before) || after == before,
      [&] {
        return fmt::format("step {}: the loss of {} samples was {} and is {} with dense layers, expected the same",
                           at_.step, ids.size(), before, after);
      },
      "the model computes something else with them; the last checkpoint is good");
  if (best) {
    std::map<std::string, at::Tensor> found(best->model.begin(), best->model.end());
    best->model.clear();
    for (const auto& [name, tensor] : module_tensors(task_.module())) best->model.emplace_back(name, found.at(name));
    best->state["densified"] = true;
    best->state["densified_step"] = at_.densified_step;
    save_training_checkpoint(folder_ / "best", *best);
  }
  log::info(fmt::format("step {}: {} layers became dense, {} parameters before, {} after; loss of {} samples {:.6g} "
                        "before, {:.6g} after",
                        at_.step, report.changed.size(), had, numbers_in(parameters_), ids.size(), before, after));
}

}  // namespace monarch::training
