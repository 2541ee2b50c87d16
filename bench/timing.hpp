#pragma once
// Seconds of repeated work, and what is made of them.

#include <chrono>
#include <cstdint>
#include <vector>

namespace monarch::bench {

/// NaN for no values.
double median(std::vector<double> values);

/// Seconds per call of one program in one case; one sample per round, each the mean of `inner` calls.
struct Timing {
  std::vector<double> samples = {};
  int64_t inner = 1;

  double median() const;
  double minimum() const;
};

/// Median over the rounds of peer's seconds / ours: a slow moment of the machine hits both.
double median_ratio(const Timing& peer, const Timing& ours);

/// Wall time of work().
template <class Work>
double seconds_of(const Work& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace monarch::bench
