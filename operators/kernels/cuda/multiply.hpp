#pragma once
// The multiplications before and after a transform, on the device.

#include <cuda_runtime_api.h>

#include <complex>
#include <cstdint>

namespace monarch::operators::kernels::cuda {

/// How to find the phases of element i of a contiguous array: phase[a][i / stride[a] % n[a]] for each a < axes.
struct Phases {
  int axes = 0;
  int64_t n[3] = {1, 1, 1};
  int64_t stride[3] = {1, 1, 1};
  const void* phase[3] = {nullptr, nullptr, nullptr};  ///< on the device, complex of the data's precision, [n[a]]
};

/// out[i] = in[i] * factor * phases for `count` elements; out may be in. Throws BackendError when the launch fails.
void multiply(const std::complex<float>* in, std::complex<float>* out, int64_t count, const Phases& phases,
              std::complex<double> factor, cudaStream_t stream);
void multiply(const std::complex<double>* in, std::complex<double>* out, int64_t count, const Phases& phases,
              std::complex<double> factor, cudaStream_t stream);

}  // namespace monarch::operators::kernels::cuda
