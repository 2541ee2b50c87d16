#pragma once
// What the device code of the Monarch product takes: plain numbers and pointers. Private to this back end.

#include <cstddef>
#include <cstdint>

#include "monarch/operators/monarch/multiply.hpp"

struct CUstream_st;

namespace monarch::operators::kernels::cuda {

/// Element type of a kernel: that of the factors, and whether float32 may go through the tensor cores as TF32.
enum class Numbers { float16, bfloat16, tf32, float32, float64, complex64, complex128 };

/// One block-diagonal factor as the fused kernel applies it: out[n] = sum_k w[n, k] in[k] for each block.
struct FusedFactor {
  const void* weights = nullptr;  ///< [blocks, n, k], or [blocks, k, n] (then also conjugated) for the adjoint
  int blocks = 1, n = 1, k = 1;
  /// Where entry i of block j lies in the vector that is read or written: at i·blocks + j instead of j·extent + i.
  bool interleaved = false;
  bool aligned = false;  ///< rows of `weights` begin at multiples of 16 bytes
};

/// Two factors on a batch of rows; everything in row-major order unless it says otherwise.
struct FusedTask {
  FusedFactor first, second;
  bool adjoint = false;                 ///< the gradient: weights transposed and conjugated
  const void* in = nullptr;             ///< [batch, in_columns]; missing columns are zeros
  const void* activation_in = nullptr;  ///< adjoint: z (y for relu) like in; in is multiplied by act'
  const void* bias = nullptr;           ///< [out_columns]
  void* out = nullptr;                  ///< [batch, out_columns]; null: only the first factor is applied
  void* z = nullptr;                    ///< like out, before the activation
  void* in_turned = nullptr;            ///< [first.blocks·first.k, batch_stride]: in, after act'
  void* middle = nullptr;               ///< [second.blocks·second.k, batch_stride]
  int64_t batch = 0, batch_stride = 0, in_columns = 0, out_columns = 0;
  bool real_in = false, real_out = false;    ///< in, out hold real numbers where the factors are complex
  Activation activation = Activation::none;  ///< of out; of in (its derivative) for the adjoint
};

/// How a thread block divides its work; see plan_fused.
struct FusedPlan {
  int rows = 0;                           ///< of the batch, in one tile
  int group = 0;                          ///< blocks of the first factor whose input is staged at a time
  int chunk_blocks = 0, chunk_tiles = 0;  ///< blocks × tiles of 16 columns whose output is staged at a time
  int staging_offset = 0, warp_offset = 0, bytes = 0;  ///< shared memory: middle, staging, per warp
};

constexpr int fused_threads = 256;
constexpr int fused_warps = fused_threads / 32;

/// What a kernel of the given numbers and rows of a tile asks for; rows = 0 where there is none.
struct EngineShape {
  int rows = 0;
  int stride = 0;            ///< numbers between successive entries of a tile: rows, and what keeps banks apart
  int k_step = 1;            ///< contractions are padded to a multiple of it
  int warp_bytes = 0;        ///< of a warp's own
  int number = 0, wide = 0;  ///< bytes of an element and of a sum
};
/// rows: 16, 48 or 80 on tensor cores (float16, bfloat16, tf32), otherwise 8, 16 or 32.
EngineShape engine_shape(Numbers numbers, int rows);

/// Launches the fused kernel. Throws BackendError when the launch fails.
void launch_fused(const FusedTask& task, const FusedPlan& plan, Numbers numbers, CUstream_st* stream);

/// Row-major and batch-innermost arrays into each other, with what is done element by element on the way.
struct TurnTask {
  const void* in = nullptr;             ///< finish: [columns, batch_stride]; begin: [batch, out_columns]
  const void* activation_in = nullptr;  ///< begin: z (y for relu) [batch, out_columns]
  const void* bias = nullptr;           ///< finish: [out_columns]
  void* out = nullptr;                  ///< finish: [batch, out_columns]; begin: [columns, batch_stride]
  void* z = nullptr;                    ///< finish: [batch, out_columns], before the activation
  int64_t batch = 0, batch_stride = 0, columns = 0, out_columns = 0;
  Activation activation = Activation::none;
};

/// out[b, c] = act(in[c, b] + bias[c]) for c < out_columns.
void launch_finish(const TurnTask& task, Numbers numbers, CUstream_st* stream);
/// out[c, b] = in[b, c] act'(activation_in[b, c]); 0 for out_columns <= c < columns.
void launch_begin(const TurnTask& task, Numbers numbers, CUstream_st* stream);

}  // namespace monarch::operators::kernels::cuda
