#pragma once
// Sweeps of the wavelet transform over plain arrays.

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace monarch::operators::kernels {

/// Extents and filters of one transform, the axes [z, y, x]; axes that do not exist have extent 1 and no levels.
struct WaveletPlan {
  std::array<int64_t, 3> image{1, 1, 1};   ///< extents before padding
  std::array<int64_t, 3> padded{1, 1, 1};  ///< multiples of 2^levels
  std::array<int64_t, 3> levels{};
  std::array<int64_t, 3> shift{};          ///< 0 <= shift < image
  std::vector<double> low, high;           ///< as many coefficients each, an even number
  int64_t depth() const;                   ///< levels of the deepest axis
  /// Extents of the block that level l (from 0) splits; l = depth() gives the coarsest band.
  std::array<int64_t, 3> block(int64_t level) const;
};

/// image: [outer, z, y, x, component] -> coefficients: [outer, Z, Y, X, component]; component 1 (real) or 2 (complex).
/// threshold >= 0 also shrinks the modulus of each detail coefficient by it; negative: none. Needs depth() > 0.
template <class T>
void wavelet_analysis(const WaveletPlan& plan, const T* image, T* coefficients, int64_t outer, int64_t components,
                      double threshold);
/// The adjoint of wavelet_analysis without threshold.
template <class T>
void wavelet_synthesis(const WaveletPlan& plan, const T* coefficients, T* image, int64_t outer, int64_t components);

// Vector primitives, dispatched at run time. n counts numbers of type T; outputs overlap no input.

/// out_a[i] = Σ_j a[j] in[j][i],  out_b[i] = Σ_j b[j] in[j][i],  j < count: both halves of a filter bank at once.
void filter_pair(const float* const* in, const float* a, const float* b, size_t count, float* out_a, float* out_b,
                 size_t n);
void filter_pair(const double* const* in, const double* a, const double* b, size_t count, double* out_a,
                 double* out_b, size_t n);
/// Samples of even and odd index apart. `bytes`: the size of one sample, 4, 8 or 16.
void deinterleave(const void* in, void* even, void* odd, size_t pairs, size_t bytes);
void interleave(const void* even, const void* odd, void* out, size_t pairs, size_t bytes);
/// Shrinks the modulus of n samples towards 0 by `threshold`; NaN stays NaN.
void soft_threshold(float* x, size_t n, int64_t components, double threshold);
void soft_threshold(double* x, size_t n, int64_t components, double threshold);

}  // namespace monarch::operators::kernels
