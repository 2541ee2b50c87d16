#include "outcome.hpp"

#include <ATen/Version.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "monarch/core/files.hpp"
#include "monarch/core/provenance.hpp"

namespace monarch::bench {

nlohmann::json start_report(const std::string& benchmark) {
  nlohmann::json report = {
      {"benchmark", benchmark},
      {"machine", provenance()},
      {"versions", {{"MKL", at::get_mkl_version()}, {"CPU capability", at::get_cpu_capability()}}}};
  for (const char* list : {"cases", "goals", "missing"}) report[list] = nlohmann::json::array();
  return report;
}

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

void print_outcome(const nlohmann::json& report) {
  const auto load = [&](const char* when) {
    return fmt::format("{:.2f}", fmt::join(report["load_average"][when].get<std::vector<double>>(), ", "));
  };
  fmt::print("\nload average of the machine before: {}, after: {}\n", load("before"), load("after"));
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
