#pragma once
// Where the time of a training step goes, by LibTorch's profiler.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <utility>

namespace monarch::training {

/// Lets three steps pass, records five, and writes into `folder`
///   profile.txt  operators by the time spent in them and not in operators that they call
///   trace.json   for chrome://tracing or ui.perfetto.dev
/// Throws DataError where they cannot be written. One at a time.
class StepProfile {
 public:
  /// Records nothing.
  StepProfile() = default;
  StepProfile(std::filesystem::path folder, at::Device device) : folder_(std::move(folder)), device_(device), on_(true) {}

  /// Called as each step begins.
  void before_step();
  /// Writes what was recorded if that has not happened: training ended before.
  void finish();

 private:
  std::filesystem::path folder_;
  at::Device device_ = at::kCPU;
  bool on_ = false, records_ = false;
  int64_t steps_ = 0;
};

}  // namespace monarch::training
