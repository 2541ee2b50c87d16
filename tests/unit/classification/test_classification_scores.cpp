// Errors and confusions of classifiers.
#include <ATen/ATen.h>

#include <cmath>
#include <limits>

#include "catch2/catch.hpp"
#include "monarch/core/error.hpp"
#include "monarch/experiments/vision/classification_scores.hpp"

using namespace monarch;
using experiments::ClassificationScores;
using experiments::Verdict;

namespace {

double value(const training::Metrics& metrics, const std::string& name) {
  for (const auto& [key, number] : metrics)
    if (key == name) return number;
  return std::nan("");
}

}  // namespace

TEST_CASE("Top-1 and top-5 errors count what is not first, and not among five") {
  ClassificationScores scores(7);
  // Scores fall from class 0 to class 6: the label's place is the label.
  const at::Tensor logits = at::arange(7, at::kDouble).neg().repeat({4, 1});
  scores.add(logits, at::tensor({0, 4, 5, 6}, at::kLong), {10, 11, 12, 13});
  const auto m = scores.metrics();
  REQUIRE(std::abs(value(m, "error1") - 75) <= 1e-12);
  REQUIRE(std::abs(value(m, "accuracy1") - 25) <= 1e-12);
  REQUIRE(std::abs(value(m, "error5") - 50) <= 1e-12);
  double normaliser = 0;
  for (int c = 0; c < 7; ++c) normaliser += std::exp(-c);
  REQUIRE(std::abs(value(m, "loss") - (std::log(normaliser) + 15.0 / 4)) <= 1e-12);
  REQUIRE(scores.confusion().sum().item<int64_t>() == 4);
  REQUIRE(scores.confusion()[5][0].item<int64_t>() == 1);
  REQUIRE(scores.verdicts()[2].image == 12);
  REQUIRE(std::abs(scores.verdicts()[2].probability - 1 / normaliser) <= 1e-12);
}

TEST_CASE("Few classes have no top-5 error, and batches add up") {
  ClassificationScores parts(3), whole(3);
  const at::Tensor logits = at::randn({6, 3}), labels = at::tensor({0, 1, 2, 0, 1, 2}, at::kLong);
  whole.add(logits, labels, {0, 1, 2, 3, 4, 5});
  parts.add(logits.narrow(0, 0, 2), labels.narrow(0, 0, 2), {0, 1});
  parts.add(logits.narrow(0, 2, 4), labels.narrow(0, 2, 4), {2, 3, 4, 5});
  REQUIRE(std::isnan(value(whole.metrics(), "error5")));
  for (const std::string name : {"loss", "error1"})
    REQUIRE(std::abs(value(whole.metrics(), name) - value(parts.metrics(), name)) <= 1e-12);
  REQUIRE(at::equal(whole.confusion(), parts.confusion()));
  REQUIRE_THROWS_AS(whole.add(logits.narrow(1, 0, 2), labels, {0, 1, 2, 3, 4, 5}), ShapeError);
}

TEST_CASE("A score that is not a number is wrong, never right") {
  ClassificationScores scores(2);
  scores.add(at::full({3, 2}, std::numeric_limits<double>::quiet_NaN()), at::tensor({0, 0, 1}, at::kLong), {0, 1, 2});
  REQUIRE(value(scores.metrics(), "error1") == 100);
  REQUIRE_FALSE(value(scores.metrics(), "loss") <= 1e9);
}

TEST_CASE("Examples are spread over the set, and then the surest mistakes") {
  std::vector<Verdict> verdicts;
  for (int64_t i = 0; i < 100; ++i) verdicts.push_back({i, 0, i % 10 == 3, 0.5 + static_cast<double>(i) / 1000});
  const auto shown = experiments::examples(verdicts, 8);
  REQUIRE(shown.size() == 8);
  for (size_t k = 0; k < 4; ++k) REQUIRE(shown[k].image == static_cast<int64_t>(25 * k));
  for (size_t k = 4; k < 8; ++k) REQUIRE(shown[k].image == 93 - 10 * static_cast<int64_t>(k - 4));
  REQUIRE(experiments::examples({verdicts[0]}, 8).size() == 1);
}

TEST_CASE("The matrix of confusions is written with quoted names, and drawn") {
  const at::Tensor confusion = at::tensor({5, 1, 0, 7}, at::kLong).view({2, 2});
  REQUIRE(experiments::confusion_csv(confusion, {"a, b", "c\"d"}) ==
          "class,\"a, b\",\"c\"\"d\"\n\"a, b\",5,1\n\"c\"\"d\",0,7\n");
  const at::Tensor picture = experiments::draw_confusion(confusion, "model");
  REQUIRE(picture.size(2) == 3);
  const at::Tensor images = at::rand({3, 1, 8, 8});
  const at::Tensor panel = experiments::draw_verdicts(images, {{0, 0, 0, 0.9}, {1, 0, 1, 0.8}, {2, 1, 1, 0.7}},
                                                      {"a name that is far too long for its place ünï", "b"});
  REQUIRE(panel.scalar_type() == at::kByte);
  REQUIRE(panel.size(0) > 112);
}
