#pragma once
// The transforms that the solvers on regular grids use, in double precision. Objects are shared between threads; what
// they compute does not depend on the memory's alignment.

#include <complex>
#include <cstdint>
#include <memory>

namespace monarch::solvers {

/// Real Fourier transform of n points: v_k = sum_j x_j exp(-2 pi i jk/n), k = 0 … n/2. O(n log n).
class RealFft {
 public:
  /// Throws ShapeError for n < 1.
  explicit RealFft(int64_t n);
  ~RealFft();
  RealFft(const RealFft&) = delete;
  RealFft& operator=(const RealFft&) = delete;

  int64_t points() const { return n_; }
  int64_t modes() const { return n_ / 2 + 1; }
  /// x: [n], kept; v: [n/2 + 1].
  void forward(const double* x, std::complex<double>* v) const;
  /// The inverse, 1/n included. v is overwritten.
  void inverse(std::complex<double>* v, double* x) const;

 private:
  struct Plans;
  int64_t n_;
  std::unique_ptr<Plans> plans_;
};

/// Orthonormal cosine transform (DCT-II) of n × n points x_j = (j + 1/2)/n: coefficients of
/// phi_k(x) = sqrt(2 - [k = 0]) cos(pi k x), times n. O(n^2 log n).
class CosineTransform2d {
 public:
  /// Throws ShapeError for n < 1.
  explicit CosineTransform2d(int64_t n);
  ~CosineTransform2d();
  CosineTransform2d(const CosineTransform2d&) = delete;
  CosineTransform2d& operator=(const CosineTransform2d&) = delete;

  int64_t points() const { return n_; }
  /// [n, n] to [n, n]; `from` and `to` may be the same.
  void forward(const double* from, double* to) const;
  /// The inverse (DCT-III).
  void inverse(const double* from, double* to) const;

 private:
  struct Plans;
  int64_t n_;
  std::unique_ptr<Plans> plans_;
};

}  // namespace monarch::solvers
