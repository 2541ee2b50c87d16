// Models of one step: the coil-combined zero-filled image with a fixed, a weighted or a learned transform, and the
// classical iterative methods as rows of the same tables.

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>

#include "monarch/core/error.hpp"
#include "monarch/mri/iterative.hpp"
#include "monarch/mri/neural/convolution.hpp"
#include "monarch/mri/neural/reconstruction_model.hpp"

namespace monarch::mri {
namespace {

double combination_macs(const SliceShape& s) {
  return static_cast<double>(4 * s.coils * s.ny * s.nx);
}

/// Σ conj(S) G k with G the inverse Fourier transform or what was learned in its place.
class Sense final : public ReconstructionModel {
 public:
  Sense(const SliceShape& shape, operators::PlaneOptions options)
      : ReconstructionModel(shape),
        transform_(std::make_shared<operators::PlaneTransform>(shape.ny, shape.nx, std::move(options))) {
    register_module("transform", transform_);
  }

  at::Tensor forward(const SliceBatch& batch) override {
    if (!learned()) return combine(batch.maps, operators::plane_fourier(batch.kspace, true));
    return combine(batch.maps, transform_->inverse(batch.kspace, batch.contrast));
  }
  std::string ablation() const override {
    const auto kind = transform_->options().kind;
    return kind == operators::PlaneKind::monarch || kind == operators::PlaneKind::dense ? "diagonal" : "";
  }
  at::Tensor forward_ablated(const SliceBatch& batch) override {
    return combine(batch.maps, transform_->inverse_diagonal(batch.kspace, batch.contrast));
  }
  void check_fit(const SliceBatch& batch) const override {
    ReconstructionModel::check_fit(batch);
    const auto& o = transform_->options();
    check<ShapeError>(
        o.coils == 0 || batch.kspace.size(1) == o.coils,
        [&] {
          return fmt::format("{}: trained for {} coils, the scan has {}", describe(), o.coils, batch.kspace.size(1));
        },
        "compress the coils (--compress), or train with model.transform.per_coil = false");
    for (const int64_t c : batch.contrast) {
      check<ShapeError>(
          o.sets == 1 || c < o.sets,
          [&] { return fmt::format("{}: trained for {} contrasts, this is contrast {}", describe(), o.sets, c); },
          "train with all contrasts, or with model.transform.per_contrast = false");
    }
  }
  bool fixed_extents() const override { return learned(); }
  std::string describe() const override {
    return learned() ? "mSENSE, " + transform_->describe() : "SENSE (zero-filled)";
  }
  double macs() const override {
    return static_cast<double>(shape_.coils) * transform_->macs() + combination_macs(shape_);
  }

 private:
  bool learned() const { return transform_->options().kind != operators::PlaneKind::fourier; }
  std::shared_ptr<operators::PlaneTransform> transform_;
};

/// Σ conj(S) F^H (p^-a k): zero-filled, with each point of k-space weighted by how rarely it is sampled.
class DensitySense final : public ReconstructionModel {
 public:
  DensitySense(const SliceShape& shape, double exponent) : ReconstructionModel(shape), exponent_(exponent) {
    probability_ = register_buffer(
        "probability", shape.sampling_probability ? shape.sampling_probability() : at::ones({shape.ny, shape.nx}));
  }
  at::Tensor forward(const SliceBatch& batch) override {
    const at::Tensor weight = probability_.clamp_min(1e-3).pow(-exponent_);
    return combine(batch.maps, operators::plane_fourier(batch.kspace * weight, true));
  }
  bool fixed_extents() const override { return true; }
  std::string describe() const override { return fmt::format("SENSE with density weights p^-{:g}", exponent_); }
  double macs() const override { return normal_macs(shape_) / 2; }

 private:
  double exponent_;
  at::Tensor probability_;
};

/// A classical iterative method with the best λ of a list.
class Classical final : public ReconstructionModel {
 public:
  Classical(const SliceShape& shape, bool wavelet, std::vector<double> lambdas, int64_t iterations)
      : ReconstructionModel(shape), wavelet_(wavelet), lambdas_(std::move(lambdas)), iterations_(iterations) {
    choice_ = register_buffer("choice", at::zeros({1}, at::kLong));
  }
  at::Tensor forward(const SliceBatch& batch) override {
    std::vector<at::Tensor> images;
    for (int64_t i = 0; i < batch.size(); ++i) {
      const at::Tensor kspace = batch.kspace[i].unsqueeze(1).contiguous(), mask = batch.mask[i].unsqueeze(0);
      const at::Tensor maps = batch.maps[i].unsqueeze(1).unsqueeze(0).contiguous();
      images.push_back(solve(cartesian_problem(kspace, mask, maps)).squeeze(0).squeeze(0));
    }
    return at::stack(images);
  }
  int64_t candidates() const override { return static_cast<int64_t>(lambdas_.size()); }
  void choose(int64_t candidate) override { choice_.fill_(candidate); }
  std::string describe() const override {
    return fmt::format("{}, λ = {:g}, {} iterations", wavelet_ ? "L1-wavelet" : "CG-SENSE", lambda(), iterations_);
  }
  double macs() const override { return static_cast<double>(iterations_) * normal_macs(shape_); }

 private:
  double lambda() const { return lambdas_[static_cast<size_t>(choice_.item<int64_t>())]; }
  at::Tensor solve(const SenseProblem& problem) const {
    if (wavelet_) return l1_wavelet(problem, {.lambda = lambda(), .iterations = iterations_}).image;
    return cg_sense(problem, {.lambda = lambda(), .iterations = iterations_}).image;
  }

  bool wavelet_;
  std::vector<double> lambdas_;
  int64_t iterations_;
  at::Tensor choice_;
};

/// A U-Net from the zero-filled image to the image, as its correction where residual.
class ImageUnet final : public ReconstructionModel {
 public:
  ImageUnet(const SliceShape& shape, const UnetOptions& options, const operators::LinearFactory& linear, bool residual)
      : ReconstructionModel(shape), options_(options), residual_(residual) {
    net_ = register_module("net", std::make_shared<Unet>(options, linear));
  }
  at::Tensor forward(const SliceBatch& batch) override {
    const at::Tensor zero_filled = combine(batch.maps, operators::plane_fourier(batch.kspace, true));
    const at::Tensor out = image_of(net_->forward(channels_of(zero_filled)));
    return residual_ ? zero_filled + out : out;
  }
  int64_t smallest_extent() const override { return options_.smallest_extent(); }
  std::string describe() const override {
    return fmt::format("{}U-Net, width {}, {} poolings", residual_ ? "residual " : "", options_.width, options_.pools);
  }
  double macs() const override {
    return normal_macs(shape_) / 2 + static_cast<double>(shape_.ny * shape_.nx) * net_->macs();
  }

 private:
  UnetOptions options_;
  bool residual_;
  std::shared_ptr<Unet> net_;
};

std::vector<double> lambdas(const Config& config, const std::vector<double>& fallback) {
  const std::vector<double> values = config.numbers("model.lambda", fallback);
  check<ConfigError>(!values.empty() && std::all_of(values.begin(), values.end(), [](double v) { return v >= 0; }),
                     [&] { return fmt::format("{}: model.lambda needs numbers >= 0", config.name()); });
  return values;
}

}  // namespace

ReconstructionModelPtr make_sense(const Config&, const SliceShape& shape) {
  return std::make_shared<Sense>(shape, operators::PlaneOptions{});
}

ReconstructionModelPtr make_msense(const Config& config, const SliceShape& shape) {
  const std::string kind = config.choice<std::string>(
      "model.transform.kind", "monarch", {{"monarch", "monarch"}, {"dense", "dense"}, {"weights", "weights"}});
  return std::make_shared<Sense>(shape, read_plane_options(config, "model.transform", kind, shape));
}

ReconstructionModelPtr make_density_sense(const Config& config, const SliceShape& shape) {
  return std::make_shared<DensitySense>(shape, config.number_between("model.exponent", 0.7, 0, 4));
}

ReconstructionModelPtr make_cg_sense(const Config& config, const SliceShape& shape) {
  return std::make_shared<Classical>(shape, false, lambdas(config, {0.001}),
                                     config.integer_at_least("model.iterations", 30, 1));
}

ReconstructionModelPtr make_l1_wavelet(const Config& config, const SliceShape& shape) {
  return std::make_shared<Classical>(shape, true, lambdas(config, {0.005}),
                                     config.integer_at_least("model.iterations", 30, 1));
}

ReconstructionModelPtr make_image_unet(const Config& config, const SliceShape& shape) {
  UnetOptions options;
  options.width = config.integer_at_least("model.width", 32, 1);
  options.pools = config.integer_at_least("model.pools", 4, 0);
  options.dropout = config.number_between("model.dropout", 0, 0, 0.9);
  return std::make_shared<ImageUnet>(shape, options, layer_factory(config), config.boolean("model.residual", false));
}

}  // namespace monarch::mri
