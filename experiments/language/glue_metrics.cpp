#include "monarch/experiments/language/glue_metrics.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "monarch/core/error.hpp"

namespace monarch::experiments {
namespace {

/// Counts of a decision between 0 and 1.
struct Confusion {
  double true_positive = 0, false_positive = 0, true_negative = 0, false_negative = 0;
};

Confusion confusion(std::span<const double> predicted, std::span<const double> truth) {
  Confusion c;
  for (size_t i = 0; i < truth.size(); ++i) {
    const bool p = predicted[i] == 1, t = truth[i] == 1;
    (p ? t ? c.true_positive : c.false_positive : t ? c.false_negative : c.true_negative) += 1;
  }
  return c;
}

double ratio(double above, double below) {
  return below == 0 ? 0 : above / below;
}

double mean(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double correlation(std::span<const double> a, std::span<const double> b) {
  const double mean_a = mean(a), mean_b = mean(b);
  double product = 0, square_a = 0, square_b = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double x = a[i] - mean_a, y = b[i] - mean_b;
    product += x * y;
    square_a += x * x;
    square_b += y * y;
  }
  return product / std::sqrt(square_a * square_b);
}

std::vector<double> ranks(std::span<const double> values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
  std::vector<double> rank(values.size());
  for (size_t first = 0; first < order.size();) {
    size_t last = first;
    while (last < order.size() && values[order[last]] == values[order[first]]) ++last;
    for (size_t i = first; i < last; ++i) rank[order[i]] = static_cast<double>(first + last - 1) / 2;
    first = last;
  }
  return rank;
}

}  // namespace

double glue_metric(data::GlueMetric metric, std::span<const double> predicted, std::span<const double> truth) {
  check<ShapeError>(!truth.empty() && predicted.size() == truth.size(), [&] {
    return fmt::format("{} predictions for {} labels, expected equally many and at least one", predicted.size(),
                       truth.size());
  });
  switch (metric) {
    case data::GlueMetric::accuracy: {
      double same = 0;
      for (size_t i = 0; i < truth.size(); ++i) same += predicted[i] == truth[i];
      return same / static_cast<double>(truth.size());
    }
    case data::GlueMetric::f1: {
      const Confusion c = confusion(predicted, truth);
      return ratio(2 * c.true_positive, 2 * c.true_positive + c.false_positive + c.false_negative);
    }
    case data::GlueMetric::matthews: {
      const auto [tp, fp, tn, fn] = confusion(predicted, truth);
      return ratio(tp * tn - fp * fn, std::sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)));
    }
    case data::GlueMetric::pearson:
      return correlation(predicted, truth);
    case data::GlueMetric::spearman:
      // NaN has no rank: sorting by < would be undefined.
      for (const auto& values : {predicted, truth})
        if (std::any_of(values.begin(), values.end(), [](double v) { return std::isnan(v); })) return std::nan("");
      return correlation(ranks(predicted), ranks(truth));
  }
  return 0;
}

double glue_task_score(const data::GlueTask& task, std::span<const double> metrics) {
  check<ShapeError>(!metrics.empty() && metrics.size() % task.metrics.size() == 0, [&] {
    return fmt::format("{}: {} metrics, expected {} for each file", task.name, metrics.size(), task.metrics.size());
  });
  return 100 * mean(metrics);
}

}  // namespace monarch::experiments
