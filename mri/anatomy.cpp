#include "monarch/mri/anatomy.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "monarch/core/rng.hpp"

namespace monarch::mri {
namespace {

/// Proton density relative to water, and T2 at 3 T in ms (Gold et al., AJR 2004; rounded).
struct Tissue {
  double density, t2;
};
constexpr Tissue fat{0.75, 65}, muscle{0.62, 35}, marrow{0.68, 110}, cortical{0.06, 8}, cartilage{0.78, 42},
    fluid{0.97, 300}, blood{0.85, 120}, tendon{0.15, 10};

class Builder {
 public:
  Builder(uint64_t seed, const std::string& scan_id, const std::vector<double>& times)
      : rng_(seed, scan_id + " anatomy"), times_(times) {}

  struct Part {
    Ellipsoid shape;
    std::vector<double> signal;  ///< its own, not the difference
    double angle = 0, half[2] = {0, 0};
  };

  double between(double low, double high) { return low + (high - low) * rng_.uniform(); }
  int64_t count(int64_t low, int64_t high) { return low + rng_.below(high - low + 1); }

  std::vector<double> signal(const Tissue& tissue) {
    const double density = tissue.density * between(0.92, 1.08), t2 = tissue.t2 * between(0.88, 1.12);
    std::vector<double> result;
    for (const double time : times_) result.push_back(density * std::exp(-time / t2));
    return result;
  }

  /// Adds an ellipsoid that lies in `around` (nullptr: in air).
  Part add(const Part* around, std::array<double, 2> centre, double a, double b, double angle, double s0, double length,
           std::vector<double> own) {
    Part part;
    part.signal = std::move(own);
    part.angle = angle;
    part.half[0] = a;
    part.half[1] = b;
    Ellipse& e = part.shape.middle;
    e.centre = centre;
    const double c = std::cos(angle), s = std::sin(angle);
    e.axes = {{{a * c, -b * s}, {a * s, b * c}}};
    e.signal = part.signal;
    if (around != nullptr)
      for (size_t i = 0; i < e.signal.size(); ++i) e.signal[i] -= around->signal[i];
    part.shape.s0 = s0;
    part.shape.length = length;
    parts_.push_back(part.shape);
    return part;
  }

  /// The same shape, smaller, of another tissue.
  Part inside(const Part& outer, double scale, const Tissue& tissue) {
    return add(&outer, outer.shape.middle.centre, outer.half[0] * scale, outer.half[1] * scale, outer.angle,
               outer.shape.s0, outer.shape.length * std::sqrt(scale), signal(tissue));
  }

  /// A place in `where` for a disc of this radius that no earlier one of `taken` (y, x, radius) overlaps.
  bool place(const Part& where, double radius, std::vector<std::array<double, 3>>& taken,
             std::array<double, 2>& centre) {
    for (int attempt = 0; attempt < 60; ++attempt) {
      const double r = std::sqrt(rng_.uniform()), phi = between(0, 2 * std::numbers::pi);
      const double a = std::max(0.0, 0.92 * where.half[0] - radius) * r * std::cos(phi);
      const double b = std::max(0.0, 0.92 * where.half[1] - radius) * r * std::sin(phi);
      const double c = std::cos(where.angle), s = std::sin(where.angle);
      centre = {where.shape.middle.centre[0] + a * c - b * s, where.shape.middle.centre[1] + a * s + b * c};
      const bool free = std::all_of(taken.begin(), taken.end(), [&](const auto& other) {
        return std::hypot(other[0] - centre[0], other[1] - centre[1]) >= other[2] + radius;
      });
      if (!free) continue;
      taken.push_back({centre[0], centre[1], radius});
      return true;
    }
    return false;
  }

  /// `number` ellipsoids of a tissue in `where`, half axes between low and high.
  void scatter(const Part& where, int64_t number, double low, double high, const Tissue& tissue, double shortest,
               double longest, std::vector<std::array<double, 3>>& taken) {
    for (int64_t i = 0; i < number; ++i) {
      const double a = between(low, high), b = a * between(0.45, 1);
      std::array<double, 2> centre{};
      const double angle = between(0, std::numbers::pi), s0 = between(-0.5, 0.5), length = between(shortest, longest);
      if (place(where, a, taken, centre)) add(&where, centre, a, b, angle, s0, length, signal(tissue));
    }
  }

  /// Faint structure: signals a little above or below what lies around.
  void texture(const Part& where, int64_t number, double low, double high, double strength) {
    for (int64_t i = 0; i < number; ++i) {
      std::vector<std::array<double, 3>> anywhere;
      const double a = between(low, high), b = a * between(0.2, 1), change = 1 + strength * between(-1, 1);
      std::array<double, 2> centre{};
      const double angle = between(0, std::numbers::pi), s0 = between(-0.5, 0.5), length = between(0.05, 0.4);
      if (!place(where, a, anywhere, centre)) continue;
      std::vector<double> own = where.signal;
      for (double& value : own) value *= change;
      add(&where, centre, a, b, angle, s0, length, own);
    }
  }

  std::vector<Ellipsoid> build() {
    const double turn = between(-0.4, 0.4);
    const Part skin = add(nullptr, {between(-0.02, 0.02), between(-0.02, 0.02)}, between(0.36, 0.42),
                          between(0.34, 0.41), turn, 0, 1.3, signal(fat));
    const Part limb = inside(skin, between(0.82, 0.93), muscle);
    texture(limb, count(8, 12), 0.05, 0.14, 0.3);  // groups of muscles
    for (int64_t i = count(6, 12); i > 0; --i) {   // septa of fat between them
      std::vector<std::array<double, 3>> anywhere;
      const double a = between(0.04, 0.12), b = between(0.003, 0.008), angle = between(0, std::numbers::pi);
      const double s0 = between(-0.5, 0.5), length = between(0.2, 0.8);
      std::array<double, 2> middle{};
      if (place(limb, a, anywhere, middle)) add(&limb, middle, a, b, angle, s0, length, signal(fat));
    }
    texture(limb, count(30, 45), 0.006, 0.035, 0.25);
    std::vector<std::array<double, 3>> taken;
    // Two bones that meet near the middle of the slices, and a smaller one beside them.
    const double joint = between(-0.12, 0.12);
    std::array<double, 2> centre{};
    const double radius = between(0.13, 0.18);
    if (place(limb, radius * 1.15, taken, centre)) {
      for (const double side : {-1.0, 1.0}) bone(limb, centre, radius * between(0.9, 1.05), joint, side);
    }
    if (place(limb, 0.07, taken, centre))
      bone(limb, centre, between(0.045, 0.06), joint, rng_.uniform() < 0.5 ? -1 : 1);
    scatter(limb, count(2, 5), 0.008, 0.025, blood, 0.4, 1.2, taken);
    scatter(limb, count(2, 5), 0.008, 0.03, tendon, 0.3, 1.0, taken);
    scatter(limb, count(1, 3), 0.02, 0.05, fluid, 0.1, 0.4, taken);
    scatter(limb, count(2, 5), 0.015, 0.05, fat, 0.2, 0.9, taken);
    return parts_;
  }

 private:
  /// From one side of the slices to the joint, where cartilage covers it.
  void bone(const Part& limb, std::array<double, 2> centre, double radius, double joint, double side) {
    const double end = joint + side * 0.02, s0 = side * between(0.55, 0.7), length = std::abs(s0 - end);
    const double b = radius * between(0.75, 1), angle = between(0, std::numbers::pi);
    const Part cap = add(&limb, centre, radius * 1.12, b * 1.12, angle, s0, length, signal(cartilage));
    const Part shell = inside(cap, 0.93, cortical);
    const Part core = inside(shell, between(0.88, 0.94), marrow);
    texture(core, count(12, 20), radius * 0.05, radius * 0.3, 0.3);
    std::vector<std::array<double, 3>> lesions;
    if (rng_.uniform() < 0.4) scatter(core, 1, radius * 0.1, radius * 0.3, fluid, 0.05, 0.2, lesions);
  }

  Rng rng_;
  const std::vector<double>& times_;
  std::vector<Ellipsoid> parts_;
};

}  // namespace

std::vector<Ellipsoid> random_anatomy(uint64_t seed, const std::string& scan_id, const std::vector<double>& times) {
  return Builder(seed, scan_id, times).build();
}

std::vector<Ellipse> sections(const std::vector<Ellipsoid>& anatomy, double s) {
  std::vector<Ellipse> result;
  for (const Ellipsoid& part : anatomy) {
    const double along = (s - part.s0) / part.length;
    if (!(std::abs(along) < 0.999)) continue;
    Ellipse ellipse = part.middle;
    const double scale = std::sqrt(1 - along * along);
    for (auto& row : ellipse.axes)
      for (double& value : row) value *= scale;
    result.push_back(std::move(ellipse));
  }
  return result;
}

}  // namespace monarch::mri
