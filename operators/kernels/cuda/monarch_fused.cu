// Both factors of the Monarch product on a tile of rows, with the middle vector in shared memory.
//
//   mid[b, t] = sum over the first factor,   out[b, c] = act(sum over the second factor of mid + bias)
//
// The same kernel computes the product and, with the factors swapped and their adjoints, the gradient of x; `FusedFactor`
// says which blocks are contiguous and which interleaved. Shared memory holds
//   middle   [blocks of the second factor][k, padded][rows]: written where the second factor reads it, so that the
//            permutation P1 is the address of a store and every operand of a product is dense;
//   staging  first the input of `group` blocks [block][k, padded][rows], then the output of a chunk of columns
//            [row][block][column + 1]; P2 is the order in which it is written out, whole lines along a row;
//   per warp 16 columns of weights, a chunk of the contraction at a time (they come from L2: one pass per tile of rows).
// Rows beyond the batch and entries beyond an extent are zeros. Each row of x and of the result moves once, the factors
// once a tile; nothing is accumulated between thread blocks, so results do not depend on their order.
#include "monarch/operators/kernels/cuda/check.hpp"
#include "monarch/operators/kernels/cuda/monarch_engines.cuh"
#include "monarch/operators/kernels/cuda/monarch_launch.hpp"

namespace monarch::operators::kernels::cuda {
namespace {

/// Where entry i of a block of a vector with `blocks` blocks of `extent` lies.
__device__ inline int position(bool interleaved, int block, int i, int blocks, int extent) {
  return interleaved ? i * blocks + block : block * extent + i;
}

/// A run of sums, rounded to the numbers of the tile, at `to`.
template <class T, int N>
__device__ inline void store_run(T* to, const Wide<T> (&values)[N]) {
  Run<T, N> run;
#pragma unroll
  for (int e = 0; e < N; ++e) run.v[e] = narrow<T>(values[e]);
  *reinterpret_cast<Run<T, N>*>(to) = run;
}

template <class T>
__device__ inline T load_input(const FusedTask& task, int64_t row, int column) {
  if (row >= task.batch || column >= task.in_columns) return narrow<T>(Wide<T>(0));
  const int64_t at = row * task.in_columns + column;
  if constexpr (is_complex<T>) {
    if (task.real_in) return T(static_cast<const Real<T>*>(task.in)[at]);
  }
  const T value = static_cast<const T*>(task.in)[at];
  if (!task.activation_in) return value;
  return narrow<T>(activation_gradient(widen(value), widen(static_cast<const T*>(task.activation_in)[at]),
                                       task.activation));
}

template <class T>
__device__ inline void store_output(const FusedTask& task, int64_t row, int column, Wide<T> bias, Wide<T> value) {
  const int64_t at = row * task.out_columns + column;
  value = sum_of(value, bias);
  if constexpr (is_complex<T>) {
    if (task.real_out) {
      static_cast<Real<T>*>(task.out)[at] = value.real();
      return;
    }
  }
  if (task.z) static_cast<T*>(task.z)[at] = narrow<T>(value);
  static_cast<T*>(task.out)[at] = narrow<T>(task.adjoint ? value : activate(value, task.activation));
}

/// Entries of `blocks` blocks of a tile in shared memory, each [padded][stride], to a batch-innermost array.
template <class Engine>
__device__ void store_turned(const typename Engine::Number* tile, void* to, const FusedTask& task, bool interleaved,
                             int first_block, int tile_blocks, int blocks, int extent, int padded, int64_t row0) {
  using T = typename Engine::Number;
  constexpr int pack = 16 / static_cast<int>(sizeof(T));
  constexpr int runs = Engine::rows / pack;
  for (int item = threadIdx.x; item < tile_blocks * extent * runs; item += fused_threads) {
    const int row = item % runs * pack, block = item / runs / extent, i = item / runs % extent;
    if (row0 + row >= task.batch_stride) continue;
    const auto run = *reinterpret_cast<const Run<T, pack>*>(tile + (block * padded + i) * Engine::stride + row);
    const int64_t line = position(interleaved, first_block + block, i, blocks, extent);
    *reinterpret_cast<Run<T, pack>*>(static_cast<T*>(to) + line * task.batch_stride + row0 + row) = run;
  }
}

template <class Engine>
__global__ void __launch_bounds__(fused_threads) fused_kernel(FusedTask task, FusedPlan plan) {
  using T = typename Engine::Number;
  constexpr int stride = Engine::stride;
  constexpr int pack = 16 / static_cast<int>(sizeof(T));
  extern __shared__ __align__(128) unsigned char shared[];
  T* middle = reinterpret_cast<T*>(shared);
  T* in = reinterpret_cast<T*>(shared + plan.staging_offset);
  auto* staged = reinterpret_cast<Wide<T>*>(shared + plan.staging_offset);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  void* own = shared + plan.warp_offset + warp * Engine::warp_bytes;
  const int64_t row0 = static_cast<int64_t>(blockIdx.x) * Engine::rows;
  const FusedFactor& first = task.first;
  const FusedFactor& second = task.second;
  const int first_padded = (first.k + Engine::k_step - 1) / Engine::k_step * Engine::k_step;
  const int second_padded = (second.k + Engine::k_step - 1) / Engine::k_step * Engine::k_step;
  Engine engine;

  // Entries of the middle that pad k: zeros. (The first __syncthreads below comes before anybody reads them.)
  const int padding = second_padded - second.k;
  for (int item = threadIdx.x; item < second.blocks * padding * stride; item += fused_threads) {
    const int line = item / stride;
    middle[(line / padding * second_padded + second.k + line % padding) * stride + item % stride] =
        narrow<T>(Wide<T>(0));
  }

  const int first_tiles = (first.n + 15) / 16;
  for (int block0 = 0; block0 < first.blocks; block0 += plan.group) {
    const int blocks = min(plan.group, first.blocks - block0);
    const int lines = blocks * first_padded;
    __syncthreads();  // the group before has been read
    for (int item = threadIdx.x; item < lines * (Engine::rows / pack); item += fused_threads) {
      const int line = item % lines, row = item / lines * pack;
      const int block = first.interleaved ? line % blocks : line / first_padded;
      const int i = first.interleaved ? line / blocks : line % first_padded;
      const int column = i < first.k ? position(first.interleaved, block0 + block, i, first.blocks, first.k)
                                     : first.blocks * first.k;  // beyond every column: zero
      Run<T, pack> run;
#pragma unroll
      for (int e = 0; e < pack; ++e) run.v[e] = load_input<T>(task, row0 + row + e, column);
      *reinterpret_cast<Run<T, pack>*>(in + (block * first_padded + i) * stride + row) = run;
    }
    __syncthreads();
    if (task.in_turned) {
      store_turned<Engine>(in, task.in_turned, task, first.interleaved, block0, blocks, first.blocks, first.k,
                           first_padded, row0);
    }
    for (int unit = warp; unit < blocks * first_tiles; unit += fused_warps) {
      const int block = unit / first_tiles, n0 = unit % first_tiles * 16;
      const T* weights =
          static_cast<const T*>(first.weights) + static_cast<int64_t>(block0 + block) * first.n * first.k;
      engine.multiply(in + block * first_padded * stride, weights, first, task.adjoint, n0, own, lane);
      engine.each(own, lane, [&](int column, int row, const Wide<T>(&values)[Engine::run]) {
        if (n0 + column >= first.n) return;
        const int t = position(first.interleaved, block0 + block, n0 + column, first.blocks, first.n);
        const int at = second.interleaved ? t % second.blocks * second_padded + t / second.blocks
                                          : t / second.k * second_padded + t % second.k;
        store_run<T>(middle + at * stride + row, values);
      });
    }
  }
  __syncthreads();
  if (task.middle) {
    store_turned<Engine>(middle, task.middle, task, second.interleaved, 0, second.blocks, second.blocks, second.k,
                         second_padded, row0);
  }
  if (!task.out) return;

  const int rows = static_cast<int>(min(static_cast<int64_t>(Engine::rows), task.batch - row0));
  const int second_tiles = (second.n + 15) / 16;
  const int block_columns = plan.chunk_tiles * 16;                  // of one block in a chunk
  const int line = plan.chunk_blocks * (block_columns + 1);         // a row of the staged output; + 1 against banks
  const int columns = plan.chunk_blocks * block_columns;
  // Threads side by side along a row, in several rows at once where it is short.
  const int across = min(fused_threads, (columns + 31) / 32 * 32);
  const int down = fused_threads / across;
  for (int block0 = 0; block0 < second.blocks; block0 += plan.chunk_blocks) {
    for (int tile0 = 0; tile0 < second_tiles; tile0 += plan.chunk_tiles) {
      for (int unit = warp; unit < plan.chunk_blocks * plan.chunk_tiles; unit += fused_warps) {
        const int block = unit / plan.chunk_tiles, tile = unit % plan.chunk_tiles;
        if (block0 + block >= second.blocks || tile0 + tile >= second_tiles) continue;
        const T* weights =
            static_cast<const T*>(second.weights) + static_cast<int64_t>(block0 + block) * second.n * second.k;
        engine.multiply(middle + (block0 + block) * second_padded * stride, weights, second, task.adjoint,
                        (tile0 + tile) * 16, own, lane);
        engine.each(own, lane, [&](int column, int row, const Wide<T>(&values)[Engine::run]) {
          Wide<T>* to = staged + row * line + block * (block_columns + 1) + tile * 16 + column;
#pragma unroll
          for (int e = 0; e < Engine::run; ++e) to[e * line] = values[e];
        });
      }
      __syncthreads();
      for (int item = threadIdx.x % across; item < columns && threadIdx.x / across < down; item += across) {
        // In the order of the output, so that neighbouring threads write neighbouring numbers.
        const int block = second.interleaved ? item % plan.chunk_blocks : item / block_columns;
        const int i = second.interleaved ? item / plan.chunk_blocks : item % block_columns;
        const int n = tile0 * 16 + i;
        if (block0 + block >= second.blocks || n >= second.n) continue;
        const int column = position(second.interleaved, block0 + block, n, second.blocks, second.n);
        if (column >= task.out_columns) continue;
        const Wide<T> bias = task.bias ? widen(static_cast<const T*>(task.bias)[column]) : Wide<T>(0);
        const Wide<T>* from = staged + block * (block_columns + 1) + i;
        for (int row = threadIdx.x / across; row < rows; row += down) {
          store_output<T>(task, row0 + row, column, bias, from[row * line]);
        }
      }
      __syncthreads();
    }
  }
}

template <class Engine>
void launch(const FusedTask& task, const FusedPlan& plan, cudaStream_t stream) {
  check_cuda(cudaFuncSetAttribute(fused_kernel<Engine>, cudaFuncAttributeMaxDynamicSharedMemorySize, plan.bytes),
             "cudaFuncSetAttribute");
  const auto tiles = static_cast<unsigned>((task.batch + Engine::rows - 1) / Engine::rows);
  fused_kernel<Engine><<<tiles, fused_threads, plan.bytes, stream>>>(task, plan);
  check_cuda(cudaGetLastError(), "fused_kernel<<<>>>");
}

/// Calls use(engine) with the engine of these numbers and rows; false where there is none.
template <class T, class Use>
bool with_tensor_engine(int rows, Use use) {
  switch (rows) {
    case 16: return use(static_cast<TensorEngine<T, 1>*>(nullptr)), true;
    case 48: return use(static_cast<TensorEngine<T, 3>*>(nullptr)), true;
    case 80: return use(static_cast<TensorEngine<T, 5>*>(nullptr)), true;
    default: return false;
  }
}

template <class T, class Use>
bool with_multiply_add_engine(int rows, Use use) {
  switch (rows) {
    case 8: return use(static_cast<MultiplyAddEngine<T, 8>*>(nullptr)), true;
    case 16: return use(static_cast<MultiplyAddEngine<T, 16>*>(nullptr)), true;
    case 32: return use(static_cast<MultiplyAddEngine<T, 32>*>(nullptr)), true;
    default: return false;
  }
}

template <class Use>
bool with_engine(Numbers numbers, int rows, Use use) {
  switch (numbers) {
    case Numbers::float16: return with_tensor_engine<__half>(rows, use);
    case Numbers::bfloat16: return with_tensor_engine<__nv_bfloat16>(rows, use);
    case Numbers::tf32: return with_tensor_engine<float>(rows, use);
    case Numbers::float32: return with_multiply_add_engine<float>(rows, use);
    case Numbers::float64: return with_multiply_add_engine<double>(rows, use);
    case Numbers::complex64: return with_multiply_add_engine<c10::complex<float>>(rows, use);
    case Numbers::complex128: return with_multiply_add_engine<c10::complex<double>>(rows, use);
  }
  return false;
}

}  // namespace

EngineShape engine_shape(Numbers numbers, int rows) {
  EngineShape shape;
  with_engine(numbers, rows, [&]<class Engine>(Engine*) {
    shape = {Engine::rows, Engine::stride, Engine::k_step, Engine::warp_bytes,
             static_cast<int>(sizeof(typename Engine::Number)), static_cast<int>(sizeof(Wide<typename Engine::Number>))};
  });
  return shape;
}

void launch_fused(const FusedTask& task, const FusedPlan& plan, Numbers numbers, CUstream_st* stream) {
  with_engine(numbers, plan.rows, [&]<class Engine>(Engine*) { launch<Engine>(task, plan, stream); });
}

}  // namespace monarch::operators::kernels::cuda
