#pragma once
// Small products of row-major float32 matrices, in vector instructions chosen at run time: what spectral layers and
// pointwise networks are made of. All run on the calling thread; operands should be in cache.
// has_vectors() (monarch_block.hpp) must be true.

#include <cstdint>

#include "monarch/operators/kernels/cpu/monarch_block.hpp"

namespace monarch::operators::kernels::cpu {

/// c[m][n] = (accumulate ? c[m][n] : 0) + bias[m] + sum_k A(m, k) b[k][n], A(m, k) = a[m·am + k·ak].
/// Rows of b and c are contiguous, b_row and c_row apart. Any M, N, K >= 1. 2 M N K flops.
struct RowProduct {
  int64_t M = 0, N = 0, K = 0;
  const float* a = nullptr;
  int64_t am = 0, ak = 1;
  const float* b = nullptr;
  int64_t b_row = 0;
  float* c = nullptr;
  int64_t c_row = 0;
  bool accumulate = false;
  const float* bias = nullptr;  ///< [M] or null
};
void multiply_rows(const RowProduct& product);

/// c[m][n] += sum_k a[m][k] b[n][k] for rows along k: the gradient of a weight, summed over points.
struct RowDots {
  int64_t M = 0, N = 0, K = 0;
  const float* a = nullptr;
  int64_t a_row = 0;
  const float* b = nullptr;
  int64_t b_row = 0;
  float* c = nullptr;
  int64_t c_row = 0;
};
void add_row_dots(const RowDots& dots);

/// to[m] += sum_k a[m][k].
void add_row_sums(const float* a, int64_t a_row, int64_t M, int64_t K, float* to);

/// y = curve(z), for n numbers; in place where y is z.
void apply_curve(const float* z, Curve curve, float* y, int64_t n);
/// h = curve(z) and dz = dh · curve'(z), for n numbers; dz may be dh, h may be z.
void apply_curve_and_slope(const float* z, const float* dh, Curve curve, float* h, float* dz, int64_t n);

/// Where the numbers of a complex array [p][q][mode] are: modes of (p, q) start p·p_step + q·q_step floats from its
/// begin, first the real parts and `im` floats further the imaginary ones; im = 1: interleaved.
struct ModeSteps {
  int64_t p_step = 0, q_step = 0, im = 0;
  ModeSteps transposed() const { return {q_step, p_step, im}; }
};
/// c[p, q] = sum_r a'[p, r] b'[r, q] for each mode, ' = conjugated where asked. a is planar; b and c may be
/// interleaved, alike or not. 8 P Q R flops a mode.
struct ModeProduct {
  int64_t P = 0, Q = 0, R = 0;
  const float* a = nullptr;
  ModeSteps a_steps;
  const float* b = nullptr;
  ModeSteps b_steps;
  float* c = nullptr;
  ModeSteps c_steps;
  bool conjugate_a = false, conjugate_b = false;
  float* scratch = nullptr;  ///< aligned memory of the calling thread, mode_scratch(product) numbers
};
/// Room for one vector of modes of a and b, packed.
inline int64_t mode_scratch(const ModeProduct& t) {
  constexpr int64_t most_lanes = 16, most_block = 4;
  return 2 * most_lanes * t.R * (t.P + t.Q + 2 * most_block);
}
/// For the modes [begin, end).
void multiply_modes(const ModeProduct& product, int64_t begin, int64_t end);

}  // namespace monarch::operators::kernels::cpu
