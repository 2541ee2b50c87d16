#pragma once
// GPT-2 (Radford et al., 2019), a causal language model.

#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/normalization.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "monarch/core/config.hpp"
#include "monarch/experiments/transformer/attention.hpp"
#include "monarch/experiments/transformer/structure.hpp"
#include "monarch/experiments/transformer/weights.hpp"
#include "monarch/operators/monarch/multiply.hpp"

namespace monarch::experiments {

struct Gpt2Options {
  int64_t vocabulary = 50257, positions = 1024, width = 768, depth = 12, heads = 12;
  int64_t hidden = 0;    ///< of the MLP; 0: 4·width
  double dropout = 0.1;  ///< of embeddings and residual branches
  double attention_dropout = 0.1;
  double norm_eps = 1e-5;
  operators::Activation activation = operators::Activation::gelu_tanh;
  bool scale_by_layer = false;  ///< scores of layer i divided by i + 1 (Mistral's stabilisation; the paper's runs)
  bool recompute = false;       ///< blocks keep their input only, and run again in backward

  /// [model] name = "gpt2-small" (768 wide, 12 deep, 12 heads), "gpt2-medium" (1024, 24, 16), or "gpt2", which needs
  /// width, depth and heads; positions, hidden, dropout, attention_dropout, activation, scale_by_layer, recompute. With
  /// "gpt2", a config.json beside `weights` gives what the keys do not. Throws ConfigError, DataError.
  static Gpt2Options from_config(const Config& config, int64_t vocabulary);
};

class Gpt2Block;

/// x = wte[ids] + wpe[0 …]; in every block x += c_proj(attend(q, k, v of ln_1(x))), x += c_proj(act(c_fc(ln_2(x))));
/// ln_f; logits against wte. Parameters have HuggingFace's names without "transformer.", with c_attn split:
/// wte.weight, wpe.weight, h.N.{ln_1, attn.{q, k, v, c_proj}, ln_2, mlp.{c_fc, c_proj}}, ln_f.
/// Weights start N(0, 0.02²), those of both c_proj N(0, 0.02²/(2·depth)), biases 0.
class Gpt2Impl : public torch::nn::Module {
 public:
  explicit Gpt2Impl(const Gpt2Options& options);

  /// ids [batch, token] int64 -> [batch, token, width]. Throws ShapeError for other shapes and more tokens than
  /// positions, DataError for an id outside the vocabulary (checked on the CPU).
  at::Tensor features(const at::Tensor& ids);
  /// The same of tokens behind those that the caches (one a block; see cache()) have seen, which take them up; no
  /// gradients. Several tokens at once only where the caches are empty. Throws ShapeError beyond positions.
  at::Tensor features(const at::Tensor& ids, std::vector<KeyValueCache>& caches);
  /// Empty caches for so many tokens.
  std::vector<KeyValueCache> cache(int64_t tokens) const;
  /// [vocabulary, width], shared with the token embedding.
  at::Tensor output_weight() const { return wte_->weight; }
  /// ids [batch, token] -> logits [batch, token, vocabulary].
  at::Tensor forward(const at::Tensor& ids);

  const Gpt2Options& options() const { return options_; }
  /// Multiplications of features() for a sample of so many tokens (causal masks not credited).
  int64_t macs(int64_t tokens) const;
  /// "GPT-2, 768 wide, 12 deep, 12 heads".
  std::string describe() const;

  static const StructurePresets& structure_presets();
  /// HuggingFace's names (with "transformer." or without; c_attn packed, weights transposed) and our own.
  static WeightNames weight_names(const data::Checkpoint& checkpoint);

 private:
  Gpt2Options options_;
  torch::nn::Embedding wte_{nullptr}, wpe_{nullptr};
  std::vector<std::shared_ptr<Gpt2Block>> blocks_;
  torch::nn::LayerNorm ln_f_{nullptr};
};

/// The model of [model] with the weights of model.weights and the structure of [model.layers] (prepare_model).
std::shared_ptr<Gpt2Impl> make_gpt2(const Config& config, int64_t vocabulary);

}  // namespace monarch::experiments
