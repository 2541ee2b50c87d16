// monarch densify IN -o OUT: Monarch layers multiplied out to dense weights.

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "checkpoint_layers.hpp"
#include "command.hpp"
#include "monarch/core/error.hpp"
#include "monarch/core/progress.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/safetensors.hpp"

namespace monarch::apps {
namespace {

struct DenseLayer {
  std::string name;
  operators::MonarchSizes sizes;
  std::vector<int64_t> shape;  ///< of the weight to write
  bool transposed = false;
};

/// What a Monarch layer becomes. Without metadata (a checkpoint trained elsewhere) the bias tells the true height, and
/// the width is the padded one.
DenseLayer plan(const data::Checkpoint& checkpoint, const std::string& name,
                const std::map<std::string, ProjectedLayer>& known) {
  const data::TensorInfo& first = *checkpoint.find(name + ".blkdiag1");
  const data::TensorInfo& second = *checkpoint.find(name + ".blkdiag2");
  DenseLayer layer{.name = name, .sizes = {}, .shape = {}};
  auto& z = layer.sizes;
  z = {first.shape[0], first.shape[1], first.shape[2], second.shape[0], second.shape[1], second.shape[2]};
  check<DataError>(
      first.type && second.type && *first.type == *second.type && z.parameters() > 0 && z.k * z.q == z.l * z.r, [&] {
        return fmt::format(
            "{}: layer '{}': factors {} {} and {} {} do not fit, expected [k, q, p] and [l, s, r] with l*r = k*q",
            checkpoint.name(), name, first.dtype, shape_text(first.shape), second.dtype, shape_text(second.shape));
      });
  int64_t rows = z.out(), columns = z.in();
  if (const auto found = known.find(name); found != known.end()) {
    layer.transposed = found->second.transposed;
    rows = found->second.shape[layer.transposed ? 1 : 0];
    columns = found->second.shape[layer.transposed ? 0 : 1];
  } else if (const auto* bias = checkpoint.find(name + ".bias"); bias && bias->shape.size() == 1) {
    rows = bias->shape[0];
  }
  check<DataError>(rows > z.l * (z.s - 1) && rows <= z.out() && columns > z.k * (z.p - 1) && columns <= z.in(), [&] {
    return fmt::format("{}: layer '{}': factors {} and {} are of no [{}, {}] matrix", checkpoint.name(), name,
                       shape_text(first.shape), shape_text(second.shape), rows, columns);
  });
  layer.shape = layer.transposed ? std::vector<int64_t>{columns, rows} : std::vector<int64_t>{rows, columns};
  return layer;
}

struct Arguments {
  std::string input, output, pattern = ".*", select;
  bool json = false;
};

void densify(const Arguments& arguments) {
  check_output(arguments.input, arguments.output);
  const std::regex pattern = layer_pattern(arguments.pattern);
  const auto checkpoint = data::open_checkpoint(arguments.input, {.select = arguments.select});
  check_output(checkpoint->name(), arguments.output);
  const auto known = projected_layers(*checkpoint);
  std::map<std::string, DenseLayer> layers;
  int64_t monarch_layers = 0;
  for (const auto& layer : find_layers(*checkpoint, Conv1dRule::never)) {
    if (layer.kind != LayerKind::monarch) continue;
    ++monarch_layers;
    if (std::regex_search(layer.name, pattern)) layers.emplace(layer.name, plan(*checkpoint, layer.name, known));
  }
  check<DataError>(
      monarch_layers > 0,
      [&] { return fmt::format("{}: holds no Monarch layer (<layer>.blkdiag1 and .blkdiag2)", arguments.input); },
      "`monarch project` makes them");
  check<ConfigError>(
      !layers.empty(),
      [&] {
        return fmt::format("--layers '{}' matches none of the {} Monarch layers", arguments.pattern, monarch_layers);
      },
      "`monarch inspect` lists them");

  const auto layer_of = [&](const std::string& tensor) -> const DenseLayer* {
    const size_t dot = tensor.rfind('.');
    if (dot == std::string::npos || !tensor.substr(dot).starts_with(".blkdiag")) return nullptr;
    const auto found = layers.find(tensor.substr(0, dot));
    return found == layers.end() ? nullptr : &found->second;
  };
  std::vector<data::TensorInfo> outputs;
  for (const auto& info : checkpoint->tensors()) {
    const DenseLayer* layer = layer_of(info.name);
    if (!layer) {
      outputs.push_back(info);
    } else if (info.name == layer->name + ".blkdiag1") {
      outputs.push_back({layer->name + ".weight", info.dtype, info.type, layer->shape});
    }
  }
  auto metadata = inherited_metadata(*checkpoint);
  nlohmann::json rest = nlohmann::json::object();
  for (const auto& [name, layer] : known) {
    if (!layers.contains(name)) rest[name] = to_json(layer);
  }
  metadata.erase(layers_key);
  if (!rest.empty()) metadata[layers_key] = rest.dump();

  data::SafetensorsWriter writer(arguments.output, outputs, metadata);
  Progress progress("densifying", static_cast<int64_t>(outputs.size()));
  int64_t before = 0, after = 0;
  std::vector<std::vector<std::string>> rows;
  nlohmann::json list = nlohmann::json::array();
  for (const auto& info : checkpoint->tensors()) {
    const DenseLayer* layer = layer_of(info.name);
    if (!layer) {
      writer.write(info.name, checkpoint->load(info.name));
      progress.advance();
    } else if (info.name == layer->name + ".blkdiag1") {
      const auto wide = at::isComplexType(*info.type) ? at::kComplexDouble : at::kDouble;
      const at::Tensor w1 = checkpoint->load(info.name).to(wide);
      const at::Tensor w2 = checkpoint->load(layer->name + ".blkdiag2").to(wide);
      at::Tensor dense = operators::monarch_dense(w1, w2);
      const int64_t out = layer->shape[layer->transposed ? 1 : 0], in = layer->shape[layer->transposed ? 0 : 1];
      dense = dense.narrow(0, 0, out).narrow(1, 0, in);
      if (layer->transposed) dense = dense.t();
      writer.write(layer->name + ".weight", dense.to(*info.type));
      before += layer->sizes.parameters();
      after += out * in;
      rows.push_back({layer->name, shape_text(w1.sizes()), shape_text(w2.sizes()), shape_text(layer->shape),
                      layer->transposed ? "Conv1D" : "Linear"});
      list.push_back({{"layer", layer->name},
                      {"shape", layer->shape},
                      {"transposed", layer->transposed},
                      {"parameters_before", layer->sizes.parameters()},
                      {"parameters_after", out * in}});
      progress.advance();
    }
  }
  writer.commit();
  if (arguments.json) {
    const nlohmann::json result = {{"input", arguments.input},
                                   {"output", arguments.output},
                                   {"layers", list},
                                   {"parameters_before", before},
                                   {"parameters_after", after}};
    fmt::print("{}\n", result.dump(2));
    return;
  }
  print_columns({"layer", "blkdiag1", "blkdiag2", "weight", "kind"}, rows);
  fmt::print("\n{} layers, {} parameters -> {}: {}\n", layers.size(), thousands(before), thousands(after),
             arguments.output);
}

}  // namespace

void add_densify(CLI::App& app) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("densify", "Multiply the Monarch layers of a checkpoint out to dense weights");
  command->add_option("input", arguments->input, "Checkpoint with <layer>.blkdiag1 and .blkdiag2")->required();
  command->add_option("-o,--output", arguments->output, "safetensors file to write")->required();
  command->add_option("--layers", arguments->pattern, "Only layers whose name this regular expression matches")
      ->capture_default_str();
  command->add_option("--select", arguments->select, "Only the tensors below this key, such as model");
  command->add_flag("--json", arguments->json, "JSON on stdout");
  command->callback([arguments] { densify(*arguments); });
}

}  // namespace monarch::apps
