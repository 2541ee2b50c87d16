#pragma once
// The fixtures of tests/golden/make_transformers.py.

#include <ATen/core/Tensor.h>

#include <string>

#include "monarch/core/config.hpp"
#include "monarch/data/checkpoint.hpp"

namespace monarch::test {

inline std::string golden_folder(const std::string& family) {
  return std::string(MONARCH_SOURCE_DIR) + "/tests/golden/transformers/" + family;
}

inline std::shared_ptr<const data::Checkpoint> golden_file(const std::string& family, const std::string& select = "") {
  return data::open_checkpoint(golden_folder(family) + "/golden.safetensors", {.select = select});
}

/// [model] of that name with the fixture's weights and no dropout; further keys in TOML.
inline Config golden_config(const std::string& family, const std::string& keys = "") {
  return Config::parse("[model]\nname = \"" + family + "\"\nweights = \"" + golden_folder(family) + "\"\n" + keys);
}

inline const char* const vit_keys = "width = 24\ndepth = 2\nheads = 3\npatch = 4\nmlp_ratio = 3\n";
inline const char* const mixer_keys = "width = 24\ndepth = 2\npatch = 4\n";

}  // namespace monarch::test
