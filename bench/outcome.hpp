#pragma once
// What benchmarks whose report is JSON share: goals, and where the report goes.

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "timing.hpp"

namespace monarch::bench {

/// A report of this name with the machine, the versions of what we compute with, and empty "cases", "goals", "missing".
nlohmann::json start_report(const std::string& benchmark);

/// {"seconds": median, "minimum_seconds", "calls_per_sample", "samples"}.
nlohmann::json timing_json(const Timing& timing);

/// Appends to report["goals"]: wanted is value >= limit (at_least) or value <= limit. NaN is never met.
void add_goal(nlohmann::json& report, const std::string& name, double value, double limit, bool at_least);

/// Prints report["load_average"], report["missing"] and report["goals"], with what was measured and whether it is met.
void print_outcome(const nlohmann::json& report);

/// Prints the report with `print`, or as JSON where `json` is "-"; else `json` names a file for it ("": none). Returns
/// the exit code: 1 where a goal is missed and `goals_decide`.
int finish(const nlohmann::json& report, const std::function<void(const nlohmann::json&)>& print,
           const std::string& json, bool goals_decide);

}  // namespace monarch::bench
