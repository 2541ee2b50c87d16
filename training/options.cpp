#include "monarch/training/options.hpp"

#include <fmt/format.h>

#include <cmath>
#include <utility>
#include <vector>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace monarch::training {
namespace {

template <class T>
T choice(const Config& config, const std::string& key, const std::string& fallback,
         const std::vector<std::pair<std::string, T>>& choices) {
  const std::string word = config.text(key, fallback);
  std::vector<std::string> names;
  for (const auto& [name, value] : choices) {
    if (name == word) return value;
    names.push_back(name);
  }
  const std::string near = closest_match(word, names);
  fail<ConfigError>(fmt::format("{}: '{}' is \"{}\", expected {}", config.name(), key, word, join_or(names)),
                    near.empty() ? "" : fmt::format("did you mean \"{}\"?", near));
}

int64_t whole(const Config& config, const std::string& key, int64_t fallback, int64_t least) {
  const int64_t value = config.integer(key, fallback);
  check<ConfigError>(value >= least, [&] {
    return fmt::format("{}: '{}' is {}, expected {} or more", config.name(), key, value, least);
  });
  return value;
}

double real(const Config& config, const std::string& key, double fallback, double least, double most) {
  const double value = config.number(key, fallback);
  check<ConfigError>(value >= least && value <= most, [&] {
    return fmt::format("{}: '{}' is {}, expected {} to {}", config.name(), key, value, least, most);
  });
  return value;
}

/// In [0, 1): an average that ever changes.
double decay(const Config& config, const std::string& key, double fallback) {
  const double value = config.number(key, fallback);
  check<ConfigError>(value >= 0 && value < 1, [&] {
    return fmt::format("{}: '{}' is {}, expected 0 or more and less than 1", config.name(), key, value);
  });
  return value;
}

}  // namespace

TrainerOptions TrainerOptions::from_config(const Config& config) {
  constexpr double kLarge = 1e12;
  TrainerOptions o;
  o.epochs = whole(config, "training.epochs", o.epochs, 0);
  o.batch = whole(config, "training.batch", o.batch, 1);
  o.micro_batch = whole(config, "training.micro_batch", o.micro_batch, 0);
  o.sum_loss = config.boolean("training.sum_loss", o.sum_loss);
  o.clip_norm = real(config, "training.clip_norm", o.clip_norm, 0, kLarge);
  o.ema_decay = decay(config, "training.ema_decay", o.ema_decay);
  o.patience = whole(config, "training.patience", o.patience, 0);
  o.evaluate_epochs = whole(config, "training.evaluate_epochs", o.evaluate_epochs, 1);
  o.checkpoint_minutes = real(config, "training.checkpoint_minutes", o.checkpoint_minutes, 0, kLarge);
  o.log_steps = whole(config, "training.log_steps", o.log_steps, 0);
  o.seed = static_cast<uint64_t>(whole(config, "training.seed", 0, 0));
  o.precision = choice<std::string>(config, "training.precision", o.precision,
                                    {{"float32", "float32"}, {"float64", "float64"}, {"bfloat16", "bfloat16"}});
  o.optimiser.kind = choice<OptimiserKind>(config, "training.optimiser.kind", "adamw",
                                           {{"adamw", OptimiserKind::adamw},
                                            {"adam", OptimiserKind::adam},
                                            {"adam_fno", OptimiserKind::adam_fno},
                                            {"lamb", OptimiserKind::lamb},
                                            {"sgd", OptimiserKind::sgd}});
  auto& p = o.optimiser;
  p.learning_rate = real(config, "training.optimiser.learning_rate", p.learning_rate, 0, kLarge);
  p.weight_decay = real(config, "training.optimiser.weight_decay", p.weight_decay, 0, kLarge);
  p.beta1 = decay(config, "training.optimiser.beta1", p.beta1);
  p.beta2 = decay(config, "training.optimiser.beta2", p.beta2);
  p.epsilon = real(config, "training.optimiser.epsilon", p.epsilon, 0, 1);
  p.momentum = decay(config, "training.optimiser.momentum", p.momentum);
  o.schedule.kind = choice<ScheduleKind>(config, "training.schedule.kind", "cosine",
                                         {{"constant", ScheduleKind::constant},
                                          {"step", ScheduleKind::step},
                                          {"cosine", ScheduleKind::cosine},
                                          {"linear", ScheduleKind::linear},
                                          {"polynomial", ScheduleKind::polynomial}});
  auto& s = o.schedule;
  s.warmup_steps = whole(config, "training.schedule.warmup_steps", s.warmup_steps, 0);
  s.step_epochs = whole(config, "training.schedule.step_epochs", s.step_epochs, 1);
  s.step_factor = real(config, "training.schedule.step_factor", s.step_factor, 0, 1);
  s.final_fraction = real(config, "training.schedule.final_fraction", s.final_fraction, 0, 1);
  s.power = real(config, "training.schedule.power", s.power, 0, 100);
  return o;
}

double schedule_factor(const ScheduleOptions& o, int64_t step, int64_t total, int64_t epoch_steps) {
  if (step < o.warmup_steps) return static_cast<double>(step + 1) / static_cast<double>(o.warmup_steps);
  if (o.kind == ScheduleKind::constant) return 1;
  if (o.kind == ScheduleKind::step)
    return std::pow(o.step_factor, static_cast<double>(step / std::max<int64_t>(1, epoch_steps) / o.step_epochs));
  const int64_t span = std::max<int64_t>(1, total - o.warmup_steps);
  const double t = std::min(1.0, static_cast<double>(step - o.warmup_steps) / static_cast<double>(span));
  const double r = o.final_fraction;
  switch (o.kind) {
    case ScheduleKind::cosine:
      return r + (1 - r) * 0.5 * (1 + std::cos(M_PI * t));
    case ScheduleKind::linear:
      return 1 - (1 - r) * t;
    default:
      return r + (1 - r) * std::pow(1 - t, o.power);
  }
}

}  // namespace monarch::training
