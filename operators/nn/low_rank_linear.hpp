#pragma once
// A linear layer whose weight is a product of two thin matrices: a baseline for Monarch layers.

#include <torch/nn/modules/linear.h>

#include <cstdint>
#include <memory>

namespace monarch::operators {

/// y = second · first · x + bias over the last axis. Parameters: first [rank, in], second [out, rank], bias [out].
/// Starts with both factors of the gain that gives outputs the variance of torch::nn::Linear's (initialise_like).
/// Throws ShapeError for in, out or rank below 1. Cost: rank·(in + out) multiplications per row.
class LowRankLinearImpl : public torch::nn::Cloneable<LowRankLinearImpl> {
 public:
  LowRankLinearImpl(int64_t in, int64_t out, int64_t rank, bool bias = true);

  /// x [..., in] -> [..., out].
  at::Tensor forward(const at::Tensor& x);

  /// The nearest weight of that rank to a dense one [out, in]: the leading singular vectors, each factor with the roots
  /// of the singular values. Ranks beyond min(in, out) are cut to it. The relative error ||W - M||/||W|| goes to
  /// `error` where given.
  static std::shared_ptr<LowRankLinearImpl> from_dense(const at::Tensor& dense, const at::Tensor& bias, int64_t rank,
                                                       double* error = nullptr);
  /// Normal factors such that the dense weight has entries of standard deviation `deviation`, half of whose exponent
  /// each factor bears.
  void initialise_like(double deviation);
  /// The dense weight [out, in], differentiable.
  at::Tensor densify() const;

  int64_t in() const { return in_; }
  int64_t out() const { return out_; }
  int64_t macs() const { return first.numel() + second.numel(); }  ///< per row

  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  at::Tensor first, second, bias;

 private:
  int64_t in_, out_, rank_;
  bool has_bias_;
};

TORCH_MODULE(LowRankLinear);

/// The rank at which a low-rank layer has as many weights as a square Monarch layer of nblocks: min(in, out)/nblocks,
/// at least 1.
int64_t matching_rank(int64_t in, int64_t out, int64_t nblocks);

}  // namespace monarch::operators
