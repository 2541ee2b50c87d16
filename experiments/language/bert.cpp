#include "monarch/experiments/language/bert.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/experiments/transformer/attention.hpp"
#include "monarch/experiments/transformer/initialise.hpp"
#include "monarch/experiments/transformer/published_config.hpp"
#include "monarch/experiments/transformer/recompute.hpp"
#include "monarch/experiments/transformer/text_options.hpp"
#include "monarch/experiments/transformer/tokens.hpp"

namespace monarch::experiments {

using operators::LinearLayer;
using torch::nn::Embedding;
using torch::nn::LayerNorm;
using torch::nn::LayerNormOptions;

namespace {

LayerNorm layer_norm(const BertOptions& o) {
  return LayerNorm(LayerNormOptions({o.width}).eps(o.norm_eps));
}

std::shared_ptr<torch::nn::Module> group(torch::nn::Module& parent, const std::string& name) {
  return parent.register_module(name, std::make_shared<torch::nn::Module>());
}

}  // namespace

class BertLayer : public torch::nn::Module {
 public:
  explicit BertLayer(const BertOptions& o) : dropout_(o.dropout) {
    attention_.heads = o.heads;
    attention_.dropout = o.attention_dropout;
    const auto attention = group(*this, "attention"), self = group(*attention, "self");
    query_ = self->register_module("query", LinearLayer(o.width, o.width));
    key_ = self->register_module("key", LinearLayer(o.width, o.width));
    value_ = self->register_module("value", LinearLayer(o.width, o.width));
    const auto attention_output = group(*attention, "output");
    attention_dense_ = attention_output->register_module("dense", LinearLayer(o.width, o.width));
    attention_norm_ = attention_output->register_module("LayerNorm", layer_norm(o));
    const auto intermediate = group(*this, "intermediate");
    intermediate_ = intermediate->register_module("dense", LinearLayer(o.width, o.hidden, true, o.activation));
    const auto output = group(*this, "output");
    output_ = output->register_module("dense", LinearLayer(o.hidden, o.width));
    output_norm_ = output->register_module("LayerNorm", layer_norm(o));
  }

  at::Tensor forward(const at::Tensor& x, const at::Tensor& mask) {
    AttentionOptions attention = attention_;
    if (!is_training()) attention.dropout = 0;
    const at::Tensor y = attend(query_(x), key_(x), value_(x), attention, mask);
    const at::Tensor z = attention_norm_(x + at::dropout(attention_dense_(y), dropout_, is_training()));
    return output_norm_(z + at::dropout(output_(intermediate_(z)), dropout_, is_training()));
  }

  int64_t macs_per_token() const {
    return query_->macs() + key_->macs() + value_->macs() + attention_dense_->macs() + intermediate_->macs() +
           output_->macs();
  }

 private:
  AttentionOptions attention_;
  double dropout_;
  LinearLayer query_{nullptr}, key_{nullptr}, value_{nullptr}, attention_dense_{nullptr}, intermediate_{nullptr},
      output_{nullptr};
  LayerNorm attention_norm_{nullptr}, output_norm_{nullptr};
};

namespace {

BertOptions named(const std::string& name) {
  BertOptions options;
  if (name == "bert-large") {
    options.width = 1024;
    options.depth = 24;
    options.heads = 16;
  } else if (name == "bert") {
    options.width = options.depth = options.heads = 0;
  }
  return options;
}

void initialise(torch::nn::Module& model) {
  initialise_parameters(model, [](const std::string& name, at::Tensor parameter) {
    if (name.ends_with("bias")) {
      parameter.zero_();
    } else if (parameter.dim() == 2) {
      parameter.normal_(0, 0.02);
    }
  });
}

}  // namespace

BertOptions BertOptions::from_config(const Config& config, int64_t vocabulary) {
  BertOptions o = config.choice<BertOptions>(
      "model.name", "bert-base",
      {{"bert-base", named("bert-base")}, {"bert-large", named("bert-large")}, {"bert", named("bert")}});
  o.vocabulary = vocabulary;
  if (o.width == 0) {
    const auto file = PublishedConfig::beside(config.text("model.weights", ""), "bert");
    o.width = file.integer("hidden_size", 0);
    o.depth = file.integer("num_hidden_layers", 0);
    o.heads = file.integer("num_attention_heads", 0);
    o.hidden = file.integer("intermediate_size", 0);
    o.positions = file.integer("max_position_embeddings", o.positions);
    o.types = file.integer("type_vocab_size", o.types);
    o.norm_eps = file.number("layer_norm_eps", o.norm_eps);
    o.activation = file.activation("hidden_act", o.activation);
    const std::string positions = file.text("position_embedding_type", "absolute");
    check<ConfigError>(positions == "absolute", [&] {
      return fmt::format("{}: the model of model.weights has {} positions; only absolute ones are known", config.name(),
                         positions);
    });
  }
  read_text_options(o, config);
  return o;
}

BertImpl::BertImpl(const BertOptions& options) : options_(options) {
  BertOptions& o = options_;
  check_transformer_sizes("BERT", o.width, o.depth, o.heads);
  check<ConfigError>(o.vocabulary >= 1 && o.positions >= 1 && o.types >= 1, [&] {
    return fmt::format("BERT: a vocabulary of {}, {} positions, {} token types", o.vocabulary, o.positions, o.types);
  });
  if (o.hidden == 0) o.hidden = 4 * o.width;
  const auto embeddings = group(*this, "embeddings");
  word_ = embeddings->register_module("word_embeddings", Embedding(o.vocabulary, o.width));
  position_ = embeddings->register_module("position_embeddings", Embedding(o.positions, o.width));
  type_ = embeddings->register_module("token_type_embeddings", Embedding(o.types, o.width));
  norm_ = embeddings->register_module("LayerNorm", layer_norm(o));
  const auto encoder = group(*this, "encoder"), layer = group(*encoder, "layer");
  for (int64_t i = 0; i < o.depth; ++i)
    layers_.push_back(layer->register_module(std::to_string(i), std::make_shared<BertLayer>(o)));
  pooler_ = group(*this, "pooler")->register_module("dense", LinearLayer(o.width, o.width));
  initialise(*this);
}

at::Tensor BertImpl::features(const at::Tensor& ids, const at::Tensor& types, const at::Tensor& mask) {
  check_tokens("BERT", ids, options_.vocabulary, options_.positions);
  const at::Tensor kinds = types.defined() ? types : at::zeros_like(ids);
  check_tokens("BERT, token types", kinds, options_.types, options_.positions);
  const at::Tensor places = at::arange(ids.size(1), ids.options());
  at::Tensor x = norm_(word_(ids) + type_(kinds) + position_(places));
  x = at::dropout(x, options_.dropout, is_training());
  for (const auto& layer : layers_) {
    const auto call = [layer, mask](const at::Tensor& input) { return layer->forward(input, mask); };
    x = options_.recompute && is_training() ? recompute(*layer, call, x) : call(x);
  }
  return x;
}

at::Tensor BertImpl::pooled(const at::Tensor& features) {
  return at::tanh(pooler_(features.select(1, 0)));
}

int64_t BertImpl::macs(int64_t tokens) const {
  int64_t sum = pooler_->macs();
  for (const auto& layer : layers_) sum += layer->macs_per_token() * tokens + attention_macs(tokens, options_.width);
  return sum;
}

std::string BertImpl::describe() const {
  return fmt::format("BERT, {} wide, {} deep, {} heads, {} positions, vocabulary {}", options_.width, options_.depth,
                     options_.heads, options_.positions, options_.vocabulary);
}

const StructurePresets& BertImpl::structure_presets() {
  static const std::string layer = R"((bert\.)?encoder\.layer\.\d+\.)";
  static const std::string attention = R"(attention\.(self\.(query|key|value)|output\.dense))";
  static const std::string mlp = R"((intermediate|output)\.dense)";
  static const StructurePresets presets = {{"paper", layer + "(" + attention + "|" + mlp + ")"},
                                           {"all", layer + "(" + attention + "|" + mlp + ")"},
                                           {"attention", layer + attention},
                                           {"mlp", layer + mlp}};
  return presets;
}

WeightNames BertImpl::weight_names(const data::Checkpoint&) {
  WeightNames names;
  names.plain = [](const std::string& name) -> std::optional<std::string> {
    std::string plain = without_prefixes(name, {"module.", "model."});
    if (plain.ends_with("position_ids") || plain.starts_with("constants.")) return std::nullopt;
    for (const char* part : {"embeddings.", "encoder.", "pooler."}) {
      if (plain.starts_with(part)) plain = "bert." + plain;
    }
    for (const auto& [old, leaf] : {std::pair{"LayerNorm.gamma", "weight"}, std::pair{"LayerNorm.beta", "bias"}}) {
      if (plain.ends_with(old)) plain = plain.substr(0, plain.rfind('.') + 1) + leaf;
    }
    return plain;
  };
  names.source = [](const std::string& module) { return ModuleSource{module}; };
  names.optional = [](const std::string& name) {
    return name.starts_with("cls.") || name.starts_with("classifier.") || name.starts_with("bert.pooler.");
  };
  names.tied = {{"cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"},
                {"cls.predictions.decoder.bias", "cls.predictions.bias"}};
  return names;
}

BertForPreTrainingImpl::BertForPreTrainingImpl(const BertOptions& options) {
  bert = register_module("bert", std::make_shared<BertImpl>(options));
  const BertOptions& o = bert->options();
  const auto cls = group(*this, "cls"), predictions = group(*cls, "predictions"),
             transform = group(*predictions, "transform");
  transform_ = transform->register_module("dense", LinearLayer(o.width, o.width, true, o.activation));
  norm_ = transform->register_module("LayerNorm", layer_norm(o));
  decoder_bias_ = predictions->register_parameter("bias", at::zeros({o.vocabulary}));
  relation_ = cls->register_module("seq_relationship", LinearLayer(o.width, 2));
  initialise(*cls);
}

at::Tensor BertForPreTrainingImpl::masked_features(const at::Tensor& x) {
  return norm_(transform_(x));
}

at::Tensor BertForPreTrainingImpl::next_sentence(const at::Tensor& pooled) {
  return relation_(pooled);
}

BertForClassificationImpl::BertForClassificationImpl(const BertOptions& options, int64_t labels) {
  check<ConfigError>(labels >= 1, [&] { return fmt::format("BERT: a classifier of {} labels", labels); });
  bert = register_module("bert", std::make_shared<BertImpl>(options));
  classifier_ = register_module("classifier", LinearLayer(options.width, labels));
  initialise(*classifier_);
}

at::Tensor BertForClassificationImpl::forward(const at::Tensor& ids, const at::Tensor& types, const at::Tensor& mask) {
  const at::Tensor pooled = bert->pooled(bert->features(ids, types, mask));
  return classifier_(at::dropout(pooled, bert->options().dropout, is_training()));
}

std::shared_ptr<BertForPreTrainingImpl> make_bert_for_pretraining(const Config& config, int64_t vocabulary) {
  const auto model = std::make_shared<BertForPreTrainingImpl>(BertOptions::from_config(config, vocabulary));
  prepare_model(*model, config, BertImpl::structure_presets(), BertImpl::weight_names);
  return model;
}

std::shared_ptr<BertForClassificationImpl> make_bert_for_classification(const Config& config, int64_t vocabulary,
                                                                        int64_t labels) {
  const auto model = std::make_shared<BertForClassificationImpl>(BertOptions::from_config(config, vocabulary), labels);
  prepare_model(*model, config, BertImpl::structure_presets(), BertImpl::weight_names);
  return model;
}

}  // namespace monarch::experiments
