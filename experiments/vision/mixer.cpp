#include "monarch/experiments/vision/mixer.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>

#include "monarch/core/error.hpp"
#include "monarch/experiments/transformer/drop_path.hpp"
#include "monarch/experiments/transformer/initialise.hpp"
#include "monarch/experiments/transformer/recompute.hpp"
#include "monarch/experiments/vision/patches.hpp"

namespace monarch::experiments {

using operators::Activation;
using operators::LinearLayer;
using torch::nn::LayerNorm;

namespace {

LayerNorm layer_norm(const MixerOptions& o) {
  return LayerNorm(torch::nn::LayerNormOptions({o.width}).eps(o.norm_eps));
}

int64_t share(double ratio, int64_t width) {
  return std::max<int64_t>(1, std::llround(ratio * static_cast<double>(width)));
}

}  // namespace

class MixerBlock : public torch::nn::Module {
 public:
  MixerBlock(const MixerOptions& o, int64_t layer, int64_t patches)
      : dropout_(o.dropout), drop_path_(drop_path_rate(o.drop_path, layer, o.depth)) {
    norm1_ = register_module("norm1", layer_norm(o));
    tokens_ = make_mlp("mlp_tokens", patches, share(o.token_ratio, o.width));
    norm2_ = register_module("norm2", layer_norm(o));
    channels_ = make_mlp("mlp_channels", o.width, share(o.mlp_ratio, o.width));
  }

  at::Tensor forward(const at::Tensor& x) {
    const at::Tensor turned = norm1_(x).transpose(1, 2).contiguous();
    const at::Tensor z = x + drop_path(run(tokens_, turned).transpose(1, 2), drop_path_, is_training());
    return z + drop_path(run(channels_, norm2_(z)), drop_path_, is_training());
  }

  int64_t macs(int64_t patches, int64_t width) const {
    return width * (tokens_.fc1->macs() + tokens_.fc2->macs()) +
           patches * (channels_.fc1->macs() + channels_.fc2->macs());
  }

 private:
  struct Mlp {
    LinearLayer fc1{nullptr}, fc2{nullptr};
  };

  Mlp make_mlp(const std::string& name, int64_t width, int64_t hidden) {
    const auto mlp = register_module(name, std::make_shared<torch::nn::Module>());
    return {mlp->register_module("fc1", LinearLayer(width, hidden, true, Activation::gelu)),
            mlp->register_module("fc2", LinearLayer(hidden, width))};
  }

  at::Tensor run(Mlp& mlp, const at::Tensor& x) const {
    const at::Tensor inner = at::dropout(mlp.fc1(x), dropout_, is_training());
    return at::dropout(mlp.fc2(inner), dropout_, is_training());
  }

  double dropout_, drop_path_;
  LayerNorm norm1_{nullptr}, norm2_{nullptr};
  Mlp tokens_, channels_;
};

MixerOptions MixerOptions::from_config(const Config& config) {
  MixerOptions o = config.choice<MixerOptions>(
      "model.name", "mixer-s16",
      {{"mixer-s16", {}}, {"mixer-b16", {.width = 768, .depth = 12}}, {"mixer", {.width = 0, .depth = 0, .patch = 0}}});
  const auto size = [&](const char* key, int64_t fallback) {
    return fallback == 0 ? config.integer(key) : config.integer(key, fallback);
  };
  o.width = size("model.width", o.width);
  o.depth = size("model.depth", o.depth);
  o.patch = size("model.patch", o.patch);
  o.token_ratio = config.number_between("model.token_ratio", o.token_ratio, 0.01, 100);
  o.mlp_ratio = config.number_between("model.mlp_ratio", o.mlp_ratio, 0.01, 100);
  o.dropout = config.number_between("model.dropout", o.dropout, 0, 0.99);
  o.drop_path = config.number_between("model.drop_path", o.drop_path, 0, 0.99);
  o.recompute = config.boolean("model.recompute", o.recompute);
  return o;
}

Mixer::Mixer(const MixerOptions& options, const ImageShape& shape, int64_t classes) : options_(options), shape_(shape) {
  const MixerOptions& o = options_;
  check<ConfigError>(o.width >= 1 && o.depth >= 1 && classes >= 1, [&] {
    return fmt::format("MLP-Mixer: width {}, depth {}, {} classes; all must be at least 1", o.width, o.depth, classes);
  });
  patches_ = patch_count("MLP-Mixer", shape, o.patch);
  stem_ = register_module("stem", std::make_shared<torch::nn::Module>())
              ->register_module("proj", patch_embedding(shape, o.patch, o.width));
  const auto blocks = register_module("blocks", std::make_shared<torch::nn::Module>());
  for (int64_t i = 0; i < o.depth; ++i)
    blocks_.push_back(blocks->register_module(std::to_string(i), std::make_shared<MixerBlock>(o, i, patches_)));
  norm_ = register_module("norm", layer_norm(o));
  head_ = register_module("head", LinearLayer(o.width, classes));
  initialise_parameters(*this, [](const std::string& name, at::Tensor parameter) {
    if (name == "stem.proj.weight") {
      truncated_normal_(parameter, std::sqrt(1 / static_cast<double>(parameter[0].numel())));
    } else if (name.starts_with("head.") || name == "stem.proj.bias") {
      parameter.zero_();
    } else if (name.find(".mlp_") != std::string::npos) {
      if (parameter.dim() == 2) {
        const double bound = std::sqrt(6 / static_cast<double>(parameter.size(0) + parameter.size(1)));
        parameter.uniform_(-bound, bound);
      } else {
        parameter.normal_(0, 1e-6);
      }
    }
  });
}

at::Tensor Mixer::forward(const at::Tensor& images) {
  check_images(images, shape_);
  at::Tensor x = embed_patches(stem_, images);
  for (const auto& block : blocks_) {
    const auto call = [block](const at::Tensor& input) { return block->forward(input); };
    x = options_.recompute && is_training() ? recompute(*block, call, x) : call(x);
  }
  return head_(norm_(x).mean(1));
}

int64_t Mixer::macs() const {
  int64_t sum = stem_->weight.numel() * patches_ + head_->macs();
  for (const auto& block : blocks_) sum += block->macs(patches_, options_.width);
  return sum;
}

std::string Mixer::describe() const {
  const auto& o = options_;
  return fmt::format("MLP-Mixer, {} wide, {} deep, MLPs of {:g} and {:g}, patches of {} x {}, {} classes", o.width,
                     o.depth, o.token_ratio, o.mlp_ratio, o.patch, o.patch, head_->out());
}

const StructurePresets& Mixer::structure_presets() {
  static const StructurePresets presets = {{"paper", R"(blocks\.\d+\.mlp_channels\.fc[12])"},
                                           {"mlp", R"(blocks\.\d+\.mlp_channels\.fc[12])"},
                                           {"tokens", R"(blocks\.\d+\.mlp_tokens\.fc[12])"},
                                           {"all", R"(blocks\.\d+\.mlp_(tokens|channels)\.fc[12])"}};
  return presets;
}

WeightNames Mixer::weight_names(const data::Checkpoint&) {
  return vision_weight_names();
}

}  // namespace monarch::experiments
