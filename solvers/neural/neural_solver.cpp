#include "monarch/solvers/neural/neural_solver.hpp"

#include <ATen/ATen.h>
#include <c10/core/ScalarTypeToTypeMeta.h>
#include <fmt/format.h>

#include <map>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/operators/linear_operator.hpp"
#include "monarch/solvers/neural/axis_transforms.hpp"

namespace monarch::solvers {
namespace {

void convert(torch::nn::Module& module, std::optional<at::Device> device, std::optional<at::ScalarType> dtype,
             bool non_blocking) {
  const auto change = [&](at::Tensor& tensor) {
    at::ScalarType type = tensor.scalar_type();
    if (dtype && tensor.is_complex()) type = c10::toComplexType(*dtype);
    if (dtype && tensor.is_floating_point()) type = *dtype;
    tensor.set_data(tensor.to(device.value_or(tensor.device()), type, non_blocking));
  };
  for (at::Tensor& parameter : module.parameters()) change(parameter);
  for (at::Tensor& buffer : module.buffers()) change(buffer);
}

}  // namespace

void NeuralSolver::to(torch::Device device, torch::Dtype dtype, bool non_blocking) {
  convert(*this, device, dtype, non_blocking);
}
void NeuralSolver::to(torch::Dtype dtype, bool non_blocking) {
  convert(*this, std::nullopt, dtype, non_blocking);
}
void NeuralSolver::to(torch::Device device, bool non_blocking) {
  convert(*this, device, std::nullopt, non_blocking);
}

void NeuralSolver::check_input(const at::Tensor& x) const {
  const int64_t axes = static_cast<int64_t>(shape_.grid.size());
  check<ShapeError>(x.dim() == axes + 2 && x.size(1) == shape_.in_channels && x.numel() > 0, [&] {
    return fmt::format("{}: x must be [batch, {} channels, {} grid axes], found {}", describe(), shape_.in_channels,
                       axes, shape_text(x.sizes()));
  });
  check<DtypeError>(x.is_floating_point(), [&] { return fmt::format("{}: x must be real", describe()); });
  for (const auto& item : named_parameters()) {
    const at::ScalarType type = c10::toRealValueType(item.value().scalar_type());
    check<DtypeError>(
        x.scalar_type() == type,
        [&] {
          return fmt::format("{}: the weights are {}, x is {}", describe(), operators::dtype_text(type),
                             operators::dtype_text(x.scalar_type()));
        },
        "convert one of them");
    break;
  }
}

std::vector<operators::ParameterGroup> solver_parameter_groups(const torch::nn::Module& solver) {
  std::map<const void*, double> factors;
  for (const auto& module : solver.modules())
    if (const auto* map = dynamic_cast<const AxisMap*>(module.get()))
      for (const at::Tensor& tensor : module->parameters()) factors[tensor.unsafeGetTensorImpl()] = map->lr_multiplier;
  std::vector<operators::ParameterGroup> groups = operators::parameter_groups(solver);
  for (auto& group : groups) {
    const auto found = factors.find(group.tensor.unsafeGetTensorImpl());
    if (found != factors.end()) {
      group.lr_multiplier = found->second;
      group.weight_decay = false;
    }
    if (group.name.find("positional_bias") != std::string::npos) group.weight_decay = false;
  }
  return groups;
}

}  // namespace monarch::solvers
