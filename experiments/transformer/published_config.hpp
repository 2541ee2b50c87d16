#pragma once
// The config.json that HuggingFace's models carry beside their weights.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "monarch/operators/monarch/multiply.hpp"

namespace monarch::experiments {

class PublishedConfig {
 public:
  /// Reads config.json in the folder `weights`, or beside the file `weights`; empty where there is none. Throws
  /// DataError for a file that is no JSON object or describes another kind of model than `model_type`.
  static PublishedConfig beside(const std::string& weights, const std::string& model_type);

  bool empty() const { return json_.empty(); }
  /// Values of keys; the fallback where they are absent or null. Throw DataError for a value of another type.
  int64_t integer(const char* key, int64_t fallback) const;
  double number(const char* key, double fallback) const;
  bool boolean(const char* key, bool fallback) const;
  std::string text(const char* key, const std::string& fallback) const;
  /// "gelu", "gelu_new", "gelu_pytorch_tanh", "relu"; throws DataError for another function.
  operators::Activation activation(const char* key, operators::Activation fallback) const;

 private:
  template <class T>
  T value(const char* key, T fallback, bool (nlohmann::json::*is)() const noexcept, const char* type) const;

  std::string name_;
  nlohmann::json json_;
};

}  // namespace monarch::experiments
