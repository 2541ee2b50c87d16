#include "monarch/solvers/learning/options.hpp"

#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace monarch::solvers {
namespace {

/// The value that a word stands for.
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

int64_t at_least(const Config& config, const std::string& key, int64_t fallback, int64_t least) {
  const int64_t value = config.integer(key, fallback);
  check<ConfigError>(value >= least, [&] {
    return fmt::format("{}: '{}' is {}, expected {} or more", config.name(), key, value, least);
  });
  return value;
}

std::vector<int64_t> strides(const Config& config, const std::string& key) {
  std::vector<int64_t> result;
  for (const double value : config.numbers(key, {})) {
    check<ConfigError>(value >= 1 && value == std::floor(value) && value < 1e6, [&] {
      return fmt::format("{}: '{}' holds {}, expected whole numbers of 1 or more", config.name(), key, value);
    });
    result.push_back(static_cast<int64_t>(value));
  }
  return result;
}

}  // namespace

TaskOptions TaskOptions::from_config(const Config& config) {
  TaskOptions o;
  o.kind =
      choice<TaskKind>(config, "task.kind", "rollout",
                       {{"rollout", TaskKind::rollout}, {"map", TaskKind::map}, {"space-time", TaskKind::space_time}});
  const bool rollout = o.kind == TaskKind::rollout;
  o.input_frames = at_least(config, "task.input_frames", rollout ? 10 : 1, 1);
  o.horizon = at_least(config, "task.horizon", rollout ? 10 : 1, 1);
  if (rollout) {
    o.mode = choice<RolloutMode>(
        config, "task.mode", "bptt",
        {{"bptt", RolloutMode::bptt}, {"pushforward", RolloutMode::pushforward}, {"one-step", RolloutMode::one_step}});
    o.recompute = choice<Recompute>(config, "task.recompute", "auto",
                                    {{"auto", Recompute::automatic}, {"on", Recompute::on}, {"off", Recompute::off}});
    o.curriculum_epochs = at_least(config, "task.curriculum_epochs", 0, 0);
    o.curriculum_start = at_least(config, "task.curriculum_start", 1, 1);
    check<ConfigError>(o.curriculum_start <= o.horizon, [&] {
      return fmt::format("{}: 'task.curriculum_start' is {}, beyond the horizon of {}", config.name(),
                         o.curriculum_start, o.horizon);
    });
    o.mean_over_steps = choice<bool>(config, "task.step_reduction", "sum", {{"sum", false}, {"mean", true}});
  }
  if (o.mode == RolloutMode::one_step) {
    o.noise = config.number("task.noise", 0);
    check<ConfigError>(o.noise >= 0 && std::isfinite(o.noise),
                       [&] { return fmt::format("{}: 'task.noise' is {}", config.name(), o.noise); });
  }
  if (o.mode == RolloutMode::pushforward) o.pushforward_steps = at_least(config, "task.pushforward_steps", 1, 1);
  if (o.kind == TaskKind::space_time)
    o.time_last = choice<bool>(config, "task.time_axis", "first", {{"first", false}, {"last", true}});
  o.loss = config.text("task.loss", o.loss);
  o.quantity =
      choice<std::string>(config, "task.quantity", o.quantity, {{"scalar", "scalar"}, {"vorticity", "vorticity"}});
  o.selection = choice<std::string>(config, "task.selection", o.selection,
                                    {{"l2_full", "l2_full"}, {"l2_step", "l2_step"}, {"loss", "loss"}});
  o.evaluation_batch = at_least(config, "task.evaluation_batch", o.evaluation_batch, 1);
  o.pictures = config.boolean("task.pictures", o.pictures);
  o.save_predictions = config.boolean("task.save_predictions", o.save_predictions);
  return o;
}

int64_t TaskOptions::horizon_at(int64_t epoch) const {
  if (epoch >= curriculum_epochs) return horizon;
  return curriculum_start + (horizon - curriculum_start) * epoch / curriculum_epochs;
}

DataOptions DataOptions::from_config(const Config& config) {
  DataOptions o;
  o.file = config.text("data.file", "");
  o.simulate = config.text("data.simulate", "");
  check<ConfigError>(
      o.file.empty() != o.simulate.empty(),
      [&] {
        return config.name() + (o.file.empty() ? ": neither 'data.file' nor 'data.simulate' is given"
                                               : ": both 'data.file' and 'data.simulate' are given");
      },
      "file = \"ns.mat\", or simulate = \"navier-stokes --viscosity 1e-3 --samples 60\"");
  o.test_file = config.text("data.test_file", "");
  o.input = config.text("data.input", "");
  o.target = config.text("data.target", "");
  for (const auto& name : config.names("data.axes")) o.axes[name] = config.text("data.axes." + name);
  o.grid_stride = strides(config, "data.grid_stride");
  o.first_time = at_least(config, "data.first_time", 0, 0);
  o.time_stride = at_least(config, "data.time_stride", 1, 1);
  o.target_first_time = at_least(config, "data.target_first_time", -1, -1);
  o.train = at_least(config, "data.train", 0, 0);
  o.validation = at_least(config, "data.validation", -1, -1);
  o.test = at_least(config, "data.test", -1, -1);
  o.split =
      choice<Split>(config, "data.split", "published", {{"published", Split::published}, {"random", Split::random}});
  o.split_seed = static_cast<uint64_t>(at_least(config, "data.split_seed", 0, 0));
  const std::vector<std::pair<std::string, NormaliserKind>> kinds = {
      {"none", NormaliserKind::none}, {"channel", NormaliserKind::channel}, {"pointwise", NormaliserKind::pointwise}};
  o.input_normaliser = choice(config, "data.normalise_input", "none", kinds);
  o.target_normaliser = choice(config, "data.normalise_target", "none", kinds);
  o.storage = choice<Storage>(config, "data.storage", "auto",
                              {{"auto", Storage::automatic}, {"memory", Storage::memory}, {"file", Storage::file}});
  for (const Config& table : config.tables("data.extra_test")) {
    ExtraTest extra;
    extra.name = table.text("name");
    extra.file = table.text("file", "");
    extra.samples = at_least(table, "samples", 0, 0);
    extra.grid_stride = strides(table, "grid_stride");
    table.finish();
    o.extra_tests.push_back(std::move(extra));
  }
  return o;
}

}  // namespace monarch::solvers
