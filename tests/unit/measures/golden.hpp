#pragma once
// The golden file of losses and field metrics, and its inputs.

#include <ATen/ATen.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

namespace monarch::test {

inline const nlohmann::json& golden_measures() {
  static const nlohmann::json golden = [] {
    std::ifstream file(std::string(MONARCH_SOURCE_DIR) + "/tests/golden/field_measures.json");
    return nlohmann::json::parse(file);
  }();
  return golden;
}

/// The integer hash of tests/golden/make_field_measures.py, in [0, 1), float64.
inline at::Tensor golden_uniform(const std::vector<int64_t>& shape, uint32_t stream) {
  const auto seed = golden_measures()["manifest"]["seed"].get<uint32_t>();
  at::Tensor out = at::empty(shape, at::kDouble);
  double* values = out.data_ptr<double>();
  for (int64_t i = 0; i < out.numel(); ++i) {
    auto h = static_cast<uint32_t>(static_cast<uint64_t>(i) * 2654435761u + seed + 977 * stream);
    h ^= h >> 16;
    h *= 0x85EBCA6Bu;
    h ^= h >> 13;
    h *= 0xC2B2AE35u;
    h ^= h >> 16;
    values[i] = h / 4294967296.0;
  }
  return out;
}

inline at::Tensor tensor_of(const nlohmann::json& numbers) {
  return at::tensor(numbers.get<std::vector<double>>(), at::kDouble);
}

}  // namespace monarch::test
