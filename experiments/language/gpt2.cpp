#include "monarch/experiments/language/gpt2.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>

#include "monarch/core/error.hpp"
#include "monarch/experiments/transformer/attention.hpp"
#include "monarch/experiments/transformer/initialise.hpp"
#include "monarch/experiments/transformer/published_config.hpp"
#include "monarch/experiments/transformer/recompute.hpp"
#include "monarch/experiments/transformer/text_options.hpp"
#include "monarch/experiments/transformer/tokens.hpp"
#include "monarch/operators/nn/linear_layer.hpp"

namespace monarch::experiments {

using operators::LinearLayer;
using torch::nn::LayerNorm;
using torch::nn::LayerNormOptions;

class Gpt2Block : public torch::nn::Module {
 public:
  Gpt2Block(const Gpt2Options& o, int64_t layer) : dropout_(o.dropout) {
    attention_.heads = o.heads;
    attention_.causal = true;
    attention_.dropout = o.attention_dropout;
    if (o.scale_by_layer) {
      attention_.scale = 1 / (std::sqrt(static_cast<double>(o.width / o.heads)) * static_cast<double>(layer + 1));
    }
    const auto norm = [&] { return LayerNorm(LayerNormOptions({o.width}).eps(o.norm_eps)); };
    ln_1_ = register_module("ln_1", norm());
    const auto attn = register_module("attn", std::make_shared<torch::nn::Module>());
    q_ = attn->register_module("q", LinearLayer(o.width, o.width));
    k_ = attn->register_module("k", LinearLayer(o.width, o.width));
    v_ = attn->register_module("v", LinearLayer(o.width, o.width));
    out_ = attn->register_module("c_proj", LinearLayer(o.width, o.width));
    ln_2_ = register_module("ln_2", norm());
    const auto mlp = register_module("mlp", std::make_shared<torch::nn::Module>());
    fc1_ = mlp->register_module("c_fc", LinearLayer(o.width, o.hidden, true, o.activation));
    fc2_ = mlp->register_module("c_proj", LinearLayer(o.hidden, o.width));
  }

  at::Tensor forward(const at::Tensor& x, KeyValueCache* cache = nullptr) {
    AttentionOptions attention = attention_;
    if (!is_training()) attention.dropout = 0;
    const at::Tensor n = ln_1_(x);
    at::Tensor k = k_(n), v = v_(n);
    if (cache) {
      attention.causal = cache->tokens() == 0;  // a single token sees all that the cache has
      cache->append(k, v);
    }
    const at::Tensor y = attend(q_(n), k, v, attention);
    const at::Tensor z = x + at::dropout(out_(y), dropout_, is_training());
    return z + at::dropout(fc2_(fc1_(ln_2_(z))), dropout_, is_training());
  }

  int64_t macs_per_token() const {
    return q_->macs() + k_->macs() + v_->macs() + out_->macs() + fc1_->macs() + fc2_->macs();
  }

 private:
  AttentionOptions attention_;
  double dropout_;
  LayerNorm ln_1_{nullptr}, ln_2_{nullptr};
  LinearLayer q_{nullptr}, k_{nullptr}, v_{nullptr}, out_{nullptr}, fc1_{nullptr}, fc2_{nullptr};
};

namespace {

Gpt2Options named(const std::string& name) {
  Gpt2Options options;
  if (name == "gpt2-medium") {
    options.width = 1024;
    options.depth = 24;
    options.heads = 16;
  } else if (name == "gpt2") {
    options.width = options.depth = options.heads = 0;
  }
  return options;
}

}  // namespace

Gpt2Options Gpt2Options::from_config(const Config& config, int64_t vocabulary) {
  Gpt2Options o = config.choice<Gpt2Options>(
      "model.name", "gpt2-small",
      {{"gpt2-small", named("gpt2-small")}, {"gpt2-medium", named("gpt2-medium")}, {"gpt2", named("gpt2")}});
  o.vocabulary = vocabulary;
  if (o.width == 0) {
    const auto file = PublishedConfig::beside(config.text("model.weights", ""), "gpt2");
    o.width = file.integer("n_embd", 0);
    o.depth = file.integer("n_layer", 0);
    o.heads = file.integer("n_head", 0);
    o.hidden = file.integer("n_inner", 0);
    o.positions = file.integer("n_positions", o.positions);
    o.norm_eps = file.number("layer_norm_epsilon", o.norm_eps);
    o.activation = file.activation("activation_function", o.activation);
    o.scale_by_layer = file.boolean("scale_attn_by_inverse_layer_idx", o.scale_by_layer);
  }
  read_text_options(o, config);
  o.scale_by_layer = config.boolean("model.scale_by_layer", o.scale_by_layer);
  return o;
}

Gpt2Impl::Gpt2Impl(const Gpt2Options& options) : options_(options) {
  Gpt2Options& o = options_;
  check_transformer_sizes("GPT-2", o.width, o.depth, o.heads);
  check<ConfigError>(o.vocabulary >= 1 && o.positions >= 1, [&] {
    return fmt::format("GPT-2: a vocabulary of {} and {} positions", o.vocabulary, o.positions);
  });
  if (o.hidden == 0) o.hidden = 4 * o.width;
  wte_ = register_module("wte", torch::nn::Embedding(o.vocabulary, o.width));
  wpe_ = register_module("wpe", torch::nn::Embedding(o.positions, o.width));
  const auto h = register_module("h", std::make_shared<torch::nn::Module>());
  for (int64_t i = 0; i < o.depth; ++i)
    blocks_.push_back(h->register_module(std::to_string(i), std::make_shared<Gpt2Block>(o, i)));
  ln_f_ = register_module("ln_f", LayerNorm(LayerNormOptions({o.width}).eps(o.norm_eps)));
  initialise_parameters(*this, [&](const std::string& name, at::Tensor parameter) {
    if (name.ends_with(".bias")) {
      parameter.zero_();
    } else if (parameter.dim() == 2) {
      const bool ends_branch = name.ends_with("c_proj.weight");
      parameter.normal_(0, ends_branch ? 0.02 / std::sqrt(2.0 * static_cast<double>(o.depth)) : 0.02);
    }
  });
}

at::Tensor Gpt2Impl::features(const at::Tensor& ids) {
  check_tokens("GPT-2", ids, options_.vocabulary, options_.positions);
  const at::Tensor places = at::arange(ids.size(1), ids.options());
  at::Tensor x = at::dropout(wte_(ids) + wpe_(places), options_.dropout, is_training());
  for (const auto& block : blocks_) {
    const auto call = [block](const at::Tensor& input) { return block->forward(input); };
    x = options_.recompute && is_training() ? recompute(*block, call, x) : block->forward(x);
  }
  return ln_f_(x);
}

at::Tensor Gpt2Impl::features(const at::Tensor& ids, std::vector<KeyValueCache>& caches) {
  check<ShapeError>(caches.size() == blocks_.size(), [&] {
    return fmt::format("GPT-2: {} caches, expected one for each of {} blocks", caches.size(), blocks_.size());
  });
  const int64_t seen = caches.front().tokens();
  check_tokens("GPT-2", ids, options_.vocabulary, options_.positions - seen);
  check<ShapeError>(seen == 0 || ids.size(1) == 1, [&] {
    return fmt::format("GPT-2: {} tokens behind {} in the cache, expected one at a time", ids.size(1), seen);
  });
  const at::NoGradGuard no_gradients;
  const at::Tensor places = at::arange(seen, seen + ids.size(1), ids.options());
  at::Tensor x = wte_(ids) + wpe_(places);
  for (size_t i = 0; i < blocks_.size(); ++i) x = blocks_[i]->forward(x, &caches[i]);
  return ln_f_(x);
}

std::vector<KeyValueCache> Gpt2Impl::cache(int64_t tokens) const {
  return std::vector<KeyValueCache>(blocks_.size(), KeyValueCache(tokens));
}

at::Tensor Gpt2Impl::forward(const at::Tensor& ids) {
  return at::linear(features(ids), output_weight());
}

int64_t Gpt2Impl::macs(int64_t tokens) const {
  int64_t sum = 0;
  for (const auto& block : blocks_) sum += block->macs_per_token() * tokens + attention_macs(tokens, options_.width);
  return sum;
}

std::string Gpt2Impl::describe() const {
  return fmt::format("GPT-2, {} wide, {} deep, {} heads, {} positions, vocabulary {}", options_.width, options_.depth,
                     options_.heads, options_.positions, options_.vocabulary);
}

const StructurePresets& Gpt2Impl::structure_presets() {
  static const StructurePresets presets = {{"paper", R"(h\.\d+\.(attn\.(q|k|v|c_proj)|mlp\.(c_fc|c_proj)))"},
                                           {"all", R"(h\.\d+\.(attn\.(q|k|v|c_proj)|mlp\.(c_fc|c_proj)))"},
                                           {"attention", R"(h\.\d+\.attn\.(q|k|v|c_proj))"},
                                           {"mlp", R"(h\.\d+\.mlp\.(c_fc|c_proj))"}};
  return presets;
}

WeightNames Gpt2Impl::weight_names(const data::Checkpoint& checkpoint) {
  static const std::vector<std::string> prefixes = {"module.", "model.", "transformer."};
  bool packed = false;  // HuggingFace's layout; c_fc and c_proj have the same names in ours, but are not transposed
  for (const auto& info : checkpoint.tensors()) packed = packed || info.name.find(".attn.c_attn.") != std::string::npos;
  WeightNames names;
  names.plain = [](const std::string& name) -> std::optional<std::string> {
    const std::string plain = without_prefixes(name, prefixes);
    if (plain.ends_with(".attn.bias") || plain.ends_with(".attn.masked_bias") || plain.starts_with("constants."))
      return std::nullopt;
    return plain;
  };
  names.source = [packed](const std::string& module) -> ModuleSource {
    if (!packed || !module.starts_with("h.")) return {module};
    const std::string layer = module.substr(0, module.rfind('.') + 1), last = module.substr(layer.size());
    const size_t part = std::string("qkv").find(last);
    if (layer.ends_with(".attn.") && part != std::string::npos)
      return {layer + "c_attn", true, static_cast<int64_t>(part), 3};
    return {module, last == "c_proj" || last == "c_fc"};
  };
  names.optional = [](const std::string&) { return false; };
  names.tied = {{"lm_head.weight", "wte.weight"}};
  return names;
}

std::shared_ptr<Gpt2Impl> make_gpt2(const Config& config, int64_t vocabulary) {
  const auto model = std::make_shared<Gpt2Impl>(Gpt2Options::from_config(config, vocabulary));
  prepare_model(*model, config, Gpt2Impl::structure_presets(), Gpt2Impl::weight_names);
  return model;
}

}  // namespace monarch::experiments
