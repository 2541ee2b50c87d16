#pragma once
// What `monarch train` needs of each kind of task.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "monarch/core/config.hpp"
#include "monarch/training/communicator.hpp"
#include "monarch/training/options.hpp"
#include "monarch/training/task.hpp"

namespace monarch::apps {

/// Data and model of one training, and what is said about them.
class TrainingJob {
 public:
  virtual ~TrainingJob() = default;
  virtual training::Task& task() = 0;
  /// One line about the model.
  virtual std::string describe() const = 0;
  /// Real numbers that train; complex ones counted once or twice.
  virtual int64_t parameters(bool complex_once) const = 0;
  /// Errors of references that need no training, by name.
  virtual nlohmann::ordered_json baselines() { return nlohmann::ordered_json::object(); }
  virtual const training::Metrics& test_metrics() = 0;
  /// The test metrics that a person wants to read, in a line.
  virtual std::string test_text() = 0;
  /// Further keys of result.json.
  virtual void add_to(nlohmann::ordered_json& result) { (void)result; }
};

/// What a job is made from.
struct JobSetting {
  Config& config;
  const training::TrainerOptions& trainer;
  std::filesystem::path folder;
  std::shared_ptr<training::Communicator> group;
  at::Device device = at::kCPU;
};

/// What makes the job of a task.kind. Throws ConfigError and DataError.
using JobMaker = std::unique_ptr<TrainingJob> (*)(const JobSetting& setting);

/// task.kind "rollout", "map" or "space-time".
std::unique_ptr<TrainingJob> make_field_job(const JobSetting& setting);
/// task.kind "reconstruction".
std::unique_ptr<TrainingJob> make_reconstruction_job(const JobSetting& setting);
/// task.kind "language-model".
std::unique_ptr<TrainingJob> make_language_model_job(const JobSetting& setting);
/// task.kind "bert-pretraining".
std::unique_ptr<TrainingJob> make_bert_job(const JobSetting& setting);
/// task.kind "glue".
std::unique_ptr<TrainingJob> make_glue_job(const JobSetting& setting);
/// task.kind "image-classification".
std::unique_ptr<TrainingJob> make_classification_job(const JobSetting& setting);

/// Everything but the table [model], whose keys wait until the data say what shape the model has: a key that nothing
/// reads stops the run before long work. Call it when the other tables are read.
void check_rest(const Config& config);

/// Numbers in the parameters of a module, complex ones counted once.
int64_t parameter_numbers(const torch::nn::Module& module);

nlohmann::ordered_json metrics_json(const training::Metrics& metrics);
/// NaN where there is none of that name.
double metric(const training::Metrics& metrics, const std::string& name);

}  // namespace monarch::apps
