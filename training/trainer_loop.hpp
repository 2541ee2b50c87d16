#pragma once
// The inside of train(): trainer.cpp has the loop, trainer_state.cpp what begins, keeps and exchanges its state.

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "monarch/training/average.hpp"
#include "monarch/training/checkpoint.hpp"
#include "monarch/training/interruption.hpp"
#include "monarch/training/optimiser.hpp"
#include "monarch/training/profile.hpp"
#include "monarch/training/position.hpp"
#include "monarch/training/run_folder.hpp"
#include "monarch/training/run_log.hpp"
#include "monarch/training/throughput.hpp"
#include "monarch/training/trainer.hpp"

namespace monarch::training {

class Trainer {
 public:
  Trainer(Task& task, const TrainerOptions& options, const Config& config, const std::filesystem::path& folder,
          std::shared_ptr<Communicator> communicator);
  TrainingResult run(bool resume);

 private:
  using Clock = std::chrono::steady_clock;

  bool leader() const { return communicator_->rank() == 0; }

  // What trains, going on (trainer_state.cpp).
  std::vector<operators::ParameterGroup> groups() const;
  std::shared_ptr<Communicator> shards() const;
  void start(bool resume);
  void restore(const std::filesystem::path& checkpoint);
  void check_best();
  void forget_best();
  void share_start();
  void share_position();
  void share_tensors();
  /// Broadcasts tensors of any device.
  void broadcast(std::vector<at::Tensor> tensors) const;
  // Keeping.
  nlohmann::json state_of_run() const;
  void save(const std::filesystem::path& folder, const NamedTensors* moments = nullptr);
  void checkpoint();
  // From structured layers to dense ones.
  void densify(std::span<const int64_t> order);
  operators::ConversionReport become_dense();
  double loss_of(std::span<const int64_t> ids);
  std::map<std::string, at::Tensor> as_dense(const NamedTensors& weights);
  std::optional<TrainingCheckpoint> best_as_dense();

  // One step, one interval of the log (trainer.cpp).
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
  bool densify_due() const {
    return options_.densify.on() && !at_.densified() && at_.step >= options_.densify.step_of(total_steps_);
  }
  bool own_checkpoint_due() const;
  void agree_on_stop();
  void stop_if_asked();
  void write_results();

  /// Complete ones and the part of the one being made.
  double epochs_made() const {
    return static_cast<double>(at_.epoch) + static_cast<double>(at_.batches) / static_cast<double>(epoch_steps_);
  }
  int64_t epochs_in_all() const { return epoch_steps_ > 0 ? (total_steps_ + epoch_steps_ - 1) / epoch_steps_ : 0; }
  int64_t micro_batch() const { return options_.micro_batch > 0 ? options_.micro_batch : options_.batch; }
  nlohmann::json throughput() const;
  double seconds() const;
  double rate(int64_t step) const;

  Task& task_;
  const TrainerOptions& options_;
  const Config& config_;
  std::filesystem::path folder_;
  std::shared_ptr<Communicator> communicator_;
  std::unique_ptr<RunFolder> run_folder_;  // of the leader, as the log
  std::vector<operators::ParameterGroup> parameters_;
  Optimiser optimiser_;
  WeightAverage average_;
  at::Device device_ = at::kCPU;
  std::vector<std::pair<std::string, at::Generator>> generators_;  // and their names in checkpoints
  nlohmann::json effective_ = nlohmann::json::object();
  std::string config_text_;
  int64_t samples_ = 0, epoch_steps_ = 0, total_steps_ = 0;
  Position at_;
  std::unique_ptr<RunLog> log_;
  std::unique_ptr<StopRequests> requests_;
  bool stop_ = false;            // all processes agreed to
  bool checkpoint_due_ = false;  // as the leader's clock says
  Clock::time_point begun_ = Clock::now(), saved_ = begun_;
  double seconds_before_ = 0;
  double interval_seconds_ = 0;  // of the steps that this process made in this interval of the log
  int64_t interval_samples_ = 0;
  Throughput throughput_;
  StepProfile profile_;
};

}  // namespace monarch::training
