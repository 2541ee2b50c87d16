#pragma once
// From runs to a table: means, spreads, paired changes, the published values beside ours.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "monarch/experiments/document.hpp"
#include "monarch/experiments/runner.hpp"

namespace monarch::experiments {

/// One row in one column.
struct Cell {
  std::vector<double> values;  ///< one for each seed, in the order of the seeds
  double mean = 0;
  double spread = 0;  ///< sample standard deviation; 0 for one seed
  /// Mean over seeds of value / the value of the row's partner - 1, or of their difference where higher is better; none
  /// for a row without another to be compared with.
  std::optional<double> change;
  std::vector<double> changes;  ///< those of the single seeds
  std::optional<double> paper;
  std::optional<double> paper_change;  ///< against the paper's value of the partner
};

/// An entry of Experiment::also in one row and column.
struct Score {
  double mean = 0, spread = 0;  ///< over the runs that have a value
  int64_t runs = 0;             ///< how many have one
  int64_t not_reached = 0;      ///< how many did not get as far as `time_to` asks
  bool known() const { return runs + not_reached > 0; }
};

struct Summary {
  std::vector<std::vector<Cell>> cells;               ///< [row][column]
  std::vector<std::vector<std::vector<Score>>> also;  ///< [entry of `also`][row][column]
  std::vector<int64_t> parameters;                    ///< of each row's first run, complex numbers counted twice
  std::vector<double> seconds_per_epoch;              ///< averaged over all runs of the row; 0 where none had an epoch
  std::vector<double> seconds_per_step;               ///< the same of optimiser steps, evaluations included
  std::vector<double> macs;                           ///< per slice, of reconstruction models; else 0
  std::vector<std::vector<double>> milliseconds;      ///< per slice, one for each run
};

/// Mean over the columns of a row's means.
double average_of(const std::vector<Cell>& row);
/// 0 where there are none.
double median_of(std::vector<double> values);

/// A row without training (one run) is compared with the mean of the baseline.
Summary summarise(const Experiment& experiment, const ExperimentResult& result);

/// The report: question, what was scaled, the table (paper beside ours), single seeds, tuning, cost, curves, pictures,
/// provenance. SVG files are written into `out`/figures. Throws DataError.
Document report(const Experiment& experiment, const ExperimentResult& result, const Summary& summary,
                const std::filesystem::path& out);
nlohmann::json to_json(const Experiment& experiment, const ExperimentResult& result, const Summary& summary);

/// Writes report.md, report.html and summary.json into `out`.
void write_report(const Experiment& experiment, const ExperimentResult& result, const std::filesystem::path& out);

}  // namespace monarch::experiments
