#pragma once
// Fourier transforms of lines of any length, for kernels that hold W samples side by side: plans, without vectors.

#include <cstdint>
#include <vector>

namespace monarch::solvers::kernels {

/// The transform of n points in place, as stages. To points (sum over k of c_k exp(+2πi jk/n)) the stages run first to
/// last, by decimation in frequency: frequencies in natural order become points in the order `order`. To frequencies
/// (exponent −2πi) they run last to first, by decimation in time, from that order of points back to natural order. So
/// work on all points alike never needs a reordering pass.
template <class T>
struct LinePlan {
  struct Stage {
    int64_t radix = 1;
    int64_t length = 1;  ///< of the blocks that it splits into `radix` parts
    std::vector<T>
        twiddles;  ///< [length/radix, radix-1, 2]: exp(2πi jp/length), p = 1 … radix-1; empty in the last stage
    std::vector<T> roots;  ///< [radix, 2]: exp(2πi q/radix), for radices without code of their own
  };
  int64_t n = 1;
  std::vector<Stage> stages;
  std::vector<int64_t> order;  ///< place in the plan's order -> point

  /// n >= 1: radices 8, 4, 2, 3, 5; every other prime factor p costs O(p) a point.
  explicit LinePlan(int64_t n);
  LinePlan() = default;
};

/// How many numbers of T one vector of this processor holds.
template <class T>
int64_t native_width();

/// Transforms of `lines` lines of plan.n complex numbers each, in place; `to_points` as above.
void transform_lines(const LinePlan<double>& plan, double* data, int64_t lines, bool to_points);

}  // namespace monarch::solvers::kernels
