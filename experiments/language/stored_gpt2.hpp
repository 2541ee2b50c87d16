#pragma once
// A GPT-2 with its tokenizer, from what lies on disk.

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "monarch/data/text/token_set.hpp"
#include "monarch/experiments/language/gpt2.hpp"

namespace monarch::experiments {

struct StoredGpt2 {
  std::shared_ptr<Gpt2Impl> model;  ///< in evaluation mode
  std::shared_ptr<const data::Tokenizer> tokenizer;
};

/// What a checkpoint of training needs beside the weights (Task::constants): the model's options, and the files of the
/// vocabulary, so that it can be used without the data.
std::map<std::string, at::Tensor> gpt2_constants(const Gpt2Impl& model, const data::TokenSet& tokens);

/// A run of task.kind "language-model", one of its checkpoints, or HuggingFace's folder of a GPT-2 (config.json,
/// weights, vocab.json, merges.txt). Throws DataError naming what is missing or does not fit, ConfigError for a run of
/// another task.
StoredGpt2 load_gpt2(const std::filesystem::path& path);

}  // namespace monarch::experiments
