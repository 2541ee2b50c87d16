#pragma once
// BERT (Devlin et al., 2019): the encoder, its pre-training heads and a classification head.

#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/normalization.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "monarch/core/config.hpp"
#include "monarch/experiments/transformer/structure.hpp"
#include "monarch/experiments/transformer/weights.hpp"
#include "monarch/operators/nn/linear_layer.hpp"

namespace monarch::experiments {

struct BertOptions {
  int64_t vocabulary = 30522, positions = 512, types = 2, width = 768, depth = 12, heads = 12;
  int64_t hidden = 0;    ///< of the MLP; 0: 4·width
  double dropout = 0.1;  ///< of embeddings and residual branches
  double attention_dropout = 0.1;
  double norm_eps = 1e-12;
  operators::Activation activation = operators::Activation::gelu;
  bool recompute = false;  ///< blocks keep their input only, and run again in backward

  /// [model] name = "bert-base" (768 wide, 12 deep, 12 heads), "bert-large" (1024, 24, 16), or "bert", which needs
  /// width, depth and heads; positions, hidden, dropout, attention_dropout, activation, recompute. With "bert", a
  /// config.json beside `weights` gives what the keys do not. Throws ConfigError, DataError.
  static BertOptions from_config(const Config& config, int64_t vocabulary);
};

class BertLayer;

/// Sum of word, position and type embeddings, normalised; in every layer x = LN(x + dense(attend(q, k, v of x))),
/// x = LN(x + dense(act(dense(x)))). Parameters have HuggingFace's names: embeddings.{word_embeddings,
/// position_embeddings, token_type_embeddings, LayerNorm}, encoder.layer.N.{attention.self.{query, key, value},
/// attention.output.{dense, LayerNorm}, intermediate.dense, output.{dense, LayerNorm}}, pooler.dense.
/// Weights start N(0, 0.02²), biases 0; so do those of the heads.
class BertImpl : public torch::nn::Module {
 public:
  explicit BertImpl(const BertOptions& options);

  /// ids, types [batch, token] int64, mask [batch, token] bool, true for real tokens (undefined: all) -> [batch, token,
  /// width]. types undefined: 0. Throws ShapeError, DtypeError and (on the CPU) DataError for an id outside its table.
  at::Tensor features(const at::Tensor& ids, const at::Tensor& types = {}, const at::Tensor& mask = {});
  /// tanh(dense(first token)): features [batch, token, width] -> [batch, width].
  at::Tensor pooled(const at::Tensor& features);
  /// [vocabulary, width].
  at::Tensor word_embeddings() const { return word_->weight; }

  const BertOptions& options() const { return options_; }
  /// Multiplications of features() for a sample of so many tokens, and of the pooler.
  int64_t macs(int64_t tokens) const;
  /// "BERT, 768 wide, 12 deep, 12 heads …".
  std::string describe() const;

  static const StructurePresets& structure_presets();
  /// HuggingFace's names, with "bert." or without (as sentence-transformers has them), LayerNorm.gamma and .beta.
  /// The pooler and the heads may be missing.
  static WeightNames weight_names(const data::Checkpoint& checkpoint);

 private:
  BertOptions options_;
  torch::nn::Embedding word_{nullptr}, position_{nullptr}, type_{nullptr};
  torch::nn::LayerNorm norm_{nullptr};
  std::vector<std::shared_ptr<BertLayer>> layers_;
  operators::LinearLayer pooler_{nullptr};
};

/// Masked language modelling and next-sentence prediction. Parameters: bert.*, cls.predictions.{bias,
/// transform.{dense, LayerNorm}}, cls.seq_relationship; the decoder's weight is the word embedding.
class BertForPreTrainingImpl : public torch::nn::Module {
 public:
  explicit BertForPreTrainingImpl(const BertOptions& options);

  /// LN(act(dense(x))): features at chosen places [n, width] -> [n, width], to be multiplied by the decoder.
  at::Tensor masked_features(const at::Tensor& x);
  at::Tensor decoder_weight() const { return bert->word_embeddings(); }  ///< [vocabulary, width]
  at::Tensor decoder_bias() const { return decoder_bias_; }              ///< [vocabulary]
  /// pooled [batch, width] -> [batch, 2]; class 0: the second segment follows the first.
  at::Tensor next_sentence(const at::Tensor& pooled);

  std::shared_ptr<BertImpl> bert;

 private:
  operators::LinearLayer transform_{nullptr}, relation_{nullptr};
  torch::nn::LayerNorm norm_{nullptr};
  at::Tensor decoder_bias_;
};

/// Classification (or, with one label, regression) of one or two segments. Parameters: bert.*, classifier.
class BertForClassificationImpl : public torch::nn::Module {
 public:
  BertForClassificationImpl(const BertOptions& options, int64_t labels);

  /// -> [batch, label]; arguments as BertImpl::features.
  at::Tensor forward(const at::Tensor& ids, const at::Tensor& types = {}, const at::Tensor& mask = {});

  std::shared_ptr<BertImpl> bert;

 private:
  operators::LinearLayer classifier_{nullptr};
};

/// The model of [model] with the weights of model.weights and the structure of [model.layers] (prepare_model).
std::shared_ptr<BertForPreTrainingImpl> make_bert_for_pretraining(const Config& config, int64_t vocabulary);
/// `labels` of at least 1; 1 is regression.
std::shared_ptr<BertForClassificationImpl> make_bert_for_classification(const Config& config, int64_t vocabulary,
                                                                        int64_t labels);

}  // namespace monarch::experiments
