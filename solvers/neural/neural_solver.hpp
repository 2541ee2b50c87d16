#pragma once
// What every neural solver of PDEs is: a module from fields to fields on a grid.

#include <torch/nn/module.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "monarch/core/config.hpp"
#include "monarch/operators/nn/parameter_groups.hpp"

namespace monarch::solvers {

/// What the data say of a model: channels in and out (time frames count as channels, coordinates do not) and the grid
/// that it trains on.
struct FieldShape {
  int64_t in_channels = 1;
  int64_t out_channels = 1;
  std::vector<int64_t> grid;  ///< points along each of the 1 to 3 axes, in the order of the tensors
};

/// A model x [batch, in_channels, grid…] -> [batch, out_channels, grid…], float32 or float64, any device.
class NeuralSolver : public torch::nn::Module {
 public:
  explicit NeuralSolver(FieldShape shape) : shape_(std::move(shape)) {}
  /// Throws ShapeError for another number of channels or axes, or a grid that the model cannot take.
  virtual at::Tensor forward(const at::Tensor& x) = 0;
  /// One line: "FNO 2-D, modes 12 × 12, width 20, 4 layers".
  virtual std::string describe() const = 0;
  const FieldShape& shape() const { return shape_; }

  /// As torch::nn::Module, except that complex parameters stay complex (of the precision asked for) and whole numbers
  /// whole: the original would drop imaginary parts.
  void to(torch::Device device, torch::Dtype dtype, bool non_blocking = false) override;
  void to(torch::Dtype dtype, bool non_blocking = false) override;
  void to(torch::Device device, bool non_blocking = false) override;

 protected:
  /// Throws ShapeError unless x is [batch, in_channels, as many axes as the grid has], DtypeError unless it is of the
  /// parameters' precision.
  void check_input(const at::Tensor& x) const;

 private:
  FieldShape shape_;
};

using NeuralSolverPtr = std::shared_ptr<NeuralSolver>;

/// Real numbers that train. A complex one counts twice, or once where `complex_once`: the published tables do both.
int64_t parameter_count(const torch::nn::Module& module, bool complex_once = false);

/// operators::parameter_groups of a solver, with what the learned transforms ask for: the factors' learning-rate
/// multiplier (model.transform.lr_multiplier) and no weight decay on factors and positional biases.
std::vector<operators::ParameterGroup> solver_parameter_groups(const torch::nn::Module& solver);

/// Builds the model that the table [model] of a config describes: `model.name` (docs/neural-solvers.md lists them) and
/// its options. Reads only keys below "model". Weights are initialised from LibTorch's generator: seed it with
/// torch::manual_seed before. Throws ConfigError naming the closest model, ShapeError for a grid that does not fit
/// (modes beyond Nyquist).
NeuralSolverPtr make_neural_solver(const Config& config, const FieldShape& shape);
/// Names that make_neural_solver knows.
std::vector<std::string> neural_solver_names();

}  // namespace monarch::solvers
