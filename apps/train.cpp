// monarch train CONFIG: a network from one config file.

#include "train.hpp"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <fmt/format.h>

#include <cmath>
#include <cstdio>
#include <utility>
#include <vector>

#include "command.hpp"
#include "monarch/core/error.hpp"
#include "monarch/core/files.hpp"
#include "monarch/core/log.hpp"
#include "monarch/core/memory.hpp"
#include "monarch/core/provenance.hpp"
#include "monarch/core/text.hpp"
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

/// task.kind -> what makes the job.
const std::vector<std::pair<std::string, JobMaker>>& job_makers() {
  static const std::vector<std::pair<std::string, JobMaker>> makers = {
      {"rollout", make_field_job},
      {"map", make_field_job},
      {"space-time", make_field_job},
      {"reconstruction", make_reconstruction_job},
      {"language-model", make_language_model_job},
      {"bert-pretraining", make_bert_job},
      {"glue", make_glue_job},
      {"image-classification", make_classification_job},
  };
  return makers;
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

/// A model without parameters has nothing to learn: its checkpoint and results are made as they are.
void evaluate_only(training::Task& task, const Config& config, const fs::path& folder) {
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
  const bool cuda = device_of(config).is_cuda();
  const auto group = training::communicator_from_environment(cuda);
  const bool first = group->rank() == 0;
  if (!first) log::set_level(log::Level::warning);
  const JobSetting setting{config, trainer, folder, group, device_of(config, group.get())};
  const auto job = config.choice("task.kind", "rollout", job_makers())(setting);
  training::Task& task = job->task();
  const int64_t parameters = job->parameters(false), once = job->parameters(true);
  const std::string count = once == parameters
                                ? std::to_string(parameters)
                                : fmt::format("{} ({} where a complex number counts once)", parameters, once);
  log::info(fmt::format("{}: {} parameters", job->describe(), count));
  const nlohmann::ordered_json baselines = first ? job->baselines() : nlohmann::ordered_json::object();

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
  const training::Metrics test = job->test_metrics();
  nlohmann::ordered_json json;
  json["model"] = job->describe();
  json["parameters"] = parameters;
  json["parameters_complex_once"] = once;
  json["test"] = metrics_json(test);
  json["validation"] = metrics_json(result.best_metrics);
  json["baselines"] = baselines;
  job->add_to(json);
  json["epochs"] = result.epochs;
  json["steps"] = result.steps;
  json["best_epoch"] = result.best_epoch;
  json["best_step"] = result.best_step;
  json["stopped_early"] = result.stopped_early;
  if (result.densified_step >= 0)
    json["densified"] = {{"step", result.densified_step}, {"parameters", job->parameters(false)}};
  json["seconds"] = result.seconds;
  if (!result.throughput.empty()) json["throughput"] = result.throughput;
  json["provenance"] = provenance();
  write_file_atomically(folder / "result.json", json.dump(2) + "\n");
  if (a.json) {
    fmt::print("{}\n", json.dump(2));
    return;
  }
  print_table({{"model", job->describe()},
               {"parameters", count},
               {"test", job->test_text()},
               {"training", fmt::format("{} steps, {} whole epochs, in {}; best after step {}", result.steps,
                                        result.epochs, duration_text(result.seconds), result.best_step)},
               {"results", (folder / "results").string()}});
}

}  // namespace

void check_rest(const Config& config) {
  const Config rest = config.copy();
  rest.section("model");
  rest.finish();
}

int64_t parameter_numbers(const torch::nn::Module& module) {
  int64_t count = 0;
  for (const at::Tensor& parameter : module.parameters()) count += parameter.numel();
  return count;
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

void add_train(CLI::App& app) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("train", "Train a network as a config file says");
  command->add_option("config", a->config, "TOML file (docs/training-pde.md, docs/learned-reconstruction.md)")
      ->required();
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
