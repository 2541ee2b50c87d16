#pragma once
// Where training stands.

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>

#include "monarch/training/task.hpp"

namespace monarch::training {

/// Everything that the loop itself knows between two steps; it goes into state.json.
struct Position {
  int64_t epoch = 0;         ///< that is being made, from 0: as many are complete
  int64_t batches = 0;       ///< of it that are done: the place in its order of samples
  int64_t step = 0;          ///< optimiser steps in all
  double loss_sum = 0;       ///< over the samples since the log's last line of an epoch or evaluation
  int64_t loss_samples = 0;  ///< as many; -1 in checkpoints that do not know: those of this epoch's batches
  double gradient_norm = 0;  ///< of the last step
  int64_t best_epoch = 0;    ///< epochs complete when it was evaluated; 0: the start
  int64_t best_step = 0;     ///< steps made then; -1 in checkpoints that do not know: best_epoch whole epochs
  double best = std::numeric_limits<double>::infinity();
  double seconds = 0;  ///< of training in all
  int64_t densified_step = -1;  ///< before which the layers became dense; -1: they have not
  Metrics last, best_metrics;
  nlohmann::json throughput = nlohmann::json::object();  ///< of the process that wrote the checkpoint

  bool densified() const { return densified_step >= 0; }

  /// Numbers come back bit for bit; values that are not finite as NaN.
  nlohmann::json json() const;
  /// Throws nlohmann::json::exception where something is missing or of another type.
  static Position from_json(const nlohmann::json& json);
};

/// A metric as JSON has it: null where it is not finite.
nlohmann::json number_or_null(double value);
/// {"l2_full": 0.1, …}
nlohmann::json metric_object(const Metrics& metrics);

}  // namespace monarch::training
