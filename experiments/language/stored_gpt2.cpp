#include "monarch/experiments/language/stored_gpt2.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "monarch/core/error.hpp"
#include "monarch/core/files.hpp"
#include "monarch/data/checkpoint.hpp"
#include "monarch/data/mapped_file.hpp"
#include "monarch/experiments/transformer/weights.hpp"
#include "monarch/training/checkpoint.hpp"

namespace fs = std::filesystem;

namespace monarch::experiments {
namespace {

using nlohmann::json;

// Names of constants; behind the second the kind of tokenizer and the file.
constexpr const char* options_name = "gpt2.options";
constexpr std::string_view vocabulary_name = "vocabulary/";

at::Tensor to_tensor(std::string_view text) {
  at::Tensor bytes = at::empty({static_cast<int64_t>(text.size())}, at::kByte);
  std::memcpy(bytes.mutable_data_ptr<uint8_t>(), text.data(), text.size());
  return bytes;
}

std::string to_text(const at::Tensor& tensor, const std::string& name, const std::string& origin) {
  check<DataError>(tensor.scalar_type() == at::kByte && tensor.dim() == 1,
                   [&] { return fmt::format("{}: '{}' is no text", origin, name); });
  const at::Tensor bytes = tensor.contiguous();
  return {reinterpret_cast<const char*>(bytes.const_data_ptr<uint8_t>()), static_cast<size_t>(bytes.numel())};
}

json to_json(const Gpt2Options& o) {
  return {{"vocabulary", o.vocabulary},
          {"positions", o.positions},
          {"width", o.width},
          {"depth", o.depth},
          {"heads", o.heads},
          {"hidden", o.hidden},
          {"norm_eps", o.norm_eps},
          {"activation", operators::activation_name(o.activation)},
          {"scale_by_layer", o.scale_by_layer}};
}

Gpt2Options options_from(const json& j) {
  Gpt2Options o;
  o.vocabulary = j.at("vocabulary");
  o.positions = j.at("positions");
  o.width = j.at("width");
  o.depth = j.at("depth");
  o.heads = j.at("heads");
  o.hidden = j.at("hidden");
  o.norm_eps = j.at("norm_eps");
  o.activation = operators::activation_from_name(j.at("activation").get<std::string>());
  o.scale_by_layer = j.at("scale_by_layer");
  o.dropout = o.attention_dropout = 0;
  return o;
}

std::shared_ptr<const data::Tokenizer> stored_tokenizer(const training::NamedTensors& constants,
                                                        const std::string& origin) {
  const ScratchFolder folder;
  std::string kind;
  for (const auto& [name, tensor] : constants) {
    if (!name.starts_with(vocabulary_name)) continue;
    const size_t slash = name.find('/', vocabulary_name.size());
    check<DataError>(slash != std::string::npos && name.find('/', slash + 1) == std::string::npos,
                     [&] { return fmt::format("{}: '{}' is no file of a vocabulary", origin, name); });
    kind = name.substr(vocabulary_name.size(), slash - vocabulary_name.size());
    write_file_atomically(folder.path() / name.substr(slash + 1), to_text(tensor, name, origin));
  }
  check<DataError>(!kind.empty(), [&] { return fmt::format("{}: holds no vocabulary", origin); });
  return data::load_tokenizer(kind, folder.path());
}

/// A checkpoint itself, or the best or newest one of a run.
fs::path checkpoint_of(const fs::path& path) {
  std::error_code ignored;
  if (fs::exists(path / "best", ignored)) return path / "best";
  const auto folders = training::checkpoint_folders(path);
  return folders.empty() ? path : folders.front();
}

StoredGpt2 from_run(const fs::path& path) {
  const fs::path folder = checkpoint_of(path);
  const auto checkpoint = training::load_training_checkpoint(folder);
  const std::string origin = folder.string();
  const Config config = Config::parse(checkpoint.state.value("config", ""), origin);
  const std::string kind = config.text("task.kind", "rollout");
  check<ConfigError>(
      kind == "language-model", [&] { return fmt::format("{}: a run of task.kind \"{}\"", origin, kind); },
      "a run of task.kind \"language-model\" writes text");
  StoredGpt2 stored;
  for (const auto& [name, tensor] : checkpoint.constants) {
    if (name != options_name) continue;
    try {
      stored.model = std::make_shared<Gpt2Impl>(options_from(json::parse(to_text(tensor, name, origin))));
    } catch (const json::exception& error) {
      fail<DataError>(fmt::format("{}: {}: {}", origin, name, error.what()));
    }
  }
  check<DataError>(stored.model != nullptr, [&] { return fmt::format("{}: '{}' is missing", origin, options_name); });
  const auto weights = data::open_checkpoint(folder);
  import_weights(*stored.model, *weights, Gpt2Impl::weight_names(*weights));  // layers take the form they have there
  stored.tokenizer = stored_tokenizer(checkpoint.constants, origin);
  return stored;
}

StoredGpt2 from_published(const fs::path& folder) {
  std::ifstream stream(folder / "config.json");
  const json published = json::parse(stream, nullptr, false);
  const std::string file = (folder / "config.json").string();
  check<DataError>(published.is_object() && published.value("model_type", "") == "gpt2",
                   [&] { return fmt::format("{}: its model_type is not \"gpt2\"", file); });
  check<DataError>(published.contains("vocab_size") && published["vocab_size"].is_number_integer(),
                   [&] { return fmt::format("{}: has no vocab_size", file); });
  Config config = Config::parse("[model]\nname = \"gpt2\"\n", file);
  config.set(fmt::format("model.weights={}", json(folder.string()).dump()));
  return {make_gpt2(config, published["vocab_size"]), data::load_tokenizer("gpt2", folder)};
}

}  // namespace

std::map<std::string, at::Tensor> gpt2_constants(const Gpt2Impl& model, const data::TokenSet& tokens) {
  std::map<std::string, at::Tensor> constants;
  constants[options_name] = to_tensor(to_json(model.options()).dump());
  for (const auto& name : tokens.info().vocabulary_files) {
    const data::MappedFile file(tokens.folder() / "vocabulary" / name);
    constants[fmt::format("{}{}/{}", vocabulary_name, tokens.info().tokenizer, name)] = to_tensor(file.bytes());
  }
  return constants;
}

StoredGpt2 load_gpt2(const fs::path& path) {
  std::error_code ignored;
  StoredGpt2 stored = fs::exists(path / "config.json", ignored) ? from_published(path) : from_run(path);
  check<DataError>(
      stored.tokenizer->size() <= stored.model->options().vocabulary,
      [&] {
        return fmt::format("{}: a vocabulary of {} tokens, but the model has {}", path.string(),
                           stored.tokenizer->size(), stored.model->options().vocabulary);
      },
      "are vocabulary and weights of the same model?");
  stored.model->eval();
  return stored;
}

}  // namespace monarch::experiments
