#include "monarch/training/run_log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>

#include "monarch/core/error.hpp"
#include "monarch/core/files.hpp"
#include "monarch/core/plot.hpp"
#include "monarch/training/position.hpp"

namespace fs = std::filesystem;

namespace monarch::training {
namespace {

std::vector<nlohmann::json> lines_of(const fs::path& file) {
  std::vector<nlohmann::json> lines;
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);) {
    auto json = nlohmann::json::parse(line, nullptr, false);
    if (json.is_object() && json.contains("step") && json["step"].is_number_integer()) lines.push_back(std::move(json));
  }
  return lines;
}

void drop_later_lines(const fs::path& file, int64_t step) {
  if (!fs::exists(file)) return;
  std::string kept;
  for (const auto& line : lines_of(file))
    if (step > 0 && line["step"].get<int64_t>() <= step) kept += line.dump() + "\n";
  write_file_atomically(file, kept);
}

nlohmann::json count_or_fraction(double epochs) {
  const auto whole = static_cast<int64_t>(epochs);
  return static_cast<double>(whole) == epochs ? nlohmann::json(whole) : nlohmann::json(epochs);
}

/// Logarithmic where the values span more than a factor of three and allow it.
plot::Scale scale_for(const std::vector<plot::Series>& series) {
  double low = INFINITY, high = -INFINITY;
  for (const auto& s : series)
    for (const double y : s.y) low = std::min(low, y), high = std::max(high, y);
  return low > 0 && high > 3 * low ? plot::Scale::log : plot::Scale::linear;
}

}  // namespace

RunLog::RunLog(const fs::path& folder, int64_t step)
    : file_(folder / "log.jsonl"), events_(folder, step == 0 ? 0 : step + 1) {
  drop_later_lines(file_, step);
}

void RunLog::append(const nlohmann::json& json) {
  std::ofstream stream(file_, std::ios::app);
  stream << json.dump() << "\n" << std::flush;
  check<DataError>(
      stream.good(), [&] { return fmt::format("{}: cannot be written", file_.string()); },
      "is the disk full? The last checkpoint is good; continue with --resume");
}

void RunLog::interval(const Line& l, double seconds, double samples_per_second, const Metrics* metrics,
                      const nlohmann::json& throughput) {
  nlohmann::json json{{"epoch", count_or_fraction(l.epoch)},
                      {"step", l.step},
                      {"loss", l.loss},
                      {"learning_rate", l.learning_rate},
                      {"gradient_norm", l.gradient_norm},
                      {"seconds", seconds},
                      {"samples_per_second", samples_per_second}};
  if (metrics) json["metrics"] = metric_object(*metrics);
  if (!throughput.empty()) json["throughput"] = throughput;
  append(json);
  events_.scalar("train/loss", l.step, l.loss);
  events_.scalar("train/learning_rate", l.step, l.learning_rate);
  events_.scalar("train/gradient_norm", l.step, l.gradient_norm);
  events_.scalar("train/samples_per_second", l.step, samples_per_second);
  if (metrics)
    for (const auto& [name, value] : *metrics) events_.scalar("validation/" + name, l.step, value);
  events_.flush();
}

void RunLog::step(const Line& l, int64_t batch) {
  append({{"epoch", count_or_fraction(l.epoch)},
          {"batch", batch},
          {"step", l.step},
          {"loss", l.loss},
          {"learning_rate", l.learning_rate},
          {"gradient_norm", l.gradient_norm}});
  events_.scalar("batch/loss", l.step, l.loss);
  events_.scalar("batch/learning_rate", l.step, l.learning_rate);
  events_.scalar("batch/gradient_norm", l.step, l.gradient_norm);
  events_.flush();
}

std::string curves_svg(const fs::path& log, const std::string& selection) {
  std::vector<std::pair<std::string, plot::Series>> curves;  // in order of appearance
  const auto add = [&](const std::string& name, const nlohmann::json& epoch, const nlohmann::json& value) {
    if (!epoch.is_number() || !value.is_number() || !std::isfinite(value.get<double>())) return;
    auto at = std::find_if(curves.begin(), curves.end(), [&](const auto& curve) { return curve.first == name; });
    if (at == curves.end()) at = curves.insert(curves.end(), {name, plot::Series{}});
    at->second.x.push_back(epoch.get<double>());
    at->second.y.push_back(value.get<double>());
  };
  for (const auto& line : lines_of(log)) {
    if (line.contains("batch")) continue;
    const nlohmann::json epoch = line.value("epoch", nlohmann::json());
    add("training", epoch, line.value("loss", nlohmann::json()));
    const nlohmann::json metrics = line.value("metrics", nlohmann::json::object());
    if (metrics.is_object())
      for (const auto& item : metrics.items()) add("validation " + item.key(), epoch, item.value());
    add("rate", epoch, line.value("learning_rate", nlohmann::json()));
  }
  const auto take = [&](const std::string& name, const std::string& label) {
    std::vector<plot::Series> taken;
    const auto at = std::find_if(curves.begin(), curves.end(), [&](const auto& curve) { return curve.first == name; });
    if (at == curves.end()) return taken;
    at->second.name = label;
    at->second.style = at->second.x.size() < 25 ? plot::Style::line_and_points : plot::Style::line;
    if (at->second.x.size() >= 2) taken.push_back(std::move(at->second));
    curves.erase(at);
    return taken;
  };
  std::vector<plot::Chart> charts;
  const auto draw = [&](const std::string& title, std::vector<plot::Series> series, int height) {
    if (series.empty()) return;
    plot::Chart chart{.title = title, .x = {.label = "epoch"}, .y = {.scale = scale_for(series)}};
    chart.series = std::move(series);
    chart.height = height;
    charts.push_back(std::move(chart));
  };
  auto losses = take("training", "training");
  for (auto& series : take("validation loss", "validation")) losses.push_back(std::move(series));
  draw("Loss", std::move(losses), 420);
  draw("Validation: " + selection, take("validation " + selection, selection), 420);
  const auto rate = take("rate", "learning rate");
  while (!curves.empty()) {
    const std::string name = curves.front().first, metric = name.substr(name.find(' ') + 1);
    draw("Validation: " + metric, take(name, metric), 300);
  }
  draw("Learning rate", rate, 300);
  return charts.empty() ? "" : plot::stacked_svg(charts);
}

}  // namespace monarch::training
