// monarch project IN --layers REGEX -o OUT: dense weights of a checkpoint replaced by their nearest Monarch matrices.

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "checkpoint_layers.hpp"
#include "command.hpp"
#include "monarch/core/error.hpp"
#include "monarch/core/files.hpp"
#include "monarch/core/log.hpp"
#include "monarch/core/plot.hpp"
#include "monarch/core/progress.hpp"
#include "monarch/core/provenance.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/safetensors.hpp"
#include "monarch/operators/monarch/projection.hpp"
#include "monarch/operators/nn/sizes.hpp"

namespace monarch::apps {
namespace {

using operators::MonarchSizes;

struct Arguments {
  std::string input, output, pattern, select, plot;
  int64_t nblocks = 4, rank = 0;
  Conv1dRule conv1d = Conv1dRule::automatic;
  bool json = false;
};

/// A layer to project: y = W x with W [out, in].
struct Job {
  std::string name;
  std::vector<int64_t> shape;  ///< of the weight as stored
  bool transposed = false;
  int64_t in = 0, out = 0;
  MonarchSizes sizes;
};

struct Outcome {
  double relative_error = 0;
  std::vector<double> energy;    ///< kept with block rank 1, 2, …, as a part of all
  std::vector<double> spectrum;  ///< root mean square over the slices of the i-th singular value
};

/// The paper's rule, or the given block rank, with errors that name the layer and the option.
MonarchSizes layer_sizes(const Job& job, const Arguments& arguments) {
  const int64_t n = arguments.nblocks, smaller = std::min(job.in, job.out);
  const int64_t in = (job.in + n - 1) / n, out = (job.out + n - 1) / n;
  const auto fits = [&](int64_t blocks) { return blocks * (in - 1) < job.in && blocks * (out - 1) < job.out; };
  const int64_t most = arguments.rank > 0 ? smaller : static_cast<int64_t>(std::sqrt(static_cast<double>(smaller)));
  check<ConfigError>(
      n <= most && fits(n),
      [&] {
        return fmt::format("--nblocks {} does not suit layer '{}' of {} outputs and {} inputs: at most {}{}", n,
                           job.name, job.out, job.in, most, n <= most ? ", and none may be padding alone" : "");
      },
      "choose fewer blocks, or fewer layers with --layers");
  if (arguments.rank > 0) {
    const int64_t largest = std::min(in, out);
    check<ConfigError>(
        arguments.rank <= largest,
        [&] {
          return fmt::format("--rank {} is more than the blocks of layer '{}' have: they are {} x {}", arguments.rank,
                             job.name, out, in);
        },
        fmt::format("at most {}", largest));
    return operators::monarch_sizes_of_rank(job.out, job.in, n, n, arguments.rank);
  }
  return operators::monarch_layer_sizes(job.in, job.out, n);
}

std::vector<Job> choose_layers(const data::Checkpoint& checkpoint, const Arguments& arguments) {
  const std::regex pattern = layer_pattern(arguments.pattern);
  std::vector<Job> jobs;
  std::vector<std::string> linear;
  int64_t embeddings = 0;
  for (const auto& layer : find_layers(checkpoint, arguments.conv1d)) {
    const bool matches = std::regex_search(layer.name, pattern);
    if (layer.kind == LayerKind::embedding && matches) ++embeddings;
    if (layer.kind != LayerKind::linear && layer.kind != LayerKind::conv1d) continue;
    linear.push_back(layer.name);
    if (!matches) continue;
    Job job{.name = layer.name, .shape = layer.shape, .transposed = layer.kind == LayerKind::conv1d, .sizes = {}};
    job.out = layer.shape[job.transposed ? 1 : 0];
    job.in = layer.shape[job.transposed ? 0 : 1];
    check<DataError>(job.out > 0 && job.in > 0, [&] {
      return fmt::format("{}: layer '{}' is empty: {}", checkpoint.name(), job.name, shape_text(job.shape));
    });
    job.sizes = layer_sizes(job, arguments);
    jobs.push_back(std::move(job));
  }
  if (embeddings > 0)
    log::info(fmt::format("--layers also matches {} embedding table{}, left as {}", embeddings,
                          embeddings > 1 ? "s" : "", embeddings > 1 ? "they are" : "it is"));
  check<DataError>(
      !linear.empty(),
      [&] { return fmt::format("{}: holds no linear layer (<layer>.weight of two axes)", checkpoint.name()); },
      "`monarch inspect` lists what it holds");
  std::vector<std::string> families;
  for (const auto& name : linear) {
    const std::string family = layer_family(name);
    if (std::find(families.begin(), families.end(), family) == families.end()) families.push_back(family);
  }
  families.resize(std::min<size_t>(families.size(), 8));
  check<ConfigError>(
      !jobs.empty(),
      [&] {
        return fmt::format("--layers '{}' matches none of the {} linear layers of {}", arguments.pattern, linear.size(),
                           checkpoint.name());
      },
      "there are, with numbers as *: " + join_or(families));
  return jobs;
}

Outcome outcome_of(const operators::Projection& projection) {
  Outcome outcome{.relative_error = projection.relative_error, .energy = {}, .spectrum = {}};
  const at::Tensor squares = projection.spectrum.square().mean(at::IntArrayRef{0, 1}).contiguous();
  const auto* values = squares.const_data_ptr<double>();
  const double total = squares.sum().item<double>();
  double sum = 0;
  for (int64_t i = 0; i < squares.numel(); ++i) {
    sum += values[i];
    outcome.energy.push_back(total > 0 ? sum / total : 1);
    outcome.spectrum.push_back(std::sqrt(values[i]));
  }
  return outcome;
}

/// The spectrum in twelve characters: height by the singular value, against the largest.
std::string picture(const std::vector<double>& spectrum) {
  static constexpr const char* bars[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  std::string text;
  const size_t columns = std::min<size_t>(12, spectrum.size());
  for (size_t c = 0; c < columns; ++c) {
    const double value = spectrum[c * (spectrum.size() - 1) / std::max<size_t>(columns - 1, 1)];
    const double share = spectrum[0] > 0 ? value / spectrum[0] : 0;
    text += bars[std::clamp(static_cast<int>(std::ceil(share * 8)) - 1, 0, 7)];
  }
  return text;
}

/// Mean curves of the layers that differ only in numbers and have the same shape.
std::string spectrum_svg(const std::vector<Job>& jobs, const std::vector<Outcome>& outcomes, const std::string& title) {
  struct Family {
    std::vector<double> energy, spectrum;
    int64_t layers = 0, rank = 0;
  };
  std::map<std::string, Family> families;
  for (size_t i = 0; i < jobs.size(); ++i) {
    Family& family = families[fmt::format("{} {}", layer_family(jobs[i].name), shape_text(jobs[i].shape))];
    const auto& outcome = outcomes[i];
    family.energy.resize(outcome.energy.size());
    family.spectrum.resize(outcome.spectrum.size());
    for (size_t r = 0; r < outcome.energy.size(); ++r) {
      family.energy[r] += outcome.energy[r];
      family.spectrum[r] += outcome.spectrum[0] > 0 ? outcome.spectrum[r] / outcome.spectrum[0] : 0;
    }
    family.rank = jobs[i].sizes.q / jobs[i].sizes.l;
    ++family.layers;
  }
  constexpr size_t most_curves = 12;
  constexpr double smallest = 1e-9;  // of the logarithmic axis
  plot::Chart energy{.title = title,
                     .subtitle = "mean over the layers of a kind; the mark is the block rank that was kept",
                     .x = {.label = "block rank"},
                     .y = {.label = "energy kept, in %"}};
  plot::Chart spectrum{.title = "Singular values of the slices",
                       .x = {.label = "index"},
                       .y = {.label = "singular value / largest", .scale = plot::Scale::log}};
  int colour = 0;
  for (const auto& [name, family] : families) {
    if (energy.series.size() >= 2 * most_curves) break;
    plot::Series kept{.name = name, .style = plot::Style::line, .colour = colour};
    plot::Series falling{.name = name, .style = plot::Style::line, .colour = colour};
    const auto layers = static_cast<double>(family.layers);
    for (size_t r = 0; r < family.energy.size(); ++r) {
      kept.x.push_back(static_cast<double>(r + 1));
      kept.y.push_back(100 * family.energy[r] / layers);
      if (family.spectrum[r] / layers < smallest) continue;
      falling.x.push_back(static_cast<double>(r + 1));
      falling.y.push_back(family.spectrum[r] / layers);
    }
    energy.series.push_back(kept);
    if (const auto rank = static_cast<size_t>(family.rank); rank >= 1 && rank <= kept.y.size())
      energy.series.push_back(
          {.x = {kept.x[rank - 1]}, .y = {kept.y[rank - 1]}, .style = plot::Style::points, .colour = colour});
    if (!falling.x.empty()) spectrum.series.push_back(falling);
    ++colour;
  }
  if (spectrum.series.empty()) return plot::svg(energy);
  return plot::stacked_svg({energy, spectrum});
}

void print_outcomes(const std::vector<Job>& jobs, const std::vector<Outcome>& outcomes, const Arguments& arguments,
                    int64_t before, int64_t after, double total_error) {
  std::vector<std::vector<std::string>> rows;
  for (size_t i = 0; i < jobs.size(); ++i) {
    const Job& job = jobs[i];
    rows.push_back(
        {job.name, shape_text(job.shape), job.transposed ? "Conv1D" : "Linear",
         fmt::format("{:.4f}", outcomes[i].relative_error), thousands(job.in * job.out),
         thousands(job.sizes.parameters()),
         fmt::format("{:.2f} x", static_cast<double>(job.in * job.out) / static_cast<double>(job.sizes.parameters())),
         picture(outcomes[i].spectrum)});
  }
  rows.push_back({fmt::format("{} layer{}", jobs.size(), jobs.size() == 1 ? "" : "s"), "", "",
                  fmt::format("{:.4f}", total_error), thousands(before), thousands(after),
                  fmt::format("{:.2f} x", static_cast<double>(before) / static_cast<double>(after)), ""});
  print_columns({"layer", "weight", "kind", "rel. error", "parameters", "Monarch", "smaller", "spectrum"}, rows);
  fmt::print(
      "\nrel. error: |W - M| / |W| in the Frobenius norm; spectrum: singular values of the slices, first to last\n");
  fmt::print("{}{}\n", arguments.output, arguments.plot.empty() ? "" : ", " + arguments.plot);
}

nlohmann::json outcomes_json(const std::vector<Job>& jobs, const std::vector<Outcome>& outcomes) {
  nlohmann::json list = nlohmann::json::array();
  for (size_t i = 0; i < jobs.size(); ++i) {
    const Job& job = jobs[i];
    const MonarchSizes& z = job.sizes;
    list.push_back({{"layer", job.name},
                    {"shape", job.shape},
                    {"transposed", job.transposed},
                    {"blkdiag1", {z.k, z.q, z.p}},
                    {"blkdiag2", {z.l, z.s, z.r}},
                    {"relative_error", outcomes[i].relative_error},
                    {"parameters_before", job.in * job.out},
                    {"parameters_after", z.parameters()},
                    {"spectrum", outcomes[i].spectrum},
                    {"energy_kept", outcomes[i].energy}});
  }
  return list;
}

void project(const Arguments& arguments) {
  check_output(arguments.input, arguments.output);
  if (!arguments.plot.empty()) {
    check_output(arguments.input, arguments.plot);
    check_output(arguments.output, arguments.plot);
  }
  const auto checkpoint = data::open_checkpoint(arguments.input, {.select = arguments.select});
  check_output(checkpoint->name(), arguments.output);
  const std::vector<Job> jobs = choose_layers(*checkpoint, arguments);
  std::map<std::string, const Job*> job_of;  // by tensor
  for (const auto& job : jobs) job_of[job.name + ".weight"] = &job;

  std::vector<data::TensorInfo> outputs;
  for (const auto& info : checkpoint->tensors()) {
    const auto found = job_of.find(info.name);
    if (found == job_of.end()) {
      check<DataError>(info.type.has_value(), [&] {
        return fmt::format("{}: tensor '{}' is of type {}, which cannot be copied", checkpoint->name(), info.name,
                           info.dtype);
      });
      outputs.push_back(info);
    } else {
      const auto& [name, z] = std::tie(found->second->name, found->second->sizes);
      outputs.push_back({name + ".blkdiag1", info.dtype, info.type, {z.k, z.q, z.p}});
      outputs.push_back({name + ".blkdiag2", info.dtype, info.type, {z.l, z.s, z.r}});
    }
  }

  // The header of the file comes before its data, so errors go into it first: project, keep factors, then write.
  std::vector<Outcome> outcomes;
  std::vector<operators::MonarchFactors> factors;
  nlohmann::json remembered = nlohmann::json::object();
  for (const auto& [name, layer] : projected_layers(*checkpoint)) remembered[name] = to_json(layer);
  double lost = 0, all = 0;
  int64_t before = 0, after = 0;
  {
    Progress progress("projecting", static_cast<int64_t>(jobs.size()));
    for (const auto& job : jobs) {
      progress.note(job.name);
      const at::Tensor stored = checkpoint->load(job.name + ".weight");
      const at::Tensor dense = job.transposed ? stored.t() : stored;
      const at::Tensor wide = dense.to(at::kDouble);
      check<DataError>(
          at::isfinite(wide).all().item<bool>(),
          [&] { return fmt::format("{}: tensor '{}.weight' holds NaN or infinity", checkpoint->name(), job.name); },
          "leave the layer out with --layers, or repair the checkpoint");
      const auto projection = operators::monarch_project(wide, job.sizes);
      outcomes.push_back(outcome_of(projection));
      factors.push_back(
          {projection.factors.w1.to(stored.scalar_type()), projection.factors.w2.to(stored.scalar_type())});
      const double norm = wide.norm().item<double>(), error = projection.relative_error;
      lost += norm * norm * error * error;
      all += norm * norm;
      before += job.in * job.out;
      after += job.sizes.parameters();
      remembered[job.name] = to_json(ProjectedLayer{job.shape, job.transposed, arguments.nblocks, error});
      progress.advance();
    }
  }
  const double total_error = all > 0 ? std::sqrt(lost / all) : 0;
  std::string picture_text;
  if (!arguments.plot.empty())
    picture_text =
        spectrum_svg(jobs, outcomes, "Energy kept by " + std::filesystem::path(arguments.input).filename().string());

  auto metadata = inherited_metadata(*checkpoint);
  metadata[layers_key] = remembered.dump();
  metadata["monarch.provenance"] =
      nlohmann::json(provenance()).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  data::SafetensorsWriter writer(arguments.output, outputs, metadata);
  for (size_t i = 0; i < jobs.size(); ++i) {
    writer.write(jobs[i].name + ".blkdiag1", factors[i].w1);
    writer.write(jobs[i].name + ".blkdiag2", factors[i].w2);
  }
  for (const auto& info : checkpoint->tensors()) {
    if (!job_of.contains(info.name)) writer.write(info.name, checkpoint->load(info.name));
  }
  if (!arguments.plot.empty()) write_file_atomically(arguments.plot, picture_text);
  writer.commit();

  if (arguments.json) {
    const nlohmann::json result = {{"input", arguments.input},      {"output", arguments.output},
                                   {"nblocks", arguments.nblocks},  {"layers", outcomes_json(jobs, outcomes)},
                                   {"relative_error", total_error}, {"parameters_before", before},
                                   {"parameters_after", after},     {"provenance", provenance()}};
    fmt::print("{}\n", result.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
  } else {
    print_outcomes(jobs, outcomes, arguments, before, after, total_error);
  }
}

}  // namespace

void add_project(CLI::App& app) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command =
      app.add_subcommand("project", "Replace dense weights of a checkpoint by the nearest Monarch matrices");
  command->add_option("input", arguments->input, "safetensors or PyTorch file, an index of several, or a model folder")
      ->required();
  command
      ->add_option("--layers", arguments->pattern,
                   "Regular expression, searched for in the names of linear layers (without .weight)")
      ->required();
  command->add_option("-o,--output", arguments->output, "safetensors file to write")->required();
  command->add_option("--nblocks", arguments->nblocks, "Blocks in each of the two factors")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
      ->capture_default_str();
  command->add_option("--rank", arguments->rank, "Block rank (default: min(in, out) / nblocks^2, as in the paper)")
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--conv1d", arguments->conv1d,
                   "Weights stored as [in, out], as HuggingFace's Conv1D: auto (GPT-2's names), always, never")
      ->transform(CLI::CheckedTransformer(std::map<std::string, Conv1dRule>{
          {"auto", Conv1dRule::automatic}, {"always", Conv1dRule::always}, {"never", Conv1dRule::never}}));
  command->add_option("--select", arguments->select, "Only the tensors below this key, such as model");
  command->add_option("--plot", arguments->plot, "SVG file: energy kept against block rank, and the singular values");
  command->add_flag("--json", arguments->json, "JSON on stdout, spectra included");
  command->callback([arguments] { project(*arguments); });
}

}  // namespace monarch::apps
