#pragma once
// The Monarch product y = P2 blockdiag(W2) P1 blockdiag(W1) x: the one operation that everything structured uses.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>

namespace monarch::operators {

/// Sizes of a Monarch matrix in the paper's form: w1 [k, q, p], w2 [l, s, r], l·r = k·q.
struct MonarchSizes {
  int64_t k = 1, q = 1, p = 1;  ///< first factor: k blocks of q × p
  int64_t l = 1, s = 1, r = 1;  ///< second factor: l blocks of s × r

  int64_t in() const { return k * p; }
  int64_t middle() const { return k * q; }
  int64_t out() const { return l * s; }
  /// Weights, which are also the multiplications per row: kqp + lsr.
  int64_t parameters() const { return k * q * p + l * s * r; }
  bool operator==(const MonarchSizes&) const = default;
};

/// Sizes of two factors. Throws ShapeError unless w1 is [k, q, p], w2 is [l, s, r], no extent is 0 and l·r = k·q.
MonarchSizes monarch_sizes(const at::Tensor& w1, const at::Tensor& w2);

/// Applied to the result, element by element. gelu: x Φ(x) with the error function; gelu_tanh: its tanh
/// approximation; relu: max(x, 0). Real types only.
enum class Activation { none, gelu, gelu_tanh, relu };
/// "none", "gelu", "gelu_tanh", "relu"; throws ConfigError naming the closest one for another name.
Activation activation_from_name(const std::string& name);
std::string activation_name(Activation activation);

struct MultiplyOptions {
  std::optional<at::Tensor> bias = std::nullopt;  ///< [out]
  Activation activation = Activation::none;
  /// Columns of the result; default l·s, else l·(s-1) < out_features <= l·s.
  std::optional<int64_t> out_features = std::nullopt;
  bool recompute = false;  ///< backward recomputes the middle vector (and the input of the activation) instead of
                           ///< keeping them
};

/// y = act(P2 blockdiag(W2) P1 blockdiag(W1) x + bias), over the last axis of x:
///
///   mid[k, q] = sum_p w1[k, q, p] x[k p + .],   read again as mid[rho l + j] = mid'[j, rho],
///   y[s l + j] = sum_rho w2[j, s, rho] mid'[j, rho].
///
/// x [..., in] with k·(p-1) < in <= k·p (missing columns count as zeros), any strides; w1 [k, q, p], w2 [l, s, r].
/// Returns [..., out_features], contiguous. All of one dtype (float32, float64, complex64, complex128, bfloat16, and
/// float16 on CUDA) and device, except that x may be real where the factors are complex of the same precision (real
/// input: half of the first stage). Differentiable in x, w1, w2 and bias to any order.
/// The same as torch.ops.monarch.multiply in Python, with autocast.
/// Throws ShapeError, DtypeError, ConfigError (an activation on complex numbers).
/// Cost: 2 (kqp + lsr) flops per row; on the CPU one scratch tile per thread beside the result, and what autograd
/// keeps: one activation of the middle width, or nothing with recompute.
at::Tensor monarch_multiply(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2,
                            const MultiplyOptions& options = {});

/// The same by differentiable ATen operations: two batched products with the copies that the permutations cost (the
/// algorithm of the paper's own code). Any device; the peer of the benchmark, and what second derivatives go through.
at::Tensor monarch_multiply_composite(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2,
                                      const MultiplyOptions& options = {});

/// The dense matrix [l·s, k·p] of the factors:
/// W[s l + j, k p + i] = sum over the rows t of block k with t mod l = j of w2[j, s, t div l] w1[k, t - k q, i].
/// Differentiable. Cost: that of a product of k·p rows.
at::Tensor monarch_dense(const at::Tensor& w1, const at::Tensor& w2);

/// The adjoint x = blockdiag(W1)^H P1^T blockdiag(W2)^H P2^T y, with conjugates. y [..., l·s] -> [..., k·p], dtype of
/// the factors. Differentiable to any order.
at::Tensor monarch_multiply_adjoint(const at::Tensor& y, const at::Tensor& w1, const at::Tensor& w2);

}  // namespace monarch::operators
