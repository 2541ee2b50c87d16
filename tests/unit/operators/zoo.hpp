#pragma once
// One or more factories for every operator class: what the contract suite runs over.

#include <functional>
#include <string>
#include <vector>

#include "monarch/operators/linear_operator.hpp"

namespace monarch::test {

struct ZooEntry {
  std::string class_name;  ///< as in `class Name final : public LinearOperator`
  std::function<operators::OperatorPtr()> make;
};

/// Real and complex, both precisions, odd, even, prime and degenerate extents. Classes that do not run on `device` are
/// left out there; on the CPU none is.
std::vector<ZooEntry> zoo(at::Device device = at::kCPU);

}  // namespace monarch::test
