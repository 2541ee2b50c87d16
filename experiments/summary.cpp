#include "monarch/experiments/summary.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "monarch/core/error.hpp"

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

}  // namespace

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
  s.macs.assign(e.rows.size(), 0);
  s.milliseconds.assign(e.rows.size(), {});
  std::vector<double> epochs(e.rows.size(), 0), seconds(e.rows.size(), 0);
  for (const RunResult& run : result.runs) {
    s.cells[run.row][run.column].values.push_back(run.value);
    s.parameters[run.row] = run.json.value("parameters", int64_t{0});
    epochs[run.row] += run.json.value("epochs", 0.0);
    seconds[run.row] += run.json.value("seconds", 0.0);
    s.macs[run.row] = run.json.value("macs_per_slice", 0.0);
    s.milliseconds[run.row].push_back(run.json.value("milliseconds_per_slice", 0.0));
  }
  for (const Also& also : e.also) {
    std::vector<std::vector<std::vector<double>>> values(e.rows.size(),
                                                         std::vector<std::vector<double>>(e.columns.size()));
    for (const RunResult& run : result.runs) {
      const auto test = run.json.value("test", nlohmann::json::object());
      if (also.optional && !test.contains(also.metric)) continue;
      check<ConfigError>(test.contains(also.metric), [&] {
        return fmt::format("[[also]]: {}, {} has no test metric '{}'", e.rows[run.row].label,
                           e.columns[run.column].label, also.metric);
      });
      values[run.row][run.column].push_back(test[also.metric].get<double>());
    }
    auto& scores = s.also.emplace_back(e.rows.size(), std::vector<Score>(e.columns.size()));
    for (size_t r = 0; r < e.rows.size(); ++r)
      for (size_t c = 0; c < e.columns.size(); ++c)
        if (!values[r][c].empty()) scores[r][c] = {mean_of(values[r][c]), spread_of(values[r][c]), true};
  }
  const auto change = [&e](double value, double reference) {
    return e.higher_is_better ? value - reference : value / reference - 1;
  };
  std::optional<size_t> base;
  for (size_t r = 0; r < e.rows.size(); ++r) {
    if (e.rows[r].name == e.baseline) base = r;
    if (epochs[r] > 0) s.seconds_per_epoch[r] = seconds[r] / epochs[r];
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
      if (!base || *base == r) continue;
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
                       {"seconds_per_epoch", s.seconds_per_epoch[r]}};
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
    for (size_t i = 0; i < e.also.size(); ++i)
      for (size_t c = 0; c < e.columns.size(); ++c)
        if (s.also[i][r][c].known) row["also"][e.also[i].metric][e.columns[c].name] = {{"mean", s.also[i][r][c].mean},
                                                            {"spread", s.also[i][r][c].spread}};
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
