#pragma once
// The discrete Fourier transform over one to three axes, as an operator and as a function.

#include <cstdint>
#include <string>
#include <vector>

#include "monarch/operators/linear_operator.hpp"

namespace monarch::operators {

/// The factor that apply() (never its adjoint alone) is scaled by, n being the product of the transformed extents:
/// none 1, ortho 1/sqrt(n), inverse 1/n. It does not depend on the direction: an unscaled forward transform is
/// undone by {.inverse = true, .normalisation = Normalisation::inverse}.
enum class Normalisation { none, ortho, inverse };

struct FourierOptions {
  int64_t dimensions = 2;  ///< how many of the last axes are transformed: 1, 2 or 3
  bool inverse = false;    ///< exponent +2 pi i instead of -2 pi i
  bool centred = false;    ///< index floor(n/2) is the origin of both domains, for even and odd n alike
  Normalisation normalisation = Normalisation::ortho;
};

/// y_k = s sum_j x_j exp(-+ 2 pi i (j - c)(k - c) / n) over each of the last `dimensions` axes, with c = 0, or
/// c = floor(n/2) where centred (that is, ifftshift, transform, fftshift), and s by the normalisation.
///
/// The adjoint is the exact conjugate transpose: the transform of the other sign with the same s. It is the inverse
/// for `ortho`. Extents may be any positive numbers, odd and prime ones included; dtype complex64 or complex128.
/// Cost: O(n log n) and one result-sized allocation for a contiguous argument, in the FFT library of the device.
/// The first use of a shape on the CPU measures a plan (up to seconds where the machine has not met it before;
/// later programs find it in monarch::cache_folder()).
/// Throws ConfigError for an impossible option, ShapeError and DtypeError for a space it does not fit.
class Fourier final : public LinearOperator {
 public:
  explicit Fourier(Space space, FourierOptions options = {});

  const FourierOptions& options() const { return options_; }
  std::string describe() const override;

 protected:
  at::Tensor do_apply(const at::Tensor& x) const override;
  at::Tensor do_adjoint(const at::Tensor& y) const override;
  /// A^H A is a multiple of the identity: n, 1 or 1/n by the normalisation.
  at::Tensor do_normal(const at::Tensor& x) const override;

 private:
  FourierOptions options_;
};

struct TransformOptions {
  bool inverse = false;
  bool centred = false;
  Normalisation normalisation = Normalisation::ortho;
};

/// The transform of Fourier without an operator, over any one to three axes of x (negative ones count from the end).
/// x: complex64 or complex128 on CPU or CUDA, any rank and strides; it is not changed. Returns a new contiguous
/// tensor of the same shape. Not differentiable: gradients go through the operator.
/// Throws ShapeError (axis out of range or repeated, none or more than three) and DtypeError.
at::Tensor fourier_transform(const at::Tensor& x, std::vector<int64_t> axes, const TransformOptions& options = {});

}  // namespace monarch::operators
