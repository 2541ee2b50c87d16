#include "monarch/training/options.hpp"

#include <fmt/format.h>

#include <cmath>
#include <utility>
#include <vector>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace monarch::training {
namespace {

constexpr double kLarge = 1e12;

/// In [0, 1): an average that ever changes.
double decay(const Config& config, const std::string& key, double fallback) {
  const double value = config.number(key, fallback);
  check<ConfigError>(value >= 0 && value < 1, [&] {
    return fmt::format("{}: '{}' is {}, expected 0 or more and less than 1", config.name(), key, value);
  });
  return value;
}

/// Two keys that say the same thing in different units.
void check_one_of(const Config& config, const std::string& a, const std::string& b) {
  check<ConfigError>(
      !config.has(a) || !config.has(b), [&] { return fmt::format("{}: both '{}' and '{}' are set", config.name(), a, b); },
      "leave one of them out");
}

/// The variant sets defaults of keys that are read afterwards.
void read_lamb(const Config& config, TrainerOptions& o) {
  auto& p = o.optimiser;
  p.variant = config.choice<LambVariant>(
      "training.optimiser.variant", "paper",
      {{"paper", LambVariant::paper}, {"nvidia", LambVariant::nvidia}, {"deepspeed", LambVariant::deepspeed}});
  p.epsilon = p.variant == LambVariant::deepspeed ? 1e-8 : 1e-6;
  if (p.variant == LambVariant::nvidia) o.clip_norm = 1;
  if (p.variant == LambVariant::deepspeed) p.min_trust_ratio = 0.01, p.max_trust_ratio = 10;
  p.min_trust_ratio = config.number_between("training.optimiser.min_trust_ratio", p.min_trust_ratio, 0, kLarge);
  p.max_trust_ratio =
      config.number_between("training.optimiser.max_trust_ratio", p.max_trust_ratio, p.min_trust_ratio, kLarge);
}

DensifyOptions densify_options(const Config& config) {
  DensifyOptions o;
  if (!config.has("training.densify")) return o;
  check_one_of(config, "training.densify.at", "training.densify.at_step");
  if (config.has("training.densify.at_step")) {
    o.at_step = config.integer_at_least("training.densify.at_step", 0, 1);
  } else {
    o.at = config.number("training.densify.at", 0.9);
    check<ConfigError>(o.at > 0 && o.at < 1, [&] {
      return fmt::format("{}: 'training.densify.at' is {}, expected more than 0 and less than 1", config.name(), o.at);
    });
  }
  o.optimiser = config.choice<MomentPolicy>(
      "training.densify.optimiser", "reset",
      {{"reset", MomentPolicy::reset}, {"keep", MomentPolicy::keep}, {"rewarm", MomentPolicy::rewarm}});
  if (o.optimiser == MomentPolicy::rewarm)
    o.warmup_steps = config.integer_at_least("training.densify.warmup_steps", 100, 1);
  return o;
}

}  // namespace

int64_t DensifyOptions::step_of(int64_t total) const {
  return at_step > 0 ? at_step : std::llround(at * static_cast<double>(total));
}

TrainerOptions TrainerOptions::from_config(const Config& config) {
  TrainerOptions o;
  check_one_of(config, "training.epochs", "training.steps");
  check_one_of(config, "training.evaluate_epochs", "training.evaluate_steps");
  o.epochs = config.integer_at_least("training.epochs", o.epochs, 0);
  o.steps = config.integer_at_least("training.steps", o.steps, 0);
  o.batch = config.integer_at_least("training.batch", o.batch, 1);
  o.micro_batch = config.integer_at_least("training.micro_batch", o.micro_batch, 0);
  o.sum_loss = config.boolean("training.sum_loss", o.sum_loss);
  o.densify = densify_options(config);
  o.ema_decay = decay(config, "training.ema_decay", o.ema_decay);
  o.patience = config.integer_at_least("training.patience", o.patience, 0);
  o.evaluate_epochs = config.integer_at_least("training.evaluate_epochs", o.evaluate_epochs, 1);
  o.evaluate_steps = config.integer_at_least("training.evaluate_steps", o.evaluate_steps, 0);
  o.zero = config.integer_at_least("training.zero", o.zero, 0);
  check<ConfigError>(
      o.zero <= 1, [&] { return fmt::format("{}: 'training.zero' is {}, expected 0 or 1", config.name(), o.zero); },
      "1 shards the optimiser's state; gradients and weights are not sharded");
  o.peak_tflops = config.number_between("training.peak_tflops", o.peak_tflops, 0, kLarge);
  o.profile = config.boolean("training.profile", o.profile);
  o.checkpoint_minutes = config.number_between("training.checkpoint_minutes", o.checkpoint_minutes, 0, kLarge);
  o.log_steps = config.integer_at_least("training.log_steps", o.log_steps, 0);
  o.seed = static_cast<uint64_t>(config.integer_at_least("training.seed", 0, 0));
  o.precision = config.choice<std::string>("training.precision", o.precision,
                                           {{"float32", "float32"}, {"float64", "float64"}, {"bfloat16", "bfloat16"}});
  o.optimiser.kind = config.choice<OptimiserKind>("training.optimiser.kind", "adamw",
                                                  {{"adamw", OptimiserKind::adamw},
                                                   {"adam", OptimiserKind::adam},
                                                   {"adam_fno", OptimiserKind::adam_fno},
                                                   {"lamb", OptimiserKind::lamb},
                                                   {"sgd", OptimiserKind::sgd}});
  auto& p = o.optimiser;
  p.learning_rate = config.number_between("training.optimiser.learning_rate", p.learning_rate, 0, kLarge);
  p.weight_decay = config.number_between("training.optimiser.weight_decay", p.weight_decay, 0, kLarge);
  p.beta1 = decay(config, "training.optimiser.beta1", p.beta1);
  p.beta2 = decay(config, "training.optimiser.beta2", p.beta2);
  p.momentum = decay(config, "training.optimiser.momentum", p.momentum);
  if (p.kind == OptimiserKind::lamb) read_lamb(config, o);
  p.epsilon = config.number_between("training.optimiser.epsilon", p.epsilon, 0, 1);
  p.decay_embeddings = config.boolean("training.optimiser.decay_embeddings", p.decay_embeddings);
  p.mup_base_width = config.integer_at_least("training.optimiser.mup_base_width", p.mup_base_width, 0);
  o.clip_norm = config.number_between("training.clip_norm", o.clip_norm, 0, kLarge);
  o.schedule.kind = config.choice<ScheduleKind>("training.schedule.kind", "cosine",
                                                {{"constant", ScheduleKind::constant},
                                                 {"step", ScheduleKind::step},
                                                 {"cosine", ScheduleKind::cosine},
                                                 {"linear", ScheduleKind::linear},
                                                 {"polynomial", ScheduleKind::polynomial}});
  auto& s = o.schedule;
  for (const char* other : {"training.schedule.warmup_fraction", "training.schedule.warmup_epochs"})
    check_one_of(config, "training.schedule.warmup_steps", other);
  check_one_of(config, "training.schedule.warmup_fraction", "training.schedule.warmup_epochs");
  s.warmup_steps = config.integer_at_least("training.schedule.warmup_steps", s.warmup_steps, 0);
  s.warmup_fraction = config.number_between("training.schedule.warmup_fraction", s.warmup_fraction, 0, 1);
  s.warmup_epochs = config.number_between("training.schedule.warmup_epochs", s.warmup_epochs, 0, kLarge);
  s.warmup_start = config.number_between("training.schedule.warmup_start", s.warmup_start, 0, 1);
  s.per_epoch = config.boolean("training.schedule.per_epoch", s.per_epoch);
  s.cooldown_epochs = config.number_between("training.schedule.cooldown_epochs", s.cooldown_epochs, 0, kLarge);
  s.step_epochs = config.integer_at_least("training.schedule.step_epochs", s.step_epochs, 1);
  s.step_factor = config.number_between("training.schedule.step_factor", s.step_factor, 0, 1);
  s.final_fraction = config.number_between("training.schedule.final_fraction", s.final_fraction, 0, 1);
  s.power = config.number_between("training.schedule.power", s.power, 0, 100);
  return o;
}

double schedule_factor(const ScheduleOptions& o, int64_t step, int64_t total, int64_t epoch_steps) {
  const auto epoch = static_cast<double>(std::max<int64_t>(1, epoch_steps));
  const double unit = o.per_epoch ? epoch : 1;  // all lengths below are in it
  const double at = o.per_epoch ? std::floor(static_cast<double>(step) / epoch) : static_cast<double>(step);
  const double all = static_cast<double>(total) / unit;
  const double warmup = (o.warmup_steps > 0      ? static_cast<double>(o.warmup_steps)
                         : o.warmup_fraction > 0 ? std::round(o.warmup_fraction * static_cast<double>(total))
                                                 : o.warmup_epochs * epoch) /
                        unit;
  if (at < warmup)
    return o.warmup_start > 0 ? o.warmup_start + (1 - o.warmup_start) * at / warmup : std::min(1.0, (at + 1) / warmup);
  if (o.kind == ScheduleKind::constant) return 1;
  if (o.kind == ScheduleKind::step)
    return std::pow(o.step_factor, static_cast<double>(step / std::max<int64_t>(1, epoch_steps) / o.step_epochs));
  const double span = std::max(1.0, all - o.cooldown_epochs * epoch / unit - warmup);
  const double t = std::min(1.0, (at - warmup) / span);
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
