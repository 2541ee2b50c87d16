#pragma once
// What `monarch simulate` needs of an equation: samples that are a pure function of (seed, index).

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace monarch::solvers {

/// One variable of a sample: "u" of [64, 64, 50], the axes in the order of the published files (time last).
struct SampleVariable {
  std::string name;
  std::vector<int64_t> shape;
  bool timed = false;  ///< the last axis is time, as long as the constant "t"
};

/// An equation with its options, ready to make data.
class Simulation {
 public:
  virtual ~Simulation() = default;
  /// "navier-stokes".
  virtual std::string equation() const = 0;
  /// One line for people: equation, numbers, scheme.
  virtual std::string describe() const = 0;
  virtual std::vector<SampleVariable> variables() const = 0;
  /// What does not depend on the sample: "t" -> float64 [1, T], "x" ….
  virtual std::map<std::string, at::Tensor> constants() const = 0;
  virtual std::map<std::string, double> parameters() const = 0;
  /// Samples first … first+count-1 of `seed`, each variable [count, shape…], float32 or float64. The result for one
  /// sample does not depend on how samples are grouped, nor on the number of threads. Throws BackendError naming sample
  /// and time where the solution stops being finite.
  virtual std::vector<at::Tensor> samples(uint64_t seed, int64_t first, int64_t count) const = 0;
  /// How many samples are worth computing together (memory, vectors, threads).
  virtual int64_t preferred_batch() const { return 1; }
};

}  // namespace monarch::solvers
