#pragma once
// The one training loop: batches, gradients, optimiser steps, metrics, checkpoints, resume.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "monarch/core/config.hpp"
#include "monarch/training/communicator.hpp"
#include "monarch/training/task.hpp"

namespace monarch::training {

enum class OptimiserKind {
  adamw,     ///< decoupled weight decay, one second moment per real number (at::_fused_adamw_)
  adam,      ///< coupled weight decay (added to the gradient), otherwise as adamw
  adam_fno,  ///< as the published FNO scripts: coupled decay, one second moment |g|² per complex number
  lamb,      ///< You et al., ICLR 2020, trust ratio per tensor
  sgd
};

struct OptimiserOptions {
  OptimiserKind kind = OptimiserKind::adamw;
  double learning_rate = 1e-3;
  double weight_decay = 1e-4;
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, momentum = 0.9;
};

enum class ScheduleKind { constant, step, cosine, linear, polynomial };

/// Learning rate as a function of the optimiser step, after `warmup` steps that rise linearly from 0.
struct ScheduleOptions {
  ScheduleKind kind = ScheduleKind::cosine;
  int64_t warmup_steps = 0;
  int64_t step_epochs = 100;  ///< `step`: every so many epochs …
  double step_factor = 0.5;   ///< … times this
  double final_fraction = 0;  ///< cosine, linear, polynomial end here, as a fraction of the rate
  double power = 1;           ///< polynomial
};

struct TrainerOptions {
  int64_t epochs = 100;
  int64_t batch = 20;        ///< samples per optimiser step over all processes and accumulations
  int64_t micro_batch = 0;   ///< samples per accumulate_gradients call; 0: the batch
  bool sum_loss = false;     ///< the gradient of the sum over the batch (published scripts) instead of the mean
  OptimiserOptions optimiser;
  ScheduleOptions schedule;
  double clip_norm = 0;      ///< of the whole gradient; 0: none
  double ema_decay = 0;      ///< exponential moving average of the weights, used for evaluation; 0: none
  int64_t patience = 0;      ///< epochs without a better selection metric after which training stops; 0: never
  int64_t evaluate_epochs = 1;
  double checkpoint_minutes = 5;  ///< also at each evaluation, and at the end
  uint64_t seed = 0;
  std::string precision = "float32";  ///< or "float64", "bfloat16" (where the hardware has it)

  /// Reads the table [training] (docs/training.md). Throws ConfigError.
  static TrainerOptions from_config(const Config& config);
};

struct TrainingResult {
  int64_t epochs = 0;       ///< made in all
  int64_t best_epoch = 0;
  double best = 0;          ///< selection metric there
  Metrics last;             ///< of the last evaluation
  Metrics best_metrics;
  double seconds = 0;       ///< training time, all runs of a resumed training together
  bool stopped_early = false;
};

/// Trains. `folder` gets config.toml (the effective config), log.jsonl, TensorBoard event files, checkpoints/ and, at
/// the end, best/ and results/. With `resume` it goes on from the newest complete checkpoint in the folder (a fresh start
/// where there is none): the weights are bit for bit those of an uninterrupted run on the same machine with the same
/// number of threads. Throws ConfigError (folder holds another config, or a run and `resume` is off), DataError (a loss
/// that is not finite: epoch, step and samples, which are saved in failed_batch.json beside the last good checkpoint; a
/// checkpoint that cannot be written: the previous one survives).
TrainingResult train(Task& task, const TrainerOptions& options, const Config& config,
                     const std::filesystem::path& folder, bool resume,
                     const std::shared_ptr<Communicator>& communicator = single_process());

}  // namespace monarch::training
