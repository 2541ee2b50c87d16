#pragma once
// A frozen dense layer with a small Monarch matrix beside it, for fine-tuning (MoRe, Tan et al., 2024).

#include <torch/nn/modules/linear.h>

#include <cstdint>

#include "monarch/operators/monarch/multiply.hpp"
#include "monarch/operators/nn/dense_cache.hpp"

namespace monarch::operators {

struct MonarchAdapterOptions {
  int64_t nblocks = 4;
  int64_t rank = 4;        ///< rows of a block of the first factor, "block rank" in MoRe: q = r = rank
  bool principal = false;  ///< start from the largest singular values of the weight instead of from zero
};

/// y = (W + M) x + bias with W [out, in] and bias frozen and M a Monarch matrix that learns: `blkdiag1` [nblocks, rank,
/// ceil(in/nblocks)] and `blkdiag2` [nblocks, ceil(out/nblocks), rank], rank·(in + out) weights, as many as LoRA of
/// that rank, while the rank of M reaches nblocks·rank.
///
/// The start equals the dense layer: blkdiag2 = 0 and blkdiag1 U(±1/sqrt(fan_in)); with `principal`, M is the nearest
/// Monarch matrix to W and the frozen weight is W - M.
/// merge() keeps W + M beside the parts and multiplies by it alone, so that unmerge() is exact and a checkpoint holds
/// the parts in either state; training mode unmerges. to_linear() gives the merged layer for good.
/// Throws ShapeError for rank or nblocks below 1 or a rank beyond a block.
class MonarchAdapterImpl : public torch::nn::Cloneable<MonarchAdapterImpl> {
 public:
  /// Copies weight [out, in] and bias ([out] or undefined).
  explicit MonarchAdapterImpl(const at::Tensor& weight, const at::Tensor& bias = {},
                              const MonarchAdapterOptions& options = {});

  /// x [..., in] -> [..., out].
  at::Tensor forward(const at::Tensor& x);

  void merge();
  void unmerge();
  bool merged() const { return merged_; }

  /// W + M [out, in], differentiable.
  at::Tensor densify() const;
  torch::nn::Linear to_linear() const;
  const MonarchSizes& sizes() const { return sizes_; }
  /// Weights that learn.
  int64_t weights() const { return sizes_.parameters(); }

  void reset() override;
  void train(bool on = true) override;
  void pretty_print(std::ostream& stream) const override;

  MonarchAdapterOptions options;
  at::Tensor weight, bias, blkdiag1, blkdiag2;

 private:
  MonarchSizes sizes_;
  bool merged_ = false;
  DenseCache merged_weight_;
};

TORCH_MODULE(MonarchAdapter);

}  // namespace monarch::operators
