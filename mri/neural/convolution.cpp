#include "monarch/mri/neural/convolution.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/nn/init.h>

#include <cmath>

#include "monarch/core/error.hpp"

namespace monarch::mri {
namespace {

constexpr double kSlope = 0.2;

at::Tensor bias_of(const operators::LinearLayer& layer) {
  return std::visit([](const auto& content) { return content->bias; }, layer->content());
}

}  // namespace

Convolution::Convolution(const ConvolutionOptions& options, const operators::LinearFactory& linear)
    : options_(options) {
  const int64_t window = options.kernel * options.kernel;
  // A transposed convolution of stride `kernel` gives kernel² outputs to each input pixel.
  weight_ = register_module(
      "weight", options.transposed ? linear({.in = options.in, .out = options.out * window, .bias = false})
                                   : linear({.in = options.in * window, .out = options.out, .bias = options.bias}));
  if (options.transposed && std::holds_alternative<torch::nn::Linear>(weight_->content())) {
    // torch::nn::ConvTranspose2d takes the fan from out · kernel².
    const at::NoGradGuard guard;
    const double bound = 1 / std::sqrt(static_cast<double>(options.out * window));
    std::get<torch::nn::Linear>(weight_->content())->weight.uniform_(-bound, bound);
  }
}

at::Tensor Convolution::forward(const at::Tensor& x) const {
  const int64_t k = options_.kernel;
  if (options_.transposed) {
    const at::Tensor w = weight_->densify().view({options_.out, k, k, options_.in}).permute({3, 0, 1, 2});
    return at::conv_transpose2d(x, w, {}, k);
  }
  return at::conv2d(x, weight_->densify().view({options_.out, options_.in, k, k}), bias_of(weight_), 1, k / 2);
}

double Convolution::macs() const {
  double total = 0;
  for (const auto& parameter : weight_->named_parameters())
    if (parameter.value().dim() > 1) total += static_cast<double>(parameter.value().numel());
  return total;
}

namespace {

/// Instance normalisation and LeakyReLU. (LibTorch normalises planes of channels; its group normalisation, which takes
/// channels last, sums squares in float32 and loses two digits of the gradient.)
at::Tensor activated(const at::Tensor& x) {
  at::Tensor y = at::instance_norm(x, {}, {}, {}, {}, true, 0.1, 1e-5, false);
  return at::leaky_relu_(y, kSlope);
}

}  // namespace

struct Unet::Block : torch::nn::Module {
  Block(int64_t in, int64_t out, double rate, const operators::LinearFactory& linear)
      : dropout(rate),
        first(register_module(
            "first", std::make_shared<Convolution>(ConvolutionOptions{.in = in, .out = out, .bias = false}, linear))),
        second(register_module("second", std::make_shared<Convolution>(
                                             ConvolutionOptions{.in = out, .out = out, .bias = false}, linear))) {}
  at::Tensor forward(const at::Tensor& x) const { return half(*second, half(*first, x)); }
  at::Tensor half(const Convolution& convolution, const at::Tensor& x) const {
    const at::Tensor y = activated(convolution.forward(x));
    return dropout > 0 ? at::feature_dropout(y, dropout, is_training()) : y;
  }

  double dropout;
  std::shared_ptr<Convolution> first, second;
};

Unet::Unet(const UnetOptions& options, const operators::LinearFactory& linear) : options_(options) {
  check<ConfigError>(options.width >= 1 && options.pools >= 0 && options.pools < 16,
                     [&] { return fmt::format("a U-Net of width {} with {} poolings", options.width, options.pools); });
  int64_t in = options.in;
  for (int64_t level = 0; level <= options.pools; ++level) {
    const int64_t out = options.width << level;
    down_.push_back(
        register_module(fmt::format("down{}", level), std::make_shared<Block>(in, out, options.dropout, linear)));
    in = out;
  }
  for (int64_t level = options.pools - 1; level >= 0; --level) {
    const int64_t out = options.width << level;
    rise_.push_back(register_module(
        fmt::format("rise{}", level),
        std::make_shared<Convolution>(
            ConvolutionOptions{.in = 2 * out, .out = out, .kernel = 2, .bias = false, .transposed = true}, linear)));
    up_.push_back(
        register_module(fmt::format("up{}", level), std::make_shared<Block>(2 * out, out, options.dropout, linear)));
  }
  last_ = register_module(
      "last",
      std::make_shared<Convolution>(ConvolutionOptions{.in = options.width, .out = options.out, .kernel = 1}, linear));
}

at::Tensor Unet::forward(const at::Tensor& x) const {
  std::vector<at::Tensor> skips;
  at::Tensor y = x.contiguous();  // as the normalisation leaves it
  for (int64_t level = 0; level < options_.pools; ++level) {
    skips.push_back(down_[level]->forward(y));
    y = at::avg_pool2d(skips.back(), 2);
  }
  y = down_[options_.pools]->forward(y);
  for (size_t i = 0; i < up_.size(); ++i) {
    const at::Tensor& skip = skips[skips.size() - 1 - i];
    y = activated(rise_[i]->forward(y));
    const int64_t below = skip.size(2) - y.size(2), right = skip.size(3) - y.size(3);
    if (below > 0 || right > 0) y = at::reflection_pad2d(y, {0, right, 0, below});
    y = up_[i]->forward(at::cat({y, skip}, 1));
  }
  return last_->forward(y);
}

double Unet::macs() const {
  double total = last_->macs(), pixels = 1;
  for (const auto& block : down_) {
    total += pixels * (block->first->macs() + block->second->macs());
    pixels /= 4;
  }
  pixels *= 4;
  for (size_t i = 0; i < up_.size(); ++i) {
    total += pixels * rise_[i]->macs();
    pixels *= 4;
    total += pixels * (up_[i]->first->macs() + up_[i]->second->macs());
  }
  return total;
}

ConvolutionalNet::ConvolutionalNet(const ResnetOptions& options, const operators::LinearFactory& linear)
    : options_(options) {
  check<ConfigError>(options.width >= 1 && options.convolutions >= 2, [&] {
    return fmt::format("a network of {} convolutions and width {}", options.convolutions, options.width);
  });
  for (int64_t i = 0; i < options.convolutions; ++i) {
    const bool last = i + 1 == options.convolutions;
    layers_.push_back(register_module(
        fmt::format("conv{}", i),
        std::make_shared<Convolution>(
            ConvolutionOptions{.in = i == 0 ? options.in : options.width, .out = last ? options.out : options.width},
            linear)));
  }
}

at::Tensor ConvolutionalNet::forward(const at::Tensor& x) const {
  at::Tensor y = layers_.front()->forward(x);
  at::relu_(y);  // a convolution does not need its output again
  at::Tensor skip = y;
  const int64_t inner = static_cast<int64_t>(layers_.size()) - 2;
  for (int64_t i = 0; i < inner; ++i) {
    y = layers_[static_cast<size_t>(i + 1)]->forward(y);
    const bool ends = options_.block > 0 && (i + 1) % options_.block == 0;
    if (ends) y = y + skip;
    at::relu_(y);
    if (ends) skip = y;
  }
  return layers_.back()->forward(y);
}

double ConvolutionalNet::macs() const {
  double total = 0;
  for (const auto& layer : layers_) total += layer->macs();
  return total;
}

at::Tensor channels_of(const at::Tensor& image) {
  return at::view_as_real(image.contiguous()).permute({0, 3, 1, 2});
}

at::Tensor image_of(const at::Tensor& channels) {
  return at::view_as_complex(channels.permute({0, 2, 3, 1}).contiguous());
}

}  // namespace monarch::mri
