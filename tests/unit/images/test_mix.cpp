// Mixup and CutMix.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "catch2/catch.hpp"
#include "monarch/data/images/mix.hpp"
#include "support/support.hpp"

using namespace monarch;
using data::Mix;
using data::MixOptions;

TEST_CASE("Beta(a, a) has mean 1/2 and variance 1 / (8 a + 4)") {
  for (const double alpha : {0.2, 0.8, 1.0, 5.0}) {
    Rng rng(3, "beta");
    const int count = 20000;
    double sum = 0, squares = 0;
    for (int i = 0; i < count; ++i) {
      const double x = data::draw_beta(alpha, rng);
      REQUIRE(x >= 0);
      REQUIRE(x <= 1);
      sum += x;
      squares += (x - 0.5) * (x - 0.5);
    }
    INFO(alpha);
    REQUIRE(std::abs(sum / count - 0.5) <= 0.012);
    REQUIRE(std::abs(squares / count * (8 * alpha + 4) - 1) <= 0.05);
  }
}

TEST_CASE("Mixed images and targets are the same mean of an image and its partner") {
  const at::Tensor images = at::randn({4, 3, 5, 5}), labels = at::tensor({0, 1, 2, 2}, at::kLong);
  Mix mix;
  mix.lambda = 0.3;
  const at::Tensor mixed = data::mix_images(images, mix), targets = data::mix_targets(labels, 3, mix, 0);
  REQUIRE(at::allclose(mixed[1], images[1] * 0.3 + images[2] * 0.7));
  REQUIRE(at::allclose(targets[1], at::tensor({0.0f, 0.3f, 0.7f})));
  REQUIRE(at::allclose(data::mix_targets(labels, 3, Mix(), 0.1)[0], at::tensor({0.9f + 0.1f / 3, 0.1f / 3, 0.1f / 3})));
  REQUIRE(at::equal(data::mix_images(images, Mix()), images));
}

TEST_CASE("CutMix's label weight is the share of the image's own pixels") {
  MixOptions options;
  options.cutmix = 1;
  const at::Tensor images = at::stack({at::zeros({1, 17, 23}), at::ones({1, 17, 23})}), before = images.clone();
  double smallest = 1;
  for (uint64_t i = 0; i < 300; ++i) {
    Rng rng(i, "mix");
    const Mix mix = data::draw_mix(options, {17, 23}, rng);
    REQUIRE(mix.cut);
    const at::Tensor mixed = data::mix_images(images, mix);
    REQUIRE(std::abs(mixed[0].mean().item<double>() - (1 - mix.lambda)) <= 1e-6);
    REQUIRE(std::abs(mixed[1].mean().item<double>() - mix.lambda) <= 1e-6);
    smallest = std::min(smallest, mix.lambda);
  }
  REQUIRE(smallest <= 0.2);
  REQUIRE(at::equal(images, before));
}

TEST_CASE("Mixing happens as often as asked, and switches between its two forms") {
  MixOptions options;
  options.mixup = 0.8;
  options.cutmix = 1;
  options.probability = 0.6;
  options.cutmix_probability = 0.25;
  int mixed = 0, cut = 0;
  for (uint64_t i = 0; i < 4000; ++i) {
    Rng rng(i, "mix");
    const Mix mix = data::draw_mix(options, {32, 32}, rng);
    if (mix.cut) ++cut;
    if (mix.cut || mix.lambda < 1) ++mixed;
  }
  REQUIRE(std::abs(mixed / 4000.0 - 0.6) <= 0.03);
  REQUIRE(std::abs(cut / 4000.0 - 0.15) <= 0.02);
}
