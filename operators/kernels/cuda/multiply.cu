#include "monarch/operators/kernels/cuda/multiply.hpp"

#include <algorithm>

#include "monarch/operators/kernels/cuda/check.hpp"

namespace monarch::operators::kernels::cuda {
namespace {

template <class Pair>
__device__ Pair product(Pair a, Pair b) {
  return Pair{a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x};
}

template <class Pair, class Index>
__global__ void multiply_kernel(const Pair* in, Pair* out, int64_t count, Phases phases, Pair factor) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
    Pair value = product(in[i], factor);
    for (int a = 0; a < phases.axes; ++a) {
      const Index at = static_cast<Index>(i) / static_cast<Index>(phases.stride[a]) % static_cast<Index>(phases.n[a]);
      value = product(value, static_cast<const Pair*>(phases.phase[a])[at]);
    }
    out[i] = value;
  }
}

template <class Pair, class T>
void launch(const std::complex<T>* in, std::complex<T>* out, int64_t count, const Phases& phases,
            std::complex<double> factor, cudaStream_t stream) {
  if (count == 0) return;
  constexpr int threads = 256;
  const auto blocks = static_cast<unsigned>(std::min<int64_t>((count + threads - 1) / threads, 65536));
  const Pair scale{static_cast<T>(factor.real()), static_cast<T>(factor.imag())};
  const auto* from = reinterpret_cast<const Pair*>(in);
  auto* to = reinterpret_cast<Pair*>(out);
  // Divisions of 32-bit integers are several times faster.
  if (count <= INT32_MAX) {
    multiply_kernel<Pair, uint32_t><<<blocks, threads, 0, stream>>>(from, to, count, phases, scale);
  } else {
    multiply_kernel<Pair, uint64_t><<<blocks, threads, 0, stream>>>(from, to, count, phases, scale);
  }
  check_cuda(cudaGetLastError(), "multiply_kernel<<<>>>");
}

}  // namespace

void multiply(const std::complex<float>* in, std::complex<float>* out, int64_t count, const Phases& phases,
              std::complex<double> factor, cudaStream_t stream) {
  launch<float2>(in, out, count, phases, factor, stream);
}
void multiply(const std::complex<double>* in, std::complex<double>* out, int64_t count, const Phases& phases,
              std::complex<double> factor, cudaStream_t stream) {
  launch<double2>(in, out, count, phases, factor, stream);
}

}  // namespace monarch::operators::kernels::cuda
