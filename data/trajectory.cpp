#include "monarch/data/trajectory.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/npy.hpp"
#include "monarch/data/scan_summary.hpp"

namespace monarch::data {
namespace {

/// Largest |k| of each axis, [axis].
at::Tensor reach_of(const at::Tensor& k) {
  return k.abs().flatten(0, -2).amax(0);
}

void check_numbers(const at::Tensor& k, const std::string& place) {
  const at::Tensor bad = at::isfinite(k).logical_not().any(-1).flatten();
  if (!bad.any().item<bool>()) return;
  fail<DataError>(fmt::format("{}: the trajectory is NaN or infinite at sample {} of {}", place,
                              bad.nonzero()[0].item<int64_t>(), bad.numel()),
                  "the export or the calculation of the trajectory failed");
}

const char* unit_text(TrajectoryUnit unit) {
  switch (unit) {
    case TrajectoryUnit::normalised:
      return "fractions of the matrix";
    case TrajectoryUnit::radians:
      return "radians per pixel";
    default:
      return "cycles per field of view";
  }
}

/// Cycles per field of view of n pixels in one unit.
double cycles(TrajectoryUnit unit, int64_t n) {
  if (unit == TrajectoryUnit::normalised) return static_cast<double>(n);
  return unit == TrajectoryUnit::radians ? static_cast<double>(n) / (2 * std::numbers::pi) : 1;
}

class TrajectoryScan final : public ScanSource {
 public:
  TrajectoryScan(std::unique_ptr<ScanSource> scan, std::string name, const ScanOptions& options)
      : scan_(std::move(scan)), name_(std::move(name)), k_(load_trajectory(options.trajectory)) {
    header_ = scan_->header();
    header_.trajectory = "other";
    header_.readout = ReadoutAxis::x;
    const std::string place = options.trajectory.string();
    Extent3 matrix = options.matrix;
    if (matrix[0] == 0) {
      check<DataError>(
          options.trajectory_unit == TrajectoryUnit::automatic || options.trajectory_unit == TrajectoryUnit::cycles,
          [&] {
            return fmt::format("{}: the matrix cannot be told from {}", place, unit_text(options.trajectory_unit));
          },
          "pass --matrix");
      const double reach = reach_of(k_.narrow(-1, 0, 2)).max().item<double>();
      check<DataError>(
          reach > std::numbers::pi && reach <= 32768,
          [&] {
            return fmt::format(
                "{}: the trajectory reaches |k| = {:.6g}, which tells no matrix (in cycles per field of "
                "view it would be half of it)",
                place, reach);
          },
          "pass --matrix");
      // A rounding beyond a whole number is none.
      matrix[0] = 2 * static_cast<int64_t>(std::ceil(reach * (1 - 1e-6)));
    }
    if (matrix[1] == 0) matrix[1] = matrix[0];
    if (matrix[2] == 0) matrix[2] = 1;
    header_.encoded = header_.recon = {matrix, {}};
    header_.volume = matrix[2] > 1;
    check<DataError>(
        !header_.volume || k_.size(-1) == 3,
        [&] { return fmt::format("{}: two axes, but the matrix has {} partitions", place, matrix[2]); },
        "a 3-D scan needs a trajectory of three axes");
    unit_ = settle_unit(options.trajectory_unit, k_, matrix, place, header_.warnings);
  }

  const ScanHeader& header() const override { return header_; }
  const std::vector<ImageIndex>& images() const override { return scan_->images(); }

  KSpace read(size_t image) const override {
    KSpace kspace = scan_->read(image);
    const at::Tensor samples = kspace.samples.flatten(1);
    const int64_t points = k_.size(0) * k_.size(1);
    check<DataError>(
        samples.size(1) == points,
        [&] {
          return fmt::format("{}: {} samples a coil, but the trajectory has {} ({} readouts of {})", name_,
                             samples.size(1), points, k_.size(0), k_.size(1));
        },
        "trajectory and k-space must be in the same order, and of the same length");
    kspace.mask = at::Tensor();
    set_samples(kspace, samples.reshape({samples.size(0), k_.size(0), k_.size(1)}), k_, unit_, header_, name_);
    return kspace;
  }

  ScanSummary summarise() const override {
    ScanSummary summary;
    summary.contents.push_back({"images", static_cast<int64_t>(images().size())});
    describe_samples(read(0), header_, summary);
    return summary;
  }

 private:
  std::unique_ptr<ScanSource> scan_;
  std::string name_;
  at::Tensor k_;  // [readout, sample, axis]
  ScanHeader header_;
  TrajectoryUnit unit_ = TrajectoryUnit::cycles;
};

}  // namespace

TrajectoryUnit parse_trajectory_unit(const std::string& name) {
  if (name == "auto") return TrajectoryUnit::automatic;
  if (name == "cycles") return TrajectoryUnit::cycles;
  if (name == "normalised" || name == "normalized") return TrajectoryUnit::normalised;
  if (name == "radians") return TrajectoryUnit::radians;
  fail<ConfigError>(fmt::format("--trajectory-unit: '{}' is not auto, cycles, normalised or radians", name));
}

at::Tensor load_trajectory(const std::filesystem::path& path) {
  at::Tensor k = load_npy(path);
  check<DataError>(
      k.dim() >= 2 && k.numel() > 0 && !k.is_complex() && (k.size(-1) == 2 || k.size(-1) == 3),
      [&] {
        return fmt::format(
            "{}: a trajectory is [readout, sample, axis] or [sample, axis] of real numbers with 2 or 3 "
            "axes; found {} {}",
            path.string(), k.is_complex() ? "complex" : "real", shape_text(k.sizes()));
      },
      "the axes are kx, ky (and kz), in the order of the samples");
  k = k.to(at::kDouble);
  check_numbers(k, path.string());
  return k.reshape({-1, k.size(-2), k.size(-1)});
}

TrajectoryUnit settle_unit(TrajectoryUnit unit, const at::Tensor& k, const Extent3& matrix, const std::string& place,
                           std::vector<std::string>& warnings) {
  check_numbers(k, place);
  const at::Tensor reach = reach_of(k);
  const double largest = reach.max().item<double>();
  if (unit == TrajectoryUnit::automatic) {
    const double half = static_cast<double>(std::max(matrix[0], matrix[1])) / 2;
    unit = TrajectoryUnit::cycles;
    if (largest <= 0.501 && half > 1) unit = TrajectoryUnit::normalised;
    if (largest > 0.501 && largest <= 1.001 * std::numbers::pi && half > 2 * std::numbers::pi) {
      unit = TrajectoryUnit::radians;
    }
    if (unit != TrajectoryUnit::cycles) {
      warnings.push_back(
          fmt::format("{}: the trajectory reaches |k| = {:.4g}; read as {} (--trajectory-unit says otherwise)", place,
                      largest, unit_text(unit)));
    }
  }
  for (int64_t axis = 0; axis < 2; ++axis) {
    const int64_t n = matrix[static_cast<size_t>(axis)];
    const double covered = reach[axis].item<double>() * cycles(unit, n) / (static_cast<double>(n) / 2);
    if (covered >= 0.5 || n < 8) continue;
    warnings.push_back(fmt::format(
        "{}: along k{} the trajectory, read as {}, covers {:.3g} % of a matrix of {}; if the image is a blur, "
        "its unit is another (--trajectory-unit)",
        place, "xyz"[axis], unit_text(unit), 100 * covered, n));
  }
  return unit;
}

void set_samples(KSpace& kspace, const at::Tensor& samples, const at::Tensor& k, TrajectoryUnit unit,
                 const ScanHeader& header, const std::string& place) {
  check_numbers(k, place);
  const at::Tensor bad = at::isfinite(at::view_as_real(samples)).all(-1).logical_not();
  check<DataError>(
      !bad.any().item<bool>(),
      [&] {
        const at::Tensor where = bad.nonzero()[0];
        return fmt::format("{}: coil {}, readout {}, sample {} is NaN or infinite", place, where[0].item<int64_t>(),
                           where[1].item<int64_t>(), where[2].item<int64_t>());
      },
      "one bad sample spoils the whole image; the export or an earlier step failed");
  const int64_t axes = header.volume ? 3 : 2;
  check<DataError>(
      k.size(-1) >= axes, [&] { return fmt::format("{}: the trajectory has two axes, the scan three", place); },
      "all images of a scan need the same number of axes");
  const auto& matrix = header.encoded.matrix;
  at::Tensor scaled = k.narrow(-1, 0, axes).clone();
  at::Tensor inside = at::ones({k.size(0), k.size(1)}, at::kBool);
  for (int64_t axis = 0; axis < axes; ++axis) {
    const int64_t n = matrix[static_cast<size_t>(axis)];
    const double half = static_cast<double>(n) / 2;
    at::Tensor along = scaled.select(-1, axis);
    along.mul_(cycles(unit, n));
    inside.logical_and_(along.abs() <= half * (1 + 1e-3));
    along.clamp_(-half, half);  // what rounding, or an edge counted as half a pixel further, leaves outside
  }
  const auto kept = inside.sum().item<int64_t>();
  check<DataError>(
      2 * kept >= inside.numel(),
      [&] {
        return fmt::format("{}: {} of {} samples lie beyond the encoded matrix of {} x {} (read as {})", place,
                           inside.numel() - kept, inside.numel(), matrix[0], matrix[1], unit_text(unit));
      },
      "the trajectory is in another unit (--trajectory-unit), or the matrix is wrong");
  if (kept == inside.numel()) {
    kspace.samples = samples.unsqueeze(1).contiguous();
    kspace.trajectory = scaled;
    return;
  }
  const at::Tensor index = inside.flatten().nonzero().squeeze(1);
  kspace.samples = samples.flatten(1).index_select(1, index).reshape({samples.size(0), 1, 1, kept});
  kspace.trajectory = scaled.flatten(0, 1).index_select(0, index).unsqueeze(0);
}

void describe_samples(const KSpace& kspace, const ScanHeader& header, ScanSummary& summary) {
  const auto& matrix = header.encoded.matrix;
  const int64_t samples = kspace.trajectory.size(0) * kspace.trajectory.size(1);
  summary.contents.push_back({"readouts of the first image", kspace.trajectory.size(0)});
  summary.contents.push_back({"samples of the first image", samples});
  summary.acceleration =
      static_cast<double>(matrix[0] * matrix[1] * matrix[2]) / static_cast<double>(std::max<int64_t>(samples, 1));
  const at::Tensor reach = reach_of(kspace.trajectory);
  std::string text;
  for (int64_t axis = 0; axis < reach.numel(); ++axis) {
    text += fmt::format("{}k{} {:.5g} of {:g}", axis ? ", " : "", "xyz"[axis], reach[axis].item<double>(),
                        static_cast<double>(matrix[static_cast<size_t>(axis)]) / 2);
  }
  summary.findings.push_back("non-Cartesian; the trajectory reaches " + text + " cycles per field of view");
  find_silent_coils(kspace.samples, summary);
}

std::unique_ptr<ScanSource> with_trajectory(std::unique_ptr<ScanSource> scan, const std::string& name,
                                            const ScanOptions& options) {
  return std::make_unique<TrajectoryScan>(std::move(scan), name, options);
}

}  // namespace monarch::data
