#pragma once
// How fast training goes.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

namespace monarch::training {

/// Times of the optimiser steps of one process.
class Throughput {
 public:
  /// A step of `samples` samples over all processes, each of `flops` operations (0: not known).
  void add(double seconds, int64_t samples, double flops);
  bool empty() const { return seconds_.empty(); }
  /// {} before the first step, else
  ///   seconds_per_step    median
  ///   samples_per_second  of the median step's time
  ///   tokens_per_second   where `tokens_per_sample` > 0
  ///   tflops, mfu         where the task knows its operations: 10¹² a second of the model, and their part of `peak`
  ///                       (operations a second of all processes; 0: that of a product of matrices, measured once where
  ///                       `measure`, else no mfu)
  ///   peak_memory_mib     largest resident size of this process
  /// The first steps, which warm caches, are left out where there are more than twice as many.
  nlohmann::json json(int64_t tokens_per_sample, double peak, bool measure) const;

 private:
  std::vector<float> seconds_;
  double samples_ = 0, flops_ = 0;
};

/// Operations a second of a float32 product of matrices on the CPU with this process's threads; measured at the first
/// call (a tenth of a second).
double measured_cpu_flops();

}  // namespace monarch::training
