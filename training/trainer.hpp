#pragma once
// The one training loop: batches, gradients, optimiser steps, metrics, checkpoints, resume.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "monarch/core/config.hpp"
#include "monarch/training/communicator.hpp"
#include "monarch/training/options.hpp"
#include "monarch/training/task.hpp"

namespace monarch::training {

struct TrainingResult {
  int64_t epochs = 0;  ///< made in all
  int64_t best_epoch = 0;
  double best = 0;  ///< selection metric there
  Metrics last;     ///< of the last evaluation
  Metrics best_metrics;
  double seconds = 0;  ///< training time, all runs of a resumed training together
  bool stopped_early = false;
};

/// Trains. `folder` gets config.toml (the effective config), log.jsonl, TensorBoard event files, checkpoints/ and, at
/// the end, best/ and results/. With `resume` it goes on from the newest complete checkpoint in the folder (a fresh
/// start where there is none): the weights are bit for bit those of an uninterrupted run on the same machine with the
/// same number of threads. Throws ConfigError (folder holds another config, or a run and `resume` is off), DataError (a
/// loss that is not finite: epoch, step and samples, which are saved in failed_batch.json beside the last good
/// checkpoint; a checkpoint that cannot be written: the previous one survives).
TrainingResult train(Task& task, const TrainerOptions& options, const Config& config,
                     const std::filesystem::path& folder, bool resume,
                     const std::shared_ptr<Communicator>& communicator = single_process());

}  // namespace monarch::training
