#include "monarch/mri/neural/patch_shrinkage.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include "monarch/core/error.hpp"
#include "monarch/operators/monarch/multiply.hpp"

namespace monarch::mri {
namespace {

/// Orthonormal DCT-II, [frequency, point].
at::Tensor cosine_matrix(int64_t p) {
  const at::Tensor point = at::arange(p, at::kDouble) + 0.5, frequency = at::arange(p, at::kDouble).view({-1, 1});
  at::Tensor c =
      at::cos(std::numbers::pi / static_cast<double>(p) * frequency * point) * std::sqrt(2 / static_cast<double>(p));
  c[0] /= std::sqrt(2.0);
  return c.to(at::kFloat);
}

/// The image as half-patches [batch, rows, columns, h, h] with h = p/2.
at::Tensor half_patches(const at::Tensor& image, int64_t h) {
  const int64_t ny = image.size(-2) / h, nx = image.size(-1) / h;
  return image.view({-1, ny, h, nx, h}).transpose(2, 3);
}

}  // namespace

PatchShrinkage::PatchShrinkage(const PatchOptions& options) : options_(options) {
  const int64_t p = options.patch, n = p * p;
  check<ConfigError>(p >= 2 && p <= 32 && p % 2 == 0,
                     [&] { return fmt::format("patches of {0} × {0} pixels: even, 2 to 32", p); });
  check<ConfigError>(options.steps >= 1 && options.threshold >= 0, "patch shrinkage needs steps and a threshold >= 0");
  at::Tensor thresholds = at::full({options.steps, n}, options.threshold);
  thresholds.select(1, 0).zero_();
  thresholds_ = register_parameter("thresholds", thresholds);
  const at::Tensor c = cosine_matrix(p);
  const auto both = [](const at::Tensor& analysis, const at::Tensor& synthesis) {
    return at::stack({analysis, synthesis}).contiguous();
  };
  switch (options.transform) {
    case PatchTransform::dct:
      dct_ = register_buffer("dct", c);
      gain_ = register_parameter("gain", at::ones({2, n}));
      break;
    case PatchTransform::kronecker:
      first_ = register_parameter("kronecker", both(at::stack({c, c}), at::stack({c.t(), c.t()})));
      break;
    case PatchTransform::monarch: {
      // Pixels (y, x): the first factor's blocks transform each row, the second's each column.
      const at::Tensor forward = c.expand({p, p, p}), back = c.t().expand({p, p, p});
      first_ = register_parameter("w1", both(forward, back));
      second_ = register_parameter("w2", both(forward, back));
      break;
    }
    case PatchTransform::dense: {
      const at::Tensor full = at::kron(c, c);
      first_ = register_parameter("dense", both(full, full.t()));
      break;
    }
  }
}

/// rows [.., p²] of real numbers through the analysis (0) or synthesis (1).
at::Tensor PatchShrinkage::transform(const at::Tensor& rows, int64_t which) const {
  const int64_t p = options_.patch;
  if (options_.transform == PatchTransform::dense) return at::matmul(rows, first_[which].t());
  if (options_.transform == PatchTransform::monarch)
    return operators::monarch_multiply(rows, first_[which], second_[which]);
  at::Tensor y, x;
  if (options_.transform == PatchTransform::kronecker) {
    y = first_[which][0];
    x = first_[which][1];
  } else {
    y = x = which == 0 ? dct_ : dct_.t();
  }
  std::vector<int64_t> square = rows.sizes().vec();
  square.back() = p;
  square.push_back(p);
  return at::matmul(y, at::matmul(rows.view(square), x.t())).flatten(-2);
}

at::Tensor PatchShrinkage::analyse(const at::Tensor& patches) const {
  const at::Tensor c = transform(patches, 0);
  return gain_.defined() ? c * gain_[0] : c;
}

at::Tensor PatchShrinkage::synthesise(const at::Tensor& coefficients) const {
  return transform(gain_.defined() ? coefficients * gain_[1] : coefficients, 1);
}

at::Tensor PatchShrinkage::forward(const at::Tensor& image, int64_t step) const {
  const int64_t p = options_.patch, h = p / 2, ny = image.size(1), nx = image.size(2), batch = image.size(0);
  const int64_t py = (ny + h - 1) / h * h, px = (nx + h - 1) / h * h;
  at::Tensor x = at::view_as_real(image).permute({3, 0, 1, 2});  // [part, batch, y, x]
  if (py != ny || px != nx) x = at::constant_pad_nd(x, {0, px - nx, 0, py - ny});
  const at::Tensor blocks = half_patches(x.contiguous(), h);  // [2 batch, rows, columns, h, h]
  const int64_t rows = py / h, columns = px / h;
  // A patch is a square of four half-patches, each of which it shares with three others.
  const auto neighbour = [&](int64_t dy, int64_t dx) { return at::roll(blocks, {-dy, -dx}, {1, 2}); };
  const at::Tensor upper = at::cat({blocks, neighbour(0, 1)}, 4),
                   lower = at::cat({neighbour(1, 0), neighbour(1, 1)}, 4);
  const at::Tensor patches = at::cat({upper, lower}, 3).reshape({2, batch * rows * columns, p * p});
  const at::Tensor c = analyse(patches);
  const at::Tensor size = (c[0] * c[0] + c[1] * c[1] + 1e-12).sqrt();
  const at::Tensor kept = at::relu(1 - at::relu(thresholds_[step]) / size);
  const at::Tensor back = synthesise(c * kept).view({2 * batch, rows, columns, 2, h, 2, h});
  at::Tensor sum;
  for (const int64_t dy : {0, 1}) {
    for (const int64_t dx : {0, 1}) {
      const at::Tensor part = at::roll(back.select(5, dx).select(3, dy), {dy, dx}, {1, 2});
      sum = sum.defined() ? sum + part : part;
    }
  }
  at::Tensor out = (0.25 * sum).transpose(2, 3).reshape({2, batch, py, px});
  out = out.narrow(2, 0, ny).narrow(3, 0, nx);
  return at::view_as_complex(out.permute({1, 2, 3, 0}).contiguous());
}

double PatchShrinkage::macs() const {
  const double p = static_cast<double>(options_.patch);
  // Four patches to a pixel, real and imaginary part, analysis and synthesis.
  return 16 * (options_.transform == PatchTransform::dense ? p * p : 2 * p);
}

std::string PatchShrinkage::describe() const {
  const char* name = options_.transform == PatchTransform::dct         ? "DCT with learned gains"
                     : options_.transform == PatchTransform::kronecker ? "Kronecker"
                     : options_.transform == PatchTransform::monarch   ? "Monarch"
                                                                       : "dense";
  return fmt::format("patch shrinkage {0} × {0}, {1}", options_.patch, name);
}

}  // namespace monarch::mri
