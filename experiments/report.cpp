// The report of an experiment (summary.hpp).

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <fstream>

#include "monarch/core/files.hpp"
#include "monarch/core/plot.hpp"
#include "monarch/core/text.hpp"
#include "monarch/experiments/evaluations.hpp"
#include "monarch/experiments/summary.hpp"

namespace fs = std::filesystem;

namespace monarch::experiments {
namespace {

constexpr size_t kWidestTable = 8;  // columns of numbers

std::string number_text(double value, int64_t digits) {
  return digits == 0 && std::abs(value) < 1e15 ? thousands(std::llround(value)) : fmt::format("{:.{}f}", value, digits);
}

std::string with_spread(double mean, double spread, int64_t digits, bool several) {
  const std::string text = number_text(mean, digits);
  return several ? fmt::format("{} ± {}", text, number_text(spread, digits)) : text;
}

std::string count_text(int64_t parameters) {
  return parameters > 0 ? thousands(parameters) : "–";
}

std::string change_text(const Experiment& e, double change) {
  return e.higher_is_better ? fmt::format("{:+.{}f}", change, e.digits) : fmt::format("{:+.0f} %", 100 * change);
}

bool has_partners(const Experiment& e) {
  return std::any_of(e.rows.begin(), e.rows.end(), [](const Row& row) { return !row.partner.empty(); });
}

/// True where some row is compared with another.
bool compares(const Experiment& e) {
  return !e.baseline.empty() || has_partners(e);
}

std::string comparison_text(const Experiment& e) {
  if (has_partners(e)) {
    std::string text = " Changes are paired by seed:";
    for (size_t r = 0; r < e.rows.size(); ++r)
      if (const auto other = e.compared_with(r))
        text += fmt::format("{} {} against {}", text.ends_with(':') ? "" : ",", e.rows[r].label, e.rows[*other].label);
    return text + ".";
  }
  if (e.baseline.empty()) return "";
  return fmt::format(" Changes are against {}, paired by seed.", e.rows[e.row_index(e.baseline)].label);
}

Table main_table(const Experiment& e, const Summary& s) {
  Table table;
  bool has_paper = false;
  for (const Row& row : e.rows) has_paper = has_paper || !row.paper.empty();
  table.header = {"model", "parameters"};
  for (const Column& column : e.columns) {
    if (has_paper) table.header.push_back(column.label + ": paper");
    table.header.push_back(has_paper ? "ours" : column.label);
    if (compares(e)) table.header.push_back(has_paper ? "change, paper → ours" : "change");
  }
  for (size_t r = 0; r < e.rows.size(); ++r) {
    const Row& row = e.rows[r];
    std::vector<std::string> cells{row.control ? fmt::format("*{}*", row.label) : row.label,
                                   count_text(s.parameters[r])};
    for (size_t c = 0; c < e.columns.size(); ++c) {
      const Cell& cell = s.cells[r][c];
      if (has_paper)
        cells.push_back(
            cell.paper ? fmt::format("{:.{}f}", *cell.paper, e.higher_is_better ? 1 : std::min<int64_t>(3, e.digits))
                       : "–");
      double best = s.cells[r][c].mean;
      for (size_t other = 0; other < e.rows.size(); ++other) {
        const double mean = s.cells[other][c].mean;
        best = e.higher_is_better ? std::max(best, mean) : std::min(best, mean);
      }
      const std::string value = with_spread(cell.mean, cell.spread, e.digits, cell.values.size() > 1);
      cells.push_back(cell.mean == best ? fmt::format("**{}**", value) : value);
      if (compares(e)) {
        const std::string ours = cell.change ? change_text(e, *cell.change) : "";
        cells.push_back(!cell.change        ? "–"
                        : cell.paper_change ? change_text(e, *cell.paper_change) + " → " + ours
                                            : ours);
      }
    }
    table.rows.push_back(std::move(cells));
  }
  for (const Reference& reference : e.references) {
    std::vector<std::string> cells{fmt::format("*{}*", reference.label), count_text(reference.parameters)};
    for (const Column& column : e.columns) {
      const auto value = reference.values.find(column.name);
      if (has_paper) cells.push_back("–");
      cells.push_back(value == reference.values.end() ? "–" : fmt::format("{:.{}f}", value->second, e.digits));
      if (compares(e)) cells.push_back("–");
    }
    table.rows.push_back(std::move(cells));
  }
  return table;
}

/// The mean over the columns, beside the published one.
Table average_table(const Experiment& e, const Summary& s) {
  Table table;
  table.header = {"model", e.average, "change"};
  const bool has_paper = std::any_of(e.rows.begin(), e.rows.end(), [](const Row& row) { return row.paper_average; });
  if (has_paper) table.header.insert(table.header.end(), {"paper", "paper: change"});
  for (size_t r = 0; r < e.rows.size(); ++r) {
    const Row& row = e.rows[r];
    const auto base = e.compared_with(r);
    const double mean = average_of(s.cells[r]);
    const auto change = [&](double value, double from) {
      return change_text(e, e.higher_is_better ? value - from : value / from - 1);
    };
    std::vector<std::string> cells{row.control ? fmt::format("*{}*", row.label) : row.label,
                                   fmt::format("{:.{}f}", mean, e.digits),
                                   base ? change(mean, average_of(s.cells[*base])) : "–"};
    if (has_paper) {
      const auto published = row.paper_average;
      cells.push_back(published ? fmt::format("{:.{}f}", *published, e.digits) : "–");
      const auto before = base ? e.rows[*base].paper_average : std::nullopt;
      cells.push_back(published && before ? change(*published, *before) : "–");
    }
    table.rows.push_back(std::move(cells));
  }
  return table;
}

std::string score_text(const Experiment& e, const Also& also, const Score& score) {
  if (score.runs == 0) return "not reached";
  std::string text = with_spread(score.mean, score.spread, also.digits.value_or(e.digits), score.runs > 1);
  if (!also.relative_to.empty()) text += " ×";
  if (score.not_reached > 0) text += fmt::format(" ({} of {} runs)", score.runs, score.runs + score.not_reached);
  return text;
}

/// Metrics first … end - 1 of `also`, of the rows and references that have them.
Table also_table(const Experiment& e, const Summary& s, size_t first, size_t end) {
  Table table{{"model"}, {}, 1};
  for (size_t i = first; i < end; ++i)
    for (const Column& column : e.columns)
      table.header.push_back(e.columns.size() == 1 ? e.also[i].label
                             : end - first == 1    ? column.label
                                                   : fmt::format("{}, {}", e.also[i].label, column.label));
  for (size_t r = 0; r < e.rows.size(); ++r) {
    std::vector<std::string> cells{e.rows[r].label};
    bool known = false;
    for (size_t i = first; i < end; ++i) {
      for (size_t c = 0; c < e.columns.size(); ++c) {
        const Score& score = s.also[i][r][c];
        known = known || score.known();
        if (!score.known()) {
          cells.push_back("–");
          continue;
        }
        std::string text = score_text(e, e.also[i], score);
        const auto paper = e.rows[r].paper.find(e.also[i].name + " " + e.columns[c].name);
        if (paper != e.rows[r].paper.end())
          text += fmt::format(" (paper {})",
                              paper->second >= 1e4 ? number_text(paper->second, 0) : fmt::format("{}", paper->second));
        cells.push_back(text);
      }
    }
    if (known) table.rows.push_back(std::move(cells));
  }
  for (const Reference& reference : e.references) {
    std::vector<std::string> cells{fmt::format("*{}*", reference.label)};
    bool known = false;
    for (size_t i = first; i < end; ++i) {
      for (size_t c = 0; c < e.columns.size(); ++c) {
        const auto value = reference.values.find(e.also[i].name);
        const bool here = value != reference.values.end() && c == 0;
        known = known || here;
        cells.push_back(here ? fmt::format("{:.{}f}", value->second, e.digits) : "–");
      }
    }
    if (known) table.rows.push_back(std::move(cells));
  }
  return table;
}

Table seed_table(const Experiment& e, const Summary& s) {
  Table table{{"model"}, {}, 1};
  for (const Column& column : e.columns)
    for (const int64_t seed : e.seeds) table.header.push_back(fmt::format("{}, seed {}", column.label, seed));
  for (size_t r = 0; r < e.rows.size(); ++r) {
    std::vector<std::string> cells{e.rows[r].label};
    for (size_t c = 0; c < e.columns.size(); ++c)
      for (size_t k = 0; k < e.seeds.size(); ++k) {
        const Cell& cell = s.cells[r][c];
        if (k >= cell.values.size()) {
          cells.push_back("");
          continue;
        }
        std::string text = fmt::format("{:.{}f}", cell.values[k], e.digits);
        if (cell.changes.size() == e.seeds.size()) text += fmt::format(" ({})", change_text(e, cell.changes[k]));
        cells.push_back(text);
      }
    table.rows.push_back(std::move(cells));
  }
  return table;
}

/// Against what a curve is drawn.
enum class Against { epoch, step, seconds };

/// A validation metric of each row's first run in one column, from the runs' log.jsonl.
std::optional<plot::Chart> curve(const Experiment& e, const ExperimentResult& result, size_t column,
                                 const std::string& metric, Against against) {
  const char* axis = against == Against::epoch ? "epoch" : against == Against::step ? "step" : "seconds";
  plot::Chart chart;
  chart.title = e.columns[column].label;
  chart.subtitle = fmt::format("validation {} against {}, seed {}", metric, axis, e.seeds.front());
  chart.x.label = axis;
  chart.y = {metric == e.selection && !e.higher_is_better ? e.metric_label : metric, plot::Scale::linear, {}, {}};
  double low = INFINITY, high = 0;
  for (const RunResult& run : result.runs) {
    if (run.column != column || run.seed != e.seeds.front() || !e.rows[run.row].train) continue;
    plot::Series series;
    series.name = e.rows[run.row].label;
    series.dashed = e.rows[run.row].control;
    for (const Evaluation& evaluation : evaluations(run.folder, metric)) {
      const double x = against == Against::epoch  ? evaluation.epoch
                       : against == Against::step ? evaluation.step
                                                  : evaluation.seconds;
      if (evaluation.value <= 0 || !std::isfinite(x)) continue;
      series.x.push_back(x);
      series.y.push_back(evaluation.value);
      low = std::min(low, evaluation.value);
      high = std::max(high, evaluation.value);
    }
    if (series.x.size() >= 2) chart.series.push_back(std::move(series));
  }
  if (chart.series.empty()) return std::nullopt;
  if (high > 3 * low) chart.y.scale = plot::Scale::log;
  return chart;
}

/// The pictures of one column's trainings: the selection metric against epochs, or what the experiment asks for against
/// steps and seconds. By name of the file.
std::vector<std::pair<std::string, plot::Chart>> curves(const Experiment& e, const ExperimentResult& result,
                                                        size_t column) {
  std::vector<std::pair<std::string, plot::Chart>> charts;
  const auto add = [&](const std::string& name, const std::string& metric, Against against) {
    if (auto chart = curve(e, result, column, metric, against)) charts.emplace_back(name, std::move(*chart));
  };
  const std::string stem = "training-" + e.columns[column].name;
  if (e.curves.empty()) add(stem, e.selection, Against::epoch);
  for (const std::string& metric : e.curves) {
    add(fmt::format("{}-{}-steps", stem, metric), metric, Against::step);
    add(fmt::format("{}-{}-seconds", stem, metric), metric, Against::seconds);
  }
  return charts;
}

/// Every row's mean in each column as a point.
plot::Chart overview(const Experiment& e, const Summary& s) {
  plot::Chart chart;
  chart.title = e.title;
  chart.subtitle = fmt::format("{}: ours filled, paper hollow; preset {}", e.metric_label, e.preset);
  chart.x.label = "";
  for (size_t c = 0; c < e.columns.size(); ++c)
    chart.x.label += fmt::format("{}{} = {}", c ? ",  " : "", c + 1, e.columns[c].label);
  chart.x.minimum = 0.5;
  chart.x.maximum = static_cast<double>(e.columns.size()) + 0.5;
  chart.y = {e.metric_label, e.higher_is_better ? plot::Scale::linear : plot::Scale::log, {}, {}};
  for (size_t r = 0; r < e.rows.size(); ++r) {
    plot::Series ours, paper;
    ours.name = e.rows[r].label;
    ours.style = paper.style = plot::Style::points;
    ours.colour = paper.colour = static_cast<int>(r);
    paper.hollow = true;
    const double shift = 0.05 * (static_cast<double>(r) - 0.5 * static_cast<double>(e.rows.size() - 1));
    for (size_t c = 0; c < e.columns.size(); ++c) {
      const Cell& cell = s.cells[r][c];
      if (cell.mean > 0) {
        ours.x.push_back(static_cast<double>(c + 1) + shift);
        ours.y.push_back(cell.mean);
      }
      if (cell.paper) {
        paper.x.push_back(static_cast<double>(c + 1) + shift);
        paper.y.push_back(*cell.paper);
      }
    }
    if (!ours.x.empty()) chart.series.push_back(std::move(ours));
    if (!paper.x.empty()) chart.series.push_back(std::move(paper));
  }
  return chart;
}

}  // namespace

Document report(const Experiment& e, const ExperimentResult& result, const Summary& s, const fs::path& out) {
  Document page;
  page.title = e.title;
  if (!e.question.empty()) page.add(Paragraph{e.question});
  if (!e.source.empty()) page.add(Paragraph{"Source of the published values: " + e.source + "."});
  page.add(Heading{2, "Result"});
  page.add(Paragraph{
      fmt::format("{}, preset `{}`, {} seed{}; mean ± standard deviation over seeds where there are several.{}",
                  e.metric_label, e.preset, e.seeds.size(), e.seeds.size() == 1 ? "" : "s", comparison_text(e))});
  page.add(main_table(e, s));
  if (!e.average.empty()) page.add(average_table(e, s));
  std::vector<std::string> notes;
  for (const Row& row : e.rows)
    if (!row.note.empty()) notes.push_back(fmt::format("**{}**: {}", row.label, row.note));
  for (const Reference& reference : e.references)
    if (!reference.note.empty()) notes.push_back(fmt::format("*{}*: {}", reference.label, reference.note));
  if (!notes.empty()) page.add(Bullets{notes});
  if (!e.also.empty()) {
    page.add(Heading{2, "The same runs by other measures"});
    const bool narrow = e.also.size() * e.columns.size() <= kWidestTable;
    if (narrow) page.add(also_table(e, s, 0, e.also.size()));
    for (size_t i = 0; i < e.also.size() && !narrow; ++i) {
      page.add(Heading{3, e.also[i].label});
      page.add(also_table(e, s, i, i + 1));
    }
  }
  if (const auto definitions = result.runs.empty()
                                   ? nlohmann::json()
                                   : result.runs.front().json.value("metric_definitions", nlohmann::json());
      definitions.is_object()) {
    std::vector<std::string> lines;
    for (const auto& [name, text] : definitions.items())
      lines.push_back(fmt::format("`{}`: {}", name, text.get<std::string>()));
    page.add(Heading{2, "Definitions"});
    page.add(Bullets{lines});
  }
  if (!e.scaled.empty()) {
    page.add(Heading{2, "What this preset scales down"});
    page.add(Paragraph{"These are not the paper's conditions. The same holds for every row:"});
    page.add(Bullets{e.scaled});
  }
  fs::create_directories(out / "figures");
  const auto figure = [&](const std::string& name, const plot::Chart& chart, const std::string& caption) {
    write_file_atomically(out / "figures" / (name + ".svg"), plot::svg(chart));
    page.add(Picture{out / "figures" / (name + ".svg"), caption});
  };
  figure("overview", overview(e, s), "All models in all columns");
  if (e.seeds.size() > 1) {
    page.add(Heading{2, "Single seeds"});
    page.add(seed_table(e, s));
  }
  bool heading = false;
  for (size_t c = 0; c < e.columns.size(); ++c)
    for (const auto& [name, chart] : curves(e, result, c)) {
      if (!heading) page.add(Heading{2, "Training"});
      heading = true;
      figure(name, chart, "Training on " + e.columns[c].label);
    }
  if (!result.tuning.empty()) {
    page.add(Heading{2, "Tuning"});
    page.add(Paragraph{
        fmt::format("`{}` was chosen for each model on the validation split (smallest {}), seed {}{}.", e.tuning->key,
                    e.selection, e.seeds.front(),
                    e.tuning->settings.empty() ? "" : fmt::format(", with {}", fmt::join(e.tuning->settings, ", ")))});
    Table table{{"model", "column"}, {}, 2};
    for (const double value : e.tuning->values) table.header.push_back(fmt::format("{}", value));
    for (const auto& t : result.tuning) {
      std::vector<std::string> cells{e.rows[t.row].label, e.columns[t.column].label};
      for (const double value : e.tuning->values) {
        const double score = t.scores.at(value);
        const std::string text = std::isfinite(score) ? fmt::format("{:.{}f}", score, e.digits) : "diverged";
        cells.push_back(value == t.chosen ? fmt::format("**{}**", text) : text);
      }
      table.rows.push_back(std::move(cells));
    }
    page.add(std::move(table));
  }
  page.add(Heading{2, "Cost"});
  const bool slices = std::any_of(s.macs.begin(), s.macs.end(), [](double macs) { return macs > 0; });
  bool by_steps = false;  // a training shorter than an epoch has no time of one
  for (size_t r = 0; r < e.rows.size(); ++r)
    by_steps = by_steps || (e.rows[r].train && s.seconds_per_epoch[r] == 0 && s.seconds_per_step[r] > 0);
  const auto& times = by_steps ? s.seconds_per_step : s.seconds_per_epoch;
  Table cost{{"model", "parameters", by_steps ? "seconds per step" : "seconds per epoch"}, {}, 1};
  if (slices) cost.header.insert(cost.header.end(), {"MMAC per slice", "ms per slice"});
  for (size_t r = 0; r < e.rows.size(); ++r) {
    if (!e.rows[r].train && !slices) continue;
    std::vector<std::string> cells{e.rows[r].label, count_text(s.parameters[r]),
                                   e.rows[r].train ? fmt::format("{:.{}f}", times[r], by_steps ? 3 : 2) : "–"};
    if (slices) {
      cells.push_back(fmt::format("{:.1f}", 1e-6 * s.macs[r]));
      cells.push_back(fmt::format("{:.1f}", median_of(s.milliseconds[r])));
    }
    cost.rows.push_back(std::move(cells));
  }
  page.add(std::move(cost));
  page.add(
      Paragraph{fmt::format("All trainings together: {}. Several runs shared the machine, so that times are no "
                            "benchmark: `monarch bench` has those.",
                            duration_text(result.seconds))});
  bool pictures = false;
  for (const RunResult& run : result.runs) {
    const bool wanted =
        slices ? run.seed == e.seeds.front() && run.column + 1 == e.columns.size()
               : run.seed == e.seeds.front() && (run.row == 0 || run.row + 1 == e.rows.size() ||
                                                 e.rows[run.row].name == e.baseline || !e.rows[run.row].control);
    for (const auto& name : {"rollout.png", "panel.png"}) {
      const fs::path file = run.folder / "results" / name;
      std::error_code ignored;
      if (!wanted || !(slices || e.rows[run.row].train) || !fs::exists(file, ignored)) continue;
      if (!pictures) page.add(Heading{2, "Pictures"});
      pictures = true;
      const fs::path copy =
          out / "figures" / fmt::format("{}-{}.png", e.rows[run.row].name, e.columns[run.column].name);
      fs::copy_file(file, copy, fs::copy_options::overwrite_existing);
      page.add(Picture{copy, e.rows[run.row].label + ", " + e.columns[run.column].label});
    }
  }
  page.add(Heading{2, "Provenance"});
  Table provenance{{"what", "value"}, {}, 2};
  if (!result.runs.empty() && result.runs.front().json.contains("provenance"))
    for (const auto& [key, value] : result.runs.front().json["provenance"].items())
      if (key != "command")
        provenance.rows.push_back({key, value.is_string() ? value.get<std::string>() : value.dump()});
  page.add(std::move(provenance));
  page.add(Code{fmt::format("monarch reproduce {} --preset {} --out DIR", e.name, e.preset)});
  return page;
}

void write_report(const Experiment& e, const ExperimentResult& result, const fs::path& out) {
  const Summary summary = summarise(e, result);
  const Document page = report(e, result, summary, out);
  write_file_atomically(out / "summary.json", to_json(e, result, summary).dump(2) + "\n");
  write_file_atomically(out / "report.md", markdown(page, out));
  write_file_atomically(out / "report.html", html(page));
}

}  // namespace monarch::experiments
