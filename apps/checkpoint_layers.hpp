#pragma once
// What the tensors of a checkpoint are the parts of, and how a projected layer is remembered.

#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <string>
#include <vector>

#include "monarch/data/checkpoint.hpp"
#include "monarch/operators/monarch/multiply.hpp"

namespace monarch::apps {

enum class LayerKind { linear, conv1d, monarch, embedding, convolution, normalisation };

/// A layer found by the names and shapes of its tensors: `<name>.weight`, or `<name>.blkdiag1` and `.blkdiag2`.
struct CheckpointLayer {
  std::string name;
  LayerKind kind = LayerKind::linear;
  std::vector<int64_t> shape;  ///< of the weight as stored; of a Monarch layer [out, in], padded
};

/// HuggingFace's Conv1D is a linear layer with its weight stored as [in, out].
enum class Conv1dRule {
  automatic,  ///< GPT-2's names (c_attn, c_fc, c_proj, q_attn) in the orientation that Conv1D gives them
  always,
  never
};

/// Layers in the order of their names in the file. Embedding tables are told from linear layers by their names.
std::vector<CheckpointLayer> find_layers(const data::Checkpoint& checkpoint, Conv1dRule rule);
std::string layer_kind_text(LayerKind kind);

/// A pattern that people write. Throws ConfigError with the reason for one that is malformed.
std::regex layer_pattern(const std::string& text);

/// "encoder.layer.*.output.dense": the layer's name with numbers between dots replaced, to group layers of a stack.
std::string layer_family(const std::string& name);

/// What is stored about a projected layer, in the metadata entry "monarch.layers" (a JSON object by layer name).
struct ProjectedLayer {
  std::vector<int64_t> shape;  ///< of the dense weight as it was stored
  bool transposed = false;     ///< it was stored as [in, out]
  int64_t nblocks = 0;
  double relative_error = 0;
};
constexpr const char* layers_key = "monarch.layers";
nlohmann::json to_json(const ProjectedLayer& layer);
/// The entries of a file; empty where it has none. Throws DataError for anything else than such an object.
std::map<std::string, ProjectedLayer> projected_layers(const data::Checkpoint& checkpoint);

/// Throws ConfigError when an output is a folder, or the same file as another one of the command.
void check_output(const std::string& other, const std::string& output);

/// Metadata that an output takes over: that of safetensors files; "format": "pt" where there is none.
std::map<std::string, std::string> inherited_metadata(const data::Checkpoint& checkpoint);

/// A table with a heading on stdout; the first column is aligned left, the others right.
void print_columns(const std::vector<std::string>& heading, const std::vector<std::vector<std::string>>& rows);

}  // namespace monarch::apps
