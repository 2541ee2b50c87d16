// monarch inspect CHECKPOINT: what is in a checkpoint.

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "checkpoint_layers.hpp"
#include "command.hpp"
#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace monarch::apps {
namespace {

/// One line of text for a terminal.
std::string one_line(std::string text) {
  constexpr size_t longest = 160;
  if (text.size() > longest) {
    size_t end = longest;
    while (end > 0 && (text[end] & 0xc0) == 0x80) --end;  // not inside a character
    text = text.substr(0, end) + " …";
  }
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  return text;
}

int64_t elements(const data::TensorInfo& info) {
  int64_t count = 1;
  for (const int64_t extent : info.shape) count *= extent;
  return count;
}

void inspect(const std::string& path, const std::string& select, bool json) {
  const auto checkpoint = data::open_checkpoint(path, {.select = select});
  const auto layers = find_layers(*checkpoint, Conv1dRule::automatic);
  std::map<std::string, std::string> kinds;   // of tensors
  std::map<std::string, int64_t> kind_count;  // of layers
  for (const auto& layer : layers) {
    const std::string kind = layer_kind_text(layer.kind);
    ++kind_count[kind];
    if (layer.kind == LayerKind::monarch)
      kinds[layer.name + ".blkdiag1"] = kinds[layer.name + ".blkdiag2"] = kind;
    else
      kinds[layer.name + ".weight"] = kind;
  }
  int64_t parameters = 0;
  uint64_t bytes = 0;
  for (const auto& info : checkpoint->tensors()) {
    parameters += elements(info);
    bytes += info.bytes;
  }
  if (json) {
    nlohmann::json tensors = nlohmann::json::array();
    for (const auto& info : checkpoint->tensors()) {
      nlohmann::json entry = {{"name", info.name}, {"dtype", info.dtype}, {"shape", info.shape}, {"bytes", info.bytes}};
      if (const auto kind = kinds.find(info.name); kind != kinds.end()) entry["layer"] = kind->second;
      tensors.push_back(std::move(entry));
    }
    const nlohmann::json result = {{"file", path},
                                   {"format", checkpoint->format()},
                                   {"tensors", std::move(tensors)},
                                   {"parameters", parameters},
                                   {"bytes", bytes},
                                   {"layers", kind_count},
                                   {"metadata", checkpoint->metadata()},
                                   {"notes", checkpoint->notes()}};
    fmt::print("{}\n", result.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
    return;
  }
  std::vector<std::vector<std::string>> rows;
  for (const auto& info : checkpoint->tensors()) {
    const auto kind = kinds.find(info.name);
    rows.push_back({info.name, info.dtype, shape_text(info.shape), bytes_text(static_cast<double>(info.bytes)),
                    kind == kinds.end() ? "" : kind->second});
  }
  print_columns({"tensor", "type", "shape", "size", "layer"}, rows);
  fmt::print("\n");
  std::string found;
  for (const auto& [kind, count] : kind_count) found += fmt::format("{}{} {}", found.empty() ? "" : ", ", count, kind);
  print_table({{"format", checkpoint->format()},
               {"tensors", thousands(static_cast<int64_t>(checkpoint->tensors().size()))},
               {"parameters", thousands(parameters)},
               {"size", bytes_text(static_cast<double>(bytes))},
               {"layers", found.empty() ? "none recognised" : found}});
  if (!checkpoint->metadata().empty()) fmt::print("metadata\n");
  for (const auto& [key, value] : checkpoint->metadata()) fmt::print("  {} = {}\n", one_line(key), one_line(value));
  if (!checkpoint->notes().empty()) fmt::print("notes\n");
  for (const auto& note : checkpoint->notes()) fmt::print("  {}\n", one_line(note));
}

}  // namespace

void add_inspect(CLI::App& app) {
  struct Arguments {
    std::string checkpoint, select;
    bool json = false;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("inspect", "Tensors, layers and metadata of a checkpoint");
  command
      ->add_option("checkpoint", arguments->checkpoint,
                   "safetensors or PyTorch file, an index of several, or a model folder")
      ->required();
  command->add_option("--select", arguments->select, "Only the tensors below this key, such as model");
  command->add_flag("--json", arguments->json, "JSON on stdout");
  command->callback([arguments] { inspect(arguments->checkpoint, arguments->select, arguments->json); });
}

}  // namespace monarch::apps
