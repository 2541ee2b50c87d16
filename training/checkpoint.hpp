#pragma once
// Checkpoints of training: a folder with model.safetensors, optimiser.safetensors and state.json that appears whole.

#include <torch/nn/module.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace monarch::training {

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

struct TrainingCheckpoint {
  NamedTensors model;      ///< parameters and buffers under their module names (EMA weights where they are in use)
  NamedTensors constants;  ///< Task::constants(), stored in model.safetensors under "constants.<name>"
  NamedTensors optimiser;  ///< moments, EMA, raw weights where EMA is on; empty in exported checkpoints
  nlohmann::json state;    ///< "config" (TOML text), "epoch", "step", "best" …; docs/training.md
};

/// Writes `folder` atomically: a temporary sibling, synced, renamed in exchange for what was there. Throws DataError
/// (disk full, say), and what was there remains.
void save_training_checkpoint(const std::filesystem::path& folder, const TrainingCheckpoint& checkpoint);
/// Reads a checkpoint folder, or a run folder (its best/ if there is one, else its newest checkpoint). Throws
/// DataError.
TrainingCheckpoint load_training_checkpoint(const std::filesystem::path& folder);
/// Cleans the folder in which checkpoints lie of what a killed process left: unfinished ones go, and one that was moved
/// aside (where the file system cannot exchange two folders) comes back.
void recover_checkpoints(const std::filesystem::path& parent);
/// The checkpoints of a run folder, the newest first (complete ones; others have hidden names).
std::vector<std::filesystem::path> checkpoint_folders(const std::filesystem::path& run);
/// Parameters and buffers under their names; shared with the module, not copied.
NamedTensors module_tensors(const torch::nn::Module& module);
/// Copies tensors into a module. Throws DataError naming every parameter that is missing, superfluous or of another
/// shape ("a checkpoint of another model").
void load_weights(torch::nn::Module& module, const NamedTensors& tensors, const std::string& origin);

/// The weights of a checkpoint; the module's structured layers become dense first where the checkpoint's are
/// (state "densified", [training.densify]).
void load_model(torch::nn::Module& module, const TrainingCheckpoint& checkpoint, const std::string& origin);

}  // namespace monarch::training
