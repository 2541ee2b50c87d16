#include "monarch/solvers/neural/convolutional.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/dropout.h>

#include <array>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/operators/resample.hpp"
#include "monarch/solvers/neural/field_grid.hpp"

namespace monarch::solvers {
namespace {

constexpr double kSlope = 0.1;  // of LeakyReLU

void check_planar(const char* what, const FieldShape& shape) {
  check<ShapeError>(shape.grid.size() == 2, [&] {
    return fmt::format("{} works on two-dimensional grids, this one has {} axes", what, shape.grid.size());
  });
}

void check_multiple(const char* what, const std::vector<int64_t>& grid, int64_t multiple) {
  for (const int64_t n : grid)
    check<ShapeError>(
        n % multiple == 0,
        [&] { return fmt::format("{}: the grid {} must be multiples of {}", what, shape_text(grid), multiple); },
        "interpolate the data, or take another model");
}

double dropout_rate(const Config& config) {
  const double rate = config.number("model.dropout", 0);
  check<ConfigError>(rate >= 0 && rate < 1,
                     [&] { return fmt::format("{}: model.dropout = {}: from 0 to below 1", config.name(), rate); });
  return rate;
}

int64_t width_of(const Config& config, int64_t fallback, int64_t multiple) {
  const int64_t width = positive(config, "model.width", fallback);
  check<ConfigError>(width % multiple == 0, [&] {
    return fmt::format("{}: model.width = {} must be a multiple of {}", config.name(), width, multiple);
  });
  return width;
}

/// 3 × 3 convolution, batch normalisation, LeakyReLU, dropout.
struct Down : torch::nn::Module {
  Down(int64_t in, int64_t out, int64_t stride, bool bias, double rate)
      : conv(register_module(
            "conv", torch::nn::Conv2d(torch::nn::Conv2dOptions(in, out, 3).stride(stride).padding(1).bias(bias)))),
        norm(register_module("norm", torch::nn::BatchNorm2d(out))),
        dropout(register_module("dropout", torch::nn::Dropout(rate))) {}
  at::Tensor forward(const at::Tensor& x) {
    return dropout->forward(at::leaky_relu(norm->forward(conv->forward(x)), kSlope));
  }
  torch::nn::Conv2d conv;
  torch::nn::BatchNorm2d norm;
  torch::nn::Dropout dropout;
};

/// Transposed 4 × 4 convolution of stride 2 and LeakyReLU: twice the size.
struct Up : torch::nn::Module {
  Up(int64_t in, int64_t out)
      : conv(register_module(
            "conv", torch::nn::ConvTranspose2d(torch::nn::ConvTranspose2dOptions(in, out, 4).stride(2).padding(1)))) {}
  at::Tensor forward(const at::Tensor& x) { return at::leaky_relu(conv->forward(x), kSlope); }
  torch::nn::ConvTranspose2d conv;
};

torch::nn::Conv2d same_size(int64_t in, int64_t out, bool bias = true, bool circular = false) {
  auto options = torch::nn::Conv2dOptions(in, out, 3).padding(1).bias(bias);
  if (circular) options.padding_mode(torch::kCircular);
  return torch::nn::Conv2d(options);
}

class UNet final : public NeuralSolver {
 public:
  UNet(const FieldShape& shape, int64_t width, double rate) : NeuralSolver(shape), width_(width) {
    int64_t in = shape.in_channels;
    for (int64_t level = 0; level < kLevels; ++level) {
      const int64_t out = width << level;
      down_.push_back(register_module(fmt::format("down{}", level), std::make_shared<Down>(in, out, 2, false, rate)));
      again_.push_back(
          level < 2 ? nullptr
                    : register_module(fmt::format("again{}", level), std::make_shared<Down>(out, out, 1, false, rate)));
      in = out;
    }
    for (int64_t level = kLevels - 1; level >= 0; --level) {
      const int64_t out = (width << level) / 4;
      up_.push_back(register_module(fmt::format("up{}", level), std::make_shared<Up>(in, out)));
      in = out + (level > 0 ? width << (level - 1) : shape.in_channels);
    }
    output_ = register_module("output", same_size(in, shape.out_channels));
  }

  at::Tensor forward(const at::Tensor& x) override {
    check_input(x);
    check_multiple("U-Net", grid_of(x), int64_t{1} << kLevels);
    std::vector<at::Tensor> levels{x};
    for (int64_t level = 0; level < kLevels; ++level) {
      at::Tensor y = down_[level]->forward(levels.back());
      levels.push_back(again_[level] ? again_[level]->forward(y) : y);
    }
    at::Tensor y = levels.back();
    for (int64_t level = kLevels - 1; level >= 0; --level)
      y = at::cat({levels[level], up_[kLevels - 1 - level]->forward(y)}, 1);
    return output_->forward(y);
  }

  std::string describe() const override { return fmt::format("U-Net, width {}", width_); }

 private:
  static constexpr int64_t kLevels = 5;
  int64_t width_;
  std::vector<std::shared_ptr<Down>> down_, again_;
  std::vector<std::shared_ptr<Up>> up_;
  torch::nn::Conv2d output_{nullptr};
};

struct TfnetOptions {
  int64_t width = 64, frames = 7, time_range = 3, components = 1;
  double dropout = 0;
};

class TfNet final : public NeuralSolver {
 public:
  TfNet(const FieldShape& shape, const TfnetOptions& options) : NeuralSolver(shape), options_(options) {
    const int64_t seen = options.frames * options.components;
    spatial_ = register_module("spatial", same_size(1, 1, false));
    temporal_ =
        register_module("temporal", torch::nn::Conv2d(torch::nn::Conv2dOptions(options.time_range, 1, 1).bias(false)));
    const c10::NoGradGuard no_grad;
    for (size_t e = 0; e < encoders_.size(); ++e) {
      int64_t in = seen;
      for (int64_t level = 0; level < kLevels; ++level) {
        const int64_t out = options.width << level;
        auto& layer = encoders_[e].emplace_back(register_module(
            fmt::format("encoder{}_{}", e, level), std::make_shared<Down>(in, out, 2, true, options.dropout)));
        layer->conv->weight.normal_(0, 0.002 / static_cast<double>(9 * out));  // as published
        layer->conv->bias.zero_();
        in = out;
      }
    }
    for (int64_t level = kLevels - 1; level >= 0; --level) {
      const int64_t in = options.width << level;
      up_.push_back(register_module(fmt::format("up{}", level), std::make_shared<Up>(in, in / 2)));
    }
    output_ = register_module("output", same_size(options.width / 2 + seen, shape.out_channels));
  }

  at::Tensor forward(const at::Tensor& x) override {
    check_input(x);
    check_multiple("TF-Net", grid_of(x), int64_t{1} << kLevels);
    const int64_t c = options_.components, range = options_.time_range, frames = options_.frames;
    const int64_t batch = x.size(0), h = x.size(2), w = x.size(3), all = frames + range - 1;
    const at::Tensor u = x.narrow(1, x.size(1) - all * c, all * c);
    const at::Tensor smooth = spatial_->forward(u.reshape({-1, 1, h, w})).reshape({batch, all, c, h, w});
    // The mean of frame i over itself and the range-1 frames before it.
    std::vector<at::Tensor> means;
    for (int64_t i = 0; i < frames; ++i) {
      const at::Tensor window = smooth.narrow(1, i, range).transpose(1, 2).reshape({-1, range, h, w});
      means.push_back(temporal_->forward(window).reshape({batch, 1, c, h, w}));
    }
    const auto latest = [&](const at::Tensor& t) { return t.narrow(1, t.size(1) - frames, frames); };
    const at::Tensor mean = at::cat(means, 1), recent = latest(u.reshape({batch, all, c, h, w}));
    const at::Tensor large = latest(smooth);
    const std::array<at::Tensor, 3> parts{mean, large - mean, recent - large};
    std::vector<at::Tensor> sums(kLevels);
    for (size_t e = 0; e < parts.size(); ++e) {
      at::Tensor y = parts[e].reshape({batch, frames * c, h, w});
      for (int64_t level = 0; level < kLevels; ++level) {
        y = encoders_[e][level]->forward(y);
        sums[level] = sums[level].defined() ? sums[level] + y : y;
      }
    }
    at::Tensor y = up_[0]->forward(sums[kLevels - 1]);
    for (int64_t level = kLevels - 2; level >= 0; --level) y = up_[kLevels - 1 - level]->forward(sums[level] + y);
    return output_->forward(at::cat({recent.reshape({batch, frames * c, h, w}), y}, 1));
  }

  std::string describe() const override {
    return fmt::format("TF-Net, width {}, {} frames, time range {}", options_.width, options_.frames,
                       options_.time_range);
  }

 private:
  static constexpr int64_t kLevels = 4;
  TfnetOptions options_;
  torch::nn::Conv2d spatial_{nullptr}, temporal_{nullptr}, output_{nullptr};
  std::array<std::vector<std::shared_ptr<Down>>, 3> encoders_;
  std::vector<std::shared_ptr<Up>> up_;
};

class ResNet final : public NeuralSolver {
 public:
  ResNet(const FieldShape& shape, int64_t width, int64_t blocks, bool circular) : NeuralSolver(shape), width_(width) {
    lift_ = register_module("lift", same_size(shape.in_channels, width, false, circular));
    for (int64_t i = 0; i < 2 * blocks; ++i) {
      conv_.push_back(register_module(fmt::format("conv{}", i), same_size(width, width, true, circular)));
      norm_.push_back(register_module(fmt::format("norm{}", i), torch::nn::BatchNorm2d(width)));
    }
    head0_ = register_module("head0", torch::nn::Conv2d(torch::nn::Conv2dOptions(width, width, 1)));
    head1_ = register_module("head1", torch::nn::Conv2d(torch::nn::Conv2dOptions(width, shape.out_channels, 1)));
  }

  at::Tensor forward(const at::Tensor& x) override {
    check_input(x);
    at::Tensor v = lift_->forward(x);
    for (size_t i = 0; i < conv_.size(); i += 2) {
      const at::Tensor inner = at::relu(norm_[i]->forward(conv_[i]->forward(v)));
      v = at::relu(v + norm_[i + 1]->forward(conv_[i + 1]->forward(inner)));
    }
    return head1_->forward(at::relu(head0_->forward(v)));
  }

  std::string describe() const override {
    return fmt::format("ResNet, width {}, {} residual blocks", width_, conv_.size() / 2);
  }

 private:
  int64_t width_;
  torch::nn::Conv2d lift_{nullptr}, head0_{nullptr}, head1_{nullptr};
  std::vector<torch::nn::Conv2d> conv_;
  std::vector<torch::nn::BatchNorm2d> norm_;
};

class Persistence final : public NeuralSolver {
 public:
  Persistence(const FieldShape& shape, int64_t components) : NeuralSolver(shape), components_(components) {}
  at::Tensor forward(const at::Tensor& x) override {
    check_input(x);
    const at::Tensor last = x.narrow(1, x.size(1) - components_, components_);
    std::vector<int64_t> repeats(x.dim(), 1);
    repeats[1] = shape().out_channels / components_;
    return last.repeat(repeats);
  }
  std::string describe() const override { return "persistence: the last frame"; }

 private:
  int64_t components_;
};

class MeanField final : public NeuralSolver {
 public:
  explicit MeanField(const FieldShape& shape) : NeuralSolver(shape) {
    std::vector<int64_t> extents{1, shape.out_channels};
    extents.insert(extents.end(), shape.grid.begin(), shape.grid.end());
    field_ = register_parameter("field", at::zeros(extents));
  }
  at::Tensor forward(const at::Tensor& x) override {
    check_input(x);
    std::vector<int64_t> repeats(x.dim(), 1);
    repeats[0] = x.size(0);
    return operators::resample(field_, grid_of(x)).repeat(repeats);
  }
  std::string describe() const override { return "the same field for every input"; }

 private:
  at::Tensor field_;
};

}  // namespace

NeuralSolverPtr make_unet(const Config& config, const FieldShape& shape) {
  check_planar("U-Net", shape);
  check_multiple("U-Net", shape.grid, 32);
  const int64_t width = width_of(config, 64, 4);
  return std::make_shared<UNet>(shape, width, dropout_rate(config));
}

NeuralSolverPtr make_tfnet(const Config& config, const FieldShape& shape) {
  check_planar("TF-Net", shape);
  check_multiple("TF-Net", shape.grid, 16);
  TfnetOptions options;
  options.components = positive(config, "model.components", 1);
  options.time_range = positive(config, "model.time_range", 3);
  const int64_t given = shape.in_channels / options.components, most = given - options.time_range + 1;
  options.frames = positive(config, "model.frames", std::clamp<int64_t>(most, 1, 7));
  check<ConfigError>(shape.in_channels % options.components == 0 && options.frames <= most, [&] {
    return fmt::format(
        "{}: TF-Net needs frames + time_range - 1 = {} frames of {} components; the input has {} channels",
        config.name(), options.frames + options.time_range - 1, options.components, shape.in_channels);
  });
  options.width = width_of(config, 64, 2);
  options.dropout = dropout_rate(config);
  return std::make_shared<TfNet>(shape, options);
}

NeuralSolverPtr make_resnet(const Config& config, const FieldShape& shape) {
  check_planar("ResNet", shape);
  const std::string boundary = config.text("model.boundary", "zeros");
  check<ConfigError>(
      boundary == "zeros" || boundary == "circular",
      [&] { return fmt::format("{}: model.boundary = \"{}\" is unknown", config.name(), boundary); },
      "zeros or circular");
  const int64_t width = positive(config, "model.width", 40), blocks = positive(config, "model.blocks", 9);
  return std::make_shared<ResNet>(shape, width, blocks, boundary == "circular");
}

NeuralSolverPtr make_persistence(const Config& config, const FieldShape& shape) {
  const int64_t out = shape.out_channels;
  const int64_t components = positive(config, "model.components", out <= shape.in_channels ? out : 1);
  check<ConfigError>(components <= shape.in_channels && out % components == 0, [&] {
    return fmt::format("{}: persistence of {} components: the input has {} channels, the output {}", config.name(),
                       components, shape.in_channels, out);
  });
  return std::make_shared<Persistence>(shape, components);
}

NeuralSolverPtr make_mean(const Config&, const FieldShape& shape) {
  return std::make_shared<MeanField>(shape);
}

}  // namespace monarch::solvers
