// Unrolled networks: data consistency and a learned regulariser in turn.

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "monarch/core/error.hpp"
#include "monarch/mri/calibration_region.hpp"
#include "monarch/mri/neural/convolution.hpp"
#include "monarch/mri/neural/patch_shrinkage.hpp"
#include "monarch/mri/neural/reconstruction_model.hpp"

namespace monarch::mri {
namespace {

enum class Consistency { gradient, conjugate_gradients };

/// A learned step x -> R(x), of each of several uses.
class Regulariser : public torch::nn::Module {
 public:
  virtual at::Tensor forward(const at::Tensor& image, int64_t step) const = 0;
  virtual double macs() const = 0;  // for each pixel and step
  virtual std::string describe() const = 0;
  virtual int64_t smallest_extent() const { return 1; }
};

/// x ↦ U((x − mean)/std) std + mean per sample and channel: fastMRI's normalised U-Net.
at::Tensor normalised(const Unet& net, const at::Tensor& channels) {
  const at::Tensor flat = channels.flatten(2);
  const at::Tensor mean = flat.mean(2).view({flat.size(0), flat.size(1), 1, 1});
  const at::Tensor std = flat.std(2).view({flat.size(0), flat.size(1), 1, 1}).clamp_min(1e-6);
  return net.forward((channels - mean) / std) * std + mean;
}

at::Tensor correction(const ConvolutionalNet& net, const at::Tensor& channels) {
  return net.forward(channels);
}
at::Tensor correction(const Unet& net, const at::Tensor& channels) {
  return normalised(net, channels);
}

std::string net_text(const ResnetOptions& o) {
  return fmt::format("CNN of {} convolutions, width {}", o.convolutions, o.width);
}
std::string net_text(const UnetOptions& o) {
  return fmt::format("U-Net of width {}, {} poolings", o.width, o.pools);
}

int64_t smallest_of(const ResnetOptions&) {
  return 1;
}
int64_t smallest_of(const UnetOptions& o) {
  return o.smallest_extent();
}

/// x + net(x), one net for all steps or one for each.
template <class Net, class Options>
class NetRegulariser final : public Regulariser {
 public:
  NetRegulariser(const Options& options, int64_t nets, const operators::LinearFactory& linear) : options_(options) {
    for (int64_t i = 0; i < nets; ++i)
      nets_.push_back(register_module(fmt::format("net{}", i), std::make_shared<Net>(options, linear)));
  }
  at::Tensor forward(const at::Tensor& image, int64_t step) const override {
    const auto& net = nets_[nets_.size() == 1 ? 0 : static_cast<size_t>(step)];
    return image + image_of(correction(*net, channels_of(image)));
  }
  double macs() const override { return nets_.front()->macs(); }
  std::string describe() const override { return net_text(options_); }
  int64_t smallest_extent() const override { return smallest_of(options_); }

 private:
  Options options_;
  std::vector<std::shared_ptr<Net>> nets_;
};
using CnnRegulariser = NetRegulariser<ConvolutionalNet, ResnetOptions>;
using UnetRegulariser = NetRegulariser<Unet, UnetOptions>;

class PatchRegulariser final : public Regulariser {
 public:
  explicit PatchRegulariser(const PatchOptions& options) {
    shrinkage_ = register_module("shrinkage", std::make_shared<PatchShrinkage>(options));
  }
  at::Tensor forward(const at::Tensor& image, int64_t step) const override { return shrinkage_->forward(image, step); }
  double macs() const override { return shrinkage_->macs(); }
  std::string describe() const override { return shrinkage_->describe(); }

 private:
  std::shared_ptr<PatchShrinkage> shrinkage_;
};

struct UnrolledOptions {
  std::string label;
  int64_t iterations = 8;
  Consistency consistency = Consistency::gradient;
  int64_t solver_iterations = 10;
  int64_t initial_iterations = 0;  // of conjugate gradients from zero, instead of the zero-filled image
  double step_size = 1, penalty = 0.05;
};

class Unrolled final : public ReconstructionModel {
 public:
  Unrolled(const SliceShape& shape, UnrolledOptions options, std::shared_ptr<Regulariser> regulariser)
      : ReconstructionModel(shape), options_(std::move(options)) {
    regulariser_ = register_module("regulariser", std::move(regulariser));
    if (options_.consistency == Consistency::gradient) {
      step_size_ = register_parameter("step_size", at::full({options_.iterations}, options_.step_size));
    } else {
      penalty_ = register_parameter("penalty", at::full({1}, options_.penalty));
    }
  }
  /// The encoding is read from the config when the module exists, which a learned transform is registered with.
  void set_encoding(EncodingFactory encoding, std::shared_ptr<operators::PlaneTransform> transform) {
    encoding_ = std::move(encoding);
    transform_ = std::move(transform);
  }

  at::Tensor forward(const SliceBatch& batch) override {
    const EncodingPtr a = encoding_(batch);
    const at::Tensor rhs = a->adjoint(batch.kspace);
    at::Tensor x = rhs;
    if (options_.initial_iterations > 0) {
      const at::NoGradGuard guard;
      x = solve_normal(a, rhs, at::zeros({1}), {.iterations = options_.initial_iterations});
    }
    for (int64_t t = 0; t < options_.iterations; ++t) {
      if (options_.consistency == Consistency::gradient) {
        x = regulariser_->forward(x - step_size_[t] * (a->normal(x) - rhs), t);
      } else {
        // A penalty below 0 would make the system indefinite.
        const at::Tensor lambda = penalty_.clamp_min(1e-4);
        x = solve_normal(a, rhs + lambda.view({1, 1, 1}) * regulariser_->forward(x, t), lambda,
                         {.iterations = options_.solver_iterations});
      }
    }
    return x;
  }

  int64_t smallest_extent() const override { return regulariser_->smallest_extent(); }
  bool fixed_extents() const override { return transform_ != nullptr; }
  std::string describe() const override {
    std::string text =
        fmt::format("{}, {} iterations, {}", options_.label, options_.iterations, regulariser_->describe());
    if (transform_) text += ", transform " + transform_->describe();
    return text;
  }
  double macs() const override {
    const double normal = normal_macs(shape_, transform_.get());
    const double solves =
        options_.consistency == Consistency::gradient ? 1 : static_cast<double>(options_.solver_iterations);
    const double regularise = static_cast<double>(shape_.ny * shape_.nx) * regulariser_->macs();
    return static_cast<double>(options_.iterations) * (solves * normal + regularise) +
           static_cast<double>(options_.initial_iterations) * normal;
  }

 private:
  UnrolledOptions options_;
  std::shared_ptr<Regulariser> regulariser_;
  at::Tensor step_size_, penalty_;
  EncodingFactory encoding_;
  std::shared_ptr<operators::PlaneTransform> transform_;
};

/// E2E-VarNet (Sriram et al. 2020): k ← k − η M (k − k_0) − F S U(S^H F^H k), a U-Net and an η for each cascade.
class VarNet final : public ReconstructionModel {
 public:
  VarNet(const SliceShape& shape, int64_t cascades, const UnetOptions& options, std::optional<UnetOptions> sensitivity,
         const operators::LinearFactory& linear)
      : ReconstructionModel(shape), options_(options) {
    for (int64_t i = 0; i < cascades; ++i)
      nets_.push_back(register_module(fmt::format("net{}", i), std::make_shared<Unet>(options, linear)));
    step_size_ = register_parameter("step_size", at::ones({cascades}));
    if (sensitivity) {
      sensitivity_ = register_module("sensitivity", std::make_shared<Unet>(*sensitivity, linear));
      smallest_ = sensitivity->smallest_extent();
    }
    smallest_ = std::max(smallest_, options.smallest_extent());
  }
  void set_encoding(std::shared_ptr<operators::PlaneTransform> transform) { transform_ = std::move(transform); }

  at::Tensor forward(const SliceBatch& batch) override {
    const at::Tensor maps = sensitivity_ ? learned_maps(batch) : batch.maps, mask = batch.mask.unsqueeze(1);
    at::Tensor k = batch.kspace;
    for (size_t i = 0; i < nets_.size(); ++i) {
      const at::Tensor image = combine(maps, to_image(k, batch));
      const at::Tensor refined = image_of(normalised(*nets_[i], channels_of(image)));
      const at::Tensor consistency = mask * (k - batch.kspace);
      k = k - step_size_[static_cast<int64_t>(i)] * consistency - to_kspace(maps * refined.unsqueeze(1), batch);
    }
    return combine(maps, to_image(k, batch));
  }

  int64_t smallest_extent() const override { return smallest_; }
  bool fixed_extents() const override { return transform_ != nullptr; }
  std::string describe() const override {
    std::string text = fmt::format("VarNet, {} cascades, U-Net of width {}, {} poolings", nets_.size(), options_.width,
                                   options_.pools);
    if (sensitivity_) text += ", learned sensitivities";
    if (transform_) text += ", transform " + transform_->describe();
    return text;
  }
  double macs() const override {
    const double pixels = static_cast<double>(shape_.ny * shape_.nx);
    const double sensitivities = sensitivity_ ? sensitivity_->macs() * pixels * static_cast<double>(shape_.coils) : 0;
    return static_cast<double>(nets_.size()) *
               (nets_.front()->macs() * pixels + normal_macs(shape_, transform_.get())) +
           sensitivities;
  }

 private:
  at::Tensor to_image(const at::Tensor& k, const SliceBatch& batch) const {
    return transform_ ? transform_->inverse(k, batch.contrast) : operators::plane_fourier(k, true);
  }
  at::Tensor to_kspace(const at::Tensor& images, const SliceBatch& batch) const {
    return transform_ ? transform_->inverse_adjoint(images, batch.contrast) : operators::plane_fourier(images, false);
  }
  /// A U-Net on each coil's image of the fully sampled centre, normalised to unit root sum of squares.
  at::Tensor learned_maps(const SliceBatch& batch) const {
    at::Tensor centre = at::zeros_like(batch.mask);
    for (int64_t i = 0; i < batch.size(); ++i) {
      const data::Extent3 extent = calibration_extent(batch.mask[i].unsqueeze(0).contiguous());
      const int64_t ny = batch.mask.size(1), nx = batch.mask.size(2);
      centre[i].narrow(0, ny / 2 - extent[1] / 2, extent[1]).narrow(1, nx / 2 - extent[0] / 2, extent[0]).fill_(true);
    }
    const at::Tensor images = operators::plane_fourier(batch.kspace * centre.unsqueeze(1), true);
    const at::Tensor each = images.flatten(0, 1);
    const at::Tensor raw = image_of(normalised(*sensitivity_, channels_of(each))).view(images.sizes());
    return raw / (at::real(raw * raw.conj()).sum(1, true) + 1e-12).sqrt();
  }

  UnetOptions options_;
  int64_t smallest_ = 1;
  std::vector<std::shared_ptr<Unet>> nets_;
  std::shared_ptr<Unet> sensitivity_;
  at::Tensor step_size_;
  std::shared_ptr<operators::PlaneTransform> transform_;
};

std::shared_ptr<Regulariser> read_regulariser(const Config& config, const std::string& preset, int64_t iterations) {
  const bool modl = preset == "modl";
  const std::string kind = config.choice<std::string>("model.regulariser", preset == "patch" ? "patch" : "cnn",
                                                      {{"cnn", "cnn"}, {"u-net", "u-net"}, {"patch", "patch"}});
  if (kind == "patch") {
    PatchOptions options;
    options.transform = config.choice<PatchTransform>("model.patch_transform", "monarch",
                                                      {{"dct", PatchTransform::dct},
                                                       {"kronecker", PatchTransform::kronecker},
                                                       {"monarch", PatchTransform::monarch},
                                                       {"dense", PatchTransform::dense}});
    options.patch = config.integer_at_least("model.patch", 8, 2);
    options.steps = iterations;
    options.threshold = config.number_between("model.threshold", 0.02, 0, 1e6);
    return std::make_shared<PatchRegulariser>(options);
  }
  const int64_t nets = config.boolean("model.shared", modl) ? 1 : iterations;
  if (kind == "u-net") {
    UnetOptions options;
    options.width = config.integer_at_least("model.width", 18, 1);
    options.pools = config.integer_at_least("model.pools", 4, 0);
    return std::make_shared<UnetRegulariser>(options, nets, layer_factory(config));
  }
  ResnetOptions options;
  options.width = config.integer_at_least("model.width", modl ? 64 : 128, 1);
  options.convolutions = config.integer_at_least("model.convolutions", modl ? 5 : 6, 2);
  options.block = config.integer_at_least("model.block", modl ? 0 : 2, 0);
  return std::make_shared<CnnRegulariser>(options, nets, layer_factory(config));
}

}  // namespace

ReconstructionModelPtr make_unrolled(const Config& config, const SliceShape& shape, const std::string& preset) {
  const bool modl = preset == "modl", patch = preset == "patch";
  UnrolledOptions options;
  options.label = modl ? "MoDL" : patch ? "unrolled patch shrinkage" : "unrolled proximal gradients";
  options.iterations = config.integer_at_least("model.iterations", modl ? 10 : patch ? 4 : 8, 1);
  options.consistency =
      config.choice<Consistency>("model.consistency", modl ? "cg" : "gradient",
                                 {{"gradient", Consistency::gradient}, {"cg", Consistency::conjugate_gradients}});
  if (options.consistency == Consistency::conjugate_gradients) {
    options.solver_iterations = config.integer_at_least("model.solver_iterations", 10, 1);
    options.penalty = config.number_between("model.penalty", 0.05, 1e-4, 1e4);
  } else {
    options.step_size = config.number_between("model.step_size", 1, 0, 10);
  }
  options.initial_iterations = config.integer_at_least("model.initial_iterations", patch ? 3 : 0, 0);
  auto model = std::make_shared<Unrolled>(shape, options, read_regulariser(config, preset, options.iterations));
  std::shared_ptr<operators::PlaneTransform> transform;
  const EncodingFactory encoding = read_encoding(config, shape, *model, transform);
  model->set_encoding(encoding, transform);
  return model;
}

ReconstructionModelPtr make_varnet(const Config& config, const SliceShape& shape) {
  UnetOptions options;
  options.width = config.integer_at_least("model.width", 18, 1);
  options.pools = config.integer_at_least("model.pools", 4, 0);
  std::optional<UnetOptions> sensitivity;
  if (config.choice<bool>("model.sensitivities", "given", {{"given", false}, {"learned", true}})) {
    sensitivity.emplace();
    sensitivity->width = config.integer_at_least("model.sensitivity_width", 8, 1);
    sensitivity->pools = config.integer_at_least("model.sensitivity_pools", 4, 0);
  }
  auto model = std::make_shared<VarNet>(shape, config.integer_at_least("model.cascades", 12, 1), options, sensitivity,
                                        layer_factory(config));
  std::shared_ptr<operators::PlaneTransform> transform;
  read_encoding(config, shape, *model, transform);
  model->set_encoding(transform);
  return model;
}

}  // namespace monarch::mri
