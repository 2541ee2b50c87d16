#pragma once
// What `monarch bench multiply` found: goals, table, JSON and the roofline chart.

#include <iosfwd>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "multiply_cases.hpp"
#include "timing.hpp"

namespace monarch::bench {

/// One case. In each round every program ran once, in turn.
struct CaseResult {
  MultiplyCase what;
  Timing monarch = {}, bmm = {}, dense = {};
  double difference = 0;  ///< largest deviation from the bmm result (and its gradients), in units of its RMS
  double tolerance = 0;

  /// Median over the rounds of peer's seconds / ours: a slow moment of the machine hits both.
  double speedup_over_dense() const;
  double speedup_over_bmm() const;
  double fraction_of_ideal() const { return speedup_over_dense() / what.ideal(); }
  double flops_per_second() const { return what.flops() / monarch.median(); }
};

/// Bytes of PyTorch's allocator in forward and backward, beyond arguments, result and gradients. What grows in
/// proportion to the batch is told apart from what does not (scratch), by measuring two batches.
struct MemoryUse {
  double kept = 0;     ///< between forward and backward
  double growing = 0;  ///< peak, the part that grows with the batch
  double scratch = 0;  ///< peak, the constant part
};

struct MemoryResult {
  MultiplyCase what;  ///< training, 1 thread
  MemoryUse save = {}, recompute = {}, bmm = {};
};

/// What the machine can do at one thread count.
struct MachineLimits {
  int threads = 1;
  double flops = 0;  ///< of a large at::mm in the benchmark's dtype, best of several, per second
  double copy = 0;   ///< bytes per second read and written by a copy far larger than the caches
  double triad = 0;  ///< the same for c = a + s b
  double bandwidth() const { return copy > triad ? copy : triad; }
};

struct MultiplyReport {
  std::map<std::string, std::string> machine;   ///< provenance of this run
  std::map<std::string, std::string> versions;  ///< of the libraries that the peers use
  std::map<std::string, std::string> settings;
  std::vector<MachineLimits> limits;
  std::vector<CaseResult> cases;
  std::vector<MemoryResult> memory;

  const MachineLimits& limits_at(int threads) const;
  /// Cases in which a program's median is more than 1.3 times its minimum: the machine had other work.
  int disturbed() const;
  double fraction_of_peak(const CaseResult& result) const;
};

/// One goal, for one case.
struct GoalCheck {
  std::string goal;  ///< key, as in GoalSummary
  double value = 0, limit = 0;
  bool at_least = true;  ///< value >= limit is wanted, else value <= limit

  bool met() const { return at_least ? value >= limit : value <= limit; }  // NaN is never met
};

/// The goals that a case has, in float32 (other types have none).
std::vector<GoalCheck> case_goals(const MultiplyReport& report, const CaseResult& result);
std::vector<GoalCheck> memory_goals(const MemoryResult& result);

/// One row of the table of goals over all cases.
struct GoalSummary {
  std::string goal;
  std::string requirement;
  int checks = 0, met = 0;
  std::optional<GoalCheck> worst = {};
  std::string worst_case = {};

  bool measured() const { return checks > 0; }
  bool passed() const { return checks > 0 && met == checks; }
};
std::vector<GoalSummary> goal_summaries(const MultiplyReport& report);

void print_report(const MultiplyReport& report, std::ostream& out);
std::string report_json(const MultiplyReport& report);
/// Forward products in a roofline per thread count: operations per second over operations per byte that has to move.
std::string roofline_svg(const MultiplyReport& report);

}  // namespace monarch::bench
