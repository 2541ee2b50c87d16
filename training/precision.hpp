#pragma once
// training.precision: the type of the numbers that a model computes with.

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <string>

namespace monarch::training {

/// "float32" changes nothing; "float64" converts parameters and buffers, complex ones to complex128 (Module::to would
/// take their imaginary parts away); "bfloat16" is mixed precision, for which weights stay float32: throws ConfigError
/// where the processor (AVX512-BF16) or GPU (compute capability 8.0) does not compute with it.
void set_precision(torch::nn::Module& module, const std::string& precision);

/// Autocast to bfloat16 on a kind of device while it lives, if `on`.
class MixedPrecision {
 public:
  MixedPrecision(bool on, at::DeviceType device);
  ~MixedPrecision();
  MixedPrecision(const MixedPrecision&) = delete;
  MixedPrecision& operator=(const MixedPrecision&) = delete;

 private:
  bool on_;
  at::DeviceType device_;
  bool enabled_ = false;
  at::ScalarType dtype_ = at::kBFloat16;
};

}  // namespace monarch::training
