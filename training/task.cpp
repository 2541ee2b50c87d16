#include "monarch/training/task.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace monarch::training {

std::vector<operators::ParameterGroup> Task::parameters() {
  return operators::parameter_groups(module());
}

operators::ConversionReport Task::densify() {
  return operators::to_dense(module());
}

std::string Task::describe_samples(std::span<const int64_t> ids) const {
  return fmt::format("samples {}", fmt::join(ids, ", "));
}

}  // namespace monarch::training
