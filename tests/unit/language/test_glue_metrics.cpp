#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "monarch/core/error.hpp"
#include "monarch/experiments/language/glue_metrics.hpp"

using namespace monarch;
using data::GlueMetric;

namespace {

nlohmann::json golden() {
  std::ifstream file(std::string(MONARCH_SOURCE_DIR) + "/tests/golden/glue.json");
  return nlohmann::json::parse(file);
}

}  // namespace

TEST_CASE("GLUE's metrics equal scikit-learn's and SciPy's") {
  const auto json = golden();
  int64_t compared = 0;
  const auto compare = [&](const nlohmann::json& vectors, GlueMetric metric) {
    for (const auto& item : vectors) {
      const auto predicted = item["predicted"].get<std::vector<double>>(), truth = item["truth"].get<std::vector<double>>();
      const double expected = item[data::glue_metric_name(metric)];
      INFO(data::glue_metric_name(metric) << " of " << truth.size());
      REQUIRE(std::abs(experiments::glue_metric(metric, predicted, truth) - expected) <= 1e-12);
      ++compared;
    }
  };
  for (const auto metric : {GlueMetric::accuracy, GlueMetric::f1, GlueMetric::matthews}) compare(json["classified"], metric);
  for (const auto metric : {GlueMetric::pearson, GlueMetric::spearman}) compare(json["scored"], metric);
  REQUIRE(compared == 3 * 7 + 2 * 4);
}

TEST_CASE("a metric of nothing, of unequal lists and of constant scores") {
  const std::vector<double> none, one{1}, two{1, 2}, same{3, 3};
  REQUIRE_THROWS_AS(experiments::glue_metric(GlueMetric::accuracy, none, none), ShapeError);
  REQUIRE_THROWS_AS(experiments::glue_metric(GlueMetric::f1, one, two), ShapeError);
  REQUIRE(std::isnan(experiments::glue_metric(GlueMetric::pearson, same, two)));
  REQUIRE(std::isnan(experiments::glue_metric(GlueMetric::spearman, two, same)));
}

TEST_CASE("a task's score is 100 times the mean of its metrics, over both files of MNLI") {
  const std::vector<double> two{0.8, 0.9}, three{0.8, 0.9, 0.7};
  REQUIRE(experiments::glue_task_score(data::glue_task("MRPC"), two) == Approx(85));
  REQUIRE(experiments::glue_task_score(data::glue_task("MNLI"), two) == Approx(85));
  REQUIRE_THROWS_AS(experiments::glue_task_score(data::glue_task("MRPC"), three), ShapeError);
}
