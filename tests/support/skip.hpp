#pragma once
#include <string>

namespace monarch::test {
/// Thrown by skip(); main turns it into exit code 77.
struct Skipped {
  std::string reason;
};
}  // namespace monarch::test
