#pragma once
// Losses between reconstructed and true images, one number for each slice; differentiable.

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

#include "monarch/mri/neural/encoding.hpp"

namespace monarch::mri {

/// Mean over pixels of |x̂ − x|. Complex [batch, y, x] -> [batch]; the gradient at x̂ = x is 0.
at::Tensor complex_l1(const at::Tensor& image, const at::Tensor& target);
/// Mean over pixels of |x̂ − x|².
at::Tensor complex_l2(const at::Tensor& image, const at::Tensor& target);
/// 1 − SSIM of the magnitudes: window 7 × 7, uniform, k1 = .01, k2 = .03, sample covariance, data range max|x| of the
/// slice (Sriram et al. 2020). Throws ShapeError below 7 × 7.
at::Tensor ssim_loss(const at::Tensor& image, const at::Tensor& target);
/// ‖ŷ − y‖₂/‖y‖₂ + ‖ŷ − y‖₁/‖y‖₁ over the points of `held`, ŷ = F S x̂: the loss of self-supervision (Yaman et al.
/// 2020). kspace, maps [batch, coil, y, x]; held [batch, y, x] bool.
at::Tensor held_out_loss(const at::Tensor& image, const at::Tensor& kspace, const at::Tensor& maps,
                         const at::Tensor& held);

using ReconstructionLoss =
    std::function<at::Tensor(const at::Tensor& image, const at::Tensor& target, const SliceBatch& batch)>;

/// "l1", "l2", "ssim", and "l1-kspace", "l2-kspace": of F S x̂ and F S x, over coils. Throws ConfigError.
ReconstructionLoss make_reconstruction_loss(const std::string& name);
std::vector<std::string> reconstruction_loss_names();

}  // namespace monarch::mri
