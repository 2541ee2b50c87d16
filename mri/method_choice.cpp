#include "monarch/mri/method_choice.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/mri/calibration_region.hpp"
#include "monarch/mri/learning/learned_reconstruction.hpp"

namespace monarch::mri {
namespace {

const std::vector<std::pair<Method, std::string>>& method_names() {
  static const std::vector<std::pair<Method, std::string>> names = {
      {Method::automatic, "auto"},        {Method::rss, "rss"},
      {Method::sense, "sense"},           {Method::cg_sense, "cg-sense"},
      {Method::l1_wavelet, "l1-wavelet"}, {Method::tv, "tv"},
      {Method::grappa, "grappa"},         {Method::learned, "learned"}};
  return names;
}

}  // namespace

bool without_holes(const at::Tensor& mask) {
  if (mask.all().item<bool>()) return true;
  for (const int64_t axis : {0, 1, 2}) {
    if (mask.size(axis) < 3) continue;
    const at::Tensor seen_before = at::cumsum(mask.to(at::kInt), axis) > 0;
    const at::Tensor seen_after = at::flip(at::cumsum(at::flip(mask, axis).to(at::kInt), axis) > 0, axis);
    if (at::any(seen_before & seen_after & ~mask).item<bool>()) return false;
  }
  return true;
}

MethodChoice choose_method(const ReconOptions& options, const data::KSpace& kspace, int64_t pixels) {
  if (options.method == Method::learned && options.model) return {options.method, options.model->model().describe()};
  if (options.method != Method::automatic) return {options.method, "as asked for"};
  if (kspace.trajectory.defined()) {
    return {Method::cg_sense, fmt::format("non-Cartesian, {} samples for {} pixels",
                                          kspace.trajectory.size(0) * kspace.trajectory.size(1), pixels)};
  }
  if (without_holes(kspace.mask)) return {Method::rss, "the acquired region of k-space has no gaps"};
  if (kspace.samples.size(0) == 1) return {Method::l1_wavelet, "one coil, k-space with gaps"};
  if (has_calibration(kspace, options.kernel_size)) {
    const auto extent = calibration_block(kspace, options.calibration_size, options.kernel_size).extent;
    return {Method::cg_sense,
            fmt::format("k-space with gaps and a calibration region of {} × {} × {}", extent[0], extent[1], extent[2])};
  }
  return {Method::rss, "k-space has gaps, and no calibration region was found: zero-filled"};
}

double memory_estimate(const data::ScanHeader& header, const data::KSpace& kspace, Method method,
                       const ReconOptions& options) {
  const auto& n = header.encoded.matrix;
  const double voxels = static_cast<double>(n[0]) * static_cast<double>(n[1]) * static_cast<double>(n[2]);
  const double coils =
      static_cast<double>(options.virtual_coils > 0 ? std::min(options.virtual_coils, header.coils) : header.coils);
  const double samples = kspace.trajectory.defined() ? static_cast<double>(kspace.samples[0].numel()) : voxels;
  const double input = 8 * samples * static_cast<double>(header.coils);
  const double copies = method == Method::rss      ? 2
                        : method == Method::grappa ? 5
                                                   : 3 + 2.0 * static_cast<double>(options.map_count);
  // Gridding pads to twice the extents, in groups of bounded size; its tables and the trajectory are per sample.
  const double grids = kspace.trajectory.defined() ? 64 * voxels * (header.volume ? 2 : 1) + 80 * samples : 0;
  return input + copies * 8 * voxels * coils + grids;
}

std::string method_name(Method method) {
  for (const auto& [value, name] : method_names()) {
    if (value == method) return name;
  }
  return "unknown";
}

Method parse_method(const std::string& text) {
  std::vector<std::string> names;
  for (const auto& [value, name] : method_names()) {
    if (name == text) return value;
    names.push_back(name);
  }
  const std::string near = closest_match(text, names);
  fail<ConfigError>(fmt::format("--method: '{}' is not one of {}{}", text, join_or(names),
                                near.empty() ? "" : fmt::format("; did you mean {}?", near)));
}

}  // namespace monarch::mri
