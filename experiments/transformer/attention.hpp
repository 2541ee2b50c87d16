#pragma once
// Multi-head attention over projected queries, keys and values.

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace monarch::experiments {

struct AttentionOptions {
  int64_t heads = 1;
  bool causal = false;  ///< a token sees itself and those before it
  double scale = 0;     ///< of the scores; 0: 1/sqrt(width / heads)
  double dropout = 0;   ///< of the attention weights; 0 outside training
};

/// softmax(scale · q k^T) v for each head, heads being consecutive slices of the width. q, k, v: [batch, token, width]
/// -> [batch, token, width]. mask: [batch, token] bool, false for keys that nobody may see; undefined for none.
/// Throws ShapeError for a width that the heads do not divide. Cost: 2·token²·width multiplications per sample.
at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const AttentionOptions& options,
                  const at::Tensor& mask = {});

/// Those multiplications.
int64_t attention_macs(int64_t tokens, int64_t width);

/// Throws ConfigError unless width, depth and heads are at least 1 and heads divide the width; `name` is the model's.
void check_transformer_sizes(const char* name, int64_t width, int64_t depth, int64_t heads);

}  // namespace monarch::experiments
