#include <ATen/ATen.h>
#include <fmt/format.h>

#include <numbers>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/solvers/numerical/navier_stokes.hpp"

namespace monarch::solvers {
namespace {
constexpr double pi = std::numbers::pi;
}

at::Tensor published_forcing(int64_t n, double amplitude) {
  const at::Tensor x = at::arange(n, at::kDouble) / n;
  const at::Tensor angle = 2 * pi * (x.unsqueeze(1) + x.unsqueeze(0));
  return amplitude * (angle.sin() + angle.cos());
}

at::Tensor kolmogorov_forcing(int64_t n, double amplitude, int64_t k) {
  const auto number = static_cast<double>(k);
  const at::Tensor y = at::arange(n, at::kDouble) / n;
  return (-2 * pi * number * amplitude * (2 * pi * number * y).cos()).unsqueeze(0).repeat({n, 1});
}

at::Tensor reduce_field(const at::Tensor& fields, int64_t stored, Reduction reduction) {
  const int64_t n = fields.size(-1);
  if (stored == n) return fields.clone();
  if (reduction == Reduction::subsample) {
    return fields.slice(1, 0, n, n / stored).slice(2, 0, n, n / stored).contiguous();
  }
  // One field after the other: its bits do not depend on how many there are.
  at::Tensor result = at::empty({fields.size(0), stored, stored}, fields.options());
  const int64_t most = (stored - 1) / 2;
  for (int64_t i = 0; i < fields.size(0); ++i) {
    const at::Tensor from = at::fft_fft2(fields[i].to(at::kDouble));
    at::Tensor to = at::zeros({stored, stored}, at::kComplexDouble);
    const auto copy = [&](int64_t x, int64_t rows, int64_t x_to, int64_t y, int64_t columns, int64_t y_to) {
      to.narrow(0, x_to, rows).narrow(1, y_to, columns).copy_(from.narrow(0, x, rows).narrow(1, y, columns));
    };
    copy(0, most + 1, 0, 0, most + 1, 0);
    copy(0, most + 1, 0, n - most, most, stored - most);
    copy(n - most, most, stored - most, 0, most + 1, 0);
    copy(n - most, most, stored - most, n - most, most, stored - most);
    const auto scale = static_cast<double>(stored * stored) / static_cast<double>(n * n);
    result[i].copy_(at::real(at::fft_ifft2(to)) * scale);
  }
  return result;
}

FlowBudget flow_budget(const at::Tensor& vorticity, double viscosity, const at::Tensor& forcing) {
  check<ShapeError>(vorticity.dim() == 3 && vorticity.size(1) == vorticity.size(2), [&] {
    return fmt::format("flow budget: vorticity of shape {}; expected [batch, n, n]", shape_text(vorticity.sizes()));
  });
  const int64_t n = vorticity.size(1);
  const auto spectrum = [&](const at::Tensor& field) {
    return at::fft_fft2(field.to(at::kCPU, at::kDouble)) / static_cast<double>(n * n);
  };
  const at::Tensor k = at::fft_fftfreq(n, 1.0 / static_cast<double>(n), at::kDouble);
  const at::Tensor laplacian = 4 * pi * pi * (k.square().unsqueeze(1) + k.square().unsqueeze(0));
  at::Tensor inverse = laplacian.reciprocal();
  inverse[0][0] = 0;
  const at::Tensor w = spectrum(vorticity), power = at::abs(w).square();
  const auto sum = [](const at::Tensor& values) { return values.sum(at::IntArrayRef({1, 2})); };
  FlowBudget budget;
  budget.energy = sum(power * inverse) / 2;
  budget.enstrophy = sum(power) / 2;
  budget.energy_dissipation = viscosity * sum(power * laplacian * inverse);
  budget.enstrophy_dissipation = viscosity * sum(power * laplacian);
  const at::Tensor f = forcing.defined() ? spectrum(forcing).unsqueeze(0) : at::zeros_like(w);
  const at::Tensor work = at::real(w * f.conj());
  budget.energy_input = sum(work * inverse);
  budget.enstrophy_input = sum(work);
  return budget;
}

}  // namespace monarch::solvers
