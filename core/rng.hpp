#pragma once
// Seeded random numbers that are the same on every machine and do not depend on call order elsewhere.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string_view>
#include <vector>

namespace monarch {

/// Counter-based generator (Philox 4x32-10, Salmon et al., SC 2011): the stream is a pure function of
/// (seed, stream name), so each sample, mask or scan derives its own from (seed, id).
class Rng {
 public:
  explicit Rng(uint64_t seed, std::string_view stream = {});

  uint32_t bits();
  /// Uniform in [0, 1).
  double uniform();
  /// Uniform integer in [0, bound); bound >= 1.
  int64_t below(int64_t bound);
  /// Standard normal (Box-Muller).
  double normal();

  /// A CPU tensor of standard normal values; complex types get independent real and imaginary parts of variance 1/2.
  at::Tensor normal(std::vector<int64_t> shape, at::ScalarType dtype);

 private:
  void refill();

  uint32_t key_[2];
  uint32_t counter_[4] = {0, 0, 0, 0};
  uint32_t block_[4] = {0, 0, 0, 0};
  int used_ = 4;
};

}  // namespace monarch
