#include "monarch/experiments/evaluations.hpp"

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

namespace monarch::experiments {

std::vector<Evaluation> evaluations(const std::filesystem::path& folder, const std::string& metric) {
  std::vector<Evaluation> found;
  std::ifstream log(folder / "log.jsonl");
  const auto number = [](const nlohmann::json& json, const std::string& key) {
    return json.contains(key) && json[key].is_number() ? json[key].get<double>() : std::nan("");
  };
  for (std::string line; std::getline(log, line);) {
    const auto json = nlohmann::json::parse(line, nullptr, false);
    if (!json.is_object() || !json.contains("metrics") || !json["metrics"].is_object()) continue;
    const Evaluation e{number(json, "epoch"), number(json, "step"), number(json, "seconds"),
                       number(json["metrics"], metric)};
    if (std::isfinite(e.value)) found.push_back(e);
  }
  return found;
}

std::optional<double> time_to_value(const std::vector<Evaluation>& course, double aim, bool steps,
                                    bool higher_is_better) {
  const double sign = higher_is_better ? -1 : 1;
  for (size_t i = 0; i < course.size(); ++i) {
    const Evaluation& here = course[i];
    if (!(sign * here.value <= sign * aim)) continue;
    const auto place = [steps](const Evaluation& e) { return steps ? e.step : e.seconds; };
    if (i == 0) return place(here);
    const Evaluation& before = course[i - 1];
    const double share = (before.value - aim) / (before.value - here.value);
    return place(before) + share * (place(here) - place(before));
  }
  return std::nullopt;
}

}  // namespace monarch::experiments
