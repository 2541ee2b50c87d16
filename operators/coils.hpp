#pragma once
// The receive coils' view of an image.

#include "monarch/operators/linear_operator.hpp"

namespace monarch::operators {

/// y_c = Σ_m S_{m,c} x_m, adjoint x_m = Σ_c conj(S_{m,c}) y_c, element by element over z, y and x.
///
/// Domain [map, z, y, x] (the map axis is there for one map, too), codomain [coil, z, y, x]. Several maps serve soft
/// SENSE (Uecker et al., Magn. Reson. Med. 71 (2014)). Cost: 8 map·coil·z·y·x flops, the maps are read once per batch
/// entry; needs one coil image of scratch. Any device.
/// Pruessmann et al., Magn. Reson. Med. 42 (1999).
class CoilSensitivities final : public LinearOperator {
 public:
  /// maps: [map, coil, z, y, x] complex64 or complex128. Taken as constants (no gradient), and not to be modified
  /// afterwards. Throws ShapeError and DtypeError.
  explicit CoilSensitivities(const at::Tensor& maps);

  std::string describe() const override;
  /// [map, coil, z, y, x]
  const at::Tensor& maps() const { return maps_; }

 protected:
  at::Tensor do_apply(const at::Tensor& x) const override;
  at::Tensor do_adjoint(const at::Tensor& y) const override;

 private:
  at::Tensor maps_;
};

}  // namespace monarch::operators
