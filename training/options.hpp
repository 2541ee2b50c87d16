#pragma once
// The table [training] of a config (docs/training.md).

#include <cstdint>
#include <string>

#include "monarch/core/config.hpp"

namespace monarch::training {

enum class OptimiserKind {
  adamw,     ///< decoupled weight decay, one second moment per real number (at::_fused_adamw_)
  adam,      ///< coupled weight decay (added to the gradient), otherwise as adamw
  adam_fno,  ///< as in the published FNO scripts: coupled decay, one second moment |g|² per complex number
  lamb,      ///< You et al., ICLR 2020, trust ratio per tensor
  sgd
};

/// The published implementations of LAMB differ; formulas in optimiser.hpp.
enum class LambVariant {
  paper,      ///< You et al.: every tensor has a trust ratio, without bounds
  nvidia,     ///< apex FusedLAMB: only tensors with weight decay have one; gradients are clipped to norm 1 before
  deepspeed,  ///< FusedLamb: the ratio is kept within [0.01, 10], the bias is corrected in the step's length
};

struct OptimiserOptions {
  OptimiserKind kind = OptimiserKind::adamw;
  double learning_rate = 1e-3;
  double weight_decay = 1e-4;
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, momentum = 0.9;
  LambVariant variant = LambVariant::paper;
  double min_trust_ratio = 0, max_trust_ratio = 1e12;  ///< of lamb
  bool decay_embeddings = false;
  int64_t mup_base_width = 0;  ///< ParameterGroupOptions::base_in
};

enum class ScheduleKind { constant, step, cosine, linear, polynomial };

/// Learning rate as a function of the optimiser step, after a warm-up that rises linearly.
struct ScheduleOptions {
  ScheduleKind kind = ScheduleKind::cosine;
  int64_t warmup_steps = 0;    ///< one of these three is the length of the warm-up
  double warmup_fraction = 0;  ///< of all steps
  double warmup_epochs = 0;
  double warmup_start = 0;    ///< the first step's rate, as a fraction; 0: that of one step of the way up
  bool per_epoch = false;     ///< the rate changes between epochs only
  double cooldown_epochs = 0;  ///< at the end, at the final value
  int64_t step_epochs = 100;  ///< `step`: every so many epochs …
  double step_factor = 0.5;   ///< … times this
  double final_fraction = 0;  ///< cosine, linear, polynomial end here, as a fraction of the rate
  double power = 1;           ///< polynomial
};

/// What becomes of the optimiser's moments when layers are exchanged.
enum class MomentPolicy {
  reset,  ///< all start at 0
  keep,   ///< those of parameters whose name and shape stay are kept, the others start at 0
  rewarm  ///< as reset, and the learning rate rises linearly over `warmup_steps`, on top of the schedule
};

/// The table [training.densify]: Monarch layers become dense in the course of training (sparse to dense).
struct DensifyOptions {
  double at = 0;        ///< after this fraction of all optimiser steps, rounded; 0: see at_step
  int64_t at_step = 0;  ///< after as many optimiser steps; both 0: never
  MomentPolicy optimiser = MomentPolicy::reset;
  int64_t warmup_steps = 0;  ///< of rewarm

  bool on() const { return at > 0 || at_step > 0; }
  /// The step before which the layers are exchanged, of `total`.
  int64_t step_of(int64_t total) const;
};

struct TrainerOptions {
  int64_t epochs = 100;
  int64_t steps = 0;        ///< optimiser steps in all, instead of epochs: the last epoch may be partial; 0: epochs
  int64_t batch = 20;       ///< samples per optimiser step over all processes and accumulations
  int64_t micro_batch = 0;  ///< samples per accumulate_gradients call; 0: the batch
  bool sum_loss = false;    ///< the gradient of the sum over the batch (published scripts) instead of the mean
  OptimiserOptions optimiser;
  ScheduleOptions schedule;
  DensifyOptions densify;
  double clip_norm = 0;  ///< of the whole gradient; 0: none
  double ema_decay = 0;  ///< exponential moving average of the weights, used for evaluation; 0: none
  /// Epochs (where evaluate_steps is set: evaluations) without a better selection metric before it stops; 0: never.
  int64_t patience = 0;
  int64_t evaluate_epochs = 1;
  int64_t evaluate_steps = 0;     ///< evaluates every so many optimiser steps instead, and at the end; 0: epochs
  int64_t zero = 0;           ///< 1: every process keeps the moments of a part of the parameters only (ZeRO-1)
  double peak_tflops = 0;     ///< of a process, for the model FLOPs utilisation; 0: measured on a CPU, else none
  bool profile = false;       ///< a few steps go through LibTorch's profiler
  double checkpoint_minutes = 5;  ///< also at each evaluation, and at the end
  int64_t log_steps = 0;          ///< a line of the log also every so many steps; 0: only epochs
  uint64_t seed = 0;
  std::string precision = "float32";  ///< or "float64", "bfloat16" (where the hardware has it)

  /// Reads the table [training] (docs/training.md). Throws ConfigError.
  static TrainerOptions from_config(const Config& config);
};

/// The factor on the learning rate of optimiser step `step` (from 0) of `total`, `epoch_steps` of them an epoch. With W
/// the steps of the warm-up and C those of the cool-down:
///   warm-up (step < W): (step + 1)/W, or with warmup_start a > 0: a + (1 − a)·step/W; then, with
///   t = min(1, (step − W)/(total − C − W)) and r = final_fraction,
///   constant 1; step f^⌊epoch/step_epochs⌋; cosine r + (1 − r)(1 + cos πt)/2; linear 1 − (1 − r)t;
///   polynomial r + (1 − r)(1 − t)^power.
/// With per_epoch all of these are counted in epochs instead: `step` is the number of the epoch, from 0.
double schedule_factor(const ScheduleOptions& options, int64_t step, int64_t total, int64_t epoch_steps);

}  // namespace monarch::training
