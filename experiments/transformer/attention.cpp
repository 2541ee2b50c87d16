#include "monarch/experiments/transformer/attention.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace monarch::experiments {

at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const AttentionOptions& options,
                  const at::Tensor& mask) {
  check<ShapeError>(q.dim() == 3 && k.dim() == 3 && k.size(0) == q.size(0) && k.size(2) == q.size(2) &&
                        (!options.causal || k.size(1) == q.size(1)) && k.sizes() == v.sizes() && options.heads >= 1 &&
                        q.size(2) % options.heads == 0,
                    [&] {
                      return fmt::format(
                          "attention of {} heads: expected q, k, v [batch, token, width] alike, got {}, {}, {}",
                          options.heads, shape_text(q.sizes()), shape_text(k.sizes()), shape_text(v.sizes()));
                    });
  const auto heads = [&](const at::Tensor& x) {
    return x.view({x.size(0), x.size(1), options.heads, -1}).transpose(1, 2);
  };
  std::optional<at::Tensor> visible;
  if (mask.defined()) {
    check<ShapeError>(mask.dim() == 2 && mask.size(0) == k.size(0) && mask.size(1) == k.size(1), [&] {
      return fmt::format("attention: expected a mask [{}, {}], got {}", k.size(0), k.size(1), shape_text(mask.sizes()));
    });
    visible = mask.view({mask.size(0), 1, 1, mask.size(1)});
  }
  const std::optional<double> scale = options.scale == 0 ? std::nullopt : std::optional(options.scale);
  const at::Tensor y =
      at::scaled_dot_product_attention(heads(q), heads(k), heads(v), visible, options.dropout, options.causal, scale);
  return y.transpose(1, 2).reshape(q.sizes());
}

void KeyValueCache::append(at::Tensor& k, at::Tensor& v) {
  const int64_t more = k.size(1);
  check<ShapeError>(tokens_ + more <= room_,
                    [&] { return fmt::format("{} tokens behind {} do not fit a cache of {}", more, tokens_, room_); });
  if (!keys_.defined()) {
    keys_ = at::empty({k.size(0), room_, k.size(2)}, k.options());
    values_ = at::empty_like(keys_);
  }
  keys_.narrow(1, tokens_, more).copy_(k);
  values_.narrow(1, tokens_, more).copy_(v);
  tokens_ += more;
  k = keys_.narrow(1, 0, tokens_);
  v = values_.narrow(1, 0, tokens_);
}

int64_t attention_macs(int64_t tokens, int64_t width) {
  return 2 * tokens * tokens * width;
}

void check_transformer_sizes(const char* name, int64_t width, int64_t depth, int64_t heads) {
  check<ConfigError>(
      width >= 1 && depth >= 1 && heads >= 1 && width % heads == 0,
      [&] { return fmt::format("{}: width {}, depth {}, heads {}", name, width, depth, heads); },
      "all at least 1, and heads a divisor of width");
}

}  // namespace monarch::experiments
