// monarch simulate EQUATION: data for training, sample by sample into one file.

#include "simulate.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>

#include "command.hpp"
#include "monarch/core/error.hpp"
#include "monarch/core/log.hpp"
#include "monarch/core/progress.hpp"
#include "monarch/core/provenance.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/field_picture.hpp"
#include "monarch/data/field_writer.hpp"
#include "monarch/data/png.hpp"

namespace monarch::apps {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string> formats = {"mat5", "mat73", "pdebench"};
constexpr double mat5_limit = 2147483647.0;  // bytes of one variable

data::FieldFormat format_of(const SimulateOptions& options, const std::vector<data::FieldVariable>& variables) {
  if (options.format == "mat5") return data::FieldFormat::mat5;
  if (options.format == "mat73") return data::FieldFormat::mat73;
  if (options.format == "pdebench") return data::FieldFormat::pdebench;
  const std::string extension = fs::path(options.output).extension().string();
  if (extension == ".h5" || extension == ".hdf5") return data::FieldFormat::pdebench;
  check<ConfigError>(
      extension == ".mat",
      [&] {
        return fmt::format("output '{}': the extension '{}' names no format; expected .mat, .h5 or .hdf5",
                           options.output, extension);
      },
      fmt::format("name a format: --format {}", join_or(formats)));
  for (const auto& variable : variables) {
    double bytes = static_cast<double>(c10::elementSize(variable.dtype)) * static_cast<double>(options.samples);
    for (const int64_t extent : variable.shape) bytes *= static_cast<double>(extent);
    if (bytes > mat5_limit) return data::FieldFormat::mat73;
  }
  return data::FieldFormat::mat5;
}

std::string format_text(data::FieldFormat format) {
  return format == data::FieldFormat::mat5    ? "MATLAB v5"
         : format == data::FieldFormat::mat73 ? "MATLAB v7.3 (HDF5)"
                                              : "HDF5 in PDEBench's layout";
}

/// PDEBench's axes and names: time before the grid, "tensor" for the only field in time, "t-coordinate" and the like.
void arrange_as_pdebench(const std::vector<solvers::SampleVariable>& variables, data::FieldLayout& layout) {
  const auto timed = std::count_if(variables.begin(), variables.end(), [](const auto& v) { return v.timed; });
  for (size_t i = 0; i < variables.size(); ++i) {
    auto& variable = layout.variables[i];
    if (!variables[i].timed) continue;
    std::rotate(variable.shape.begin(), variable.shape.end() - 1, variable.shape.end());
    if (timed == 1) variable.name = "tensor";
  }
  std::map<std::string, at::Tensor> coordinates;
  for (const auto& [name, values] : layout.constants) coordinates[name + "-coordinate"] = values.reshape({-1});
  layout.constants = std::move(coordinates);
}

std::string number_text(double value) {
  return value == std::floor(value) && std::abs(value) < 1e15 ? fmt::format("{:.0f}", value) : fmt::format("{}", value);
}

/// Everything that decides about the values in the file.
std::string identity_of(const SimulateOptions& options, const solvers::Simulation& simulation) {
  std::string text = fmt::format("{}; seed={}; samples={}; dtype={}", simulation.describe(), options.seed,
                                 options.samples, options.dtype);
  for (const auto& [name, value] : simulation.parameters()) text += fmt::format("; {}={:.17g}", name, value);
  return text;
}

void run(const SimulateOptions& options, const MakeSimulation& make) {
  const auto simulation = make(options);
  const at::ScalarType dtype = options.dtype == "float64" ? at::kDouble : at::kFloat;
  data::FieldLayout layout;
  layout.samples = options.samples;
  const auto variables = simulation->variables();
  for (const auto& variable : variables) layout.variables.push_back({variable.name, variable.shape, dtype});
  layout.format = format_of(options, layout.variables);
  layout.constants = simulation->constants();
  layout.parameters = simulation->parameters();
  const bool pdebench = layout.format == data::FieldFormat::pdebench;
  if (pdebench) arrange_as_pdebench(variables, layout);
  layout.identity = identity_of(options, *simulation);

  const auto start = std::chrono::steady_clock::now();
  data::FieldWriter writer(options.output, layout, options.restart);
  const int64_t found = writer.done();
  if (found > 0) log::info(fmt::format("{}: going on behind sample {}", options.output, found));
  Progress progress(simulation->equation(), options.samples);
  progress.advance(found);
  const int64_t batch = std::max<int64_t>(1, simulation->preferred_batch());
  std::vector<at::Tensor> first;  // the first sample, for the picture
  for (int64_t done = found; done < options.samples;) {
    const int64_t count = std::min(batch, options.samples - done);
    std::vector<at::Tensor> values = simulation->samples(options.seed, done, count);
    for (size_t i = 0; i < values.size(); ++i) {
      if (done == 0) first.push_back(values[i].narrow(0, 0, 1).clone());
      values[i] = values[i].to(dtype);
      if (pdebench && variables[i].timed) values[i] = values[i].movedim(-1, 1).contiguous();
    }
    writer.append(values);
    done += count;
    progress.advance(count);
  }
  if (!options.picture.empty()) {
    if (first.empty()) first = simulation->samples(options.seed, 0, 1);
    data::save_colour_png(options.picture, sample_picture(*simulation, first));
  }
  writer.commit();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();

  const int64_t made = options.samples - found;
  const double each = seconds / static_cast<double>(std::max<int64_t>(made, 1));
  if (options.json) {
    nlohmann::json shapes = nlohmann::json::object();
    for (const auto& variable : layout.variables) {
      std::vector<int64_t> shape = {options.samples};
      shape.insert(shape.end(), variable.shape.begin(), variable.shape.end());
      shapes[variable.name] = shape;
    }
    fmt::print("{}\n", nlohmann::json{{"equation", simulation->equation()},
                                      {"description", simulation->describe()},
                                      {"parameters", layout.parameters},
                                      {"seed", options.seed},
                                      {"samples", options.samples},
                                      {"found_in_unfinished_file", found},
                                      {"variables", shapes},
                                      {"dtype", options.dtype},
                                      {"format", format_text(layout.format)},
                                      {"file", options.output},
                                      {"picture", options.picture},
                                      {"seconds", seconds},
                                      {"seconds_per_sample", each},
                                      {"provenance", provenance()}}
                           .dump(2));
    return;
  }
  std::vector<std::pair<std::string, std::string>> rows = {{"equation", simulation->describe()}};
  for (const auto& [name, value] : layout.parameters) rows.emplace_back(name, number_text(value));
  rows.emplace_back("samples", fmt::format("{} of seed {}", options.samples, options.seed));
  for (const auto& variable : layout.variables) {
    std::vector<int64_t> shape = {options.samples};
    shape.insert(shape.end(), variable.shape.begin(), variable.shape.end());
    rows.emplace_back("variable", fmt::format("{} {} {}", variable.name, shape_text(shape), options.dtype));
  }
  rows.emplace_back("file", fmt::format("{} ({})", options.output, format_text(layout.format)));
  rows.emplace_back("time", fmt::format("{}, {} a sample{}", duration_text(seconds), duration_text(each),
                                        found ? fmt::format(" ({} were in the unfinished file)", found) : ""));
  print_table(rows);
}

}  // namespace

at::Tensor sample_picture(const solvers::Simulation& simulation, const std::vector<at::Tensor>& values) {
  constexpr int64_t most_panels = 6;
  const auto variables = simulation.variables();
  const auto constants = simulation.constants();
  const auto times = constants.find("t");
  std::vector<data::PanelRow> rows;
  for (size_t i = 0; i < variables.size(); ++i) {
    at::Tensor value = values[i].select(0, 0).to(at::kDouble);
    if (value.dim() == 1) value = value.unsqueeze(0).expand({std::max<int64_t>(8, value.size(0) / 8), -1});
    const data::FieldPanel style = data::panel_style(value);  // one scale for all moments
    const int64_t moments = value.dim() == 3 ? value.size(2) : 1, shown = std::min(moments, most_panels);
    data::PanelRow row{variables[i].name, {}};
    for (int64_t p = 0; p < shown; ++p) {
      const int64_t moment = shown == 1 ? moments - 1 : p * (moments - 1) / (shown - 1);
      data::FieldPanel panel = style;
      if (value.dim() == 3) {
        panel.label = times != constants.end() && times->second.numel() == moments
                          ? fmt::format("t = {:.4g}", times->second.reshape({-1})[moment].item<double>())
                          : fmt::format("[{}]", moment);
        panel.values = value.select(2, moment);
      } else {
        panel.values = value;
      }
      row.panels.push_back(panel);
    }
    rows.push_back(row);
  }
  return data::draw_panels(rows, {simulation.equation()});
}

void add_simulation(CLI::App& command, MakeSimulation make) {
  auto options = std::make_shared<SimulateOptions>();
  command.add_option("--samples", options->samples, "How many samples (default 1)")->check(CLI::PositiveNumber);
  command.add_option("--seed", options->seed, "Sample i is a pure function of (seed, i) (default 0)")
      ->check(CLI::NonNegativeNumber);
  command.add_option("-o,--output", options->output, "The file to write")->required();
  command
      .add_option("--format", options->format,
                  "mat5, mat73 or pdebench (default: .mat is mat5 up to 2 GiB a variable, else mat73; .h5 is pdebench)")
      ->check(CLI::IsMember(formats));
  command.add_option("--dtype", options->dtype, "As stored: float32 (default) or float64")
      ->check(CLI::IsMember({"float32", "float64"}));
  command.add_option("--picture", options->picture, "A PNG of the first sample's fields");
  command.add_flag("--restart", options->restart, "Begin anew where an unfinished file is");
  command.add_flag("--json", options->json, "The summary as JSON on stdout");
  command.callback([options, make = std::move(make)] { run(*options, make); });
}

void add_simulate(CLI::App& app) {
  CLI::App* simulate = app.add_subcommand("simulate", "Make data: solutions of an equation, or raw MRI scans");
  simulate->require_subcommand(1);
  add_simulate_navier_stokes(*simulate);
  add_simulate_equations(*simulate);
  add_simulate_mri(*simulate);
}

}  // namespace monarch::apps
