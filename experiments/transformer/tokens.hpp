#pragma once
// Token ids before they reach an embedding.

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace monarch::experiments {

/// Throws ShapeError unless ids is [batch, token] with 1 to `positions` tokens, DtypeError unless int64, and, on the
/// CPU, DataError for an id outside 0 … vocabulary-1. `model` appears in the messages.
void check_tokens(const char* model, const at::Tensor& ids, int64_t vocabulary, int64_t positions);

}  // namespace monarch::experiments
