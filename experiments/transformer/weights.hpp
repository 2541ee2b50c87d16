#pragma once
// Weights of files, whatever names their tensors have, into models.

#include <torch/nn/module.h>

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "monarch/core/config.hpp"
#include "monarch/data/checkpoint.hpp"
#include "monarch/experiments/transformer/structure.hpp"

namespace monarch::experiments {

/// Where the parameters of one of the model's modules lie in a file.
struct ModuleSource {
  std::string name;             ///< of the file's module
  bool transposed = false;      ///< its weight is [in, out], as HuggingFace's Conv1D
  int64_t part = 0, parts = 1;  ///< which of so many equal slices along the outputs
};

/// How the names of a file relate to those of a model.
struct WeightNames {
  /// A name of the file in the family's plain spelling (prefixes of wrappers off), or nothing: a buffer of no use.
  std::function<std::optional<std::string>(const std::string& name)> plain;
  std::function<ModuleSource(const std::string& module)> source;  ///< in plain spelling
  /// Heads, in either's spelling: they may be missing or of another shape (then they start fresh), or have no place.
  std::function<bool(const std::string& name)> optional;
  /// Tensors of the file that must equal others: "lm_head.weight" -> "wte.weight".
  std::map<std::string, std::string> tied = {};
  /// A tensor of another shape than the parameter's, made to fit; undefined where it cannot be.
  std::function<at::Tensor(const std::string& name, const at::Tensor& found, at::IntArrayRef wanted)> fit = {};
};

struct ImportReport {
  std::vector<std::string> fresh;    ///< parameters that the file has not: as they were initialised
  std::vector<std::string> unused;   ///< tensors of the file that have no place
  std::vector<std::string> fitted;   ///< parameters that were resized
  std::vector<std::string> changed;  ///< linear layers that took over the file's structure
  /// Lines for people; empty where everything fitted one to one.
  std::string text() const;
};

/// Copies the tensors of a file into a model, converting their types. A LinearLayer takes the form that the file has:
/// "<layer>.weight" dense [out, in] or block-diagonal [b, out/b, in/b], "<layer>.blkdiag1" and ".blkdiag2" Monarch,
/// "<layer>.first" and ".second" low-rank; a packed Monarch layer (qkv) gives three that share the first factor's
/// numbers. Throws DataError naming every tensor that is missing, superfluous or of another shape; the model is then
/// unchanged but for the form of its layers.
ImportReport import_weights(torch::nn::Module& model, const data::Checkpoint& checkpoint, const WeightNames& names);

/// A freshly initialised model gets `model.weights` (a file, a HuggingFace folder, or a checkpoint or run folder of
/// `monarch train`) where that key is given, and the structure of [model.layers]. With weights, layers must be in that
/// form in the file, or be projected (model.layers.project): nothing starts at random by mistake. `names` is made from
/// the file. Throws ConfigError and DataError.
void prepare_model(torch::nn::Module& model, const Config& config, const StructurePresets& presets,
                   const std::function<WeightNames(const data::Checkpoint&)>& names);

/// Takes prefixes off a name, in order, each where it is there.
std::string without_prefixes(std::string name, const std::vector<std::string>& prefixes);

}  // namespace monarch::experiments
