#include "monarch/experiments/transformer/published_config.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>

#include "monarch/core/error.hpp"

namespace fs = std::filesystem;

namespace monarch::experiments {

PublishedConfig PublishedConfig::beside(const std::string& weights, const std::string& model_type) {
  PublishedConfig config;
  if (weights.empty()) return config;
  const fs::path path =
      (fs::is_directory(weights) ? fs::path(weights) : fs::path(weights).parent_path()) / "config.json";
  std::error_code error;
  const auto bytes = fs::file_size(path, error);
  if (error) return config;
  config.name_ = path.string();
  check<DataError>(bytes <= uintmax_t{1} << 20,
                   [&] { return fmt::format("{}: {} bytes are too many", path.string(), bytes); });
  std::ifstream stream(path);
  config.json_ = nlohmann::json::parse(stream, nullptr, /*allow_exceptions=*/false);
  check<DataError>(config.json_.is_object(), [&] { return fmt::format("{}: expected a JSON object", path.string()); });
  const std::string type = config.text("model_type", model_type);
  check<DataError>(
      type == model_type,
      [&] { return fmt::format("{}: describes a '{}', expected a '{}'", path.string(), type, model_type); },
      "set model.name to the family of the weights");
  return config;
}

template <class T>
T PublishedConfig::value(const char* key, T fallback, bool (nlohmann::json::*is)() const noexcept,
                         const char* type) const {
  const auto found = json_.find(key);
  if (found == json_.end() || found->is_null()) return fallback;
  check<DataError>(((*found).*is)(),
                   [&] { return fmt::format("{}: {} is {}, expected {}", name_, key, found->dump(), type); });
  return found->get<T>();
}

int64_t PublishedConfig::integer(const char* key, int64_t fallback) const {
  return value<int64_t>(key, fallback, &nlohmann::json::is_number_integer, "an integer");
}
double PublishedConfig::number(const char* key, double fallback) const {
  return value<double>(key, fallback, &nlohmann::json::is_number, "a number");
}
bool PublishedConfig::boolean(const char* key, bool fallback) const {
  return value<bool>(key, fallback, &nlohmann::json::is_boolean, "true or false");
}
std::string PublishedConfig::text(const char* key, const std::string& fallback) const {
  return value<std::string>(key, fallback, &nlohmann::json::is_string, "text");
}

operators::Activation PublishedConfig::activation(const char* key, operators::Activation fallback) const {
  using operators::Activation;
  const std::string name = text(key, "");
  if (name.empty()) return fallback;
  if (name == "gelu") return Activation::gelu;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh") return Activation::gelu_tanh;
  if (name == "relu") return Activation::relu;
  fail<DataError>(fmt::format("{}: {} is '{}'; expected gelu, gelu_new, gelu_pytorch_tanh or relu", name_, key, name));
}

}  // namespace monarch::experiments
