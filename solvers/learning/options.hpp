#pragma once
// The tables [data] and [task] of a training config (docs/training-pde.md).

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "monarch/core/config.hpp"

namespace monarch::solvers {

enum class TaskKind {
  rollout,    ///< the next frame from the last `input_frames` ones, applied to its own predictions
  map,        ///< one field to one field: coefficient to solution, initial to final state
  space_time  ///< all frames at once, time as an axis of the grid, the input repeated along it
};

enum class RolloutMode {
  bptt,         ///< loss of every step, gradient through the whole rollout
  pushforward,  ///< some steps without gradient, then the loss of one step (Brandstetter et al., ICLR 2022)
  one_step      ///< pairs of true windows and next frames (teacher forcing)
};

enum class Recompute { off, on, automatic };

struct TaskOptions {
  TaskKind kind = TaskKind::rollout;
  int64_t input_frames = 10;  ///< rollout: 10; else 1
  int64_t horizon = 10;       ///< frames to predict; map: how far ahead where one field is both input and target
  RolloutMode mode = RolloutMode::bptt;
  Recompute recompute = Recompute::automatic;
  double noise = 0;                 ///< one_step: standard deviation of noise on the input, in those of the field
  int64_t pushforward_steps = 1;    ///< at most so many steps without gradient
  int64_t curriculum_start = 1;     ///< the horizon grows from this …
  int64_t curriculum_epochs = 0;    ///< … to `horizon` in so many epochs; 0: at once
  bool mean_over_steps = false;     ///< the loss of a sample is the mean over its steps instead of the published sum
  std::string loss = "l2";          ///< a name of training::make_loss
  bool time_last = false;           ///< space_time: the axes are grid…, time instead of time, grid…
  std::string quantity = "scalar";  ///< "vorticity": spectrum of the kinetic energy, enstrophy
  std::string selection = "l2_full";
  int64_t evaluation_batch = 32;
  bool pictures = true;
  bool save_predictions = false;

  /// Throws ConfigError naming the key.
  static TaskOptions from_config(const Config& config);
  /// The horizon in an epoch (from 0).
  int64_t horizon_at(int64_t epoch) const;
};

enum class Split {
  published,  ///< training samples are the first rows, validation the rows behind them, test the last rows
  random      ///< rows in the order of Rng(seed, "split <row>")
};
enum class NormaliserKind { none, channel, pointwise };
enum class Storage { automatic, memory, file };

/// A further test set: the same fields on another grid or from another file.
struct ExtraTest {
  std::string name, file;
  int64_t samples = 0;               ///< the last ones; 0: all
  std::vector<int64_t> grid_stride;  ///< empty: as in training
};

struct DataOptions {
  std::string file, test_file;              ///< the training file, and one for the test data; empty: the same
  std::string simulate;                     ///< words behind `monarch simulate` that make the file; empty: it is there
  std::string input, target;                ///< fields; empty: chosen by resolve_fields
  std::map<std::string, std::string> axes;  ///< meaning of stored axes, as data::FieldOptions
  std::vector<int64_t> grid_stride;
  int64_t first_time = 0, time_stride = 1;
  int64_t target_first_time = -1;  ///< where the target is a field of its own with a time axis; -1: as first_time
  int64_t train = 0, validation = -1, test = -1;  ///< rows; 0 or -1: the default of docs/training-pde.md
  Split split = Split::published;
  uint64_t split_seed = 0;
  NormaliserKind input_normaliser = NormaliserKind::none, target_normaliser = NormaliserKind::none;
  Storage storage = Storage::automatic;
  std::vector<ExtraTest> extra_tests;

  /// Throws ConfigError naming the key.
  static DataOptions from_config(const Config& config);
};

}  // namespace monarch::solvers
