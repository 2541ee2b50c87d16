#pragma once
// How a warp multiplies a tile of rows with 16 columns of a block: on tensor cores, or with multiply-adds.
//
// Both take the rows from shared memory as [k][stride], rows innermost, and stage the weights of 16 columns in the warp's
// own shared memory, `chunk` of the contraction at a time; the next chunk is fetched into registers meanwhile. Whatever
// lies outside a factor counts as zero, so sizes are arbitrary; the rows' k must be padded with zeros to a multiple of
// `k_step`.

#include <mma.h>

#include "monarch/operators/kernels/cuda/monarch_numbers.cuh"

namespace monarch::operators::kernels::cuda {

/// `chunk` × 16 weights w[n0 + n, k0 + k] in the registers of a warp, chunk / 2 a lane.
template <class T, int chunk>
struct WeightChunk {
  static constexpr int each = chunk / 2;
  Run<T, each> values;

  /// Place of this lane's first weight; the others follow along k, or along n where the factor is stored [k, n].
  static __device__ int2 place(bool adjoint, int lane) {
    return adjoint ? int2{lane * each % 16, lane * each / 16} : int2{lane / 2, lane % 2 * each};
  }

  __device__ void fetch(const T* block, const FusedFactor& factor, bool adjoint, int n0, int k0, int lane) {
    const int2 at = place(adjoint, lane);
    const int n = n0 + at.x, k = k0 + at.y;
    const int available = n >= factor.n || k >= factor.k ? 0 : adjoint ? factor.n - n : factor.k - k;
    const T* from = block + (adjoint ? static_cast<int64_t>(k) * factor.n + n : static_cast<int64_t>(n) * factor.k + k);
    if (factor.aligned && available >= each) {
      values = *reinterpret_cast<const Run<T, each>*>(from);
    } else {
#pragma unroll
      for (int e = 0; e < each; ++e) values.v[e] = e < available ? from[e] : narrow<T>(Wide<T>(0));
    }
    if constexpr (is_complex<T>) {
      if (adjoint) {
#pragma unroll
        for (int e = 0; e < each; ++e) values.v[e] = conjugate(values.v[e]);
      }
    }
  }

  /// Writes weight (n, k) to to[n·n_stride + k·k_stride]; the lane's numbers go as one where they are neighbours.
  __device__ void store(T* to, int n_stride, int k_stride, bool adjoint, int lane) const {
    const int2 at = place(adjoint, lane);
    const int step = adjoint ? n_stride : k_stride;
    T* first = to + at.x * n_stride + at.y * k_stride;
    if (step == 1) {
      *reinterpret_cast<Run<T, each>*>(first) = values;
    } else {
#pragma unroll
      for (int e = 0; e < each; ++e) first[e * step] = values.v[e];
    }
  }
};

/// Multiply-adds: a lane holds 4 rows × Rows/8 columns.
template <class T, int Rows>
struct MultiplyAddEngine {
  using Number = T;
  static constexpr int rows = Rows;
  static constexpr int stride = rows + 16 / static_cast<int>(sizeof(T));
  static constexpr int k_step = 1;
  static constexpr int chunk = sizeof(T) > 8 ? 8 : 16;
  static constexpr int warp_bytes = chunk * 16 * sizeof(T);
  static constexpr int run = 4;  ///< neighbouring rows of one column that each() hands over together
  static constexpr int columns = rows / 8;

  T sum[columns][run];

  __device__ void multiply(const T* in, const T* block, const FusedFactor& factor, bool adjoint, int n0, void* own,
                           int lane) {
    T* weights = static_cast<T*>(own);  // [chunk][16]
    const int row = lane % (rows / run) * run, column = lane / (rows / run) * columns;
#pragma unroll
    for (int j = 0; j < columns; ++j) {
#pragma unroll
      for (int i = 0; i < run; ++i) sum[j][i] = T(0);
    }
    WeightChunk<T, chunk> next;
    next.fetch(block, factor, adjoint, n0, 0, lane);
    for (int k0 = 0; k0 < factor.k; k0 += chunk) {
      __syncwarp();  // the last chunk has been read
      next.store(weights, 1, 16, adjoint, lane);
      if (k0 + chunk < factor.k) next.fetch(block, factor, adjoint, n0, k0 + chunk, lane);
      __syncwarp();
      const int length = min(chunk, factor.k - k0);
      for (int k = 0; k < length; ++k) {
        const auto a = *reinterpret_cast<const Run<T, run>*>(in + (k0 + k) * stride + row);
        const auto w = *reinterpret_cast<const Run<T, columns>*>(weights + k * 16 + column);
#pragma unroll
        for (int j = 0; j < columns; ++j) {
#pragma unroll
          for (int i = 0; i < run; ++i) multiply_add(sum[j][i], a.v[i], w.v[j]);
        }
      }
    }
  }

  /// Calls use(column, row, values of `run` rows from there on) for all that this lane holds.
  template <class Use>
  __device__ void each(void*, int lane, Use use) const {
#pragma unroll
    for (int j = 0; j < columns; ++j) {
      use(lane / (rows / run) * columns + j, lane % (rows / run) * run, sum[j]);
    }
  }
};

/// What the tensor cores read of a number: itself, or float32 rounded to TF32.
template <class T>
struct TensorNumber {
  using Fragment = T;
  static constexpr int k_step = 16, chunk = 32, weight_stride = 48;
};
template <>
struct TensorNumber<float> {
  using Fragment = nvcuda::wmma::precision::tf32;
  static constexpr int k_step = 8, chunk = 16, weight_stride = 24;
};

/// Tensor cores (nvcuda::wmma, 16 × 16 × k_step), sums in float32. Pointers and strides that wmma reads are multiples of
/// 32 bytes, as it demands; strides are chosen so that its accesses meet at most two to a bank.
template <class T, int Fragments>
struct TensorEngine {
  using Number = T;
  using Traits = TensorNumber<T>;
  static constexpr int rows = 16 * Fragments;
  static constexpr int stride = sizeof(T) == 2 ? rows : rows + 8;
  static constexpr int k_step = 16;  ///< for TF32 two steps of the tensor cores
  static constexpr int chunk = Traits::chunk;
  static constexpr int warp_bytes = 16 * Traits::weight_stride * sizeof(T);
  static constexpr int run = 8;
  static_assert(warp_bytes >= static_cast<int>(16 * 16 * sizeof(float)) && warp_bytes % 32 == 0);
  static_assert(sizeof(T) != 2 || Fragments % 2 == 1, "an even number would put every entry into the same banks");

  nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, Traits::k_step, float> sum[Fragments];

  template <class Fragment>
  static __device__ void round(Fragment& fragment) {
    if constexpr (std::is_same_v<T, float>) {
#pragma unroll
      for (int e = 0; e < fragment.num_elements; ++e) fragment.x[e] = nvcuda::wmma::__float_to_tf32(fragment.x[e]);
    }
  }

  __device__ void multiply(const T* in, const T* block, const FusedFactor& factor, bool adjoint, int n0, void* own,
                           int lane) {
    namespace wmma = nvcuda::wmma;
    using Element = typename Traits::Fragment;
    T* weights = static_cast<T*>(own);  // [16][weight_stride]
    const int padded = (factor.k + k_step - 1) / k_step * k_step;
#pragma unroll
    for (int f = 0; f < Fragments; ++f) wmma::fill_fragment(sum[f], 0.0f);
    WeightChunk<T, chunk> next;
    next.fetch(block, factor, adjoint, n0, 0, lane);
    for (int k0 = 0; k0 < padded; k0 += chunk) {
      __syncwarp();  // the last chunk has been read
      next.store(weights, Traits::weight_stride, 1, adjoint, lane);
      if (k0 + chunk < padded) next.fetch(block, factor, adjoint, n0, k0 + chunk, lane);
      __syncwarp();  // also brings the lanes together again, as wmma demands
#pragma unroll
      for (int k = 0; k < chunk; k += Traits::k_step) {
        if (k0 + k >= padded) break;
        wmma::fragment<wmma::matrix_b, 16, 16, Traits::k_step, Element, wmma::col_major> w;
        wmma::load_matrix_sync(w, weights + k, Traits::weight_stride);
        round(w);
#pragma unroll
        for (int f = 0; f < Fragments; ++f) {
          wmma::fragment<wmma::matrix_a, 16, 16, Traits::k_step, Element, wmma::col_major> a;
          wmma::load_matrix_sync(a, in + (k0 + k) * stride + 16 * f, stride);
          round(a);
          wmma::mma_sync(sum[f], a, w, sum[f]);
        }
      }
    }
  }

  template <class Use>
  __device__ void each(void* own, int lane, Use use) const {
    float* scratch = static_cast<float*>(own);  // [16 columns][16 rows], where the weights were
    for (int f = 0; f < Fragments; ++f) {
      __syncwarp();
      nvcuda::wmma::store_matrix_sync(scratch, sum[f], 16, nvcuda::wmma::mem_col_major);
      __syncwarp();
      const int column = lane / 2, row = lane % 2 * run;
      const auto values = *reinterpret_cast<const Run<float, run>*>(scratch + column * 16 + row);
      use(column, 16 * f + row, values.v);
    }
  }
};

}  // namespace monarch::operators::kernels::cuda
