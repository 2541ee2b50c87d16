#include "monarch/data/scan_summary.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "monarch/core/text.hpp"

namespace monarch::data {

namespace {

/// First and one past the last set index of the run around `centre`; empty where the centre is not set.
std::array<int64_t, 2> run_around(const std::vector<bool>& set, int64_t centre) {
  if (!set[static_cast<size_t>(centre)]) return {centre, centre};
  int64_t begin = centre, end = centre + 1;
  while (begin > 0 && set[static_cast<size_t>(begin - 1)]) --begin;
  while (end < static_cast<int64_t>(set.size()) && set[static_cast<size_t>(end)]) ++end;
  return {begin, end};
}

std::vector<bool> to_flags(const at::Tensor& mask) {
  const at::Tensor flat = mask.contiguous();
  const bool* values = flat.data_ptr<bool>();
  return std::vector<bool>(values, values + flat.numel());
}

/// Largest fully sampled box of lines around the centre: grown by one on each side in turn.
std::array<int64_t, 2> sampled_box(const at::Tensor& lines, int64_t centre_z, int64_t centre_p) {
  const int64_t nz = lines.size(0), np = lines.size(1);
  const auto flags = to_flags(lines);
  const auto full = [&](int64_t z0, int64_t z1, int64_t p0, int64_t p1) {
    if (z0 < 0 || z1 > nz || p0 < 0 || p1 > np) return false;
    for (int64_t z = z0; z < z1; ++z) {
      for (int64_t p = p0; p < p1; ++p) {
        if (!flags[static_cast<size_t>(z * np + p)]) return false;
      }
    }
    return true;
  };
  int64_t z0 = centre_z, z1 = centre_z + 1, p0 = centre_p, p1 = centre_p + 1;
  if (!full(z0, z1, p0, p1)) return {0, 0};
  for (bool grown = true; grown;) {
    grown = false;
    const auto grow = [&](int64_t a, int64_t b, int64_t c, int64_t d, int64_t& value, int64_t step) {
      if (!full(a, b, c, d)) return;
      value += step;
      grown = true;
    };
    grow(z0, z1, p0 - 1, p0, p0, -1);
    grow(z0, z1, p1, p1 + 1, p1, 1);
    grow(z0 - 1, z0, p0, p1, z0, -1);
    grow(z1, z1 + 1, p0, p1, z1, 1);
  }
  return {z1 - z0, p1 - p0};
}

/// "6/8"-like text for the part of an axis that was acquired, when one side of the centre is shorter.
void partial_fourier(const std::vector<bool>& acquired, int64_t centre, const char* axis, const char* what,
                     const char* hint, ScanSummary& summary) {
  const auto first = std::find(acquired.begin(), acquired.end(), true) - acquired.begin();
  const auto last = acquired.rend() - std::find(acquired.rbegin(), acquired.rend(), true);
  const auto extent = static_cast<int64_t>(acquired.size());
  if (first >= last || extent < 8) return;
  const int64_t below = centre - first, above = last - 1 - centre;
  if (std::abs(below - above) <= std::max<int64_t>(2, extent / 16)) return;
  summary.findings.push_back(
      fmt::format("{} along {}: {} samples before the centre, {} behind it ({:.0f} % of the matrix); {}", what, axis,
                  below, above, 100.0 * static_cast<double>(last - first) / static_cast<double>(extent), hint));
}

}  // namespace

void find_silent_coils(const at::Tensor& samples, ScanSummary& summary) {
  const at::Tensor power = at::view_as_real(samples).square().flatten(1).sum(1);
  std::vector<std::string> silent;
  for (int64_t coil = 0; coil < power.numel(); ++coil) {
    if (!(power[coil].item<double>() > 0)) silent.push_back(std::to_string(coil));
  }
  if (silent.empty()) return;
  summary.findings.push_back(fmt::format("coil {} of {} holds only zeros; it adds nothing but memory",
                                         fmt::join(silent, ", "), power.numel()));
}

void describe_kspace(const KSpace& kspace, const ScanHeader& header, ScanSummary& summary,
                     std::optional<std::array<int64_t, 2>> step_centres) {
  // Everything below speaks of x as the readout, as the header does.
  const auto readout_last = [&](const at::Tensor& t) {
    return header.readout == ReadoutAxis::x ? t : t.transpose(-1, -2);
  };
  const at::Tensor mask = readout_last(kspace.mask);  // [z, y, x]
  const int64_t nz = mask.size(0), ny = mask.size(1), nx = mask.size(2);
  const Extent3 centre{nx / 2, ny / 2, nz / 2};
  summary.centre_stated = centre;

  const at::Tensor lines = mask.any(-1);  // [z, y]
  // In a 2-D pattern, points are missing inside the lines, not only at their ends.
  const at::Tensor before = at::cumsum(mask.to(at::kInt), -1) > 0;
  const at::Tensor behind = at::flip(at::cumsum(at::flip(mask, -1).to(at::kInt), -1) > 0, -1);
  summary.sample_map = nz == 1 && (before & behind & ~mask).any().item<bool>();
  if (!summary.line_map.defined() || summary.sample_map) {
    summary.line_map = (summary.sample_map ? mask[0] : lines).to(at::kInt);
  }
  const auto acquired = lines.sum().item<int64_t>();
  summary.acceleration = acquired > 0 ? static_cast<double>(lines.numel()) / static_cast<double>(acquired) : 1;
  if (summary.sample_map) {
    summary.acceleration = static_cast<double>(mask.numel()) / static_cast<double>(mask.sum().item<int64_t>());
  }

  const at::Tensor power = at::view_as_real(readout_last(kspace.samples)).square().sum(-1);  // [coil, z, y, x]
  find_silent_coils(kspace.samples, summary);

  const at::Tensor combined = power.sum(0);  // [z, y, x]
  const int64_t strongest = combined.argmax().item<int64_t>();
  summary.centre_found = {strongest % nx, strongest / nx % ny, strongest / (nx * ny)};
  const bool any_signal = combined.max().item<double>() > 0;
  if (any_signal) {
    for (size_t axis = 0; axis < 3; ++axis) {
      const int64_t shift = summary.centre_found[axis] - centre[axis];
      const int64_t extent = axis == 0 ? nx : axis == 1 ? ny : nz;
      if (std::abs(shift) <= std::max<int64_t>(2, extent / 64)) continue;
      std::string hint = "the image's phase, and partial Fourier, suffer";
      if (axis > 0 && step_centres && header.format.starts_with("ISMRMRD")) {
        const auto steps = *step_centres;
        hint =
            fmt::format("try --centre {},{}", steps[0] + (axis == 1 ? shift : 0), steps[1] + (axis == 2 ? shift : 0));
      }
      summary.findings.push_back(
          fmt::format("the strongest sample lies {} from the stated centre along {} (index {} of {}, expected {}); {}",
                      shift, "xyz"[axis], summary.centre_found[axis], extent, centre[axis], hint));
    }
  }

  at::Tensor calibration_lines = lines;
  if (kspace.calibration_mask.defined()) {
    calibration_lines = lines.logical_or(readout_last(kspace.calibration_mask).any(-1));
  }
  const auto box = sampled_box(calibration_lines, centre[2], centre[1]);
  const auto columns = to_flags(mask.any(0).any(0));
  const auto readout_run = run_around(columns, centre[0]);
  if (summary.sample_map) {
    const auto samples = sampled_box(mask[0], centre[1], centre[0]);
    if (samples[0] > 1 && samples[1] > 1) summary.calibration = Extent3{samples[1], samples[0], 1};
  } else if (box[1] > 1) {
    summary.calibration = Extent3{readout_run[1] - readout_run[0], box[1], box[0]};
  }

  const char* fill = "zero filling blurs; --partial-fourier pocs fills the gap";
  partial_fourier(to_flags(lines.any(0)), centre[1], "y", "partial Fourier", fill, summary);
  if (nz > 1) partial_fourier(to_flags(lines.any(1)), centre[2], "z", "partial Fourier", fill, summary);
  partial_fourier(columns, centre[0], "x", "asymmetric echo", "the missing part is zero", summary);

  const EncodingSpace& recon = header.recon;
  if (recon.field_of_view_mm[0] > 0 && recon.field_of_view_mm[1] > 0) {
    const double dx = recon.field_of_view_mm[0] / static_cast<double>(recon.matrix[0]);
    const double dy = recon.field_of_view_mm[1] / static_cast<double>(recon.matrix[1]);
    if (header.encoded.matrix[0] == header.encoded.matrix[1] && header.recon.matrix[0] != header.recon.matrix[1] &&
        (dx > 1.5 * dy || dy > 1.5 * dx)) {
      summary.findings.push_back(fmt::format(
          "the encoded matrix is square, but the image is to be {} x {} with pixels of {:.3g} x {:.3g} mm: the header "
          "seems to assume readout oversampling that was not done",
          recon.matrix[0], recon.matrix[1], dx, dy));
    }
  }
}

}  // namespace monarch::data
