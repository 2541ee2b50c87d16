#include "outcome.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "monarch/core/files.hpp"

namespace monarch::bench {

nlohmann::json timing_json(const Timing& timing) {
  return {{"seconds", timing.median()},
          {"minimum_seconds", timing.minimum()},
          {"calls_per_sample", timing.inner},
          {"samples", timing.samples}};
}

void add_goal(nlohmann::json& report, const std::string& name, double value, double limit, bool at_least) {
  const bool met = at_least ? value >= limit : value <= limit;
  report["goals"].push_back(
      {{"goal", name}, {"value", value}, {"limit", limit}, {"comparison", at_least ? ">=" : "<="}, {"met", met}});
}

void print_goals(const nlohmann::json& report) {
  for (const auto& m : report["missing"]) fmt::print("missing: {}\n", m.get<std::string>());
  fmt::print("\ngoals\n");
  for (const auto& g : report["goals"]) {
    fmt::print("  {} {}: {:.4g} ({} {:.4g})\n", g["met"].get<bool>() ? "met   " : "missed",
               g["goal"].get<std::string>(), g["value"].get<double>(), g["comparison"] == ">=" ? "≥" : "≤",
               g["limit"].get<double>());
  }
}

int finish(const nlohmann::json& report, const std::function<void(const nlohmann::json&)>& print,
           const std::string& json, bool goals_decide) {
  if (json == "-") {
    fmt::print("{}\n", report.dump(2));
  } else {
    print(report);
    if (!json.empty()) write_file_atomically(json, report.dump(2) + "\n");
  }
  if (!goals_decide) return 0;
  const auto& goals = report["goals"];
  return std::all_of(goals.begin(), goals.end(), [](const auto& g) { return g["met"].template get<bool>(); }) ? 0 : 1;
}

}  // namespace monarch::bench
