#include "monarch/solvers/learning/options.hpp"

#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace monarch::solvers {
namespace {

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
  o.kind = config.choice<TaskKind>(
      "task.kind", "rollout",
      {{"rollout", TaskKind::rollout}, {"map", TaskKind::map}, {"space-time", TaskKind::space_time}});
  const bool rollout = o.kind == TaskKind::rollout;
  o.input_frames = config.integer_at_least("task.input_frames", rollout ? 10 : 1, 1);
  o.horizon = config.integer_at_least("task.horizon", rollout ? 10 : 1, 1);
  if (rollout) {
    o.mode = config.choice<RolloutMode>(
        "task.mode", "bptt",
        {{"bptt", RolloutMode::bptt}, {"pushforward", RolloutMode::pushforward}, {"one-step", RolloutMode::one_step}});
    o.recompute = config.choice<Recompute>(
        "task.recompute", "auto", {{"auto", Recompute::automatic}, {"on", Recompute::on}, {"off", Recompute::off}});
    o.curriculum_epochs = config.integer_at_least("task.curriculum_epochs", 0, 0);
    o.curriculum_start = config.integer_at_least("task.curriculum_start", 1, 1);
    check<ConfigError>(o.curriculum_start <= o.horizon, [&] {
      return fmt::format("{}: 'task.curriculum_start' is {}, beyond the horizon of {}", config.name(),
                         o.curriculum_start, o.horizon);
    });
    o.mean_over_steps = config.choice<bool>("task.step_reduction", "sum", {{"sum", false}, {"mean", true}});
  }
  if (o.mode == RolloutMode::one_step) {
    o.noise = config.number("task.noise", 0);
    check<ConfigError>(o.noise >= 0 && std::isfinite(o.noise),
                       [&] { return fmt::format("{}: 'task.noise' is {}", config.name(), o.noise); });
  }
  if (o.mode == RolloutMode::pushforward) o.pushforward_steps = config.integer_at_least("task.pushforward_steps", 1, 1);
  if (o.kind == TaskKind::space_time)
    o.time_last = config.choice<bool>("task.time_axis", "first", {{"first", false}, {"last", true}});
  o.loss = config.text("task.loss", o.loss);
  o.quantity =
      config.choice<std::string>("task.quantity", o.quantity, {{"scalar", "scalar"}, {"vorticity", "vorticity"}});
  o.selection = config.choice<std::string>("task.selection", o.selection,
                                           {{"l2_full", "l2_full"}, {"l2_step", "l2_step"}, {"loss", "loss"}});
  o.evaluation_batch = config.integer_at_least("task.evaluation_batch", o.evaluation_batch, 1);
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
  o.first_time = config.integer_at_least("data.first_time", 0, 0);
  o.time_stride = config.integer_at_least("data.time_stride", 1, 1);
  o.target_first_time = config.integer_at_least("data.target_first_time", -1, -1);
  o.train = config.integer_at_least("data.train", 0, 0);
  o.validation = config.integer_at_least("data.validation", -1, -1);
  o.test = config.integer_at_least("data.test", -1, -1);
  o.split =
      config.choice<Split>("data.split", "published", {{"published", Split::published}, {"random", Split::random}});
  o.split_seed = static_cast<uint64_t>(config.integer_at_least("data.split_seed", 0, 0));
  const std::vector<std::pair<std::string, NormaliserKind>> kinds = {
      {"none", NormaliserKind::none}, {"channel", NormaliserKind::channel}, {"pointwise", NormaliserKind::pointwise}};
  o.input_normaliser = config.choice("data.normalise_input", "none", kinds);
  o.target_normaliser = config.choice("data.normalise_target", "none", kinds);
  o.storage = config.choice<Storage>(
      "data.storage", "auto", {{"auto", Storage::automatic}, {"memory", Storage::memory}, {"file", Storage::file}});
  for (const Config& table : config.tables("data.extra_test")) {
    ExtraTest extra;
    extra.name = table.text("name");
    extra.file = table.text("file", "");
    extra.samples = table.integer_at_least("samples", 0, 0);
    extra.grid_stride = strides(table, "grid_stride");
    table.finish();
    o.extra_tests.push_back(std::move(extra));
  }
  return o;
}

}  // namespace monarch::solvers
