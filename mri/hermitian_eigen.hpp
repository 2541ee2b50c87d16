#pragma once
// Leading eigenvectors of very many small Hermitian matrices, one per pixel: the kernel of ESPIRiT and of Walsh's
// method.

#include <complex>
#include <cstdint>
#include <vector>

namespace monarch::mri {

/// Hermitian matrices A(x) [coil, coil] of a run of pixels, upper triangles packed, structure of arrays.
/// Element (i, j), i <= j, of pixel x is real[p * stride + x] + 1i * imag[p * stride + x] with p = packed_index(n, i,
/// j). Every row must be readable up to the next multiple of `hermitian_padding` pixels.
struct HermitianRun {
  const float* real = nullptr;
  const float* imag = nullptr;
  int64_t stride = 0;
  int64_t pixels = 0;
};

inline constexpr int64_t hermitian_padding = 16;

constexpr int64_t packed_pairs(int64_t n) {
  return n * (n + 1) / 2;
}
constexpr int64_t packed_index(int64_t n, int64_t i, int64_t j) {
  return i * n - i * (i - 1) / 2 + (j - i);
}

/// Where the power iteration for vector m begins: the column of the matrix with the largest diagonal element that the
/// vectors before it leave, pixel by pixel (never nearly orthogonal to what is sought); or column m, like BART.
enum class EigenStart { strongest_coil, first_coil };

struct EigenRequest {
  int64_t coils = 0;
  int64_t vectors = 1;      ///< leading eigenpairs wanted, at most `coils`
  int64_t iterations = 30;  ///< power iterations per eigenvector
  EigenStart start = EigenStart::strongest_coil;
  float crop = 0;  ///< vectors whose eigenvalue is below become zero
  /// Phase convention: vectors are rotated so that <reference, v> is real and >= 0. Length `coils`.
  std::vector<std::complex<float>> reference;
};

/// Where the results go: vector m, coil c, pixel x at vectors[m * vector_stride + c * coil_stride + x], unit norm;
/// eigenvalue (Rayleigh quotient) at values[m * value_stride + x].
struct EigenOutput {
  std::complex<float>* vectors = nullptr;
  int64_t vector_stride = 0;
  int64_t coil_stride = 0;
  float* values = nullptr;
  int64_t value_stride = 0;
};

/// Power iteration with deflation: vector m is kept orthogonal to the vectors before it. Convergence is geometric with
/// the ratio of neighbouring eigenvalues.
/// Cost: 4 n^2 multiply-adds per iteration, vector and pixel, n = coils; scratch of n^2 vectors in registers' width.
/// Matrices may have any scale (they are divided by their trace inside); a zero matrix gives zero vectors.
void leading_eigenvectors(const HermitianRun& matrices, const EigenRequest& request, const EigenOutput& output);

}  // namespace monarch::mri
