#pragma once
// The one training loop: batches, gradients, optimiser steps, metrics, checkpoints, resume.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "monarch/core/config.hpp"
#include "monarch/training/communicator.hpp"
#include "monarch/training/options.hpp"
#include "monarch/training/task.hpp"

namespace monarch::training {

struct TrainingResult {
  int64_t epochs = 0;  ///< complete ones, made in all
  int64_t steps = 0;   ///< optimiser steps made in all
  int64_t best_epoch = 0, best_step = 0;
  double best = 0;  ///< selection metric there
  Metrics last;     ///< of the last evaluation
  Metrics best_metrics;
  double seconds = 0;  ///< training time, all runs of a resumed training together
  bool stopped_early = false;
  int64_t densified_step = -1;  ///< before which the layers became dense; -1: they did not
  nlohmann::json throughput;    ///< Throughput::json(); empty where no step was made
};

/// Trains (docs/training.md). `folder` gets config.toml, log.jsonl, TensorBoard event files, checkpoints/ (the last
/// two), best/ and, at the end, results/; the module is left with the best weights (in process 0). Each epoch visits
/// the samples in an order of its own, drawn from (seed, epoch), in batches of which the last may be smaller; each
/// process takes a contiguous share of every batch. With `resume` training goes on from the newest checkpoint that can
/// be read (a fresh start where there is none): the weights are bit for bit those of an uninterrupted run on the same
/// machine with the same number of threads. SIGINT, SIGTERM and SIGHUP finish the step and write a checkpoint. Throws
///   ConfigError   the folder holds a run of another config (the keys are named; training.epochs and steps may change), or a run
///                 and `resume` is off; another process trains there; a precision that the hardware has not;
///   DataError     a loss or gradient that is not finite: epoch, step and samples, saved in failed_batch.json; a
///                 checkpoint or log that cannot be written: earlier checkpoints survive; no checkpoint can be read;
///   BackendError  stopped by a signal, or another process of the group has gone.
TrainingResult train(Task& task, const TrainerOptions& options, const Config& config,
                     const std::filesystem::path& folder, bool resume,
                     const std::shared_ptr<Communicator>& communicator = single_process());

}  // namespace monarch::training
