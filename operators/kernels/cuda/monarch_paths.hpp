#pragma once
// The two ways of the CUDA back end, and what they share. Private to it; tests force one or the other.
//
// Both keep the middle batch-innermost, [k q, batch_stride], and the input of the activation as [batch, out], so that
// what one of them kept the other can use.

#include <ATen/core/Tensor.h>

#include <cstddef>

#include "monarch/operators/kernels/cuda/monarch_launch.hpp"
#include "monarch/operators/kernels/monarch.hpp"

namespace monarch::operators::kernels::cuda {

/// Two strided-batched products of cuBLAS and a transposition; takes everything.
MonarchForward monarch_forward_gemm(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2,
                                    const at::Tensor& bias, int64_t out, Activation activation, bool keep);
MonarchGradients monarch_backward_gemm(const MonarchBackwardTask& task);

/// One kernel for both factors; throws BackendError where a tile of rows does not fit into the device's shared memory.
/// rows: of a tile (see engine_shape); 0: the largest that fits and leaves no processor idle.
MonarchForward monarch_forward_fused(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2,
                                     const at::Tensor& bias, int64_t out, Activation activation, bool keep,
                                     int rows = 0);
/// The gradient of x by one kernel, which leaves what the weight gradients need batch-innermost for two products.
MonarchGradients monarch_backward_fused(const MonarchBackwardTask& task, int rows = 0);

/// Whether the fused kernel takes these sizes on the factors' device.
bool fused_forward_fits(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2, int rows = 0);
bool fused_backward_fits(const MonarchBackwardTask& task, int rows = 0);

/// How many choices between the two have been measured in this process.
size_t monarch_choices();

// --- shared by the sources of this back end -----------------------------------------------------------------------

/// float32 counts as tf32 where PyTorch's settings allow it for matrix products.
Numbers numbers_of(at::ScalarType dtype);
/// Leading dimension of batch-innermost arrays: `batch` rounded up to 16 bytes, so that tensor cores take every line.
int64_t batch_stride(int64_t batch, at::ScalarType dtype);

/// mid of x [batch, in], [k q, batch_stride].
at::Tensor middle_gemm(const at::Tensor& x, const at::Tensor& w1);
/// dL/dw1 from x and dmid [k q, batch_stride].
at::Tensor first_gradient(const at::Tensor& x, const at::Tensor& dmid, const at::Tensor& w1);
/// dL/dw2 from dz [l s, batch_stride] and mid [k q, batch_stride].
at::Tensor second_gradient(const at::Tensor& dz, const at::Tensor& mid, const at::Tensor& w2, int64_t batch);
/// dL/dbias [out] from dz.
at::Tensor bias_gradient(const at::Tensor& dz, int64_t batch, int64_t out);

using ForwardFunction = MonarchForward (*)(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2,
                                           const at::Tensor& bias, int64_t out, Activation activation, bool keep);
/// The task with what was not kept and is needed: the middle for w2, the input of the activation for gelu.
MonarchBackwardTask recomputed(MonarchBackwardTask task, ForwardFunction forward);
/// What act' is evaluated at: undefined without an activation, y for relu, z otherwise.
at::Tensor activation_argument(const MonarchBackwardTask& task);

}  // namespace monarch::operators::kernels::cuda
