// monarch train: neural solvers of PDEs.

#include "train.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <fstream>
#include <sstream>

#include "monarch/core/error.hpp"
#include "monarch/core/files.hpp"
#include "monarch/core/log.hpp"
#include "monarch/core/process.hpp"
#include "monarch/solvers/learning/field_task.hpp"

namespace fs = std::filesystem;

namespace monarch::apps {
namespace {

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

std::string data_text(const solvers::PdeDataset& data) {
  const auto& rows = data.training.rows();
  std::string grid;
  for (const int64_t n : rows.grid()) grid += (grid.empty() ? "" : " × ") + std::to_string(n);
  return fmt::format("{} training, {} validation, {} test samples of {} → {}, {} frames → {} on {}",
                     data.training.size(), data.validation.size(), data.test.size(), rows.names().input,
                     rows.names().target, rows.input_frames(), rows.target_frames(), grid);
}

class FieldJob final : public TrainingJob {
 public:
  explicit FieldJob(std::unique_ptr<solvers::FieldTask> task) : task_(std::move(task)) {}

  training::Task& task() override { return *task_; }
  std::string describe() const override { return task_->model().network().describe(); }
  int64_t parameters(bool complex_once) const override {
    return solvers::parameter_count(task_->model().network(), complex_once);
  }
  nlohmann::ordered_json baselines() override {
    nlohmann::ordered_json json = nlohmann::ordered_json::object();
    const bool validated = task_->data().validation.size() > 0;
    for (const auto& baseline : task_->baselines(validated ? task_->data().validation : task_->data().test)) {
      json[baseline.name] = metrics_json(baseline.scores.metrics);
      log::info(fmt::format("{} ({} data): relative L2 {:.4f}", baseline.name, validated ? "validation" : "test",
                            metric(baseline.scores.metrics, "l2_full")));
    }
    return json;
  }
  const training::Metrics& test_metrics() override { return task_->test_metrics(); }
  std::string test_text() override {
    return fmt::format("relative L2 {:.4f} of the whole prediction, {:.4f} per step", metric(test_metrics(), "l2_full"),
                       metric(test_metrics(), "l2_step"));
  }

 private:
  std::unique_ptr<solvers::FieldTask> task_;
};

}  // namespace

std::unique_ptr<TrainingJob> make_field_job(const JobSetting& s) {
  Config& config = s.config;
  const auto task_options = solvers::TaskOptions::from_config(config);
  const auto data_options = solvers::DataOptions::from_config(config);
  check_rest(config);
  training::make_loss(task_options.loss);
  std::string simulated;
  if (!data_options.simulate.empty()) {
    if (s.group->rank() == 0) simulated_file(data_options.simulate, s.folder);
    s.group->barrier();
    simulated = s.folder / "data" / "simulated.mat";
  }
  const at::ScalarType dtype = s.trainer.precision == "float64" ? at::kDouble : at::kFloat;
  auto data = solvers::PdeDataset::open(data_options, task_options, dtype, simulated);
  for (const auto& note : data.notes) log::info(note);
  log::info(data_text(data));
  const auto make_network = [&](const solvers::FieldShape& shape) {
    at::manual_seed(s.trainer.seed);
    auto network = solvers::make_neural_solver(config, shape);
    config.finish();
    if (dtype == at::kDouble) network->to(at::kDouble);
    return network;
  };
  return std::make_unique<FieldJob>(
      std::make_unique<solvers::FieldTask>(task_options, data_options, std::move(data), make_network, s.device));
}

}  // namespace monarch::apps
