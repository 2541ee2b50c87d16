#pragma once
// An experiment as its TOML file describes it: rows (models) against columns (data), some seeds, and budgets.

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "monarch/core/config.hpp"

namespace monarch::experiments {

/// Data that `monarch simulate` or `monarch prepare` makes below the output folder.
struct Simulated {
  std::string label;
  std::string command;             ///< "simulate" or "prepare"
  std::vector<std::string> words;  ///< behind it
  std::string file;                ///< or folder: "data/nu1e-3.mat"
};

/// One data set of the table.
struct Column {
  std::string name, label;
  std::string after;  ///< column whose runs must have ended before those of this one start; "" for none
};

/// One model of the table.
struct Row {
  std::string name, label;
  std::string note;                     ///< printed below the table
  bool train = true;                    ///< false: evaluated only (persistence), no learning rate, one seed
  bool control = false;                 ///< set apart in the report
  std::string partner;                  ///< row that this one is compared with; default: the baseline
  std::map<std::string, double> paper;  ///< column name, or "<metric of also> <column name>" -> published value
  std::optional<double> paper_average;  ///< published mean over the columns
};

/// How long a run took until a validation metric was as good as at the end of another row's run of the same seed.
struct TimeTo {
  std::string metric;             ///< of the evaluations in log.jsonl
  std::string of_row;             ///< whose last value is the aim; "partner": each row's own
  std::string axis = "seconds";   ///< or "step"
  bool higher_is_better = false;  ///< of the metric
};

/// Another number of the same runs, in a table of its own.
struct Also {
  std::string name, label;
  /// A test metric ("ssim"), or a path from the root of result.json ("throughput.seconds_per_step", "parameters").
  std::string metric;
  std::optional<TimeTo> time_to = {};  ///< instead of a metric
  std::string relative_to = {};        ///< the number divided by that of this row ("partner": each row's own)
  bool inverse = false;                ///< of the ratio: that row's number divided by this one's
  std::optional<int64_t> digits = {};  ///< where they differ from the table's
  bool optional = false;               ///< only some models have it
};

/// What another program reached on the same data: printed with the rows, never run.
struct Reference {
  std::string label, note;
  int64_t parameters = 0;                ///< 0: not said
  std::map<std::string, double> values;  ///< by column name, or by a metric of `also`
};

/// Search over one key on the validation split, with the first seed, before the runs that count.
struct Tuning {
  std::string key;  ///< "training.optimiser.learning_rate"
  std::vector<double> values;
  std::vector<std::string> settings;  ///< assignments that hold while tuning: "training.epochs=5"
  std::vector<std::string> columns;   ///< on which to tune; the others take the value of the last of these
};

/// What a preset makes of the file.
struct Experiment {
  std::string name;      ///< "table3"
  std::string title;     ///< "Table 3: Navier–Stokes"
  std::string source;    ///< "Dao et al., ICML 2022, Table 3"
  std::string question;  ///< what a reader should be able to judge
  std::string metric;    ///< key in the test metrics of a run: "l2_full"
  std::string metric_label;
  bool higher_is_better = false;    ///< of the metric; changes are then differences
  std::string selection;            ///< key in the validation metrics that tuning minimises
  std::string baseline;             ///< row that the others are compared with, seed by seed; "" for none
  std::string average;              ///< label of the mean over the columns, which the report then has; "" for none
  std::vector<std::string> curves;  ///< validation metrics that the report draws against steps and seconds
  std::string preset;
  std::vector<std::string> scaled;  ///< what the preset scales down, one sentence each; empty for the full recipe
  std::vector<int64_t> seeds;
  std::vector<Simulated> simulated;
  std::vector<Column> columns;
  std::vector<Row> rows;
  std::vector<Also> also;
  std::vector<Reference> references;
  std::optional<Tuning> tuning;
  int64_t digits = 4;  ///< after the point

  /// The config that `monarch train` gets for one run, seed included; {row} and {seed} in its texts are replaced.
  Config run_config(size_t row, size_t column, int64_t seed) const;
  size_t row_index(const std::string& row) const;
  size_t column_index(const std::string& column) const;
  /// Name of the row that `row` is compared with: `other`, or where that is "partner" the row's own partner, else the
  /// baseline. May be the row itself, or "" for none.
  const std::string& partner_of(size_t row, const std::string& other = "partner") const;
  /// The same as an index; none for the row itself and for rows that the preset leaves out.
  std::optional<size_t> compared_with(size_t row, const std::string& other = "partner") const;

  std::vector<Config> row_settings, column_settings;  ///< [run] of each, preset already merged
  /// [row.column.C.run]: what a row has in one column only, by place of row and column.
  std::map<std::pair<size_t, size_t>, Config> cell_settings;
};

/// Reads docs/reproducing.md's format. Texts of the file may hold {out}, {data} and {here}: the output folder, the folder
/// of real data and that of the file. Settings are merged in this order, later ones win: [run], [preset.P.run], column's, [preset.P.column.C],
/// row's, [preset.P.row.R], [row.column.C] and [preset.P.row.R.column.C]. Throws ConfigError: unknown preset (naming those there are), rows or columns without a
/// name, keys that nothing reads.
Experiment load_experiment(const std::filesystem::path& file, const std::string& preset,
                           const std::filesystem::path& out, const std::filesystem::path& data);

/// The file of an experiment: a path, or a name that stands in the installed folder of experiments ("table3").
/// Throws ConfigError naming the closest one.
std::filesystem::path find_experiment(const std::string& name);
std::vector<std::string> experiment_names();
/// Names of the presets that a file has.
std::vector<std::string> preset_names(const std::filesystem::path& file);

}  // namespace monarch::experiments
