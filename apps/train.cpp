// monarch train CONFIG: a neural PDE solver from one config file.

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <cmath>
#include <cstdio>
#include <fstream>

#include "command.hpp"
#include "monarch/core/config.hpp"
#include "monarch/core/error.hpp"
#include "monarch/core/memory.hpp"
#include "monarch/core/files.hpp"
#include "monarch/core/log.hpp"
#include "monarch/core/process.hpp"
#include "monarch/core/provenance.hpp"
#include "monarch/core/text.hpp"
#include "monarch/solvers/learning/field_task.hpp"
#include "monarch/training/checkpoint.hpp"
#include "monarch/training/trainer.hpp"

namespace fs = std::filesystem;

namespace monarch::apps {
namespace {

struct Arguments {
  std::string config, out;
  std::vector<std::string> set;
  std::optional<int64_t> seed;
  bool resume = false, json = false;
};

/// The file that `monarch simulate WORDS` makes, in the run's folder; made once for the same words.
std::string simulated_file(const std::string& command, const fs::path& folder) {
  const fs::path file = folder / "data" / "simulated.mat", note = folder / "data" / "simulated.command";
  std::error_code ignored;
  std::string made;
  std::getline(std::ifstream(note), made);
  if (fs::exists(file, ignored) && made == command) return file;
  fs::create_directories(file.parent_path(), ignored);
  log::info("making the data: monarch simulate " + command);
  std::vector<std::string> words{fs::read_symlink("/proc/self/exe", ignored), "simulate"};
  std::istringstream stream(command);
  for (std::string word; stream >> word;) words.push_back(word);
  words.insert(words.end(), {"-o", fs::absolute(file), "--threads", std::to_string(at::get_num_threads())});
  const auto child = run_child(words, file.parent_path(), {}, "simulate.log");
  check<ConfigError>(child.exit_code == 0, [&] {
    return fmt::format("data.simulate: monarch simulate {} ended with code {}:\n{}", command, child.exit_code,
                       child.output);
  });
  write_file_atomically(note, command + "\n");
  return file;
}

at::Device device_of(const Config& config, const training::Communicator* group = nullptr) {
  const std::string name = config.text("training.device", "auto");
  check<ConfigError>(name == "auto" || name == "cpu" || name == "cuda", [&] {
    return fmt::format("{}: 'training.device' is \"{}\", expected auto, cpu or cuda", config.name(), name);
  });
  check<ConfigError>(name != "cuda" || at::hasCUDA(),
                     config.name() + ": 'training.device' is \"cuda\", but there is none",
                     "set it to \"cpu\" or \"auto\"");
  if (name == "cpu" || !at::hasCUDA()) return at::kCPU;
  const char* local = std::getenv("LOCAL_RANK");
  const int64_t index = local ? std::atoll(local) : group ? group->rank() : 0;
  return {at::kCUDA, static_cast<c10::DeviceIndex>(index % at::detail::getCUDAHooks().deviceCount())};
}

nlohmann::ordered_json metrics_json(const training::Metrics& metrics) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for (const auto& [name, value] : metrics)
    json[name] = std::isfinite(value) ? nlohmann::json(value) : nlohmann::json();
  return json;
}

double metric(const training::Metrics& metrics, const std::string& name) {
  for (const auto& [key, value] : metrics)
    if (key == name) return value;
  return std::nan("");
}

std::string data_text(const solvers::PdeDataset& data) {
  const auto& rows = data.training.rows();
  std::string grid;
  for (const int64_t n : rows.grid()) grid += (grid.empty() ? "" : " × ") + std::to_string(n);
  return fmt::format("{} training, {} validation, {} test samples of {} → {}, {} frames → {} on {}",
                     data.training.size(), data.validation.size(), data.test.size(), rows.names().input,
                     rows.names().target, rows.input_frames(), rows.target_frames(), grid);
}

/// A model without parameters has nothing to learn: its checkpoint and results are made as they are.
void evaluate_only(solvers::FieldTask& task, const Config& config, const fs::path& folder) {
  training::TrainingCheckpoint checkpoint;
  for (const auto& [name, tensor] : task.constants()) checkpoint.constants.emplace_back(name, tensor);
  checkpoint.model = training::module_tensors(task.module());
  checkpoint.state = {{"config", config.toml()}, {"epoch", 0}, {"step", 0}};
  training::save_training_checkpoint(folder / "best", checkpoint);
  task.write_results(folder / "results");
}

void run(const Arguments& a) {
  Config config = Config::load(a.config);
  for (const auto& assignment : a.set) config.set(assignment);
  if (a.seed) config.set(fmt::format("training.seed={}", *a.seed));
  const fs::path folder = a.out.empty() ? fs::path("runs") / fs::path(a.config).stem() : fs::path(a.out);

  const auto trainer = training::TrainerOptions::from_config(config);
  const auto task_options = solvers::TaskOptions::from_config(config);
  const auto data_options = solvers::DataOptions::from_config(config);
  const bool cuda = device_of(config).is_cuda();
  {
    // The model's own keys wait until the data say what shape it has; everything else is settled before long work.
    const Config rest = config.copy();
    rest.section("model");
    rest.finish();
    training::make_loss(task_options.loss);
  }
  const auto group = training::communicator_from_environment(cuda);
  const bool first = group->rank() == 0;
  if (!first) log::set_level(log::Level::warning);
  std::string simulated;
  if (!data_options.simulate.empty()) {
    if (first) simulated_file(data_options.simulate, folder);
    group->barrier();
    simulated = folder / "data" / "simulated.mat";
  }
  const at::ScalarType dtype = trainer.precision == "float64" ? at::kDouble : at::kFloat;
  auto data = solvers::PdeDataset::open(data_options, task_options, dtype, simulated);
  for (const auto& note : data.notes) log::info(note);
  log::info(data_text(data));
  const auto make_network = [&](const solvers::FieldShape& shape) {
    at::manual_seed(trainer.seed);
    auto network = solvers::make_neural_solver(config, shape);
    config.finish();
    if (dtype == at::kDouble) network->to(at::kDouble);
    return network;
  };
  solvers::FieldTask task(task_options, data_options, std::move(data), make_network, device_of(config, group.get()));
  const int64_t parameters = solvers::parameter_count(task.module());
  const int64_t once = solvers::parameter_count(task.module(), true);
  log::info(fmt::format("{}: {} parameters ({} where a complex number counts once)", task.model().network().describe(),
                        parameters, once));
  nlohmann::ordered_json baselines = nlohmann::ordered_json::object();
  if (first) {
    const bool validated = task.data().validation.size() > 0;
    for (const auto& baseline : task.baselines(validated ? task.data().validation : task.data().test)) {
      baselines[baseline.name] = metrics_json(baseline.scores.metrics);
      log::info(fmt::format("{} ({} data): relative L2 {:.4f}", baseline.name, validated ? "validation" : "test",
                            metric(baseline.scores.metrics, "l2_full")));
    }
  }

  training::TrainingResult result;
  if (parameters == 0) {
    fs::create_directories(folder);
    task.module().eval();
    const at::NoGradGuard guard;
    result.best_metrics = task.evaluate();
    if (first) evaluate_only(task, config, folder);
  } else {
    result = training::train(task, trainer, config, folder, a.resume, group);
  }
  if (!first) return;
  const training::Metrics test = task.test_metrics();
  nlohmann::ordered_json json;
  json["model"] = task.model().network().describe();
  json["parameters"] = parameters;
  json["parameters_complex_once"] = once;
  json["test"] = metrics_json(test);
  json["validation"] = metrics_json(result.best_metrics);
  json["baselines"] = baselines;
  json["epochs"] = result.epochs;
  json["best_epoch"] = result.best_epoch;
  json["stopped_early"] = result.stopped_early;
  json["seconds"] = result.seconds;
  json["provenance"] = provenance();
  write_file_atomically(folder / "result.json", json.dump(2) + "\n");
  if (a.json) {
    fmt::print("{}\n", json.dump(2));
    return;
  }
  print_table({{"model", task.model().network().describe()},
               {"parameters", fmt::format("{} ({} where a complex number counts once)", parameters, once)},
               {"test", fmt::format("relative L2 {:.4f} of the whole prediction, {:.4f} per step",
                                    metric(test, "l2_full"), metric(test, "l2_step"))},
               {"training", fmt::format("{} epochs in {}, best after {}", result.epochs, duration_text(result.seconds),
                                        result.best_epoch)},
               {"results", (folder / "results").string()}});
}

}  // namespace

void add_train(CLI::App& app) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("train", "Train a neural PDE solver as a config file says");
  command->add_option("config", a->config, "TOML file (docs/training-pde.md)")->required();
  command->add_option("-o,--out", a->out, "Folder of the run (default: runs/<name of the config>)");
  command->add_flag("--resume", a->resume, "Go on from the newest checkpoint in the folder; a new start where none is");
  command->add_option("--set", a->set, "key=value over the config, such as training.epochs=20; repeatable")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command->add_option("--seed", a->seed, "training.seed: weights, order of samples, noise")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--json", a->json, "The result as JSON on stdout");
  command->callback([a] {
    keep_freed_memory();
    run(*a);
  });
}

}  // namespace monarch::apps
