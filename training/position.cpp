#include "monarch/training/position.hpp"

#include <cmath>

namespace monarch::training {
namespace {

nlohmann::json list_of(const Metrics& metrics) {
  nlohmann::json json = nlohmann::json::array();  // an object would not keep the order
  for (const auto& [name, value] : metrics) json.push_back({name, number_or_null(value)});
  return json;
}

Metrics metrics_of(const nlohmann::json& json) {
  Metrics metrics;
  for (const auto& item : json) {
    const auto& value = item.at(1);
    metrics.emplace_back(item.at(0).get<std::string>(), value.is_null() ? std::nan("") : value.get<double>());
  }
  return metrics;
}

}  // namespace

nlohmann::json number_or_null(double value) {
  return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(nullptr);
}

nlohmann::json metric_object(const Metrics& metrics) {
  nlohmann::json json = nlohmann::json::object();
  for (const auto& [name, value] : metrics) json[name] = number_or_null(value);
  return json;
}

nlohmann::json Position::json() const {
  return {{"epoch", epoch},
          {"batches", batches},
          {"step", step},
          {"loss_sum", loss_sum},
          {"loss_samples", loss_samples},
          {"gradient_norm", gradient_norm},
          {"best_epoch", best_epoch},
          {"best_step", best_step},
          {"best", number_or_null(best)},
          {"seconds", seconds},
          {"throughput", throughput},
          {"densified", densified()},
          {"densified_step", densified_step},
          {"last", list_of(last)},
          {"best_metrics", list_of(best_metrics)}};
}

Position Position::from_json(const nlohmann::json& json) {
  Position p;
  p.epoch = json.at("epoch").get<int64_t>();
  p.batches = json.at("batches").get<int64_t>();
  p.step = json.at("step").get<int64_t>();
  p.loss_sum = json.at("loss_sum").get<double>();
  p.loss_samples = json.value("loss_samples", int64_t{-1});
  p.gradient_norm = json.at("gradient_norm").get<double>();
  p.best_epoch = json.at("best_epoch").get<int64_t>();
  p.best_step = json.value("best_step", int64_t{-1});
  if (!json.at("best").is_null()) p.best = json.at("best").get<double>();
  p.seconds = json.at("seconds").get<double>();
  p.throughput = json.value("throughput", nlohmann::json::object());
  p.densified_step = json.value("densified_step", int64_t{-1});
  p.last = metrics_of(json.at("last"));
  p.best_metrics = metrics_of(json.at("best_metrics"));
  return p;
}

}  // namespace monarch::training
