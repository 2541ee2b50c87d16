#pragma once
// A linear layer whose weight is block-diagonal: a baseline for Monarch layers.

#include <torch/nn/modules/linear.h>

#include <cstdint>
#include <memory>

namespace monarch::operators {

/// y = blockdiag(weight) x + bias over the last axis. Parameters as in the paper's code: weight [b, ceil(out/b),
/// ceil(in/b)], bias [out]; extents that b does not divide are padded. Starts as torch::nn::Linear with the weight
/// times sqrt(b), so that outputs have the variance of the dense layer's. Throws ShapeError for in, out or nblocks
/// below 1. Cost: ceil(out/b)·ceil(in/b)·b multiplications per row.
class BlockDiagonalLinearImpl : public torch::nn::Cloneable<BlockDiagonalLinearImpl> {
 public:
  BlockDiagonalLinearImpl(int64_t in, int64_t out, int64_t nblocks, bool bias = true);

  /// x [..., in] -> [..., out].
  at::Tensor forward(const at::Tensor& x);

  /// The blocks of a dense weight [out, in] (what lies outside them is lost), the nearest such matrix. The relative
  /// error ||W - M||/||W|| goes to `error` where given.
  static std::shared_ptr<BlockDiagonalLinearImpl> from_dense(const at::Tensor& dense, const at::Tensor& bias,
                                                             int64_t nblocks, double* error = nullptr);
  /// Normal entries such that the dense weight, zeros included, has the mean square deviation².
  void initialise_like(double deviation);
  /// The dense weight [out, in], differentiable.
  at::Tensor densify() const;

  int64_t in() const { return in_; }
  int64_t out() const { return out_; }
  int64_t macs() const { return weight.numel(); }  ///< per row

  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  at::Tensor weight, bias;

 private:
  int64_t in_, out_, nblocks_;
  bool has_bias_;
};

TORCH_MODULE(BlockDiagonalLinear);

}  // namespace monarch::operators
