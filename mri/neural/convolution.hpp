#pragma once
// Convolutions whose weights come from a layer factory, and the networks made of them.

#include <torch/nn/module.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "monarch/operators/nn/linear_layer.hpp"

namespace monarch::mri {

struct ConvolutionOptions {
  int64_t in = 1, out = 1;
  int64_t kernel = 3;
  bool bias = true;
  bool transposed = false;  ///< 2 × 2 with stride 2: twice the extents
};

/// A two-dimensional convolution of the same extents, zeros outside. Its weight [out, in·kernel²] is that of a linear
/// layer, so that a factory of Monarch layers makes it a Monarch matrix (multiplied out for each use). Dense layers
/// start as torch::nn::Conv2d does.
class Convolution final : public torch::nn::Module {
 public:
  Convolution(const ConvolutionOptions& options, const operators::LinearFactory& linear);
  /// x [batch, in, y, x] -> [batch, out, y, x] (twice the extents where transposed).
  at::Tensor forward(const at::Tensor& x) const;
  /// Multiplications for each pixel of the input as they would be with the factors.
  double macs() const;

 private:
  ConvolutionOptions options_;
  operators::LinearLayer weight_{nullptr};
};

/// 3 × 3 convolution, instance normalisation, LeakyReLU(0.2), dropout, twice: the block of fastMRI's U-Net.
struct UnetOptions {
  int64_t in = 2, out = 2;
  int64_t width = 32;  ///< channels of the first level; each pooling doubles them
  int64_t pools = 4;
  double dropout = 0;
  /// Rows and columns that the poolings and the normalisation need.
  int64_t smallest_extent() const { return int64_t{2} << pools; }
};

/// The U-Net of fastMRI (Zbontar et al. 2018) and meddlr: convolutions without bias, average pooling, transposed
/// convolutions, a final 1 × 1 convolution with bias. Any extents: odd ones are reflected where an upsampled level is
/// short of its skip. 2 -> 2 channels, width 32, 4 pools: 7,756,418 parameters.
class Unet final : public torch::nn::Module {
 public:
  Unet(const UnetOptions& options, const operators::LinearFactory& linear);
  at::Tensor forward(const at::Tensor& x) const;
  double macs() const;  ///< for each pixel

 private:
  struct Block;
  UnetOptions options_;
  std::vector<std::shared_ptr<Block>> down_, up_;
  std::vector<std::shared_ptr<Convolution>> rise_;
  std::shared_ptr<Convolution> last_;
};

struct ResnetOptions {
  int64_t in = 2, out = 2;
  int64_t width = 32;
  int64_t convolutions = 5;  ///< of 3 × 3, the first and last ones included
  int64_t block = 0;         ///< a skip around every so many inner convolutions; 0: none
};

/// Convolutions with ReLU between them, the last one without: the regulariser of MoDL (Aggarwal et al. 2019), and with
/// `block` = 2 the residual blocks of unrolled proximal gradients (Sandino et al. 2020).
class ConvolutionalNet final : public torch::nn::Module {
 public:
  ConvolutionalNet(const ResnetOptions& options, const operators::LinearFactory& linear);
  at::Tensor forward(const at::Tensor& x) const;
  double macs() const;

 private:
  ResnetOptions options_;
  std::vector<std::shared_ptr<Convolution>> layers_;
};

/// complex [batch, y, x] -> real [batch, 2, y, x], and back. Both are views where they can be: real and imaginary part
/// lie side by side, so that a ConvolutionalNet between them runs with channels last.
at::Tensor channels_of(const at::Tensor& image);
at::Tensor image_of(const at::Tensor& channels);

}  // namespace monarch::mri
