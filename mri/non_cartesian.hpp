#pragma once
// SENSE encoding and gridding for samples that lie on no grid.

#include <ATen/core/Tensor.h>

#include <array>
#include <memory>
#include <string>

#include "monarch/operators/linear_operator.hpp"

namespace monarch::mri {

/// A = sqrt(W) F S: coil sensitivities, the Fourier transform at the samples (operators/nufft.hpp, accuracy 10⁻⁶), and
/// their weights, all 1 by default.
///
///   (A x)_c = sqrt(w) · F Σ_m S_{m,c} x_m,   A^H y = Σ_c conj(S_{m,c}) F^H (sqrt(w) · y_c)
///
/// Domain [map, z, y, x] (the map axis is there for one map, too), codomain [coil, sample], complex64 on the CPU.
/// normal() takes no sample into its hands: F^H W F is a Toeplitz matrix, applied as a convolution coil by coil between
/// the multiplications by the maps, all within a core's cache for images of usual size. Threads share the coils or,
/// where there are fewer, the lines of one transform.
/// Cost of normal() per coil: about 4 FFTs of the image's size in 2-D (8 in 3-D), forth and back.
/// Pruessmann et al., Magn. Reson. Med. 46 (2001); Wajer, Pruessmann, Proc. ISMRM 9 (2001), 767: Toeplitz.
class NonCartesianSense final : public operators::LinearOperator {
 public:
  /// maps: [map, coil, z, y, x] complex64, not to be modified afterwards. trajectory: [sample, axis] float64 in cycles
  /// per field of view, axes x, y (z must be 1) or x, y, z. weights: [sample] real, not negative, or undefined.
  /// Throws ShapeError, DtypeError and DataError.
  NonCartesianSense(const at::Tensor& maps, const at::Tensor& trajectory, const at::Tensor& weights = {});
  ~NonCartesianSense() override;

  std::string describe() const override;

 protected:
  at::Tensor do_apply(const at::Tensor& x) const override;
  at::Tensor do_adjoint(const at::Tensor& y) const override;
  at::Tensor do_normal(const at::Tensor& x) const override;

 private:
  struct Convolution;

  at::Tensor maps_;  // [map, coil, z, y, x]
  at::Tensor root_;  // [sample] float32: sqrt(w), or undefined
  int64_t samples_ = 0;
  operators::OperatorPtr nufft_;  // [coil, z, y, x] or, in 2-D, [coil, y, x]
  std::shared_ptr<const Convolution> convolution_;
};

/// Images by gridding: F^H (density · y) per coil, an approximation of the inverse. samples: [coil, sample] complex64,
/// density: [sample] (density.hpp), extents of the image [x, y, z]. Returns [coil, z, y, x] in the unit of a unitary
/// transform. Jackson et al., IEEE Trans. Med. Imaging 10 (1991).
at::Tensor gridded_images(const at::Tensor& samples, const at::Tensor& trajectory, const at::Tensor& density,
                          const std::array<int64_t, 3>& extents);

}  // namespace monarch::mri
