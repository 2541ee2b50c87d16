#pragma once
// Differentiable calls of the fused spectral and pointwise kernels.

#include <ATen/core/Tensor.h>

#include "monarch/operators/nn/spectral.hpp"

namespace monarch::operators {

/// True where the fused kernels can do it: float32 on a CPU with vectors, one or two axes, something to do, and no
/// function transform (vmap, functorch) at work.
bool spectral_fused(const at::Tensor& x, const SpectralWeights& weights);
bool pointwise_fused(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2);

/// spectral_layer and pointwise networks (w2 undefined: W1 x + b1 alone) by the fused kernels. First derivatives are
/// kernels too; where a graph of the gradient is asked for, it is that of the composite.
at::Tensor spectral_layer_fused(const at::Tensor& x, const SpectralWeights& weights);
at::Tensor pointwise_layer_fused(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& b1, const at::Tensor& w2,
                                 const at::Tensor& b2, Activation activation);

}  // namespace monarch::operators
