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

/// softmax(scale · q k^T) v for each head, heads being consecutive slices of the width. q [batch, token, width], k and
/// v [batch, key, width] (as many keys as tokens where it is causal) -> [batch, token, width]. mask: [batch, token]
/// bool, false for keys that nobody may see; undefined for none. Throws ShapeError for a width that the heads do not
/// divide. Cost: 2·token²·width multiplications per sample.
at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const AttentionOptions& options,
                  const at::Tensor& mask = {});

/// Keys and values of the tokens that a causal model has seen, of one layer.
class KeyValueCache {
 public:
  /// Room for so many tokens.
  explicit KeyValueCache(int64_t tokens) : room_(tokens) {}
  int64_t tokens() const { return tokens_; }
  /// Adds k and v [batch, token, width], and puts those of all tokens so far in their place. Throws ShapeError where
  /// there is no room.
  void append(at::Tensor& k, at::Tensor& v);

 private:
  int64_t room_, tokens_ = 0;
  at::Tensor keys_, values_;  // [batch, room, width]
};

/// The multiplications of attend().
int64_t attention_macs(int64_t tokens, int64_t width);

/// Throws ConfigError unless width, depth and heads are at least 1 and heads divide the width; `name` is the model's.
void check_transformer_sizes(const char* name, int64_t width, int64_t depth, int64_t heads);

}  // namespace monarch::experiments
