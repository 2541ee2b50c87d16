#include "multiply_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <ostream>
#include <set>

#include "monarch/core/error.hpp"
#include "monarch/core/plot.hpp"
#include "monarch/core/text.hpp"
#include "outcome.hpp"

namespace monarch::bench {
namespace {

/// The rows of the goal table, in its order.
struct GoalRow {
  const char* key;
  const char* requirement;
};
constexpr GoalRow kGoals[] = {
    {"dense-4", "nblocks 4, batch >= 256: share of the ideal speed-up over dense >= 0.9"},
    {"dense-sqrt-1024", "nblocks sqrt, n = 1024, batch >= 256: share of the ideal speed-up over dense >= 0.6"},
    {"dense-sqrt-4096", "nblocks sqrt, n = 4096, batch >= 256: share of the ideal speed-up over dense >= 0.7"},
    {"bmm", "any shape, batch >= 256: speed-up over bmm >= 2"},
    {"bmm-median", "batch >= 256: median of the speed-ups over bmm >= 3"},
    {"small-batch", "batch 1 and 16: seconds over those of the faster peer <= 1.05"},
    {"memory-save", "training: peak extra memory, in activations of the middle width <= 1"},
    {"memory-recompute", "training with recompute: peak extra memory <= 0"},
    {"peak-4", "nblocks 4, batch >= 256: share of the measured matrix-product peak >= 0.8"},
};

bool large(const MultiplyCase& what) {
  return what.batch >= 256;
}

bool square(const MultiplyCase& what, int64_t n) {
  return what.shape == LayerShape{n, n};
}

std::string pass_text(bool training) {
  return training ? "forward and backward" : "forward";
}

std::string threads_text(int threads) {
  return fmt::format("{} thread{}", threads, threads == 1 ? "" : "s");
}

std::string time_text(double seconds) {
  return seconds < 1e-3 ? fmt::format("{:.1f}us", seconds * 1e6)
         : seconds < 1  ? fmt::format("{:.2f}ms", seconds * 1e3)
                        : fmt::format("{:.2f}s", seconds);
}

std::string marked(const std::string& text, const std::vector<GoalCheck>& goals, const std::vector<std::string>& keys) {
  const bool missed = std::any_of(goals.begin(), goals.end(), [&](const GoalCheck& goal) {
    return !goal.met() && std::find(keys.begin(), keys.end(), goal.goal) != keys.end();
  });
  return text + (missed ? "*" : " ");
}

/// Distinct values of the cases, in the order of their first appearance.
template <class Value>
std::vector<Value> distinct(const std::vector<CaseResult>& cases, const std::function<Value(const MultiplyCase&)>& of) {
  std::vector<Value> values;
  for (const auto& result : cases) {
    if (std::find(values.begin(), values.end(), of(result.what)) == values.end()) values.push_back(of(result.what));
  }
  return values;
}

const CaseResult* find_case(const MultiplyReport& report, const LayerShape& shape, int64_t batch,
                            const std::string& nblocks, bool training, int threads) {
  for (const auto& result : report.cases) {
    const MultiplyCase& what = result.what;
    if (what.shape == shape && what.batch == batch && what.nblocks == nblocks && what.training == training &&
        what.threads == threads) {
      return &result;
    }
  }
  return nullptr;
}

void print_block(const MultiplyReport& report, bool training, int threads, std::ostream& out) {
  const auto shapes = distinct<LayerShape>(report.cases, [](const MultiplyCase& c) { return c.shape; });
  const auto batches = distinct<int64_t>(report.cases, [](const MultiplyCase& c) { return c.batch; });
  const auto blocks = distinct<std::string>(report.cases, [](const MultiplyCase& c) { return c.nblocks; });
  const MachineLimits& limits = report.limits_at(threads);
  std::string first = fmt::format("{:<34}", fmt::format("{}, {}", pass_text(training), threads_text(threads)));
  std::string second = fmt::format("{:<14} {:>6} {:>11} ", "shape", "batch", "dense");
  constexpr auto kBlock = "|{:>11} {:>7} {:>6} {:>6} {:>7} {:>5} ";
  for (const auto& nblocks : blocks) {
    first += fmt::format("| {:<47}", "nblocks " + nblocks);
    second += fmt::format(kBlock, "monarch ", "GFLOP/s", "/dense", "ideal ", "/bmm ", "peak ");
  }
  out << fmt::format("{}\n{}\n", first, second);
  for (const auto& shape : shapes) {
    for (const int64_t batch : batches) {
      std::string row;
      for (const auto& nblocks : blocks) {
        const CaseResult* found = find_case(report, shape, batch, nblocks, training, threads);
        if (found == nullptr) continue;
        const auto goals = case_goals(report, *found);
        if (row.empty()) {
          row = fmt::format("{:<14} {:>6} {:>11} ", layer_shape_text(shape), batch, time_text(found->dense.median()));
        }
        row += fmt::format(kBlock, marked(time_text(found->monarch.median()), goals, {"small-batch"}),
                           fmt::format("{:.1f}", found->flops_per_second() / 1e9),
                           fmt::format("{:.2f}", found->speedup_over_dense()),
                           marked(fmt::format("{:.0f}%", 100 * found->fraction_of_ideal()), goals,
                                  {"dense-4", "dense-sqrt-1024", "dense-sqrt-4096"}),
                           marked(fmt::format("{:.2f}", found->speedup_over_bmm()), goals, {"bmm"}),
                           marked(fmt::format("{:.0f}%", 100 * report.fraction_of_peak(*found)), goals, {"peak-4"}));
      }
      if (!row.empty()) out << row << "\n";
    }
  }
  out << fmt::format("peak (large matrix product) {:.1f} GFLOP/s, copy {:.1f} GB/s, triad {:.1f} GB/s\n\n",
                     limits.flops / 1e9, limits.copy / 1e9, limits.triad / 1e9);
}

void print_memory(const MultiplyReport& report, std::ostream& out) {
  if (report.memory.empty()) return;
  constexpr auto kUse = "|{:>9} {:>9} {:>11} ";
  out << fmt::format(
      "memory in training, batch {}, 1 thread: kept for backward and extra at the peak, in activations of "
      "the middle width; scratch\n",
      report.memory.front().what.batch);
  std::string first = fmt::format("{:<22}", ""), second = fmt::format("{:<14} {:<7}", "shape", "nblocks");
  for (const char* program : {"monarch", "monarch, recompute", "bmm"}) {
    first += fmt::format("| {:<31}", program);
    second += fmt::format(kUse, "kept ", "peak ", "scratch");
  }
  out << first << "\n" << second << "\n";
  for (const auto& result : report.memory) {
    const auto goals = memory_goals(result);
    const auto columns = [&](const MemoryUse& use, const std::string& goal) {
      const double middle = result.what.middle_bytes();
      return fmt::format(kUse, fmt::format("{:.2f} ", use.kept / middle),
                         marked(fmt::format("{:.2f}", use.growing / middle), goals, {goal}), bytes_text(use.scratch));
    };
    out << fmt::format("{:<14} {:<7}", layer_shape_text(result.what.shape), result.what.nblocks)
        << columns(result.save, "memory-save") << columns(result.recompute, "memory-recompute")
        << columns(result.bmm, "") << "\n";
  }
  out << "\n";
}

nlohmann::json to_json(const GoalCheck& goal) {
  return {{"goal", goal.goal},
          {"value", goal.value},
          {"limit", goal.limit},
          {"comparison", goal.at_least ? ">=" : "<="},
          {"met", goal.met()}};
}

nlohmann::json to_json(const std::vector<GoalCheck>& goals) {
  nlohmann::json list = nlohmann::json::array();
  for (const auto& goal : goals) list.push_back(to_json(goal));
  return list;
}

nlohmann::json to_json(const MultiplyCase& what) {
  const operators::MonarchSizes& z = what.sizes;
  return {{"in", what.shape.in},
          {"out", what.shape.out},
          {"batch", what.batch},
          {"nblocks", what.nblocks},
          {"sizes", {{"k", z.k}, {"q", z.q}, {"p", z.p}, {"l", z.l}, {"s", z.s}, {"r", z.r}}},
          {"pass", what.training ? "training" : "forward"},
          {"threads", what.threads},
          {"flops", what.flops()},
          {"dense_flops", what.dense_flops()},
          {"ideal_speedup", what.ideal()}};
}

nlohmann::json to_json(const MemoryUse& use) {
  return {{"kept_bytes", use.kept}, {"peak_growing_bytes", use.growing}, {"scratch_bytes", use.scratch}};
}

nlohmann::json to_json(const MultiplyReport& report, const CaseResult& result) {
  nlohmann::json entry = to_json(result.what);
  entry["forward_bytes"] = result.what.bytes();
  entry["dense_forward_bytes"] = result.what.dense_bytes();
  entry["difference_to_bmm"] = result.difference;
  entry["tolerance"] = result.tolerance;
  entry["programs"] = {
      {"monarch", timing_json(result.monarch)}, {"bmm", timing_json(result.bmm)}, {"dense", timing_json(result.dense)}};
  entry["flops_per_second"] = {{"monarch", result.what.flops() / result.monarch.median()},
                               {"bmm", result.what.flops() / result.bmm.median()},
                               {"dense", result.what.dense_flops() / result.dense.median()}};
  entry["speedup_over_dense"] = result.speedup_over_dense();
  entry["speedup_over_bmm"] = result.speedup_over_bmm();
  entry["speedup_over_dense_of_minima"] = result.dense.minimum() / result.monarch.minimum();
  entry["speedup_over_bmm_of_minima"] = result.bmm.minimum() / result.monarch.minimum();
  entry["fraction_of_ideal"] = result.fraction_of_ideal();
  entry["fraction_of_peak"] = report.fraction_of_peak(result);
  entry["goals"] = to_json(case_goals(report, result));
  return entry;
}

}  // namespace

double CaseResult::speedup_over_dense() const {
  return median_ratio(dense, monarch);
}
double CaseResult::speedup_over_bmm() const {
  return median_ratio(bmm, monarch);
}

const MachineLimits& MultiplyReport::limits_at(int threads) const {
  const auto found = std::find_if(limits.begin(), limits.end(), [&](const auto& l) { return l.threads == threads; });
  check<ConfigError>(found != limits.end(), [&] { return fmt::format("no peak was measured at {} threads", threads); });
  return *found;
}

int MultiplyReport::disturbed() const {
  return static_cast<int>(std::count_if(cases.begin(), cases.end(), [](const CaseResult& result) {
    const auto noisy = [](const Timing& timing) { return timing.median() > 1.3 * timing.minimum(); };
    return noisy(result.monarch) || noisy(result.bmm) || noisy(result.dense);
  }));
}

double MultiplyReport::fraction_of_peak(const CaseResult& result) const {
  return result.flops_per_second() / limits_at(result.what.threads).flops;
}

std::vector<GoalCheck> case_goals(const MultiplyReport& report, const CaseResult& result) {
  const MultiplyCase& what = result.what;
  std::vector<GoalCheck> goals;
  if (what.dtype != at::kFloat) return goals;
  if (large(what) && what.nblocks == "4") {
    goals.push_back({"dense-4", result.fraction_of_ideal(), 0.9});
    goals.push_back({"peak-4", report.fraction_of_peak(result), 0.8});
  }
  if (large(what) && what.nblocks == "sqrt") {
    if (square(what, 1024)) goals.push_back({"dense-sqrt-1024", result.fraction_of_ideal(), 0.6});
    if (square(what, 4096)) goals.push_back({"dense-sqrt-4096", result.fraction_of_ideal(), 0.7});
  }
  if (large(what)) goals.push_back({"bmm", result.speedup_over_bmm(), 2});
  if (what.batch <= 16) {
    const double dense = result.speedup_over_dense(), bmm = result.speedup_over_bmm();
    const double least = dense <= bmm ? dense : bmm <= dense ? bmm : std::numeric_limits<double>::quiet_NaN();
    goals.push_back({"small-batch", 1 / least, 1.05, false});
  }
  return goals;
}

std::vector<GoalCheck> memory_goals(const MemoryResult& result) {
  if (result.what.dtype != at::kFloat) return {};
  const double middle = result.what.middle_bytes();
  return {{"memory-save", result.save.growing / middle, 1, false},
          {"memory-recompute", result.recompute.growing / middle, 0, false}};
}

std::vector<GoalSummary> goal_summaries(const MultiplyReport& report) {
  std::vector<GoalSummary> rows;
  for (const auto& goal : kGoals) rows.push_back({goal.key, goal.requirement});
  const auto add = [&](const GoalCheck& goal, const std::string& where) {
    auto row = std::find_if(rows.begin(), rows.end(), [&](const GoalSummary& r) { return r.goal == goal.goal; });
    ++row->checks;
    row->met += goal.met();
    const bool worse = !row->worst || std::isnan(goal.value) ||
                       (goal.at_least ? goal.value < row->worst->value : goal.value > row->worst->value);
    if (worse) row->worst = goal, row->worst_case = where;
  };
  std::map<std::pair<int, bool>, std::vector<double>> over_bmm;
  for (const auto& result : report.cases) {
    for (const auto& goal : case_goals(report, result)) {
      add(goal, result.what.text());
      if (goal.goal == "bmm") over_bmm[{result.what.threads, result.what.training}].push_back(goal.value);
    }
  }
  for (const auto& [group, values] : over_bmm) {
    add({"bmm-median", median(values), 3}, fmt::format("{}, {}", pass_text(group.second), threads_text(group.first)));
  }
  for (const auto& result : report.memory) {
    for (const auto& goal : memory_goals(result)) add(goal, result.what.text());
  }
  return rows;
}

void print_report(const MultiplyReport& report, std::ostream& out) {
  const auto setting = [&](const std::string& key) {
    const auto found = report.settings.find(key);
    return found == report.settings.end() ? std::string() : found->second;
  };
  const auto machine = [&](const std::string& key) {
    const auto found = report.machine.find(key);
    return found == report.machine.end() ? std::string() : found->second;
  };
  out << fmt::format("Monarch products, {}, {}; rounds: {}; {} ({}), LibTorch {}, OMP_WAIT_POLICY={}\n\n",
                     setting("dtype"), setting("device"), setting("rounds"), machine("cpu"), machine("cpu_capability"),
                     machine("libtorch"), machine("OMP_WAIT_POLICY"));
  std::set<int> threads;
  std::set<bool> passes;
  for (const auto& result : report.cases) threads.insert(result.what.threads), passes.insert(result.what.training);
  for (const bool training : passes) {
    for (const int count : threads) print_block(report, training, count, out);
  }
  print_memory(report, out);
  out << "goals\n";
  for (const auto& row : goal_summaries(report)) {
    if (!row.measured()) {
      out << fmt::format("  {:<7} {:<9} {}\n", "-", "", row.requirement);
      continue;
    }
    out << fmt::format("  {:<7} {:<9} {}; worst {:.2f} ({})\n", row.passed() ? "met" : "MISSED",
                       fmt::format("{} of {}", row.met, row.checks), row.requirement, row.worst->value, row.worst_case);
  }
  if (const int disturbed = report.disturbed(); disturbed > 0) {
    out << fmt::format("\nThe machine had other work: in {} of {} cases a median is more than 1.3 times the minimum.\n",
                       disturbed, report.cases.size());
  }
  out << "\nMedians over the rounds, in each of which all programs ran in turn. dense: at::linear; bmm: two batched "
         "products and copies.\n/dense, /bmm: their seconds over ours (median of the rounds' ratios). ideal: /dense "
         "over dense flops / Monarch flops. peak: GFLOP/s over that of a large matrix product.\n*: a goal missed.\n";
}

std::string report_json(const MultiplyReport& report) {
  nlohmann::json root;
  root["benchmark"] = "multiply";
  root["machine"] = report.machine;
  root["versions"] = report.versions;
  root["settings"] = report.settings;
  root["disturbed_cases"] = report.disturbed();
  root["limits"] = root["cases"] = root["memory"] = root["goals"] = nlohmann::json::array();
  for (const auto& limits : report.limits) {
    root["limits"].push_back({{"threads", limits.threads},
                              {"peak_flops_per_second", limits.flops},
                              {"copy_bytes_per_second", limits.copy},
                              {"triad_bytes_per_second", limits.triad}});
  }
  for (const auto& result : report.cases) root["cases"].push_back(to_json(report, result));
  for (const auto& result : report.memory) {
    nlohmann::json entry = to_json(result.what);
    entry["middle_activation_bytes"] = result.what.middle_bytes();
    entry["save"] = to_json(result.save);
    entry["recompute"] = to_json(result.recompute);
    entry["bmm"] = to_json(result.bmm);
    entry["goals"] = to_json(memory_goals(result));
    root["memory"].push_back(std::move(entry));
  }
  for (const auto& row : goal_summaries(report)) {
    nlohmann::json entry = {{"goal", row.goal},
                            {"requirement", row.requirement},
                            {"checks", row.checks},
                            {"met_checks", row.met},
                            {"met", row.measured() ? nlohmann::json(row.passed()) : nlohmann::json()}};
    if (row.worst) entry["worst"] = to_json(*row.worst), entry["worst_case"] = row.worst_case;
    root["goals"].push_back(std::move(entry));
  }
  return root.dump(2) + "\n";
}

std::string roofline_svg(const MultiplyReport& report) {
  std::set<int> threads;
  for (const auto& result : report.cases) {
    if (!result.what.training) threads.insert(result.what.threads);
  }
  check<ConfigError>(!threads.empty(), "the roofline needs forward cases");
  std::vector<plot::Chart> charts;
  for (const int count : threads) {
    const MachineLimits& limits = report.limits_at(count);
    std::vector<plot::Series> series = {{.name = "dense", .style = plot::Style::points, .colour = 2}};
    const auto blocks = distinct<std::string>(report.cases, [](const MultiplyCase& c) { return c.nblocks; });
    for (size_t i = 0; i < blocks.size(); ++i) {
      series.push_back(
          {.name = "bmm, nblocks " + blocks[i], .style = plot::Style::points, .colour = 1, .hollow = i > 0});
    }
    for (size_t i = 0; i < blocks.size(); ++i) {
      series.push_back(
          {.name = "monarch, nblocks " + blocks[i], .style = plot::Style::points, .colour = 0, .hollow = i > 0});
    }
    double lowest = std::numeric_limits<double>::infinity();
    for (const auto& result : report.cases) {
      const MultiplyCase& what = result.what;
      if (what.training || what.threads != count) continue;
      const auto block = static_cast<size_t>(std::find(blocks.begin(), blocks.end(), what.nblocks) - blocks.begin());
      const auto add = [&](plot::Series& to, double intensity, double rate, const std::string& label) {
        to.x.push_back(intensity);
        to.y.push_back(rate / 1e9);
        to.labels.push_back(label);
        to.tooltips.push_back(fmt::format("{}, batch {}", layer_shape_text(what.shape), what.batch));
        lowest = std::min(lowest, intensity);
      };
      const double intensity = what.flops() / what.bytes();
      add(series[1 + blocks.size() + block], intensity, result.flops_per_second(),
          what.batch >= 256 ? fmt::format("{} × {}", layer_shape_text(what.shape), what.batch) : "");
      add(series[1 + block], intensity, what.flops() / result.bmm.median(), "");
      if (block == 0) {
        add(series[0], what.dense_flops() / what.dense_bytes(), what.dense_flops() / result.dense.median(), "");
      }
    }
    const double ridge = limits.flops / limits.bandwidth(), low = std::min(lowest, ridge) / 2;
    plot::Chart chart{
        .title = fmt::format("Forward products, {}", threads_text(count)),
        .subtitle =
            "Labels: layer × batch. Below the caches' size, data stays in them between calls and the memory "
            "line is no limit.",
        .x = {.label = "flop per byte of x, y and weights", .scale = plot::Scale::log},
        .y = {.label = "GFLOP/s", .scale = plot::Scale::log, .maximum = 3 * limits.flops / 1e9},
        .series = std::move(series),
        .references = {plot::horizontal(fmt::format("large matrix product {:.0f} GFLOP/s", limits.flops / 1e9),
                                        limits.flops / 1e9),
                       {fmt::format("memory {:.0f} GB/s", limits.bandwidth() / 1e9),
                        {low, ridge},
                        {low * limits.bandwidth() / 1e9, limits.flops / 1e9}}},
        .width = 1100,
        .height = 640};
    charts.push_back(std::move(chart));
  }
  return plot::stacked_svg(charts);
}

}  // namespace monarch::bench
