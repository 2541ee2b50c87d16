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

namespace monarch::bench {
namespace {

double median_of(std::vector<double> values) {
  if (values.empty()) return std::numeric_limits<double>::quiet_NaN();
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

double median_ratio(const Timing& peer, const Timing& ours) {
  std::vector<double> ratios;
  for (size_t i = 0; i < std::min(peer.samples.size(), ours.samples.size()); ++i) {
    ratios.push_back(peer.samples[i] / ours.samples[i]);
  }
  return median_of(std::move(ratios));
}

/// The rows of the goal table, in its order.
struct GoalRow {
  const char* key;
  const char* requirement;
};
constexpr GoalRow kGoals[] = {
    {"dense-4", "nblocks 4, batch >= 256: speed-up over dense, share of ideal >= 0.9"},
    {"dense-sqrt-1024", "sqrt blocks, n = 1024, batch >= 256: share of ideal >= 0.6"},
    {"dense-sqrt-4096", "sqrt blocks, n = 4096, batch >= 256: share of ideal >= 0.7"},
    {"bmm", "any shape, batch >= 256: speed-up over bmm >= 2"},
    {"bmm-median", "median over shapes, batch >= 256: speed-up over bmm >= 3"},
    {"small-batch", "batch 1 and 16: seconds over those of the faster peer <= 1.05"},
    {"memory-save", "training: peak that grows with the batch, in middle activations <= 1"},
    {"memory-recompute", "training with recompute: the same = 0"},
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
  std::string first = fmt::format("{}, {}", pass_text(training), threads_text(threads)), second;
  first = fmt::format("{:<29}", first);
  second = fmt::format("{:<11} {:>6} {:>9} ", "shape", "batch", "dense");
  for (const auto& nblocks : blocks) {
    first += fmt::format("| {:<46}", "nblocks " + nblocks);
    second += fmt::format("|{:>9}  {:>6}  {:>6}  {:>6} {:>6}  {:>5} ", "monarch", "GFLOPS", "/dense", "ideal", "/bmm",
                          "peak");
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
          // The arrow is one column wide, but three bytes long, which fmt knows.
          row = fmt::format("{:<11} {:>6} {:>9} ", layer_shape_text(shape), batch, time_text(found->dense.median()));
        }
        row += fmt::format("|{:>10} {:>6.1f}  {:>6.2f} {:>7} {:>7} {:>6}",
                           marked(time_text(found->monarch.median()), goals, {"small-batch"}),
                           found->flops_per_second() / 1e9, found->speedup_over_dense(),
                           marked(fmt::format("{:.0f}%", 100 * found->fraction_of_ideal()), goals,
                                  {"dense-4", "dense-sqrt-1024", "dense-sqrt-4096"}),
                           marked(fmt::format("{:.2f}", found->speedup_over_bmm()), goals, {"bmm"}),
                           marked(fmt::format("{:.0f}%", 100 * report.fraction_of_peak(*found)), goals, {"peak-4"}));
      }
      if (!row.empty()) out << row << "\n";
    }
  }
  out << fmt::format("peak (large matrix product) {:.1f} GFLOPS, copy {:.1f} GB/s, triad {:.1f} GB/s\n\n",
                     limits.flops / 1e9, limits.copy / 1e9, limits.triad / 1e9);
}

std::string growing_text(const MemoryUse& use, const MultiplyCase& what) {
  return fmt::format("{:.2f}", use.growing / what.middle_bytes());
}

void print_memory(const MultiplyReport& report, std::ostream& out) {
  if (report.memory.empty()) return;
  constexpr auto kRow = "{:<11} {:<5} | {:>8} {:>8} {:>10} | {:>8} {:>8} {:>10} | {:>8} {:>8} {:>10}\n";
  out << fmt::format("memory in training (batch {}, 1 thread), in activations of the middle width; scratch in bytes\n",
                     report.memory.front().what.batch);
  out << fmt::format("{:<17} | {:<28} | {:<28} | {:<28}\n", "", "monarch", "monarch, recompute", "bmm");
  out << fmt::format(kRow, "shape", "nbl", "kept", "peak", "scratch", "kept", "peak", "scratch", "kept", "peak",
                     "scratch");
  for (const auto& result : report.memory) {
    const auto goals = memory_goals(result);
    const auto kept = [&](const MemoryUse& use) {
      return fmt::format("{:.2f}", use.kept / result.what.middle_bytes());
    };
    out << fmt::format(kRow, layer_shape_text(result.what.shape), result.what.nblocks, kept(result.save),
                       marked(growing_text(result.save, result.what), goals, {"memory-save"}),
                       bytes_text(result.save.scratch), kept(result.recompute),
                       marked(growing_text(result.recompute, result.what), goals, {"memory-recompute"}),
                       bytes_text(result.recompute.scratch), kept(result.bmm),
                       growing_text(result.bmm, result.what) + " ", bytes_text(result.bmm.scratch));
  }
  out << "\n";
}

nlohmann::json to_json(const Timing& timing) {
  return {{"seconds", timing.median()},
          {"minimum_seconds", timing.minimum()},
          {"calls_per_sample", timing.inner},
          {"samples", timing.samples}};
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
      {"monarch", to_json(result.monarch)}, {"bmm", to_json(result.bmm)}, {"dense", to_json(result.dense)}};
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

double Timing::median() const {
  return median_of(samples);
}

double Timing::minimum() const {
  return samples.empty() ? std::numeric_limits<double>::quiet_NaN() : *std::min_element(samples.begin(), samples.end());
}

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
    add({"bmm-median", median_of(values), 3},
        fmt::format("{}, {}", pass_text(group.second), threads_text(group.first)));
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
  out << fmt::format("Monarch products, {}, {}; {} rounds\n\n", setting("dtype"), setting("device"), setting("rounds"));
  std::set<int> threads;
  std::set<bool> passes;
  for (const auto& result : report.cases) threads.insert(result.what.threads), passes.insert(result.what.training);
  for (const bool training : passes) {
    for (const int count : threads) print_block(report, training, count, out);
  }
  print_memory(report, out);
  out << "goals\n";
  for (const auto& row : goal_summaries(report)) {
    std::string verdict = "not measured";
    if (row.measured()) {
      verdict = fmt::format("{} ({} of {}; worst {:.2f}: {})", row.passed() ? "met" : "MISSED", row.met, row.checks,
                            row.worst->value, row.worst_case);
    }
    out << fmt::format("  {:<76} {}\n", row.requirement, verdict);
  }
  out << "\nMedians over the rounds, in each of which all programs ran in turn. dense: at::linear; bmm: two batched "
         "products and copies.\n/dense, /bmm: their seconds over ours (median of the rounds' ratios). ideal: /dense "
         "over dense flops / Monarch flops. peak: GFLOPS over the peak.\n*: a goal missed.\n";
}

std::string report_json(const MultiplyReport& report) {
  nlohmann::json root;
  root["benchmark"] = "multiply";
  root["machine"] = report.machine;
  root["versions"] = report.versions;
  root["settings"] = report.settings;
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
    plot::Series ours{.name = "monarch", .style = plot::Style::points};
    plot::Series bmm{.name = "two bmm and copies", .style = plot::Style::points};
    plot::Series dense{.name = "dense", .style = plot::Style::points};
    for (const auto& result : report.cases) {
      const MultiplyCase& what = result.what;
      if (what.training || what.threads != count) continue;
      const std::string name =
          fmt::format("{} nblocks {} batch {}", layer_shape_text(what.shape), what.nblocks, what.batch);
      const auto add = [](plot::Series& series, double intensity, double rate, const std::string& label) {
        series.x.push_back(intensity);
        series.y.push_back(rate / 1e9);
        series.tooltips.push_back(label);
      };
      add(ours, what.flops() / what.bytes(), result.flops_per_second(), name);
      add(bmm, what.flops() / what.bytes(), what.flops() / result.bmm.median(), name);
      add(dense, what.dense_flops() / what.dense_bytes(), what.dense_flops() / result.dense.median(), name);
    }
    plot::Chart chart{.title = fmt::format("Monarch product, {}", threads_text(count)),
                      .x = {.label = "flops per byte of x, y and weights", .scale = plot::Scale::log},
                      .y = {.label = "GFLOP/s", .scale = plot::Scale::log},
                      .series = {ours, bmm, dense}};
    const double ridge = limits.flops / limits.bandwidth();
    const double low = std::min(0.1, ridge / 10);
    chart.references = {
        plot::horizontal(fmt::format("matrix product {:.0f} GFLOP/s", limits.flops / 1e9), limits.flops / 1e9),
        {fmt::format("memory {:.0f} GB/s", limits.bandwidth() / 1e9),
         {low, ridge},
         {low * limits.bandwidth() / 1e9, limits.flops / 1e9}}};
    charts.push_back(std::move(chart));
  }
  return plot::stacked_svg(charts);
}

}  // namespace monarch::bench
