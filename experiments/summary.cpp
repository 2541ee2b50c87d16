#include "monarch/experiments/summary.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>

#include "monarch/core/error.hpp"
#include "monarch/experiments/evaluations.hpp"

namespace monarch::experiments {
namespace {

double mean_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double spread_of(const std::vector<double>& values) {
  if (values.size() < 2) return 0;
  const double mean = mean_of(values);
  double sum = 0;
  for (const double v : values) sum += (v - mean) * (v - mean);
  return std::sqrt(sum / static_cast<double>(values.size() - 1));
}

/// What log.jsonl and result.json of a run say of an entry of `also`.
class Measured {
 public:
  Measured(const Experiment& e, const ExperimentResult& result, const Also& also)
      : e_(e), result_(result), also_(also) {}

  /// None where the run has no such number, infinity where it did not get as far as `time_to` asks.
  std::optional<double> value(const RunResult& run) const {
    const std::optional<double> own = plain(run);
    if (!own || also_.relative_to.empty() || std::isinf(*own)) return own;
    const RunResult* other = partner(run, also_.relative_to);
    const std::optional<double> reference = other ? plain(*other) : std::nullopt;
    if (!reference || std::isinf(*reference)) return std::nullopt;
    return also_.inverse ? *reference / *own : *own / *reference;
  }

 private:
  /// The run of the same column and seed (or the only one) that this one is compared with, itself where its row is that
  /// row; null where the preset leaves it out.
  const RunResult* partner(const RunResult& run, const std::string& name) const {
    const std::string& wanted = e_.partner_of(run.row, name);
    if (wanted.empty() || wanted == e_.rows[run.row].name) return &run;
    const RunResult* found = nullptr;
    for (const RunResult& other : result_.runs)
      if (e_.rows[other.row].name == wanted && other.column == run.column && (!found || other.seed == run.seed))
        found = &other;
    return found;
  }
  std::optional<double> plain(const RunResult& run) const {
    if (also_.time_to) {
      const TimeTo& t = *also_.time_to;
      const RunResult* aim = partner(run, t.of_row);
      const auto course = evaluations(run.folder, t.metric);
      const auto aimed = aim ? evaluations(aim->folder, t.metric) : std::vector<Evaluation>();
      if (aimed.empty() || course.empty()) return std::nullopt;
      return time_to_value(course, aimed.back().value, t.axis == "step", t.higher_is_better)
          .value_or(std::numeric_limits<double>::infinity());
    }
    const auto test = run.json.value("test", nlohmann::json::object());
    if (test.contains(also_.metric) && test[also_.metric].is_number()) return test[also_.metric].get<double>();
    std::string path = "/" + also_.metric;
    std::replace(path.begin(), path.end(), '.', '/');
    const nlohmann::json::json_pointer place(path);
    if (run.json.contains(place) && run.json[place].is_number()) return run.json[place].get<double>();
    return std::nullopt;
  }

  const Experiment& e_;
  const ExperimentResult& result_;
  const Also& also_;
};

std::vector<std::vector<Score>> scores(const Experiment& e, const ExperimentResult& result, const Also& also) {
  std::vector<std::vector<std::vector<double>>> values(e.rows.size(),
                                                       std::vector<std::vector<double>>(e.columns.size()));
  std::vector<std::vector<Score>> found(e.rows.size(), std::vector<Score>(e.columns.size()));
  const Measured measured(e, result, also);
  for (const RunResult& run : result.runs) {
    const auto value = measured.value(run);
    check<ConfigError>(value || also.optional || also.time_to || !also.relative_to.empty(), [&] {
      return fmt::format("[[also]]: {}, {} has no test metric '{}', and its result.json no such number",
                         e.rows[run.row].label, e.columns[run.column].label, also.metric);
    });
    if (!value) continue;
    if (std::isinf(*value))
      ++found[run.row][run.column].not_reached;
    else
      values[run.row][run.column].push_back(*value);
  }
  for (size_t r = 0; r < e.rows.size(); ++r)
    for (size_t c = 0; c < e.columns.size(); ++c) {
      if (values[r][c].empty()) continue;
      found[r][c].mean = mean_of(values[r][c]);
      found[r][c].spread = spread_of(values[r][c]);
      found[r][c].runs = static_cast<int64_t>(values[r][c].size());
    }
  return found;
}

}  // namespace

double average_of(const std::vector<Cell>& row) {
  double sum = 0;
  for (const Cell& cell : row) sum += cell.mean;
  return sum / static_cast<double>(row.size());
}

double median_of(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

Summary summarise(const Experiment& e, const ExperimentResult& result) {
  Summary s;
  s.cells.assign(e.rows.size(), std::vector<Cell>(e.columns.size()));
  s.parameters.assign(e.rows.size(), 0);
  s.seconds_per_epoch.assign(e.rows.size(), 0);
  s.seconds_per_step.assign(e.rows.size(), 0);
  s.macs.assign(e.rows.size(), 0);
  s.milliseconds.assign(e.rows.size(), {});
  std::vector<double> epochs(e.rows.size(), 0), steps(e.rows.size(), 0), seconds(e.rows.size(), 0);
  for (const RunResult& run : result.runs) {
    s.cells[run.row][run.column].values.push_back(run.value);
    s.parameters[run.row] = run.json.value("parameters", int64_t{0});
    epochs[run.row] += run.json.value("epochs", 0.0);
    steps[run.row] += run.json.value("steps", 0.0);
    seconds[run.row] += run.json.value("seconds", 0.0);
    s.macs[run.row] = run.json.value("macs_per_slice", 0.0);
    s.milliseconds[run.row].push_back(run.json.value("milliseconds_per_slice", 0.0));
  }
  for (const Also& also : e.also) s.also.push_back(scores(e, result, also));
  const auto change = [&e](double value, double reference) {
    return e.higher_is_better ? value - reference : value / reference - 1;
  };
  for (size_t r = 0; r < e.rows.size(); ++r) {
    if (epochs[r] > 0) s.seconds_per_epoch[r] = seconds[r] / epochs[r];
    if (steps[r] > 0) s.seconds_per_step[r] = seconds[r] / steps[r];
  }
  for (size_t r = 0; r < e.rows.size(); ++r)
    for (size_t c = 0; c < e.columns.size(); ++c) {
      Cell& cell = s.cells[r][c];
      check<BackendError>(!cell.values.empty(),
                          [&] { return fmt::format("no result for {}, {}", e.rows[r].label, e.columns[c].label); });
      cell.mean = mean_of(cell.values);
      cell.spread = spread_of(cell.values);
      if (const auto known = e.rows[r].paper.find(e.columns[c].name); known != e.rows[r].paper.end())
        cell.paper = known->second;
      const auto base = e.compared_with(r);
      if (!base) continue;
      const Cell& reference = s.cells[*base][c];
      if (cell.values.size() == reference.values.size()) {
        for (size_t k = 0; k < cell.values.size(); ++k)
          cell.changes.push_back(change(cell.values[k], reference.values[k]));
      } else {
        cell.changes.push_back(change(cell.mean, mean_of(reference.values)));
      }
      cell.change = mean_of(cell.changes);
      const auto& paper = e.rows[*base].paper;
      if (const auto known = paper.find(e.columns[c].name); cell.paper && known != paper.end())
        cell.paper_change = change(*cell.paper, known->second);
    }
  return s;
}

nlohmann::json to_json(const Experiment& e, const ExperimentResult& result, const Summary& s) {
  nlohmann::json json{{"experiment", e.name}, {"title", e.title},       {"source", e.source},
                      {"preset", e.preset},   {"scaled", e.scaled},     {"metric", e.metric},
                      {"seeds", e.seeds},     {"baseline", e.baseline}, {"training_seconds", result.seconds}};
  for (size_t r = 0; r < e.rows.size(); ++r) {
    nlohmann::json row{{"name", e.rows[r].name},
                       {"label", e.rows[r].label},
                       {"parameters", s.parameters[r]},
                       {"seconds_per_epoch", s.seconds_per_epoch[r]},
                       {"seconds_per_step", s.seconds_per_step[r]}};
    if (s.macs[r] > 0) {
      row["macs_per_slice"] = s.macs[r];
      row["milliseconds_per_slice"] = median_of(s.milliseconds[r]);
    }
    for (size_t c = 0; c < e.columns.size(); ++c) {
      const Cell& cell = s.cells[r][c];
      nlohmann::json out{{"values", cell.values}, {"mean", cell.mean}, {"spread", cell.spread}};
      if (cell.change) out["change"] = *cell.change;
      if (!cell.changes.empty()) out["changes"] = cell.changes;
      if (cell.paper) out["paper"] = *cell.paper;
      if (cell.paper_change) out["paper_change"] = *cell.paper_change;
      row["columns"][e.columns[c].name] = std::move(out);
    }
    if (!e.average.empty()) row["average"] = average_of(s.cells[r]);
    for (size_t i = 0; i < e.also.size(); ++i)
      for (size_t c = 0; c < e.columns.size(); ++c)
        if (const Score& score = s.also[i][r][c]; score.known()) {
          auto& out = row["also"][e.also[i].name][e.columns[c].name];
          if (score.runs > 0) out = {{"mean", score.mean}, {"spread", score.spread}};
          if (score.not_reached > 0) out["not_reached"] = score.not_reached;
        }
    json["rows"].push_back(std::move(row));
  }
  for (const Reference& reference : e.references)
    json["references"].push_back({{"label", reference.label},
                                  {"note", reference.note},
                                  {"parameters", reference.parameters},
                                  {"values", reference.values}});
  for (const auto& t : result.tuning) {
    nlohmann::json scores;
    for (const auto& [value, score] : t.scores)
      scores[fmt::format("{}", value)] = std::isfinite(score) ? nlohmann::json(score) : nlohmann::json(nullptr);
    json["tuning"].push_back({{"row", e.rows[t.row].name},
                              {"column", e.columns[t.column].name},
                              {"key", e.tuning->key},
                              {"scores", scores},
                              {"chosen", t.chosen}});
  }
  if (!result.runs.empty()) json["provenance"] = result.runs.front().json.value("provenance", nlohmann::json::object());
  return json;
}

}  // namespace monarch::experiments
