#pragma once
// The Monarch product and its gradients, per back end with the same signatures.
//
//   mid[b, k q' + q]  = sum_p w1[k, q, p] x[b, k p' + p]          p' = extent of p, q' = extent of q
//   z[b, s l' + j]    = sum_rho w2[j, s, rho] mid[b, rho l' + j] + bias[s l' + j]
//   y                 = act(z)
//
// x [batch, in] with in <= k p' (missing columns are zeros), y [batch, out] with out <= l s (further columns are not
// computed); both contiguous, batch >= 1. w1 [k, q, p] and w2 [l, s, r] contiguous, l r = k q. dtype float32, float64,
// complex64, complex128 or bfloat16 (float16 on CUDA); x may be real with complex factors. bias [out] or undefined.
// Flops: 2 batch (kqp + lsr) forward, twice that for all gradients; bytes: x and y once, the factors once a tile.

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <string>

#include "monarch/operators/monarch/multiply.hpp"

namespace monarch::operators::kernels {

struct MonarchForward {
  at::Tensor y;       ///< [batch, out]
  at::Tensor middle;  ///< [batch, k q] numbers, dtype of w1, for monarch_backward of the same back end, in an order of
                      ///< its own; undefined unless kept
  at::Tensor input_of_activation;  ///< z; undefined unless kept, or without an activation, or with relu
};

struct MonarchBackwardTask {
  /// As given to monarch_forward; bias may be undefined. Of x only shape and dtype are read (it may be an expanded
  /// number) where w1 is not wanted and nothing has to be recomputed from x.
  at::Tensor x, w1, w2, bias;
  at::Tensor gradient;             ///< dL/dy, contiguous [batch, out]
  at::Tensor y;                    ///< needed with relu only
  at::Tensor middle;               ///< as kept; undefined: recomputed
  at::Tensor input_of_activation;  ///< as kept; undefined: recomputed where the activation needs it
  Activation activation = Activation::none;
  std::array<bool, 4> wanted = {true, true, true, true};  ///< x, w1, w2, bias
};

/// dL/dx, dL/dw1, dL/dw2, dL/dbias with PyTorch's convention for complex numbers; undefined where not wanted.
///
///   dz = dL/dy act'(z), dw2[j, s, rho] = sum_b dz[b, s l' + j] conj(mid[b, rho l' + j]), dbias = sum_b dz[b],
///   dmid[b, rho l' + j] = sum_s conj(w2[j, s, rho]) dz[b, s l' + j],
///   dw1[k, q, p] = sum_b dmid[b, k q' + q] conj(x[b, k p' + p]), dx[b, k p' + p] = sum_q conj(w1[k, q, p]) dmid[b, k
///   q' + q]
///
/// For a real x with complex factors dL/dx is the real part.
using MonarchGradients = std::array<at::Tensor, 4>;

namespace reference {
/// The formulas above as loops, in double (real types) or complex128, one thread; the middle vector is kept in natural
/// order. Any device: it computes on the CPU.
MonarchForward monarch_forward(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2, const at::Tensor& bias,
                               int64_t out, Activation activation, bool keep);
MonarchGradients monarch_backward(const MonarchBackwardTask& task);
}  // namespace reference

namespace composite {
/// ATen operations: two batched products with the copies that the permutations cost. Any device, batch >= 0, symbolic
/// batch sizes. Differentiable in every tensor to any order, backward included where middle and input_of_activation
/// are undefined.
MonarchForward monarch_forward(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2, const at::Tensor& bias,
                               int64_t out, Activation activation, bool keep);
MonarchGradients monarch_backward(const MonarchBackwardTask& task);
}  // namespace composite

namespace cpu {
/// The vector instructions in use, as "AVX-512, AMX for bfloat16"; bounded by MONARCH_CPU (cpu/target.hpp).
std::string instructions();
MonarchForward monarch_forward(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2, const at::Tensor& bias,
                               int64_t out, Activation activation, bool keep);
MonarchGradients monarch_backward(const MonarchBackwardTask& task);
}  // namespace cpu

namespace cuda {
/// Throws BackendError in a build without CUDA.
MonarchForward monarch_forward(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2, const at::Tensor& bias,
                               int64_t out, Activation activation, bool keep);
MonarchGradients monarch_backward(const MonarchBackwardTask& task);
}  // namespace cuda

}  // namespace monarch::operators::kernels
