#pragma once
// The non-uniform Fourier transform: images to samples anywhere in k-space.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>

#include "monarch/operators/linear_operator.hpp"

namespace monarch::operators {

enum class NufftKernel { exponential_of_semicircle, kaiser_bessel };

struct NufftOptions {
  /// Relative to the direct sum, within a factor of three: 1e-14 to 0.1. complex64 goes no further than 1e-6, where
  /// rounding sets in.
  double accuracy = 1e-6;
  double oversampling = 2;  ///< grid points per pixel, 1.2 to 4: fewer take less memory and a wider kernel
  NufftKernel kernel = NufftKernel::exponential_of_semicircle;
};

/// y_j = 1/sqrt(N) Σ_n x_n exp(-2πi Σ_a k_{j,a} (n_a - c_a) / N_a),  c = floor(N/2),  N = Π N_a.
///
/// Domain [..., z, y, x] (the last one, two or three axes by the trajectory), codomain [..., sample]; complex64 or
/// complex128 on the CPU. k is in cycles per field of view, |k_a| <= N_a / 2, as in BART. On whole numbers it is the
/// centred, unitary Fourier transform. The adjoint is the exact conjugate transpose of what apply() computes, and both
/// give the same bits for any number of threads.
///
/// The image, divided by the kernel's transform, is zero-padded to `oversampling` times its extents, transformed, and
/// interpolated at the samples with a kernel whose width follows from the accuracy (7 points for 10⁻⁶ at 2).
/// Cost per image: one FFT of the padded grid and about 4 width^d flops per sample.
/// Memory: the padded grids of some images; 24 bytes a sample in 2-D complex64.
/// Fessler, Sutton, IEEE Trans. Signal Process. 51 (2003); Barnett et al., SIAM J. Sci. Comput. 41 (2019).
class Nufft final : public LinearOperator {
 public:
  /// trajectory: [sample, axis] float32 or float64 with one to three axes in the order x, y, z; copied.
  /// Throws ShapeError, DtypeError, DataError for a k that is NaN or beyond N/2 (naming the sample), ConfigError for
  /// options out of range, or for an accuracy that needs a kernel of more than 16 points.
  Nufft(Space images, const at::Tensor& trajectory, NufftOptions options = {});
  ~Nufft() override;

  const NufftOptions& options() const { return options_; }
  std::string describe() const override;

 protected:
  at::Tensor do_apply(const at::Tensor& x) const override;
  at::Tensor do_adjoint(const at::Tensor& y) const override;

 private:
  template <class T>
  struct Plan;

  NufftOptions options_;
  int64_t samples_ = 0;
  std::string details_;
  std::shared_ptr<const Plan<float>> single_;  // one of the two
  std::shared_ptr<const Plan<double>> double_;
};

/// The spectrum of A^H W A for A = Nufft of images with extents `shape` = [(z,) (y,) x] at the trajectory: A^H W A is
/// a Toeplitz matrix, t(m - n) = 1/N Σ_j w_j exp(2πi k_j (m - n) / N), and this is the DFT of its circulant embedding
/// t(d), -N < d < N. Real, [2z, 2y, 2x] float64 in the order of the DFT; an axis of extent 1 stays 1.
/// weights: [sample] real, all 1 where undefined. Cost: one adjoint Nufft of twice the extents, in double.
/// Fessler et al., IEEE Trans. Signal Process. 53 (2005). Throws as Nufft.
at::Tensor nufft_spectrum(std::vector<int64_t> shape, const at::Tensor& trajectory, const at::Tensor& weights = {});

/// A^H W A of a Nufft A as a convolution: no sample is touched, whatever their number. Domain and codomain
/// [..., z, y, x], as many transformed axes as the trajectory has. Equal to nufft.adjoint(w * nufft.apply(x)) to the
/// accuracy of the latter, and several times faster. Self-adjoint.
/// Cost per image: see kernels::cpu::ToeplitzConvolution, about 4 FFTs of the image's own size in 2-D, forth and back.
class NufftNormal final : public LinearOperator {
 public:
  /// weights: [sample] real, all 1 where undefined. Throws as Nufft.
  NufftNormal(Space images, const at::Tensor& trajectory, const at::Tensor& weights = {});
  ~NufftNormal() override;

  std::string describe() const override;

 protected:
  at::Tensor do_apply(const at::Tensor& x) const override;
  at::Tensor do_adjoint(const at::Tensor& y) const override { return do_apply(y); }

 private:
  template <class T>
  at::Tensor convolve(const at::Tensor& x) const;

  struct Convolutions;
  std::shared_ptr<const Convolutions> convolutions_;
  int64_t axes_ = 0;
  int64_t samples_ = 0;
};

}  // namespace monarch::operators
