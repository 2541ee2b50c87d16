#include "monarch/mri/learning/losses.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace monarch::mri {
namespace {

/// |z|, with gradient 0 where z is 0.
at::Tensor modulus(const at::Tensor& z) {
  const at::Tensor parts = at::view_as_real(z);
  const at::Tensor square = (parts * parts).sum(-1);
  return (square + 1e-24).sqrt();
}

at::Tensor square_modulus(const at::Tensor& z) {
  const at::Tensor parts = at::view_as_real(z);
  return (parts * parts).sum(-1);
}

at::Tensor coil_kspace(const at::Tensor& image, const at::Tensor& maps) {
  return operators::plane_fourier(maps * image.unsqueeze(1), false);
}

const std::vector<std::pair<std::string, ReconstructionLoss>>& losses() {
  const auto in_kspace = [](auto loss) {
    return [loss](const at::Tensor& image, const at::Tensor& target, const SliceBatch& batch) {
      const at::Tensor error = coil_kspace(image - target, batch.maps).flatten(1, 2);
      return loss(error, at::zeros_like(error));
    };
  };
  static const std::vector<std::pair<std::string, ReconstructionLoss>> all{
      {"l1", [](const auto& a, const auto& b, const auto&) { return complex_l1(a, b); }},
      {"l2", [](const auto& a, const auto& b, const auto&) { return complex_l2(a, b); }},
      {"ssim", [](const auto& a, const auto& b, const auto&) { return ssim_loss(a, b); }},
      {"l1-kspace", in_kspace(complex_l1)},
      {"l2-kspace", in_kspace(complex_l2)},
  };
  return all;
}

}  // namespace

at::Tensor complex_l1(const at::Tensor& image, const at::Tensor& target) {
  return modulus(image - target).mean({1, 2});
}

at::Tensor complex_l2(const at::Tensor& image, const at::Tensor& target) {
  return square_modulus(image - target).mean({1, 2});
}

at::Tensor ssim_loss(const at::Tensor& image, const at::Tensor& target) {
  static constexpr int64_t kWindow = 7;
  check<ShapeError>(image.size(1) >= kWindow && image.size(2) >= kWindow, [&] {
    return fmt::format("the SSIM loss needs images of 7 × 7, found {}", shape_text(image.sizes()));
  });
  const at::Tensor x = modulus(image).unsqueeze(1), y = modulus(target).unsqueeze(1);
  const auto mean = [](const at::Tensor& t) { return at::avg_pool2d(t, kWindow, 1); };
  constexpr double count = kWindow * kWindow, sample = count / (count - 1);
  const at::Tensor range = y.amax({2, 3}, true).clamp_min(1e-12);
  const at::Tensor c1 = (0.01 * range).square(), c2 = (0.03 * range).square();
  const at::Tensor mx = mean(x), my = mean(y);
  const at::Tensor vx = sample * (mean(x * x) - mx * mx), vy = sample * (mean(y * y) - my * my);
  const at::Tensor vxy = sample * (mean(x * y) - mx * my);
  const at::Tensor s = ((2 * mx * my + c1) * (2 * vxy + c2)) / ((mx * mx + my * my + c1) * (vx + vy + c2));
  return 1 - s.mean({1, 2, 3});
}

at::Tensor held_out_loss(const at::Tensor& image, const at::Tensor& kspace, const at::Tensor& maps,
                         const at::Tensor& held) {
  const at::Tensor where = held.unsqueeze(1);
  const at::Tensor truth = kspace * where, error = coil_kspace(image, maps) * where - truth;
  const auto l2 = [](const at::Tensor& t) { return (square_modulus(t).sum({1, 2, 3}) + 1e-24).sqrt(); };
  const auto l1 = [](const at::Tensor& t) { return modulus(t).sum({1, 2, 3}); };
  return l2(error) / l2(truth) + l1(error) / l1(truth);
}

std::vector<std::string> reconstruction_loss_names() {
  std::vector<std::string> names;
  for (const auto& [name, loss] : losses()) names.push_back(name);
  return names;
}

ReconstructionLoss make_reconstruction_loss(const std::string& name) {
  for (const auto& [known, loss] : losses())
    if (known == name) return loss;
  const std::string near = closest_match(name, reconstruction_loss_names());
  fail<ConfigError>(fmt::format("task.loss = \"{}\" is unknown{}", name,
                                near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near)),
                    join_or(reconstruction_loss_names()));
}

}  // namespace monarch::mri
