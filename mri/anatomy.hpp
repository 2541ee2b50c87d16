#pragma once
// Random limb-like anatomy of ellipsoids.

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "monarch/mri/simulated_scan.hpp"

namespace monarch::mri {

/// An ellipsoid around an axis along the slices, s in [-1/2, 1/2]: its section at s is the ellipse with half axes
/// scaled by sqrt(1 − ((s − s0)/length)²).
struct Ellipsoid {
  Ellipse middle;
  double s0 = 0, length = 1;
};

/// The same for the same (seed, scan_id) and echo times. Signals are differences to what lies around.
std::vector<Ellipsoid> random_anatomy(uint64_t seed, const std::string& scan_id,
                                      const std::vector<double>& echo_times_ms);

/// Sections with a plane of constant s; those that it misses are left out.
std::vector<Ellipse> sections(const std::vector<Ellipsoid>& anatomy, double s);

}  // namespace monarch::mri
