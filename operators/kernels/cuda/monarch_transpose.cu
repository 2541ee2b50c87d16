// Between row-major [batch, columns] and batch-innermost [columns, batch]: the one permutation that cuBLAS cannot fold
// into a leading dimension, together with bias and activation. 32 × 32 tiles through shared memory, so that both sides
// move whole lines; reads and writes each element once.
#include <algorithm>

#include "monarch/operators/kernels/cuda/check.hpp"
#include "monarch/operators/kernels/cuda/monarch_launch.hpp"
#include "monarch/operators/kernels/cuda/monarch_numbers.cuh"

namespace monarch::operators::kernels::cuda {
namespace {

constexpr int tile = 32;
constexpr int tile_lines = 8;

template <class T>
__global__ void finish_kernel(TurnTask task) {
  __shared__ __align__(16) unsigned char shared[sizeof(Wide<T>) * tile * (tile + 1)];
  auto* values = reinterpret_cast<Wide<T>(*)[tile + 1]>(shared);
  const int64_t row0 = static_cast<int64_t>(blockIdx.x) * tile;
  const auto* in = static_cast<const T*>(task.in);
  const auto* bias = static_cast<const T*>(task.bias);
  auto* out = static_cast<T*>(task.out);
  auto* z = static_cast<T*>(task.z);
  for (int64_t column0 = static_cast<int64_t>(blockIdx.y) * tile; column0 < task.out_columns;
       column0 += static_cast<int64_t>(gridDim.y) * tile) {
    for (int line = threadIdx.y; line < tile; line += tile_lines) {
      const int64_t column = column0 + line, row = row0 + threadIdx.x;
      if (column < task.out_columns && row < task.batch) {
        values[line][threadIdx.x] = widen(in[column * task.batch_stride + row]);
      }
    }
    __syncthreads();
    for (int line = threadIdx.y; line < tile; line += tile_lines) {
      const int64_t column = column0 + threadIdx.x, row = row0 + line;
      if (column < task.out_columns && row < task.batch) {
        Wide<T> value = values[threadIdx.x][line];
        if (bias) value = sum_of(value, widen(bias[column]));
        const int64_t at = row * task.out_columns + column;
        if (z) z[at] = narrow<T>(value);
        out[at] = narrow<T>(activate(value, task.activation));
      }
    }
    __syncthreads();
  }
}

template <class T>
__global__ void begin_kernel(TurnTask task) {
  __shared__ __align__(16) unsigned char shared[sizeof(Wide<T>) * tile * (tile + 1)];
  auto* values = reinterpret_cast<Wide<T>(*)[tile + 1]>(shared);
  const int64_t row0 = static_cast<int64_t>(blockIdx.x) * tile;
  const auto* in = static_cast<const T*>(task.in);
  const auto* activation_in = static_cast<const T*>(task.activation_in);
  auto* out = static_cast<T*>(task.out);
  for (int64_t column0 = static_cast<int64_t>(blockIdx.y) * tile; column0 < task.columns;
       column0 += static_cast<int64_t>(gridDim.y) * tile) {
    for (int line = threadIdx.y; line < tile; line += tile_lines) {
      const int64_t column = column0 + threadIdx.x, row = row0 + line;
      Wide<T> value = Wide<T>(0);
      if (column < task.out_columns && row < task.batch) {
        const int64_t at = row * task.out_columns + column;
        value = widen(in[at]);
        if (activation_in) value = activation_gradient(value, widen(activation_in[at]), task.activation);
      }
      values[line][threadIdx.x] = value;
    }
    __syncthreads();
    for (int line = threadIdx.y; line < tile; line += tile_lines) {
      const int64_t column = column0 + line, row = row0 + threadIdx.x;
      if (column < task.columns && row < task.batch) {
        out[column * task.batch_stride + row] = narrow<T>(values[threadIdx.x][line]);
      }
    }
    __syncthreads();
  }
}

template <class T>
void launch(const TurnTask& task, bool finish, cudaStream_t stream) {
  const int64_t columns = finish ? task.out_columns : task.columns;
  if (task.batch == 0 || columns == 0) return;
  const dim3 grid(static_cast<unsigned>((task.batch + tile - 1) / tile),
                  static_cast<unsigned>(std::min<int64_t>((columns + tile - 1) / tile, 65535)));
  const dim3 block(tile, tile_lines);
  if (finish) {
    finish_kernel<T><<<grid, block, 0, stream>>>(task);
    check_cuda(cudaGetLastError(), "finish_kernel<<<>>>");
  } else {
    begin_kernel<T><<<grid, block, 0, stream>>>(task);
    check_cuda(cudaGetLastError(), "begin_kernel<<<>>>");
  }
}

void launch(const TurnTask& task, Numbers numbers, bool finish, cudaStream_t stream) {
  switch (numbers) {
    case Numbers::float16: return launch<__half>(task, finish, stream);
    case Numbers::bfloat16: return launch<__nv_bfloat16>(task, finish, stream);
    case Numbers::tf32:
    case Numbers::float32: return launch<float>(task, finish, stream);
    case Numbers::float64: return launch<double>(task, finish, stream);
    case Numbers::complex64: return launch<c10::complex<float>>(task, finish, stream);
    case Numbers::complex128: return launch<c10::complex<double>>(task, finish, stream);
  }
}

}  // namespace

void launch_finish(const TurnTask& task, Numbers numbers, CUstream_st* stream) { launch(task, numbers, true, stream); }
void launch_begin(const TurnTask& task, Numbers numbers, CUstream_st* stream) { launch(task, numbers, false, stream); }

}  // namespace monarch::operators::kernels::cuda
