#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <catch2/catch.hpp>
#include <string>

#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/mri/iterative.hpp"
#include "monarch/mri/learning/losses.hpp"
#include "monarch/mri/learning/slices.hpp"
#include "monarch/mri/metrics.hpp"
#include "monarch/mri/neural/convolution.hpp"
#include "monarch/mri/neural/patch_shrinkage.hpp"
#include "monarch/mri/neural/reconstruction_model.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::mri;
using monarch::test::relative_error;

namespace {

at::Tensor random(std::vector<int64_t> shape, const std::string& stream) {
  return Rng(3, stream).normal(std::move(shape), at::kComplexFloat);
}

SliceBatch random_batch(int64_t batch, int64_t coils, int64_t ny, int64_t nx) {
  SliceBatch b;
  b.mask = Rng(3, "mask").normal({batch, ny, nx}, at::kFloat) > 0.3;
  b.kspace = random({batch, coils, ny, nx}, "kspace") * b.mask.unsqueeze(1);
  const at::Tensor maps = random({batch, coils, ny, nx}, "maps");
  b.maps = maps / at::real(maps * maps.conj()).sum(1, true).sqrt();
  b.contrast = std::vector<int64_t>(static_cast<size_t>(batch), 0);
  return b;
}

SliceShape shape_of(const SliceBatch& b, int64_t contrasts = 1) {
  SliceShape s;
  s.coils = b.kspace.size(1);
  s.ny = b.kspace.size(2);
  s.nx = b.kspace.size(3);
  s.contrasts = contrasts;
  return s;
}

ReconstructionModelPtr make(const std::string& toml, const SliceShape& shape) {
  const Config config = Config::parse("[model]\n" + toml);
  auto model = make_reconstruction_model(config, shape);
  config.finish();
  return model;
}

at::Tensor scalar_product(const at::Tensor& a, const at::Tensor& b) {
  return (a.conj() * b).sum();
}

}  // namespace

TEST_CASE("plane transform: starts as the exact inverse, for odd, prime and even extents", "[learned]") {
  for (const auto kind : {operators::PlaneKind::monarch, operators::PlaneKind::dense, operators::PlaneKind::weights}) {
    for (const auto& [ny, nx] : {std::pair<int64_t, int64_t>{12, 10}, {15, 13}, {7, 32}, {1, 9}}) {
      operators::PlaneOptions options;
      options.kind = kind;
      const operators::PlaneTransform transform(ny, nx, options);
      const at::Tensor k = random({2, 3, ny, nx}, "plane");
      INFO(transform.describe() << " " << ny << " × " << nx);
      REQUIRE(relative_error(transform.inverse(k), operators::plane_fourier(k, true)) <= 1e-5);
      REQUIRE(relative_error(transform.inverse_adjoint(k), operators::plane_fourier(k, false)) <= 1e-5);
      REQUIRE(relative_error(transform.inverse_diagonal(k), operators::plane_fourier(k, true)) <= 1e-5);
    }
  }
}

TEST_CASE("plane transform: the adjoint is the adjoint of what was learned", "[learned]") {
  for (const bool cropped : {false, true}) {
    for (const auto kind :
         {operators::PlaneKind::monarch, operators::PlaneKind::dense, operators::PlaneKind::weights}) {
      operators::PlaneOptions options;
      options.kind = kind;
      options.sets = 2;
      options.coils = 3;
      if (cropped) options.image = {8, 7};
      operators::PlaneTransform transform(12, 10, options);
      {
        const at::NoGradGuard guard;
        for (at::Tensor& p : transform.parameters())
          p.add_(Rng(1, "change").normal(p.sizes().vec(), p.scalar_type()), 0.3);
      }
      const at::Tensor k = random({2, 3, 12, 10}, "k"), x = random({2, 3, 12, 10}, "x");
      const std::vector<int64_t> sets{1, 0};
      const at::Tensor left = scalar_product(transform.inverse(k, sets), x),
                       right = scalar_product(k, transform.inverse_adjoint(x, sets));
      REQUIRE((left - right).abs().item<double>() <= 1e-4 * left.abs().item<double>());
      // Negative control: another set is another transform.
      REQUIRE((scalar_product(k, transform.inverse_adjoint(x, {0, 1})) - left).abs().item<double>() >
              1e-3 * left.abs().item<double>());
    }
  }
}

TEST_CASE("mSENSE: 57,472 real parameters at 512 × 160, and SENSE's image at the start", "[learned]") {
  SliceShape large;
  large.ny = 512;
  large.nx = 160;
  REQUIRE(model_parameter_count(*make("name = \"msense\"", large)) == 57472);
  large.contrasts = 2;
  REQUIRE(model_parameter_count(*make("name = \"msense\"\ntransform.per_contrast = true", large)) == 2 * 57472);
  large.ny = large.nx = 256;
  REQUIRE(model_parameter_count(*make("name = \"msense\"\ntransform.tied_axes = true", large)) == 256 * 32 * 2);

  const SliceBatch batch = random_batch(2, 4, 24, 20);
  const auto sense = make("name = \"sense\"", shape_of(batch)), msense = make("name = \"msense\"", shape_of(batch));
  REQUIRE(model_parameter_count(*sense) == 0);
  REQUIRE(relative_error(msense->forward(batch), sense->forward(batch)) <= 1e-5);
  REQUIRE(relative_error(msense->forward_ablated(batch), sense->forward(batch)) <= 1e-5);
  for (int64_t i = 0; i < 2; ++i) {
    const at::Tensor expected = sense_adjoint(batch.kspace[i].unsqueeze(1).contiguous(), batch.mask[i].unsqueeze(0),
                                              batch.maps[i].unsqueeze(1).unsqueeze(0).contiguous())
                                    .image[0][0];
    REQUIRE(relative_error(sense->forward(batch)[i], expected) <= 1e-5);
  }
  REQUIRE_THROWS_AS(make("name = \"msense\"\ntransform.tied_axes = true", shape_of(batch)), ShapeError);
}

TEST_CASE("U-Net: 7,756,418 parameters at the baseline's size, any extents", "[learned]") {
  SliceShape shape;
  shape.ny = shape.nx = 64;
  REQUIRE(model_parameter_count(*make("name = \"u-net\"", shape)) == 7756418);
  const Unet net({.in = 2, .out = 2, .width = 4, .pools = 3}, operators::dense_layers());
  REQUIRE(net.forward(at::randn({1, 2, 37, 51})).sizes() == at::IntArrayRef({1, 2, 37, 51}));
}

TEST_CASE("patch shrinkage: the published counts, the identity at the start, W V = 1", "[learned]") {
  SliceShape shape;
  shape.ny = 64;
  shape.nx = 48;
  const std::vector<std::pair<std::string, int64_t>> counts{
      {"dct", 388}, {"kronecker", 516}, {"monarch", 2308}, {"dense", 8452}};
  for (const auto& [name, count] : counts)
    REQUIRE(model_parameter_count(*make("name = \"patch\"\npatch_transform = \"" + name + "\"", shape)) == count);
  const at::Tensor image = random({2, 37, 30}, "image");
  at::Tensor first;
  for (const auto kind :
       {PatchTransform::dct, PatchTransform::kronecker, PatchTransform::monarch, PatchTransform::dense}) {
    PatchOptions options;
    options.transform = kind;
    options.threshold = 0;
    const PatchShrinkage identity(options);
    REQUIRE(relative_error(identity.forward(image, 0), image) <= 1e-5);
    options.threshold = 0.7;
    const at::Tensor shrunk = PatchShrinkage(options).forward(image, 1);
    if (!first.defined()) first = shrunk;
    REQUIRE(relative_error(shrunk, first) <= 1e-5);
    REQUIRE(relative_error(shrunk, image) > 0.05);
  }
}

TEST_CASE("every network takes a learned encoding, equal to the Fourier one at the start", "[learned]") {
  const SliceBatch batch = random_batch(2, 3, 32, 24);
  const std::vector<std::string> models{
      "name = \"unrolled\"\nwidth = 8\niterations = 2", "name = \"modl\"\nwidth = 8\niterations = 2",
      "name = \"patch\"", "name = \"varnet\"\nwidth = 4\npools = 2\ncascades = 2",
      "name = \"unrolled\"\nregulariser = \"u-net\"\nwidth = 4\npools = 2\niterations = 2"};
  for (const std::string& text : models) {
    INFO(text);
    at::manual_seed(1);
    const auto classical = make(text, shape_of(batch));
    const at::Tensor expected = classical->forward(batch);
    REQUIRE(expected.sizes() == at::IntArrayRef({2, 32, 24}));
    REQUIRE(at::isfinite(at::view_as_real(expected)).all().item<bool>());
    for (const char* kind : {"monarch", "dense", "weights"}) {
      at::manual_seed(1);
      const auto learned = make(text + "\nencoding = \"" + kind + "\"", shape_of(batch));
      REQUIRE(relative_error(learned->forward(batch), expected) <= 1e-4);
      REQUIRE(model_parameter_count(*learned) > model_parameter_count(*classical));
    }
    at::manual_seed(1);
    if (text.find("patch") != std::string::npos) continue;
    const auto monarch = make(text + "\nlayers = \"monarch\"\nnblocks = 2", shape_of(batch));
    REQUIRE(model_parameter_count(*monarch) < model_parameter_count(*classical));
    REQUIRE(monarch->forward(batch).sizes() == expected.sizes());
  }
}

TEST_CASE("conjugate gradients: the implicit gradient is that of the solution", "[learned]") {
  SliceBatch batch = random_batch(2, 3, 8, 6);
  operators::PlaneOptions options;
  options.kind = operators::PlaneKind::dense;
  auto transform = std::make_shared<operators::PlaneTransform>(8, 6, options);
  const EncodingPtr encoding = learned_encoding(transform)(batch);
  at::Tensor lambda = at::full({1}, 0.3f).requires_grad_(), rhs = random({2, 8, 6}, "rhs").requires_grad_();
  const at::Tensor direction = random({2, 8, 6}, "direction");
  const SliceSolve exact{.iterations = 60};
  const auto value = [&] { return at::real(scalar_product(direction, solve_normal(encoding, rhs, lambda, exact))); };
  torch::autograd::backward({value()});
  std::vector<at::Tensor> variables{lambda, rhs};
  for (const at::Tensor& p : transform->parameters()) variables.push_back(p);
  for (at::Tensor& v : variables) {
    const at::NoGradGuard guard;
    REQUIRE(v.grad().defined());
    const at::Tensor step = Rng(5, "step").normal(v.sizes().vec(), v.scalar_type());
    const double h = 2e-2;
    v.add_(step, h);
    const double up = value().item<double>();
    v.add_(step, -2 * h);
    const double down = value().item<double>();
    v.add_(step, h);
    const double expected = (up - down) / (2 * h);
    const double found = v.is_complex() ? at::real(scalar_product(v.grad(), step)).item<double>()
                                        : (v.grad() * step).sum().item<double>();
    INFO("shape " << v.sizes());
    REQUIRE(std::abs(found - expected) <= 2e-2 * std::abs(expected) + 2e-3);
  }
}

TEST_CASE("unrolled gradients agree with those of a plain ATen encoding", "[learned]") {
  const SliceBatch batch = random_batch(2, 3, 16, 12);
  operators::PlaneOptions options;
  const auto aten = learned_encoding(std::make_shared<operators::PlaneTransform>(16, 12, options))(batch);
  const auto fused = fourier_encoding()(batch);
  for (const bool normal : {true, false}) {
    std::vector<at::Tensor> gradients;
    for (const EncodingPtr& encoding : {aten, fused}) {
      at::Tensor x = random({2, 16, 12}, "x").requires_grad_();
      const at::Tensor y = normal ? encoding->normal(x) : encoding->adjoint(encoding->apply(x) * encoding->apply(x));
      const at::Tensor parts = at::view_as_real(y);
      torch::autograd::backward({(parts * parts).sum()});
      gradients.push_back(x.grad());
    }
    REQUIRE(relative_error(gradients[1], gradients[0]) <= 1e-4);
  }
}

TEST_CASE("augmentation keeps k-space, sensitivities and image consistent", "[learned]") {
  for (const auto& [ny, nx] : {std::pair<int64_t, int64_t>{12, 10}, {9, 7}}) {
    const SliceBatch batch = random_batch(1, 3, ny, nx);
    Slice slice;
    slice.maps = batch.maps[0];
    slice.target = random({ny, nx}, "target");
    slice.kspace = operators::plane_fourier(slice.maps * slice.target, false);
    slice.acquired = at::ones({ny, nx}, at::kBool);
    for (int epoch = 0; epoch < 6; ++epoch) {
      Augmentation a;
      a.shift = a.flip = true;
      const Slice changed = augmented(slice, a, 1, "epoch " + std::to_string(epoch));
      REQUIRE(relative_error(operators::plane_fourier(changed.maps * changed.target, false), changed.kspace) <= 1e-5);
      const Slice again = augmented(slice, a, 1, "epoch " + std::to_string(epoch));
      REQUIRE(at::equal(again.kspace, changed.kspace));
    }
    Augmentation noisy;
    noisy.noise = 0.2;
    noisy.motion = 2;
    const Slice changed = augmented(slice, noisy, 1, "noise");
    REQUIRE(at::equal(changed.target, slice.target));
    REQUIRE(relative_error(changed.kspace, slice.kspace) > 0.01);
  }
}

TEST_CASE("losses: the SSIM loss is one minus the metric, others their formulas", "[learned]") {
  const at::Tensor a = random({2, 20, 17}, "a"), b = random({2, 20, 17}, "b");
  const at::Tensor loss = ssim_loss(a, b);
  for (int64_t i = 0; i < 2; ++i) {
    const at::Tensor x = a[i].abs().unsqueeze(0), y = b[i].abs().unsqueeze(0);
    REQUIRE(loss[i].item<double>() == Approx(1 - ssim_uniform(x, y, y.max().item<double>())).margin(1e-5));
    REQUIRE(complex_l1(a, b)[i].item<double>() == Approx((a[i] - b[i]).abs().mean().item<double>()).epsilon(1e-5));
  }
  REQUIRE(ssim_loss(a, a).abs().max().item<double>() <= 1e-5);
  const SliceBatch batch = random_batch(2, 3, 20, 17);
  // Parseval: with normalised sensitivities the mean square in k-space of all coils is that of the image over coils.
  const at::Tensor kspace = make_reconstruction_loss("l2-kspace")(a, b, batch);
  REQUIRE(relative_error(kspace * 3, make_reconstruction_loss("l2")(a, b, batch)) <= 1e-4);
  REQUIRE_THROWS_WITH(make_reconstruction_loss("sim"), Catch::Contains("ssim"));
}

TEST_CASE("models say what slices they take", "[learned]") {
  const SliceBatch batch = random_batch(1, 4, 24, 20), other = random_batch(1, 4, 20, 20),
                   coils = random_batch(1, 3, 24, 20);
  const auto msense = make("name = \"msense\"", shape_of(batch));
  msense->check_fit(batch);
  msense->check_fit(coils);
  REQUIRE_THROWS_WITH(msense->check_fit(other), Catch::Contains("24 × 20") && Catch::Contains("20 × 20"));
  const auto per_coil = make("name = \"msense\"\ntransform.per_coil = true", shape_of(batch));
  REQUIRE_THROWS_WITH(per_coil->check_fit(coils), Catch::Contains("4 coils") && Catch::Contains("has 3"));
  const auto per_echo = make("name = \"msense\"\ntransform.per_contrast = true", shape_of(batch, 2));
  SliceBatch third = batch;
  third.contrast = {2};
  REQUIRE_THROWS_WITH(per_echo->check_fit(third), Catch::Contains("contrast 2"));
  REQUIRE_THROWS_WITH(make("name = \"u-net\"", shape_of(batch))->check_fit(batch), Catch::Contains("32 × 32"));
  REQUIRE_THROWS_WITH(make("name = \"msence\"", shape_of(batch)), Catch::Contains("msense"));
}
