#pragma once
// Circulant and Toeplitz matrices, shifts and convolutions as MM*: no permutation is ever applied.
//
// With F = M P the DFT (monarch_dft) and F = F^T: a circulant C = F^H D F = conj(M) D' M^T, where D' is D in the order
// of the input permutation. So C = M1 M2^H with M2 = conj(M), the inverse DFT's product without its permutation, and M1
// = M2 D'. A Toeplitz matrix is a corner of a larger circulant: fewer rows of w2 in both (implicit zero padding).

#include <cstdint>
#include <string>

#include "monarch/operators/linear_operator.hpp"
#include "monarch/operators/monarch/transform.hpp"

namespace monarch::operators {

/// The leading [rows, columns] part of M1 M2^H (mm_star.hpp).
struct MonarchPair {
  MonarchFactors left, right;
  int64_t rows = 0, columns = 0;
};

/// C[i, j] = column[(i - j) mod n]. column [n], real or complex. Factors of complex numbers of its precision, or, for a
/// real column with `real`, real ones of twice the inner width, acting on real vectors. A prime n is embedded in a
/// larger circulant. Of the options only `sizes` is read: those of the DFT of length n. Throws ShapeError, DtypeError,
/// and DataError for NaN.
MonarchPair monarch_circulant(const at::Tensor& column, bool real = false, const ConstructionOptions& options = {});
/// T[i, j] = column[i - j] for i >= j, row[j - i] above; row[0] is not read. column [m], row [n] of one dtype.
MonarchPair monarch_toeplitz(const at::Tensor& column, const at::Tensor& row, bool real = false);
/// y = x delayed by `shift` samples on the circle of n, by trigonometric interpolation: whole shifts roll x. The
/// highest frequency of an even n takes cos(pi shift), so that real vectors stay real.
MonarchPair monarch_fractional_shift(int64_t n, double shift, bool real = false,
                                     const ConstructionOptions& options = {});

/// y = A x, over the last axis: [..., columns] -> [..., rows]. A real x with complex factors gives a complex y.
/// Differentiable in x and the factors.
at::Tensor pair_multiply(const at::Tensor& x, const MonarchPair& pair);
/// The same as an operator (mm_star).
OperatorPtr pair_operator(const MonarchPair& pair);

enum class ConvolutionMode {
  circular,  ///< y[t] = sum_s kernel[s] x[(t - s) mod n]
  causal     ///< y[t] = sum_{s <= t} kernel[s] x[t - s], t < n: the linear convolution's first n elements
};

/// Convolution over the last axis through the Monarch FFT: three products with the same two factors (kernel, x, back).
class ConvolutionPlan {
 public:
  /// n: length of x. kernel_length: at most n. dtype: float32, float64, complex64 or complex128, of x. The transform's
  /// length is n where it is circular and composite, else a composite one without aliasing. Throws ShapeError,
  /// DtypeError.
  ConvolutionPlan(int64_t n, int64_t kernel_length, ConvolutionMode mode, at::ScalarType dtype,
                  at::Device device = at::kCPU);

  /// D' of kernels [channel, kernel_length] of the plan's dtype: complex [channel, transform length]. Differentiable.
  at::Tensor spectrum(const at::Tensor& kernel) const;
  /// x [..., channel, n], spectrum as above -> [..., channel, n] of x's dtype. Real rows go in pairs as complex ones.
  /// Differentiable in both. Cost: 2·N·K + 2·n·P complex multiplications a row (half of it for real rows in pairs).
  at::Tensor apply(const at::Tensor& x, const at::Tensor& spectrum) const;

  int64_t transform_length() const { return length_; }

 private:
  int64_t n_, kernel_length_, length_;
  ConvolutionMode mode_;
  at::ScalarType dtype_;
  MonarchFactors factors_;  ///< the orthonormal inverse DFT without permutation, its first n outputs
  MonarchFactors kernel_;   ///< likewise, as many outputs as the kernel has elements
};

/// y = kernel * x, channel by channel: x [..., channel, n], kernel [channel, m] with m <= n, both of one dtype. Makes a
/// plan; keep a ConvolutionPlan where the shape comes back. Differentiable in both. Throws ShapeError, DtypeError.
at::Tensor monarch_convolution(const at::Tensor& x, const at::Tensor& kernel, ConvolutionMode mode);

/// Convolution with fixed kernels: [channel, n] -> [channel, n].
class MonarchConvolution final : public LinearOperator {
 public:
  /// kernel [channel, m], m <= n: a constant.
  MonarchConvolution(const at::Tensor& kernel, int64_t n, ConvolutionMode mode);
  std::string describe() const override;

 protected:
  at::Tensor do_apply(const at::Tensor& x) const override;
  at::Tensor do_adjoint(const at::Tensor& y) const override;

 private:
  ConvolutionMode mode_;
  int64_t kernel_length_;
  ConvolutionPlan plan_;
  at::Tensor spectrum_;
};

}  // namespace monarch::operators
