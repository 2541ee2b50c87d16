#pragma once
// Shrinkage of the transform coefficients of overlapping patches.

#include <torch/nn/module.h>

#include <cstdint>
#include <string>

namespace monarch::mri {

/// The transform W of a patch of p × p pixels and the synthesis V that takes it back.
///   dct        the orthonormal two-dimensional DCT-II, with a learned gain for each coefficient before and behind
///   kronecker  A_y ⊗ A_x, two p × p matrices
///   monarch    two block-diagonal factors of p blocks p × p: p times the parameters of kronecker
///   dense      a p² × p² matrix
/// All start at the exact DCT (a Kronecker product, hence a Monarch matrix), and V at its transpose.
enum class PatchTransform { dct, kronecker, monarch, dense };

struct PatchOptions {
  PatchTransform transform = PatchTransform::monarch;
  int64_t patch = 8;  ///< p, even; patches lie p/2 apart
  int64_t steps = 4;  ///< sets of thresholds, one for each use
  double threshold = 0.02;
};

/// x ← ¼ Σ_patches P^T V shrink(W P x, τ_t): every pixel lies in four patches. shrink(c, τ) = c · max(1 − τ/|c|, 0) of
/// complex coefficients; thresholds τ_t [p²] of each step are learned, that of the mean starts at 0. The image is taken
/// as periodic; extents that are no multiples of p/2 are filled with zeros.
///
/// Parameters: thresholds [steps, p²]; dct: gain [2, p²]; kronecker: [2, 2, p, p]; monarch: w1, w2 [2, p, p, p]; dense:
/// [2, p², p²], analysis before synthesis. Cost for each pixel: 16 p multiplications (kronecker, monarch, dct), 16 p²
/// (dense).
/// Thresholding in transforms of patches: Ravishankar, Bresler, IEEE Trans. Med. Imaging 30 (2011).
class PatchShrinkage final : public torch::nn::Module {
 public:
  explicit PatchShrinkage(const PatchOptions& options);
  /// image [batch, y, x] complex64 -> the same; step: which thresholds, below options.steps.
  at::Tensor forward(const at::Tensor& image, int64_t step) const;
  double macs() const;  ///< for each pixel
  std::string describe() const;

 private:
  at::Tensor analyse(const at::Tensor& patches) const;
  at::Tensor synthesise(const at::Tensor& coefficients) const;
  at::Tensor transform(const at::Tensor& rows, int64_t which) const;

  PatchOptions options_;
  at::Tensor thresholds_, gain_, first_, second_, dct_;
};

}  // namespace monarch::mri
