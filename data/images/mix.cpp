#include "monarch/data/images/mix.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace monarch::data {
namespace {

/// log of a Gamma(alpha) draw: Marsaglia and Tsang (2000); the logarithm keeps those of small alpha.
double log_gamma_draw(double alpha, Rng& rng) {
  const double boost = alpha < 1 ? std::log(1 - rng.uniform()) / alpha : 0;
  const double d = (alpha < 1 ? alpha + 1 : alpha) - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  for (;;) {
    const double x = rng.normal(), v = std::pow(1 + c * x, 3);
    if (v > 0 && std::log(1 - rng.uniform()) < x * x / 2 + d - d * v + d * std::log(v)) return std::log(d * v) + boost;
  }
}

}  // namespace

double draw_beta(double alpha, Rng& rng) {
  const double a = log_gamma_draw(alpha, rng), b = log_gamma_draw(alpha, rng);
  return 1 / (1 + std::exp(b - a));
}

MixOptions MixOptions::from_config(const Config& config) {
  MixOptions o;
  o.mixup = config.number_between("data.augment.mixup", o.mixup, 0, 100);
  o.cutmix = config.number_between("data.augment.cutmix", o.cutmix, 0, 100);
  if (o.used()) o.probability = config.number_between("data.augment.mix_probability", o.probability, 0, 1);
  if (o.mixup > 0 && o.cutmix > 0)
    o.cutmix_probability = config.number_between("data.augment.cutmix_probability", o.cutmix_probability, 0, 1);
  return o;
}

Mix draw_mix(const MixOptions& options, Extent image, Rng& rng) {
  Mix mix;
  if (!options.used() || rng.uniform() >= options.probability) return mix;
  mix.cut = options.mixup <= 0 || (options.cutmix > 0 && rng.uniform() < options.cutmix_probability);
  mix.lambda = draw_beta(mix.cut ? options.cutmix : options.mixup, rng);
  if (!mix.cut) return mix;
  const double side = std::sqrt(1 - mix.lambda);
  const auto part = [&](int64_t length, int64_t& start, int64_t& count) {
    const auto half = static_cast<int64_t>(static_cast<double>(length) * side) / 2;
    const int64_t middle = rng.below(length);
    start = std::max<int64_t>(middle - half, 0);
    count = std::min(middle + half, length) - start;
  };
  part(image.height, mix.box.top, mix.box.height);
  part(image.width, mix.box.left, mix.box.width);
  mix.lambda =
      1 - static_cast<double>(mix.box.height * mix.box.width) / static_cast<double>(image.height * image.width);
  return mix;
}

at::Tensor mix_images(const at::Tensor& images, const Mix& mix) {
  const at::Tensor partners = images.flip(0);
  if (!mix.cut) return mix.lambda == 1 ? images.clone() : images * mix.lambda + partners * (1 - mix.lambda);
  at::Tensor mixed = images.clone();
  const auto part = [&](const at::Tensor& of) {
    return of.narrow(2, mix.box.top, mix.box.height).narrow(3, mix.box.left, mix.box.width);
  };
  part(mixed).copy_(part(partners));
  return mixed;
}

at::Tensor mix_targets(const at::Tensor& labels, int64_t classes, const Mix& mix, double smoothing) {
  const at::Tensor own = at::one_hot(labels, classes).to(at::kFloat);
  const at::Tensor mixed = mix.lambda == 1 ? own : own * mix.lambda + own.flip(0) * (1 - mix.lambda);
  return mixed * (1 - smoothing) + smoothing / static_cast<double>(classes);
}

}  // namespace monarch::data
