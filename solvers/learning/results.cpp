#include "monarch/solvers/learning/results.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "monarch/core/files.hpp"
#include "monarch/core/plot.hpp"
#include "monarch/data/field_picture.hpp"
#include "monarch/data/gif.hpp"
#include "monarch/data/png.hpp"

namespace monarch::solvers {
namespace {

constexpr int64_t kPanelTimes = 5;

/// Points of a curve that a logarithmic axis can show.
plot::Series positive(const std::string& name, const std::vector<double>& x, const std::vector<double>& y) {
  plot::Series series;
  series.name = name;
  for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
    if (!(std::isfinite(y[i]) && y[i] > 0)) continue;
    series.x.push_back(x[i]);
    series.y.push_back(y[i]);
  }
  series.style = series.x.size() > 40 ? plot::Style::line : plot::Style::line_and_points;
  return series;
}

void save_chart(plot::Chart chart, const std::filesystem::path& path) {
  std::erase_if(chart.series, [](const plot::Series& s) { return s.x.empty(); });
  if (!chart.series.empty()) write_file_atomically(path, plot::svg(chart));
}

void draw_error_chart(const ResultContent& c, const std::filesystem::path& path) {
  plot::Chart chart;
  chart.title = "Relative L2 error against time";
  chart.subtitle = c.title;
  chart.x.label = c.time_known ? "time" : "frame";
  chart.y = {"relative L2", plot::Scale::log, {}, {}};
  chart.series.push_back(positive("model", c.scores.times, c.scores.l2_per_time));
  for (const auto& [name, scores] : c.baselines) {
    chart.series.push_back(positive(name, scores.times, scores.l2_per_time));
    chart.series.back().dashed = true;
  }
  save_chart(chart, path);
}

void draw_spectrum_chart(const ResultContent& c, const std::filesystem::path& path) {
  plot::Chart chart;
  chart.title = c.task.quantity == "vorticity" ? "Spectrum of the kinetic energy" : "Spectrum";
  chart.subtitle = c.title;
  chart.x = {"wave number", plot::Scale::log, {}, {}};
  chart.y = {"E(k)", plot::Scale::log, {}, {}};
  std::vector<double> k, truth, model;
  double total = 0;
  for (const double e : c.scores.truth_spectrum) total += e;
  for (size_t s = 1; s < c.scores.truth_spectrum.size(); ++s) {
    k.push_back(static_cast<double>(s));
    // Below the rounding of float32 there is nothing to compare.
    truth.push_back(c.scores.truth_spectrum[s] > 1e-16 * total ? c.scores.truth_spectrum[s] : 0);
    model.push_back(c.scores.spectrum[s] > 1e-16 * total ? c.scores.spectrum[s] : 0);
  }
  chart.series = {positive("truth", k, truth), positive("model", k, model)};
  chart.series.back().dashed = true;
  save_chart(chart, path);
}

/// [time, channel, grid…] of one sample -> [time, y, x] (or [1, time, x] of a line over time).
at::Tensor planes(const at::Tensor& sample) {
  at::Tensor f = sample.select(1, 0).to(at::kDouble).cpu();
  if (f.dim() == 4) f = f.select(3, f.size(3) / 2);
  if (f.dim() == 2) f = f.unsqueeze(0);
  return f;
}

}  // namespace

void write_pictures(const at::Tensor& truth, const at::Tensor& prediction, const std::vector<double>& times,
                    const std::string& title, const std::filesystem::path& picture,
                    const std::filesystem::path& animation) {
  const bool line = prediction.dim() == 4;
  const at::Tensor p = planes(prediction[0]);
  const at::Tensor u = truth.defined() ? planes(truth[0]) : at::Tensor();
  std::vector<std::string> titles;
  for (int64_t t = 0; t < p.size(0); ++t)
    titles.push_back(line ? "time down" : fmt::format("t = {:.4g}", times.at(static_cast<size_t>(t))));
  std::vector<data::PanelRow> rows;
  if (u.defined()) {
    rows = data::comparison_rows(u, p, titles);
  } else {
    const data::FieldPanel style = data::panel_style(p);
    for (int64_t t = 0; t < p.size(0); ++t) {
      data::FieldPanel panel = style;
      panel.label = "prediction";
      panel.values = p[t];
      rows.push_back({titles[static_cast<size_t>(t)], {panel}});
    }
  }
  std::vector<data::PanelRow> shown;
  const auto count = static_cast<int64_t>(rows.size());
  const int64_t wanted = std::min(kPanelTimes, count);
  for (int64_t i = 0; i < wanted; ++i)
    shown.push_back(rows[static_cast<size_t>(wanted == 1 ? 0 : i * (count - 1) / (wanted - 1))]);
  if (!u.defined()) {  // side by side
    data::PanelRow row;
    for (auto& one : shown) {
      one.panels.front().label = one.title;
      row.panels.push_back(std::move(one.panels.front()));
    }
    shown = {std::move(row)};
  }
  data::PictureOptions options;
  options.title = title;
  data::save_colour_png(picture, data::draw_panels(shown, options));
  if (count > 1 && !line) data::save_gif(animation, data::draw_frames(rows, options), count > 20 ? 100 : 250);
}

void write_results(const ResultContent& c, const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  nlohmann::ordered_json json;
  json["model"] = c.title;
  json["test"] = c.scores.json();
  for (const auto& [name, scores] : c.extra) json["extra"][name] = scores.json();
  for (const auto& [name, scores] : c.baselines) json["baselines"][name] = scores.json();
  write_file_atomically(folder / "metrics.json", json.dump(2) + "\n");
  if (!c.task.pictures) return;
  if (c.scores.times.size() > 1) draw_error_chart(c, folder / "error_time.svg");
  if (!c.scores.spectrum.empty()) draw_spectrum_chart(c, folder / "spectrum.svg");
  // A diverged model has no picture: its limits would not be finite.
  if (!c.prediction[0].isfinite().all().item<bool>()) return;
  write_pictures(c.truth, c.prediction, c.scores.times, c.title, folder / "panel.png", folder / "rollout.gif");
}

}  // namespace monarch::solvers
