#pragma once
// Counts what PyTorch's allocators hand out.

#include <memory>

namespace monarch::bench {

/// Bytes that tensors made on this thread take while the object lives, less those that are freed again: CPU and CUDA
/// alike (PyTorch's allocators report to it as they would to the profiler, which must not run meanwhile). Memory from
/// elsewhere (malloc, a library's own buffers, other threads) does not show.
class MemoryMeter {
 public:
  MemoryMeter();
  ~MemoryMeter();
  MemoryMeter(const MemoryMeter&) = delete;
  MemoryMeter& operator=(const MemoryMeter&) = delete;

  double live() const;
  double peak() const;  ///< largest live() so far

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace monarch::bench
