#pragma once
// Element-wise kernels on interleaved complex64 arrays: what the inner loops of iterative reconstruction spend their
// time in beside Fourier transforms.
//
// All of them stream through memory once and run at its speed; the instruction set (SSE2 to AVX-512) is chosen at run
// time. Pointers need no alignment. Outputs may be one of the inputs, but must not overlap one otherwise. Serial:
// callers split the range over threads. NaN and Inf go through as IEEE arithmetic has it.

#include <complex>
#include <cstdint>

namespace monarch::mri::kernels {

using complex64 = std::complex<float>;

/// out[i] = a[i] b[i]. 6 n flops, 24 n bytes.
void multiply(const complex64* a, const complex64* b, complex64* out, int64_t n);

/// out[i] += a[i] b[i]. 8 n flops, 32 n bytes.
void multiply_add(const complex64* a, const complex64* b, complex64* out, int64_t n);

/// out[i] += conj(a[i]) b[i]. 8 n flops, 32 n bytes.
void conjugate_multiply_add(const complex64* a, const complex64* b, complex64* out, int64_t n);

/// data[i] *= weight[i] with every weight given twice: weight_pairs holds w0, w0, w1, w1 …. 2 n flops, 24 n bytes.
void scale_pairs(const float* weight_pairs, complex64* data, int64_t n);

/// Σ x[i] y[i] over real arrays; on complex arrays seen as pairs this is Re⟨x, y⟩. Partial sums are double.
double dot(const float* x, const float* y, int64_t n);

/// The two updates of a conjugate gradient step in one pass: x += alpha p, r -= alpha q. Returns ‖r‖² of the new r.
double step_and_residual(float* x, const float* p, float* r, const float* q, float alpha, int64_t n);

/// p[i] = r[i] + beta p[i].
void scale_and_add(const float* r, float beta, float* p, int64_t n);

/// A gradient step from the extrapolated point in one pass: out[i] = y[i] + step (b[i] - gradient[i]), where
/// gradient = A^H A y. Returns ‖b - gradient‖².
double gradient_step(const float* y, const float* b, const float* gradient, float step, float* out, int64_t n);

/// y[i] = x[i] + beta (x[i] - previous[i]): the momentum of FISTA. Returns ‖x - previous‖².
double extrapolate(const float* x, const float* previous, float beta, float* y, int64_t n);

}  // namespace monarch::mri::kernels
