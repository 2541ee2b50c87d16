#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <pugixml.hpp>
#include <sstream>

#include "monarch/bench/multiply_report.hpp"
#include "monarch/core/error.hpp"

using namespace monarch;
using namespace monarch::bench;
using Catch::Matchers::Contains;

namespace {

/// A case whose product takes a millisecond and whose peers take this much longer.
CaseResult result_of(const LayerShape& shape, const std::string& nblocks, int64_t batch, double over_dense,
                     double over_bmm) {
  CaseResult result{.what = {.shape = shape, .nblocks = nblocks, .sizes = sizes_for(shape, nblocks), .batch = batch}};
  result.monarch.samples = {1e-3, 1e-3, 1e-3};
  result.dense.samples = std::vector<double>(3, over_dense * 1e-3);
  result.bmm.samples = std::vector<double>(3, over_bmm * 1e-3);
  return result;
}

MultiplyReport report_of(const CaseResult& result, double share_of_peak = 1) {
  MultiplyReport report;
  report.limits = {{.threads = 1, .flops = result.flops_per_second() / share_of_peak, .copy = 1e10, .triad = 1.2e10}};
  report.cases = {result};
  return report;
}

GoalSummary summary(const MultiplyReport& report, const std::string& goal) {
  for (const auto& row : goal_summaries(report)) {
    if (row.goal == goal) return row;
  }
  FAIL("no goal " << goal);
  return {};
}

}  // namespace

TEST_CASE("each speed goal accepts its limit and rejects what is below") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  struct Row {
    const char* goal;
    LayerShape shape;
    const char* nblocks;
    int64_t batch;
    double dense, bmm, peak;              // just good enough
    double bad_dense, bad_bmm, bad_peak;  // not good enough
  };
  const Row rows[] = {
      {"dense-4", {1024, 1024}, "4", 256, 1.801, 9, 1, 1.79, 9, 1},
      {"dense-4", {768, 3072}, "4", 4096, 2.881, 9, 1, 2.87, 9, 1},
      {"dense-sqrt-1024", {1024, 1024}, "sqrt", 256, 9.61, 9, 1, 9.59, 9, 1},
      {"dense-sqrt-4096", {4096, 4096}, "sqrt", 256, 22.41, 9, 1, 22.39, 9, 1},
      {"bmm", {768, 768}, "sqrt", 256, 99, 2.001, 1, 99, 1.99, 1},
      {"bmm-median", {768, 768}, "sqrt", 256, 99, 3.001, 1, 99, 2.99, 1},
      {"small-batch", {768, 768}, "4", 16, 0.953, 9, 1, 0.951, 9, 1},
      {"small-batch", {768, 768}, "4", 1, 9, 0.953, 1, 9, 0.951, 1},
      {"peak-4", {768, 768}, "4", 256, 9, 9, 0.801, 9, 9, 0.799},
  };
  for (const auto& row : rows) {
    INFO(row.goal);
    const CaseResult good = result_of(row.shape, row.nblocks, row.batch, row.dense, row.bmm);
    const CaseResult bad = result_of(row.shape, row.nblocks, row.batch, row.bad_dense, row.bad_bmm);
    REQUIRE(summary(report_of(good, row.peak), row.goal).passed());
    const auto missed = summary(report_of(bad, row.bad_peak), row.goal);
    REQUIRE(missed.measured());
    REQUIRE_FALSE(missed.passed());
    CaseResult broken = good;
    broken.monarch.samples = {nan, nan, nan};
    REQUIRE_FALSE(summary(report_of(broken, row.peak), row.goal).passed());
  }
}

TEST_CASE("goals hold for the cases that they name and no others") {
  const auto measured = [](const CaseResult& result, const std::string& goal) {
    return summary(report_of(result), goal).measured();
  };
  REQUIRE_FALSE(measured(result_of({1024, 1024}, "4", 16, 1, 1), "dense-4"));
  REQUIRE_FALSE(measured(result_of({1024, 1024}, "8", 256, 1, 1), "dense-4"));
  REQUIRE_FALSE(measured(result_of({768, 768}, "sqrt", 256, 1, 1), "dense-sqrt-1024"));
  REQUIRE_FALSE(measured(result_of({1024, 1024}, "sqrt", 256, 1, 1), "dense-sqrt-4096"));
  REQUIRE_FALSE(measured(result_of({1024, 1024}, "sqrt", 256, 1, 1), "small-batch"));
  REQUIRE(measured(result_of({1024, 1024}, "8", 256, 1, 1), "bmm"));
  CaseResult complex = result_of({1024, 1024}, "4", 256, 1, 1);
  complex.what.dtype = at::kComplexFloat;
  for (const auto& row : goal_summaries(report_of(complex))) REQUIRE_FALSE(row.measured());
}

TEST_CASE("memory goals reject one byte per row too much") {
  MultiplyReport report;
  MemoryResult good{
      .what = {.shape = {1024, 1024}, .nblocks = "4", .sizes = sizes_for({1024, 1024}, "4"), .batch = 64}};
  good.save = {.kept = good.what.middle_bytes(), .growing = good.what.middle_bytes(), .scratch = 1e6};
  good.recompute = {.kept = 0, .growing = 0, .scratch = 1e6};
  report.memory = {good};
  REQUIRE(summary(report, "memory-save").passed());
  REQUIRE(summary(report, "memory-recompute").passed());
  report.memory[0].save.growing += 64;
  report.memory[0].recompute.growing += 64;
  REQUIRE_FALSE(summary(report, "memory-save").passed());
  REQUIRE_FALSE(summary(report, "memory-recompute").passed());
}

TEST_CASE("the median over shapes is taken for each pass and thread count") {
  MultiplyReport report = report_of(result_of({768, 768}, "4", 256, 9, 2.5));
  report.cases.push_back(result_of({1024, 1024}, "4", 256, 9, 3.5));
  report.cases.push_back(result_of({4096, 4096}, "4", 256, 9, 3.2));
  const auto row = summary(report, "bmm-median");
  REQUIRE(row.checks == 1);
  REQUIRE(row.worst->value == Approx(3.2));
  REQUIRE(row.passed());
  report.cases.push_back(result_of({768, 768}, "sqrt", 256, 9, 2.1));
  report.cases.back().what.training = true;
  REQUIRE(summary(report, "bmm-median").checks == 2);
  REQUIRE_FALSE(summary(report, "bmm-median").passed());
}

TEST_CASE("ratios are medians of the rounds so that one slow moment counts for nothing") {
  CaseResult result = result_of({768, 768}, "4", 256, 2, 3);
  result.monarch.samples = {1e-3, 5e-3, 1e-3};
  result.dense.samples = {2e-3, 10e-3, 2e-3};
  result.bmm.samples = {3e-3, 3e-3, 90e-3};
  REQUIRE(result.speedup_over_dense() == Approx(2));
  REQUIRE(result.speedup_over_bmm() == Approx(3));
  REQUIRE(result.monarch.median() == Approx(1e-3));
  REQUIRE(result.bmm.minimum() == Approx(3e-3));
  REQUIRE(report_of(result).disturbed() == 0);
  result.dense.samples = {1e-3, 2e-3, 2e-3};
  REQUIRE(report_of(result).disturbed() == 1);
}

TEST_CASE("table JSON and chart hold every case") {
  MultiplyReport report = report_of(result_of({768, 3072}, "4", 256, 3, 2.5), 0.9);
  report.cases.push_back(result_of({768, 3072}, "sqrt", 256, 1, 1.5));
  report.cases.push_back(result_of({768, 3072}, "4", 1, 1, 0.5));
  report.memory = {{.what = report.cases[0].what}};
  report.settings = {{"dtype", "float32"}, {"device", "cpu"}};
  std::ostringstream table;
  print_report(report, table);
  REQUIRE_THAT(table.str(), Contains("768→3072") && Contains("1.50*") && Contains("1.00ms*") && Contains("MISSED"));

  const auto json = nlohmann::json::parse(report_json(report));
  REQUIRE(json["cases"].size() == 3);
  REQUIRE(json["cases"][0]["speedup_over_bmm"].get<double>() == Approx(2.5));
  REQUIRE(json["cases"][0]["fraction_of_ideal"].get<double>() == Approx(3 / 3.2));
  REQUIRE(json["cases"][0]["fraction_of_peak"].get<double>() == Approx(0.9));
  REQUIRE(json["cases"][1]["goals"][0]["met"] == false);
  REQUIRE(json["goals"].size() == goal_summaries(report).size());

  pugi::xml_document chart;
  REQUIRE(chart.load_string(roofline_svg(report).c_str()));
  REQUIRE(chart.select_nodes("//*[@class='point']").size() == 3 + 3 + 2);  // dense once per batch
  REQUIRE(chart.select_nodes("//*[@class='reference']").size() == 2);
  for (auto& result : report.cases) result.what.training = true;
  REQUIRE_THROWS_AS(roofline_svg(report), ConfigError);
  REQUIRE_THROWS_AS(report.limits_at(7), ConfigError);
}
