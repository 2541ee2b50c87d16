#pragma once
// The Cartesian SENSE encoding operator with everything fused.

#include <ATen/core/Tensor.h>

#include <array>
#include <memory>
#include <string>

#include "monarch/operators/linear_operator.hpp"

namespace monarch::mri {

/// Throws ShapeError or DtypeError, naming `who`, unless maps are [map, coil, z, y, x] complex64 on the CPU.
void check_maps(const at::Tensor& maps, const std::string& who);

/// A = M F S: coil sensitivities, centred unitary Fourier transform over z, y and x, sampling mask.
///
///   (A x)_c = M · F Σ_m S_{m,c} x_m,   A^H y = Σ_c conj(S_{m,c}) F^H (M · y_c)
///
/// Domain [map, z, y, x] (the map axis is there for one map, too), codomain [coil, z, y, x], complex64 on the CPU.
/// Equal to `sampling * fourier * coils` of operators/, and checked against it, but normal() is several times faster:
///
/// - F^H M F is a circulant convolution, which commutes with the shifts of the centred transform. The mask is shifted
///   once, with the factor 1/N folded in, and the loop transforms without shifts or scales.
/// - Along axes on which the mask does not depend the transforms cancel. For a 2-D scan with full readouts only 1-D
///   transforms along the phase encodes are left; for a 3-D one, 2-D transforms over both phase encodes.
/// - What is left separates into independent blocks of columns (or rows): each goes through multiplication by the
///   maps, transform, mask, inverse transform and accumulation without leaving the cache.
///
/// Cost of normal() per coil and map, N points, n of them along the transformed axes: 10 N log2 n + 14 N flops; the
/// maps are read from memory once. Keeps a second copy of the maps, blocked in the order in which they are used.
/// Pruessmann et al., Magn. Reson. Med. 42 (1999) and 46 (2001).
class CartesianSense final : public operators::LinearOperator {
 public:
  /// maps: [map, coil, z, y, x] complex64. mask: [z, y, x] bool, what was acquired. The maps must not be
  /// modified afterwards. Throws ShapeError and DtypeError.
  CartesianSense(const at::Tensor& maps, const at::Tensor& mask);
  ~CartesianSense() override;

  std::string describe() const override;

  /// Upper bound of λmax(A^H A): over all points, the largest row sum of |Σ_c conj(S_{m,c}) S_{n,c}| (1 for
  /// normalised, mutually orthogonal maps).
  double norm_bound() const { return norm_bound_; }
  /// Which of z, y, x the transforms of normal() go along.
  std::array<bool, 3> transformed_axes() const { return transformed_; }

 protected:
  at::Tensor do_apply(const at::Tensor& x) const override;
  at::Tensor do_adjoint(const at::Tensor& y) const override;
  at::Tensor do_normal(const at::Tensor& x) const override;

 private:
  struct Blocks;

  at::Tensor maps_;     // [map, coil, z, y, x]
  at::Tensor missing_;  // [z, y, x] bool: what was not acquired; zero is written there, whatever the argument holds
  std::array<bool, 3> transformed_{};
  double norm_bound_ = 0;
  operators::OperatorPtr fourier_;  // centred, unitary, over z, y and x of the coil images
  std::unique_ptr<const Blocks> blocks_;
};

}  // namespace monarch::mri
