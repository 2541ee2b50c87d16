#include "monarch/mri/partial_fourier.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <numbers>

#include "monarch/core/error.hpp"
#include "monarch/mri/arrays.hpp"

namespace monarch::mri {
namespace {

at::Tensor along(const at::Tensor& values, int64_t axis) {
  std::vector<int64_t> view(3, 1);
  view[static_cast<size_t>(axis)] = values.numel();
  return values.to(at::kFloat).view(view);
}

// Hann window over the symmetric centre, which reaches as far as the shorter side.
at::Tensor centre_window(const PartialAxis& partial, int64_t n) {
  const int64_t reach = std::min(n / 2 - partial.first, partial.last - n / 2);
  check<DataError>(
      reach >= 2,
      [&] { return fmt::format("partial Fourier: {}: too little beyond the centre for a phase map", partial.text()); },
      "reconstruct with zero filling, and look at the stated centre with `monarch info`");
  const at::Tensor k = (at::arange(n, at::kDouble) - static_cast<double>(n / 2)) / static_cast<double>(reach + 1);
  return at::where(k.abs() < 1, at::cos(k * (0.5 * std::numbers::pi)).square(), at::zeros_like(k));
}

// 1 in the acquired range, 0 outside; a raised cosine inside of the cut where `transition` is more than 0.
at::Tensor measured_weight(const PartialAxis& partial, int64_t n, int64_t transition) {
  const at::Tensor k = at::arange(n, at::kDouble);
  const at::Tensor inside =
      partial.missing_low ? k - static_cast<double>(partial.first) + 1 : static_cast<double>(partial.last) + 1 - k;
  const at::Tensor ramp = (inside / static_cast<double>(transition + 1)).clamp(0, 1);
  const at::Tensor outside = at::logical_or(k<partial.first, k> partial.last);
  return at::sin(ramp * (0.5 * std::numbers::pi)).square().masked_fill(outside, 0);
}

}  // namespace

std::string PartialAxis::text() const {
  const int64_t missing = full_last - full_first - (last - first);
  return fmt::format("{:.3g} along {}, {} of {} lines missing on the {} side", fraction, "zyx"[axis], missing,
                     full_last - full_first + 1, missing_low ? "low" : "high");
}

std::vector<PartialAxis> detect_partial_fourier(const at::Tensor& mask) {
  const at::Tensor sampled = mask_array(mask, {}, "sampling mask");
  std::vector<PartialAxis> found;
  for (int64_t axis = 0; axis < 3; ++axis) {
    const int64_t n = sampled.size(axis), centre = n / 2;
    const at::Tensor lines = at::nonzero(sampled.movedim(axis, 0).reshape({n, -1}).any(1)).view({-1});
    check<DataError>(lines.numel() > 0, "partial Fourier: nothing was acquired (the sampling mask is empty)");
    if (n == 1) continue;
    PartialAxis partial;
    partial.axis = axis;
    partial.first = lines[0].item<int64_t>();
    partial.last = lines[-1].item<int64_t>();
    // An even matrix has one more sample below DC than above; its mirror image beyond the end does not count.
    const int64_t low = std::min(centre - partial.first, n - 1 - centre), high = partial.last - centre;
    const int64_t gap = lines.numel() > 1 ? at::diff(lines).max().item<int64_t>() : 1;
    if (std::abs(low - high) <= std::max<int64_t>(gap, 1)) continue;
    partial.missing_low = low < high;
    const int64_t reach = std::max(low, high);
    partial.full_first = partial.missing_low ? (partial.last == n - 1 ? 0 : centre - reach) : partial.first;
    partial.full_last = partial.missing_low ? partial.last : (partial.first == 0 ? n - 1 : centre + reach);
    partial.fraction = static_cast<double>(partial.last - partial.first + 1) /
                       static_cast<double>(partial.full_last - partial.full_first + 1);
    found.push_back(partial);
  }
  return found;
}

at::Tensor pocs(const at::Tensor& kspace, const at::Tensor& mask, const PocsOptions& options) {
  const at::Tensor data = coil_array(kspace, "partial Fourier: k-space");
  mask_array(mask, data.sizes().slice(1).vec(), "partial Fourier: sampling mask");
  check<ConfigError>(options.iterations >= 1 && options.tolerance >= 0 && options.transition >= 0, [&] {
    return fmt::format(
        "partial Fourier: iterations must be at least 1, tolerance and transition 0 or more; found {}, {} and {}",
        options.iterations, options.tolerance, options.transition);
  });
  check_finite(data, "partial Fourier: k-space");
  const std::vector<PartialAxis> axes = detect_partial_fourier(mask);
  if (axes.empty()) return data.clone();

  at::Tensor window = at::ones({1, 1, 1}, at::kFloat), known = window, fade = window, wanted = window;
  for (const PartialAxis& partial : axes) {
    const int64_t n = data.size(partial.axis + 1);
    const int64_t reach = std::min(n / 2 - partial.first, partial.last - n / 2);
    window = window * along(centre_window(partial, n), partial.axis);
    known = known * along(measured_weight(partial, n, 0), partial.axis);
    // The fade stays clear of the centre, from which the phase comes.
    fade = fade * along(measured_weight(partial, n, std::min(options.transition, reach / 2)), partial.axis);
    const at::Tensor k = at::arange(n, at::kLong);
    wanted = wanted * along(at::logical_and(k >= partial.full_first, k <= partial.full_last), partial.axis);
  }
  const at::Tensor low = to_image(data * window);
  const at::Tensor magnitude = at::abs(low);
  const at::Tensor phase = at::where(magnitude > 0, low / magnitude, at::ones_like(low));

  at::Tensor image = to_image(data), estimate;
  for (int64_t iteration = 0; iteration < options.iterations; ++iteration) {
    estimate = to_kspace(at::abs(image) * phase) * wanted;
    const at::Tensor next = to_image(data * known + estimate * (1 - known));
    const double change = at::linalg_vector_norm(next - image).item<double>();
    const double norm = at::linalg_vector_norm(next).item<double>();
    image = next;
    if (change <= options.tolerance * norm) break;
  }
  return data * fade + estimate * (1 - fade);
}

}  // namespace monarch::mri
