#pragma once
// A neural solver with all that prediction needs: frames, normalisers, axes.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "monarch/solvers/learning/normaliser.hpp"
#include "monarch/solvers/learning/options.hpp"
#include "monarch/solvers/learning/rollout.hpp"
#include "monarch/solvers/neural/neural_solver.hpp"
#include "monarch/training/checkpoint.hpp"

namespace monarch::solvers {

/// What one sample of a task looks like.
struct FieldFormat {
  int64_t input_frames = 1, input_channels = 1;
  int64_t target_frames = 1, target_channels = 1;
  std::vector<int64_t> grid;  ///< of space
  std::string input, target;  ///< names of the fields

  /// Channels and grid that the network sees.
  FieldShape network_shape(const TaskOptions& task) const;
};

class FieldModel {
 public:
  FieldModel(NeuralSolverPtr network, TaskOptions task, FieldFormat format, Normaliser input, Normaliser target);

  /// Model, task and normalisers as a training run stored them. The network is in evaluation mode. Throws DataError: a
  /// checkpoint without a config (not of `monarch train`), weights that belong to another model.
  static FieldModel restore(const training::TrainingCheckpoint& checkpoint, const std::string& origin);

  /// One step of a rollout or map in physical units: [batch, frames · channels, grid…] -> [batch, channels, grid…].
  at::Tensor step(const at::Tensor& window) const;
  /// input [sample, frame, channel, grid…] -> [sample, steps, channel, grid…]; graph where gradients are on. `steps`
  /// may be anything in a rollout and must be target_frames elsewhere (ConfigError). Throws ShapeError for other frames
  /// or channels, and for grids that the network or pointwise statistics cannot take.
  at::Tensor predict(const at::Tensor& input, int64_t steps) const;

  NeuralSolver& network() const { return *network_; }
  const TaskOptions& task() const { return task_; }
  const FieldFormat& format() const { return format_; }
  /// Tensors beside the weights that restore() needs.
  std::map<std::string, at::Tensor> constants() const;

 private:
  at::Tensor run(const at::Tensor& input, int64_t steps) const;

  NeuralSolverPtr network_;
  TaskOptions task_;
  FieldFormat format_;
  Normaliser input_, target_;
  mutable Normaliser input_here_, target_here_;  // where and as the data are
};

}  // namespace monarch::solvers
