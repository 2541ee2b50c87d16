#include "checkpoint_layers.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace monarch::apps {
namespace {

constexpr std::string_view weight_suffix = ".weight";

std::string last_part(const std::string& name) {
  const size_t dot = name.rfind('.');
  return dot == std::string::npos ? name : name.substr(dot + 1);
}

bool is_embedding(const std::string& name) {
  const std::string last = last_part(name);
  return last.find("embed") != std::string::npos || last == "wte" || last == "wpe" || last == "emb";
}

/// What shape says about a weight under one of GPT-2's names: +1 Conv1D [in, out], -1 Linear [out, in], 0 nothing.
/// c_attn and c_fc widen, q_attn is square, c_proj narrows (in the MLP) or is square (in attention).
int conv1d_evidence(const std::string& name, const std::vector<int64_t>& shape) {
  const std::string last = last_part(name);
  const int widens = (shape[1] > shape[0]) - (shape[1] < shape[0]);
  if (last == "c_attn" || last == "c_fc") return widens;
  if (last == "c_proj") return -widens;
  return 0;
}

bool has_conv1d_name(const std::string& name) {
  const std::string last = last_part(name);
  return last == "c_attn" || last == "c_fc" || last == "c_proj" || last == "q_attn";
}

}  // namespace

std::vector<CheckpointLayer> find_layers(const data::Checkpoint& checkpoint, Conv1dRule rule) {
  std::vector<CheckpointLayer> layers;
  int evidence = 0;
  for (const auto& info : checkpoint.tensors()) {
    if (info.name.ends_with(".blkdiag1") && info.shape.size() == 3) {
      const std::string name = info.name.substr(0, info.name.size() - 9);
      const auto* second = checkpoint.find(name + ".blkdiag2");
      if (second && second->shape.size() == 3)
        layers.push_back(
            {name, LayerKind::monarch, {second->shape[0] * second->shape[1], info.shape[0] * info.shape[2]}});
      continue;
    }
    const bool real = info.type && at::isFloatingType(*info.type);
    if (!info.name.ends_with(weight_suffix) || !real || info.name.size() == weight_suffix.size()) continue;
    CheckpointLayer layer{info.name.substr(0, info.name.size() - weight_suffix.size()), LayerKind::linear, info.shape};
    if (info.shape.size() == 1) {
      layer.kind = LayerKind::normalisation;
    } else if (info.shape.size() > 2) {
      layer.kind = LayerKind::convolution;
    } else if (info.shape.size() < 2) {
      continue;
    } else if (is_embedding(layer.name)) {
      layer.kind = LayerKind::embedding;
    } else if (has_conv1d_name(layer.name)) {
      evidence += conv1d_evidence(layer.name, layer.shape);
    }
    layers.push_back(std::move(layer));
  }
  for (auto& layer : layers) {
    if (layer.kind != LayerKind::linear) continue;
    bool conv1d = rule == Conv1dRule::always;
    if (rule == Conv1dRule::automatic && has_conv1d_name(layer.name)) {
      const int own = conv1d_evidence(layer.name, layer.shape);
      conv1d = own != 0 ? own > 0 : evidence >= 0;  // square ones go with the rest of the file
    }
    if (conv1d) layer.kind = LayerKind::conv1d;
  }
  std::stable_sort(layers.begin(), layers.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return layers;
}

std::string layer_kind_text(LayerKind kind) {
  switch (kind) {
    case LayerKind::linear:
      return "Linear";
    case LayerKind::conv1d:
      return "Conv1D";
    case LayerKind::monarch:
      return "Monarch";
    case LayerKind::embedding:
      return "embedding";
    case LayerKind::convolution:
      return "convolution";
    case LayerKind::normalisation:
      return "normalisation";
  }
  return "";
}

std::regex layer_pattern(const std::string& text) {
  try {
    return std::regex(text, std::regex::ECMAScript | std::regex::optimize);
  } catch (const std::regex_error& error) {
    fail<ConfigError>(fmt::format("--layers '{}' is no regular expression: {}", text, error.what()),
                      "ECMAScript syntax, searched for anywhere in a layer's name, such as 'attention|dense$'");
  }
}

std::string layer_family(const std::string& name) {
  static const std::regex number(R"((^|\.)\d+(?=\.|$))");
  return std::regex_replace(name, number, "$1*");
}

nlohmann::json to_json(const ProjectedLayer& layer) {
  return {{"shape", layer.shape},
          {"transposed", layer.transposed},
          {"nblocks", layer.nblocks},
          {"relative_error", layer.relative_error}};
}

std::map<std::string, ProjectedLayer> projected_layers(const data::Checkpoint& checkpoint) {
  const auto entry = checkpoint.metadata().find(layers_key);
  if (entry == checkpoint.metadata().end()) return {};
  const auto bad = [&](const std::string& what) {
    fail<DataError>(fmt::format("{}: the metadata entry {} {}", checkpoint.name(), layers_key, what),
                    "it was not written by `monarch project`, or was edited");
  };
  const auto shallow = [](int depth, nlohmann::json::parse_event_t, nlohmann::json&) { return depth <= 4; };
  const auto json = nlohmann::json::parse(entry->second, shallow, /*allow_exceptions=*/false);
  if (!json.is_object()) bad("is no JSON object");
  std::map<std::string, ProjectedLayer> layers;
  for (const auto& [name, value] : json.items()) {
    ProjectedLayer layer;
    try {
      layer.shape = value.at("shape").get<std::vector<int64_t>>();
      layer.transposed = value.at("transposed").get<bool>();
      layer.nblocks = value.at("nblocks").get<int64_t>();
      layer.relative_error = value.at("relative_error").get<double>();
    } catch (const nlohmann::json::exception&) {
      bad(fmt::format("does not describe layer '{}' by shape, transposed, nblocks and relative_error", name));
    }
    if (layer.shape.size() != 2) bad(fmt::format("gives layer '{}' {} extents, expected 2", name, layer.shape.size()));
    layers.emplace(name, std::move(layer));
  }
  return layers;
}

void check_output(const std::string& other, const std::string& output) {
  namespace fs = std::filesystem;
  std::error_code error;
  const bool same =
      fs::equivalent(other, output, error) || fs::weakly_canonical(other, error) == fs::weakly_canonical(output, error);
  check<ConfigError>(
      !same, [&] { return fmt::format("{} is named twice", output); }, "give the output a name of its own");
  check<ConfigError>(!fs::is_directory(output, error),
                     [&] { return fmt::format("{} is a folder, expected the name of a file to write", output); });
}

std::map<std::string, std::string> inherited_metadata(const data::Checkpoint& checkpoint) {
  std::map<std::string, std::string> metadata;
  if (checkpoint.format() == "safetensors") metadata = checkpoint.metadata();
  metadata.emplace("format", "pt");  // what HuggingFace's loaders ask for
  return metadata;
}

void print_columns(const std::vector<std::string>& heading, const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  // Width in characters: code points suffice for names and block characters.
  const auto width = [](const std::string& text) {
    return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
  };
  for (const auto& cell : heading) widths.push_back(width(cell));
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width(row[i]));
  }
  const auto print = [&](const std::vector<std::string>& row) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string blanks(widths[i] - width(row[i]), ' ');
      line += (i ? "  " : "") + (i == 0 ? row[i] + blanks : blanks + row[i]);
    }
    fmt::print("{}\n", line.substr(0, line.find_last_not_of(' ') + 1));
  };
  print(heading);
  for (const auto& row : rows) print(row);
}

}  // namespace monarch::apps
