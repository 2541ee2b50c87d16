#pragma once
// Undersampled k-space of slices, and the encoding models that networks solve against.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "monarch/operators/nn/plane_transform.hpp"

namespace monarch::mri {

/// What a reconstruction network is given: slices of equal extents.
struct SliceBatch {
  at::Tensor kspace;              ///< [batch, coil, y, x] complex64, zero where not sampled, DC at floor(n/2)
  at::Tensor mask;                ///< [batch, y, x] bool, what was sampled
  at::Tensor maps;                ///< [batch, coil, y, x] complex64 coil sensitivities
  std::vector<int64_t> contrast;  ///< which contrast (echo) each slice is, from 0; empty: all 0

  int64_t size() const { return kspace.size(0); }
  /// Throws ShapeError or DtypeError where the parts do not fit together.
  void check() const;
};

/// A = M F S of every slice of a batch: coil sensitivities, transform, sampling. The classical one and one with a
/// learned transform have one interface, so that every network takes either.
class SliceEncoding {
 public:
  virtual ~SliceEncoding() = default;
  /// image [batch, y, x] -> k-space [batch, coil, y, x], zero where not sampled.
  virtual at::Tensor apply(const at::Tensor& image) const = 0;
  /// A^H: k-space -> Σ_coil conj(S) F^H M y. [batch, y, x].
  virtual at::Tensor adjoint(const at::Tensor& kspace) const = 0;
  /// A^H A.
  virtual at::Tensor normal(const at::Tensor& image) const { return adjoint(apply(image)); }
};

using EncodingPtr = std::shared_ptr<const SliceEncoding>;
/// What a network calls once for each batch.
using EncodingFactory = std::function<EncodingPtr(const SliceBatch&)>;

/// The centred unitary Fourier transform; normal() is that of CartesianSense. Differentiable in its arguments.
EncodingFactory fourier_encoding();
/// F^H is the transform given (kept alive), F its conjugate transpose, so that A^H is A's adjoint whatever was learned.
/// Differentiable in the transform's weights, too.
EncodingFactory learned_encoding(std::shared_ptr<const operators::PlaneTransform> transform);

/// Σ_coil conj(S) images, [batch, coil, y, x] -> [batch, y, x].
at::Tensor combine(const at::Tensor& maps, const at::Tensor& coil_images);

struct SliceSolve {
  int64_t iterations = 10;
  double tolerance = 0;  ///< of ‖r‖/‖b‖ of each slice; 0: all iterations
};

/// Solves (A^H A + λ) x = b for each slice by conjugate gradients, λ real [] or [batch], b [batch, y, x]. Gradients
/// with respect to b, λ and the encoding's weights are those of the exact solution, from one more solve with the same
/// iterations (implicit differentiation): memory does not grow with the iterations.
at::Tensor solve_normal(const EncodingPtr& encoding, const at::Tensor& b, const at::Tensor& lambda,
                        const SliceSolve& options = {});

}  // namespace monarch::mri
