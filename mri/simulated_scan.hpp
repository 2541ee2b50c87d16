#pragma once
// Scans of random anatomy (or of given images), so that reconstruction can be trained and measured without data.

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace monarch::mri {

struct SimulatedScanOptions {
  std::array<int64_t, 2> matrix{128, 80};  ///< y, x
  int64_t slices = 24;
  int64_t echoes = 2;
  int64_t coils = 8;
  double noise = 0.02;          ///< of a sample of a coil: E|n|² = noise²; undecayed water has magnitude 1
  bool analytic = false;        ///< k-space by the Fourier transform of ellipses in closed form
  bool normalised_maps = true;  ///< Σ over coils |sensitivity|² = 1
  at::Tensor images;            ///< [image, y, x] real, not negative: taken instead of anatomy
  int64_t first_image = 0;      ///< the image of slice 0; others follow, from the start behind the last
};

/// One slice of all echoes, complex64. DC at floor(n/2).
struct SimulatedSlice {
  at::Tensor kspace;         ///< [echo, coil, y, x], with noise
  at::Tensor sensitivities;  ///< [1, coil, y, x]
  /// [echo, 1, y, x]: fully sampled and without noise, Σ_c conj(s_c) x_c / Σ_c |s_c|² of the coil images x_c
  at::Tensor target;
};

/// A limb-like object: subcutaneous fat, muscles, two bones with marrow and cartilage that end along the slices,
/// tendons, vessels, fluid and fine texture, each an ellipsoid of a tissue with its own proton density and T2. Its
/// field of view is 160 × 128 × 160 mm (y, x, slices) whatever the matrix.
///
/// The signal of echo e at r is f_e(r) = Σ_ellipsoids (s_e − s_e of what it lies in), s_e = ρ exp(−TE_e/T2), with
/// TE_e = 6 ms + e 24 ms, times a smooth real modulation of some per cent and exp(i φ_e(r)), φ_e smooth and growing
/// with TE (B0). Coils are magnetic dipoles on rings around the object, B_y − i B_x of softened distance (Biot and
/// Savart), drawn out along the slices, scaled to a mean Σ|s|² of 1.
///
/// k-space is that of the object, not of an image on the scan's grid (no inverse crime): by default of pixels twice as
/// fine along both axes with anti-aliased edges, of which the central part is kept. `analytic`: sensitivities, phase
/// and modulation are fitted by trigonometric polynomials q(u) = Σ_m q_m exp(iπ m·u), |m| ≤ 3, u in fields of view,
/// which then take their place, and k-space is sqrt(n) Σ_m q_m F(k − m/2), n points, F being the exact transform
///   |A| exp(−2πi k·u0) J1(2π|Aᵀk|)/|Aᵀk|   of an ellipse {u: |A⁻¹(u − u0)| ≤ 1}.
/// Images (99th percentile scaled to 1) decay with T2 = 30 ms + 70 ms · magnitude.
///
/// Everything is a function of (options, seed, scan_id, slice): slices can be made in any order, by several threads.
/// Cost of a slice of 128 × 80, 8 coils, 2 echoes: about 40 ms; analytic 200 ms.
class SimulatedScan {
 public:
  /// Throws ConfigError: extents below 1 (matrix: 8; coils: up to 32), noise that is negative or not finite, images
  /// with `analytic`; ShapeError, DataError for images that are not [image, y, x] or negative, infinite or all zero.
  SimulatedScan(const SimulatedScanOptions& options, uint64_t seed, const std::string& scan_id);
  ~SimulatedScan();
  SimulatedScan(SimulatedScan&&) noexcept;

  SimulatedSlice slice(int64_t index) const;
  /// mm along image x, image y and slices.
  std::array<double, 3> voxel_mm() const;
  std::vector<double> echo_times_ms() const;

 private:
  struct State;
  std::unique_ptr<const State> state_;
};

/// An ellipse {u: |A⁻¹(u − u0)| ≤ 1} in fields of view, (y, x), with its signal in each echo.
struct Ellipse {
  std::array<double, 2> centre{0, 0};
  std::array<std::array<double, 2>, 2> axes{{{0.1, 0}, {0, 0.1}}};  ///< A, columns are half axes
  std::vector<double> signal;
};

/// F(k) = Σ_ellipses signal_e · transform at frequencies k = (i − first) / 2 cycles per field of view, i = 0 …,
/// along y and x -> [echo, extent_y, extent_x] complex128.
at::Tensor ellipse_spectrum(const std::vector<Ellipse>& ellipses, int64_t echoes, std::array<int64_t, 2> extent,
                            std::array<int64_t, 2> first);

/// Σ_ellipses signal_e · (part of the pixel inside, 0 to 1) on a grid with u = (p − floor(n/2))/n
/// -> [echo, y, x] float64.
at::Tensor ellipse_image(const std::vector<Ellipse>& ellipses, int64_t echoes, std::array<int64_t, 2> matrix);

}  // namespace monarch::mri
