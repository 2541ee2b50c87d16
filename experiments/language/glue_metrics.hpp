#pragma once
// Metrics and scores of GLUE.

#include <span>

#include "monarch/data/text/glue.hpp"

namespace monarch::experiments {

/// A metric of predictions p against truth t, equally many and at least one; classes are whole numbers, 1 the positive
/// one. Values are those of scikit-learn and SciPy:
///   accuracy  share of p = t
///   f1        2 tp / (2 tp + fp + fn); 0 where the denominator is
///   matthews  (tp·tn − fp·fn) / √((tp+fp)(tp+fn)(tn+fp)(tn+fn)); 0 where the denominator is
///   pearson   Σ (p − p̄)(t − t̄) / √(Σ (p − p̄)² Σ (t − t̄)²); NaN where one of them is constant
///   spearman  pearson of the ranks, equal values having the mean of their ranks
/// Throws ShapeError.
double glue_metric(data::GlueMetric metric, std::span<const double> predicted, std::span<const double> truth);

/// 100 × the mean of a task's metrics. MNLI: of both files.
double glue_task_score(const data::GlueTask& task, std::span<const double> metrics);

}  // namespace monarch::experiments
