#pragma once
// Cross-entropy of a linear output layer that never holds all of its logits.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

namespace monarch::operators {

struct CrossEntropyOptions {
  int64_t ignore_index = -100;  ///< rows with this target count for nothing
  double label_smoothing = 0;   ///< e in [0, 1): target (1 − e)·one-hot + e / vocabulary
  bool sum = false;             ///< over the rows that count, instead of their mean
  /// Memory for the logits of some rows, one row at least.
  int64_t chunk_bytes = int64_t{128} << 20;
};

/// −log softmax(x Wᵀ + b)[target], mean or sum over rows; as at::cross_entropy of the full logits, NaN where no row
/// counts. features [..., width], weight [vocabulary, width], bias [vocabulary] or none, targets [...] int64; a scalar.
///
/// Where a gradient is asked for, that of features, weight and bias is made chunk by chunk while the logits are there
/// (the way of llm.c and Liger Kernel): memory is that of the gradients and two buffers of one chunk, work the three
/// products of the plain way. The backward pass scales what is there, so that a graph can be used once and second
/// derivatives do not exist: both throw BackendError. float32 and float64; bfloat16 and half features (autocast, too)
/// are multiplied as such, softmax and sums over chunks are float32. Throws ShapeError, DtypeError, ConfigError, and
/// DataError for a target outside of the vocabulary, naming the row.
at::Tensor linear_cross_entropy(const at::Tensor& features, const at::Tensor& weight,
                                const std::optional<at::Tensor>& bias, const at::Tensor& targets,
                                const CrossEntropyOptions& options = {});

/// The loss of each row, shaped as targets (0 where ignored), without a gradient.
at::Tensor linear_cross_entropy_rows(const at::Tensor& features, const at::Tensor& weight,
                                     const std::optional<at::Tensor>& bias, const at::Tensor& targets,
                                     const CrossEntropyOptions& options = {});

}  // namespace monarch::operators
