#pragma once
// The models of the paper as lists of layers, from which parameters and multiplications are counted.

#include <cstdint>
#include <string>
#include <vector>

namespace monarch::experiments {

/// What a layer is for; it decides whether a preset makes it Monarch.
enum class Role { embedding, stem, attention_projection, attention, mlp, token_mlp, norm, head };
std::string role_name(Role role);

/// One kind of layer of a model. A linear layer is `parts` matrices out × in with a bias each, applied to `rows`
/// vectors of every sample; other layers state their parameters and multiplications.
struct Layer {
  std::string name;
  Role role = Role::norm;
  int64_t copies = 1;       ///< how often the layer stands in the model
  int64_t in = 0, out = 0;  ///< 0: not a linear layer
  int64_t rows = 0;
  int64_t parts = 1;  ///< 3 for query, key and value
  bool bias = true;
  int64_t other_parameters = 0;  ///< per copy
  int64_t other_macs = 0;        ///< per copy and sample
};

struct Model {
  std::string name;    ///< "gpt2-small"
  std::string title;   ///< "GPT-2 small"
  std::string sample;  ///< what the multiplications are counted for: "1024 tokens, without the output embedding"
  std::vector<Layer> layers;
};

/// mixer-s16, mixer-b16, vit-s16, vit-b16, gpt2-small, gpt2-medium, bert-base, bert-large: Tables 1, 2 and 8.
const std::vector<Model>& models();
/// Throws ConfigError naming the closest one.
const Model& model_named(const std::string& name);

/// Which layers are Monarch. paper: Mixer the channel MLP, the others q, k, v, o and the MLP; mlp_only: the MLP (Mixer:
/// the channel MLP); all: every linear layer of the blocks (Mixer: the token MLP, too). Stem, embeddings and heads stay
/// dense.
enum class Choice { paper, mlp_only, all };
/// "paper", "mlp-only", "all"; throws ConfigError.
Choice choice_from_name(const std::string& name);

struct MonarchForm {
  int64_t nblocks = 4;
  Choice choice = Choice::paper;
  bool packed_qkv = false;  ///< one matrix d -> 3d instead of three d -> d
};

struct LayerCount {
  const Layer* layer = nullptr;
  bool monarch = false;
  int64_t parameters = 0;  ///< all copies
  int64_t macs = 0;        ///< all copies, per sample
};

struct Count {
  std::vector<LayerCount> layers;
  int64_t parameters = 0;
  int64_t macs = 0;  ///< multiply-accumulates per sample: what the paper's tables call FLOPs
};

/// Parameters: matrices (dense in·out, Monarch kqp + lsr with monarch_layer_sizes), biases, norms, embeddings.
/// Multiplications: the matrices times their rows, and 2·tokens²·width per attention (scores and values, not halved for
/// causal masks). Throws ShapeError for nblocks below 1.
Count count_dense(const Model& model);
Count count_monarch(const Model& model, const MonarchForm& form = {});

}  // namespace monarch::experiments
