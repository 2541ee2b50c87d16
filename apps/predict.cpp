// monarch predict: what a trained model makes of a file of fields (-o OUT), or of image files.

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cstdio>
#include <numeric>

#include "command.hpp"
#include "monarch/core/config.hpp"
#include "monarch/core/error.hpp"
#include "monarch/core/files.hpp"
#include "monarch/core/log.hpp"
#include "monarch/core/memory.hpp"
#include "monarch/core/progress.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/field_writer.hpp"
#include "monarch/data/npy.hpp"
#include "monarch/solvers/learning/dataset.hpp"
#include "monarch/solvers/learning/evaluation.hpp"
#include "monarch/solvers/learning/field_model.hpp"
#include "monarch/solvers/learning/results.hpp"
#include "predict.hpp"

namespace fs = std::filesystem;

namespace monarch::apps {
namespace {

struct Arguments {
  std::string checkpoint, input, output, samples;
  std::vector<std::string> inputs;
  std::optional<int64_t> steps;
  std::vector<int64_t> grid;
  bool picture = false, json = false;
};

/// "3:8" -> rows 3 … 7; "3:" to the end; "-20:" the last 20.
std::vector<int64_t> parse_samples(const std::string& text, int64_t size) {
  int64_t first = 0, end = size;
  if (!text.empty()) {
    const size_t colon = text.find(':');
    const auto number = [&](const std::string& word, int64_t fallback) {
      if (word.empty()) return fallback;
      size_t used = 0;
      int64_t value = 0;
      try {
        value = std::stoll(word, &used);
      } catch (const std::exception&) {
      }
      check<ConfigError>(used == word.size(),
                         [&] { return fmt::format("--samples: '{}' is no range such as 0:20", text); });
      return value < 0 ? value + size : value;
    };
    check<ConfigError>(colon != std::string::npos,
                       [&] { return fmt::format("--samples: '{}' is no range such as 0:20", text); });
    first = number(text.substr(0, colon), 0);
    end = number(text.substr(colon + 1), size);
  }
  check<ConfigError>(first >= 0 && first < end && end <= size, [&] {
    return fmt::format("--samples: '{}' asks for samples {} to {} of {}", text, first, end, size);
  });
  std::vector<int64_t> rows(static_cast<size_t>(end - first));
  std::iota(rows.begin(), rows.end(), first);
  return rows;
}

/// Every how many points of the file to take so that `wanted` are left.
std::vector<int64_t> strides_to(const std::vector<int64_t>& points, const std::vector<int64_t>& wanted,
                                const std::string& file) {
  check<ConfigError>(points.size() == wanted.size(), [&] {
    return fmt::format("--grid has {} numbers, the fields of {} have {} axes", wanted.size(), file, points.size());
  });
  std::vector<int64_t> strides;
  for (size_t a = 0; a < points.size(); ++a) {
    check<ConfigError>(
        wanted[a] >= 1 && points[a] % wanted[a] == 0,
        [&] {
          return fmt::format("--grid {}: the {} points of {} cannot be thinned to it", wanted[a], points[a], file);
        },
        "ask for a divisor");
    strides.push_back(points[a] / wanted[a]);
  }
  return strides;
}

/// Which fields, frames and points of the file the model reads: as in training, on the grid asked for.
solvers::DataOptions reading(const Arguments& a, const solvers::FieldModel& model, const Config& config,
                             const data::FieldSource& source) {
  solvers::DataOptions options = solvers::DataOptions::from_config(config);
  options.input = model.format().input;
  options.target = model.format().target;
  if (source.fields().size() == 1) {  // a NumPy file, say: its only field is meant, whatever it is called
    if (options.target == options.input) options.target = source.fields().front().name;
    options.input = source.fields().front().name;
  }
  const data::FieldInfo& field = source.field(options.input);
  check<DataError>(field.channels == model.format().input_channels, [&] {
    return fmt::format("{}: '{}' has {} channels, the model takes {}", a.input, field.name, field.channels,
                       model.format().input_channels);
  });
  check<DataError>(field.grid.size() == model.format().grid.size(), [&] {
    return fmt::format("{}: '{}' has {} axes of grid, the model takes {}", a.input, field.name, field.grid.size(),
                       model.format().grid.size());
  });
  if (!a.grid.empty()) {
    options.grid_stride = strides_to(field.grid, a.grid, a.input);
  } else if (field.grid == model.format().grid) {
    options.grid_stride = {};  // thinned already
  }
  return options;
}

/// As the published files have them: [samples, grid…, time] in .mat, [samples, time, grid…] in HDF5 and NumPy; an axis
/// of channels, where there are several, before the grid in .mat and .npy and last in HDF5.
void save(const Arguments& a, const at::Tensor& prediction, const std::vector<double>& times, const std::string& name) {
  const fs::path path = a.output;
  const std::string extension = path.extension();
  const bool single = prediction.size(2) == 1;
  at::Tensor values = single ? prediction.select(2, 0) : prediction;
  if (extension == ".npy") {
    OutputFolder out(path.has_parent_path() ? path.parent_path() : fs::path("."));
    data::save_npy(out.path(path.filename()), values.contiguous());
    out.commit();
    return;
  }
  data::FieldLayout layout;
  layout.format = extension == ".mat" ? data::FieldFormat::mat5 : data::FieldFormat::pdebench;
  layout.samples = values.size(0);
  if (extension == ".mat") {
    values = values.movedim(1, -1);
    if (values.numel() * values.element_size() > 2'000'000'000) layout.format = data::FieldFormat::mat73;
  } else if (!single) {
    values = values.movedim(2, -1);
  }
  values = values.contiguous();
  const at::Tensor t = at::tensor(times, at::kDouble);
  const bool mat = layout.format != data::FieldFormat::pdebench;
  layout.constants[mat ? "t" : "t-coordinate"] = mat ? t.unsqueeze(0) : t;
  layout.variables = {
      {mat ? name : "tensor", {values.sizes().begin() + 1, values.sizes().end()}, values.scalar_type()}};
  layout.identity = "prediction of " + a.checkpoint + " from " + a.input;
  data::FieldWriter writer(path, layout, true);
  writer.append({values});
  writer.commit();
}

void predict_fields(const Arguments& a, const training::TrainingCheckpoint& checkpoint, const Config& config) {
  const std::string extension = fs::path(a.output).extension();
  check<ConfigError>(extension == ".npy" || extension == ".mat" || extension == ".h5" || extension == ".hdf5",
                     [&] { return fmt::format("output '{}': .npy, .mat, .h5 or .hdf5 expected", a.output); });
  const auto model = solvers::FieldModel::restore(checkpoint, a.checkpoint);
  const auto source = data::open_fields(a.input, {solvers::DataOptions::from_config(config).axes});
  solvers::TaskOptions task = model.task();
  const bool rollout = task.kind == solvers::TaskKind::rollout;
  const int64_t trained = model.format().target_frames;
  const int64_t steps = a.steps.value_or(trained);
  check<ConfigError>(rollout || steps == trained,
                     [&] { return fmt::format("--steps {}: this model predicts {} frames at once", steps, trained); });
  if (rollout) task.horizon = steps;
  const solvers::FieldRows rows(source, task, reading(a, model, config, *source), false);
  const auto ids = parse_samples(a.samples, rows.size());
  const int64_t known = rows.target_frames();
  if (known > 0 && known < steps) {
    log::warning(fmt::format("{} holds the truth of {} of {} steps: errors are those of the first {}", a.input, known,
                             steps, known));
  }
  // Times of all steps, those of the file going on evenly.
  std::vector<double> times = rows.target_times();
  const double gap = times.size() > 1 ? times.back() - times[times.size() - 2] : 1;
  if (times.empty()) times.push_back(rows.start_time() + gap);
  while (static_cast<int64_t>(times.size()) < steps) times.push_back(times.back() + gap);

  const bool float64 = config.text("training.precision", "float32") == "float64";
  const at::NoGradGuard guard;
  const auto loss = training::make_loss(task.loss);
  std::optional<solvers::FieldEvaluation> evaluation;
  if (known > 0) evaluation.emplace(task, std::vector<double>(times.begin(), times.begin() + known), rows.start_time());
  std::vector<at::Tensor> predictions;
  at::Tensor truth;
  Progress progress("predicting", static_cast<int64_t>(ids.size()));
  for (size_t first = 0; first < ids.size(); first += static_cast<size_t>(task.evaluation_batch)) {
    const size_t count = std::min(ids.size() - first, static_cast<size_t>(task.evaluation_batch));
    const auto batch = rows.read(std::span(ids).subspan(first, count), float64 ? at::kDouble : at::kFloat);
    predictions.push_back(model.predict(batch.input, steps));
    if (evaluation) {
      const at::Tensor compared = predictions.back().slice(1, 0, known);
      evaluation->add(compared, batch.target, solvers::sample_losses(loss, task, compared, batch.target));
      if (!truth.defined()) truth = batch.target.slice(0, 0, 1);
    }
    progress.advance(static_cast<int64_t>(count));
  }
  const at::Tensor prediction = at::cat(predictions);
  check<BackendError>(prediction.isfinite().all().item<bool>(), "the prediction is not finite: the rollout diverged",
                      "ask for fewer --steps, or train with a longer horizon");
  save(a, prediction, times, model.format().target);
  if (a.picture) {
    const fs::path stem = fs::path(a.output).replace_extension();
    const bool all_known = known == steps;
    solvers::write_pictures(all_known ? truth : at::Tensor(), prediction.slice(0, 0, 1), times,
                            model.network().describe(), stem.string() + ".png", stem.string() + ".gif");
  }
  nlohmann::ordered_json json;
  json["model"] = model.network().describe();
  json["samples"] = ids.size();
  json["shape"] = prediction.sizes().vec();
  json["axes"] = "sample, time, channel, grid";
  json["steps"] = steps;
  json["steps_with_truth"] = known;
  if (evaluation) json["error"] = evaluation->result().json();
  json["output"] = a.output;
  if (a.json) {
    fmt::print("{}\n", json.dump(2));
    return;
  }
  std::vector<std::pair<std::string, std::string>> table = {
      {"model", model.network().describe()},
      {"prediction", fmt::format("{}  [sample, time, channel, grid…]",
                                 shape_text({prediction.sizes().data(), prediction.sizes().size()}))}};
  if (evaluation) {
    const auto scores = evaluation->result();
    table.emplace_back("relative L2", fmt::format("{:.6g} (95 % interval {:.4g} to {:.4g}) over {} steps",
                                                  scores.l2_full.mean, scores.l2_full.low, scores.l2_full.high, known));
  }
  table.emplace_back("written to", a.output);
  print_table(table);
}

void run(Arguments& a) {
  const auto checkpoint = training::load_training_checkpoint(a.checkpoint);
  const auto text = checkpoint.state.find("config");
  check<DataError>(
      text != checkpoint.state.end() && text->is_string(),
      [&] { return fmt::format("{}: the checkpoint does not say what model it holds", a.checkpoint); },
      "take the folder of a run, or of one of its checkpoints");
  const Config config = Config::parse(text->get<std::string>(), a.checkpoint + ": config");
  if (config.text("task.kind", "rollout") == "image-classification") {
    check<ConfigError>(a.output.empty() && !a.steps && a.samples.empty() && a.grid.empty() && !a.picture,
                       "-o, --steps, --samples, --grid and --picture are for fields, this model classifies images");
    predict_images(checkpoint, a.checkpoint, a.inputs, a.json);
    return;
  }
  check<ConfigError>(a.inputs.size() == 1, "one file of fields at a time is predicted");
  check<ConfigError>(!a.output.empty(), "predictions of fields need a file to go to", "add -o OUT.npy, .mat or .h5");
  a.input = a.inputs.front();
  predict_fields(a, checkpoint, config);
}

}  // namespace

void add_predict(CLI::App& app) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("predict", "What a trained model predicts: fields from a file, or the classes of images");
  command->add_option("checkpoint", a->checkpoint, "Folder of a run, or of one of its checkpoints")->required();
  command->add_option("input", a->inputs, "File of fields (docs/pde-files.md), or images (.jpg, .png)")->required();
  command->add_option("-o,--output", a->output, "Predicted fields: .npy, .mat, .h5");
  command->add_option("--steps", a->steps, "Steps of the rollout (default: as trained)")->check(CLI::Range(1, 1000000));
  command->add_option("--samples", a->samples, "Only these, such as 0:20 or -200:");
  command->add_option("--grid", a->grid, "Points per axis to thin the file's grid to (default: as trained)")
      ->delimiter(',');
  command->add_flag("--picture", a->picture, "Also OUTPUT's name as .png and .gif, of the first sample");
  command->add_flag("--json", a->json, "The summary as JSON on stdout");
  command->callback([a] {
    keep_freed_memory();
    run(*a);
  });
}

}  // namespace monarch::apps
