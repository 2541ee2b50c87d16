#pragma once
// What a run tells while it trains: log.jsonl, TensorBoard events, and curves drawn from them.

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "monarch/training/event_file.hpp"
#include "monarch/training/task.hpp"

namespace monarch::training {

/// One JSON object a line, flushed at once. A line of an interval (an epoch, or what lies between two evaluations where
/// training.evaluate_steps is set) has epoch (complete ones; 2.5: in the middle of the third), step (optimiser steps
/// made), loss (mean over the interval's samples), learning_rate and gradient_norm (of its last step), seconds (of
/// training in all), samples_per_second (of the interval's steps), where it was evaluated, metrics (null: not finite),
/// and throughput (Throughput::json(), of the steps so far). A line of a step has epoch (being made), batch, step, loss (mean over its samples), learning_rate and
/// gradient_norm. Throws DataError where the disk refuses.
class RunLog {
 public:
  /// Goes on behind optimiser step `step`: lines of later steps, and lines that a killed process left unfinished, go.
  /// Events of later steps are dropped by TensorBoard. With step 0 the log begins anew.
  RunLog(const std::filesystem::path& folder, int64_t step);

  struct Line {
    double epoch = 0;
    int64_t step = 0;
    double loss = 0, learning_rate = 0, gradient_norm = 0;
  };
  void interval(const Line& line, double seconds, double samples_per_second, const Metrics* metrics,
                const nlohmann::json& throughput = nlohmann::json::object());
  void step(const Line& line, int64_t batch);

 private:
  void append(const nlohmann::json& json);

  std::filesystem::path file_;
  EventFile events_;
};

/// Charts of log.jsonl against the epoch, below each other: losses, the selection metric, the other metrics, the
/// learning rate. Values that a scale cannot show are left out. "" for fewer than two intervals.
std::string curves_svg(const std::filesystem::path& log, const std::string& selection);

}  // namespace monarch::training
