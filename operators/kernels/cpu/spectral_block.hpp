#pragma once
// What the fused kernels of spectral layers and pointwise networks share.

#include <ATen/ATen.h>

namespace monarch::operators::kernels::cpu {

inline const float* data_of(const at::Tensor& t) {
  return t.defined() ? t.const_data_ptr<float>() : nullptr;
}
/// Part i of [parts, …], or null.
inline float* part(const at::Tensor& parts, int64_t i) {
  return parts.defined() ? parts.data_ptr<float>() + i * parts.stride(0) : nullptr;
}
/// The parts' sum in their order, or undefined.
inline at::Tensor total(const at::Tensor& parts) {
  return parts.defined() ? parts.sum(0) : parts;
}

}  // namespace monarch::operators::kernels::cpu
