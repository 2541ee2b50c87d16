// Host side of the fused kernel: how a device's shared memory is divided, and tensors into tasks.
#include <ATen/ATen.h>
#include <ATen/cuda/CUDAContext.h>
#include <fmt/format.h>

#include <array>
#include <climits>
#include <optional>

#include "monarch/core/error.hpp"
#include "monarch/operators/kernels/cuda/monarch_paths.hpp"

namespace monarch::operators::kernels::cuda {
namespace {

/// More staging lets more warps work between two barriers; beyond this it only costs room.
constexpr int64_t most_staging = 64 * 1024;

int64_t padded(int64_t n, int64_t step) {
  return (n + step - 1) / step * step;
}

/// What of a device a plan depends on.
struct Limits {
  int64_t shared_bytes;  ///< that one thread block may ask for
  int processors;
};

Limits limits_of(const at::Tensor& tensor) {
  const cudaDeviceProp* properties = at::cuda::getDeviceProperties(tensor.get_device());
  return {static_cast<int64_t>(properties->sharedMemPerBlockOptin), properties->multiProcessorCount};
}

/// A tile of `rows` rows: middle + staging + weights of each warp in shared memory, or nothing where that does not fit.
std::optional<FusedPlan> plan_rows(const FusedTask& task, Numbers numbers, int rows, const Limits& limits) {
  const EngineShape shape = engine_shape(numbers, rows);
  if (shape.rows == 0) return {};
  const FusedFactor &first = task.first, &second = task.second;
  const int64_t middle = padded(second.blocks * padded(second.k, shape.k_step) * shape.stride * shape.number, 128);
  const int64_t warps = int64_t{fused_warps} * shape.warp_bytes;
  const int64_t room = (limits.shared_bytes - middle - warps) / 128 * 128;
  const int64_t block_in = padded(first.k, shape.k_step) * shape.stride * shape.number;
  const int64_t unit_out = int64_t{17} * rows * shape.wide;  // 16 columns of a block, and one against bank conflicts
  if (room < std::max(block_in, unit_out)) return {};
  const int64_t staging = std::max({std::min(room, most_staging), block_in, unit_out});

  FusedPlan plan;
  plan.rows = rows;
  const int64_t groups = (first.blocks + staging / block_in - 1) / (staging / block_in);
  plan.group = static_cast<int>((first.blocks + groups - 1) / groups);
  const int64_t units = staging / unit_out, tiles = (second.n + 15) / 16;
  // Neighbouring columns of the output are neighbouring blocks where they are interleaved, else of one block.
  const int64_t blocks = second.interleaved ? std::min<int64_t>(second.blocks, units)
                                            : std::min<int64_t>(second.blocks, std::max<int64_t>(1, units / tiles));
  plan.chunk_blocks = static_cast<int>(blocks);
  plan.chunk_tiles = static_cast<int>(std::min(tiles, std::max<int64_t>(1, units / blocks)));
  const int64_t line = blocks * (16 * plan.chunk_tiles + 1);
  const int64_t used = padded(std::max(plan.group * block_in, rows * line * shape.wide), 128);
  plan.staging_offset = static_cast<int>(middle);
  plan.warp_offset = static_cast<int>(middle + used);
  plan.bytes = static_cast<int>(middle + used + warps);
  return plan;
}

/// The largest tile that fits and gives at least every second processor one; the smallest that fits for few rows.
/// (Weights are read once a tile: a large one saves traffic, a small one fills the device.)
std::optional<FusedPlan> plan_fused(const FusedTask& task, Numbers numbers, int rows, const Limits& limits) {
  const bool tensor_cores = numbers == Numbers::float16 || numbers == Numbers::bfloat16 || numbers == Numbers::tf32;
  const std::array<int, 3> candidates = tensor_cores ? std::array{80, 48, 16} : std::array{32, 16, 8};
  if (rows > 0) return plan_rows(task, numbers, rows, limits);
  std::optional<FusedPlan> best;
  for (const int candidate : candidates) {
    const auto plan = plan_rows(task, numbers, candidate, limits);
    if (!plan) continue;
    best = plan;
    if ((task.batch + candidate - 1) / candidate * 2 >= limits.processors) break;
  }
  return best;
}

FusedFactor factor(const at::Tensor& w, bool adjoint, bool interleaved) {
  FusedFactor f;
  f.weights = w.const_data_ptr();
  f.blocks = static_cast<int>(w.size(0));
  f.n = static_cast<int>(w.size(adjoint ? 2 : 1));
  f.k = static_cast<int>(w.size(adjoint ? 1 : 2));
  f.interleaved = interleaved;
  f.aligned = w.size(2) * w.element_size() % 16 == 0 && reinterpret_cast<uintptr_t>(f.weights) % 16 == 0;
  return f;
}

FusedTask forward_task(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2) {
  FusedTask task;
  task.first = factor(w1, false, false);
  task.second = factor(w2, false, true);
  task.in = x.const_data_ptr();
  task.batch = x.size(0);
  task.batch_stride = batch_stride(task.batch, w1.scalar_type());
  task.in_columns = x.size(1);
  task.real_in = w1.is_complex() && !x.is_complex();
  return task;
}

FusedTask backward_task(const MonarchBackwardTask& given) {
  FusedTask task;
  task.first = factor(given.w2, true, true);
  task.second = factor(given.w1, true, false);
  task.adjoint = true;
  task.in = given.gradient.const_data_ptr();
  task.batch = given.x.size(0);
  task.batch_stride = batch_stride(task.batch, given.w1.scalar_type());
  task.in_columns = given.gradient.size(1);
  task.out_columns = given.x.size(1);
  task.real_out = given.w1.is_complex() && !given.x.is_complex();
  task.activation = given.activation;
  return task;
}

/// Positions within a row are 32-bit numbers in the kernel, and so is the number of tiles.
bool small_enough(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2) {
  const int64_t widest = std::max({w1.size(0) * w1.size(2), w1.size(0) * w1.size(1), w2.size(0) * w2.size(1)});
  return widest <= INT_MAX / 2 && x.size(0) <= INT_MAX;
}

FusedPlan plan_or_fail(const FusedTask& task, Numbers numbers, int rows, const Limits& limits) {
  const auto plan = plan_fused(task, numbers, rows, limits);
  check<BackendError>(
      plan.has_value(),
      [&] {
        return fmt::format(
            "fused Monarch kernel: a tile of rows of {} middle columns does not fit into {} bytes of shared "
            "memory",
            task.second.blocks * task.second.k, limits.shared_bytes);
      },
      "use the path of two batched products, which takes every size");
  return *plan;
}

CUstream_st* stream_of(const at::Tensor& x) {
  return at::cuda::getCurrentCUDAStream(x.get_device()).stream();
}

MonarchForward forward_for_recomputing(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2,
                                       const at::Tensor& bias, int64_t out, Activation activation, bool keep) {
  return fused_forward_fits(x, w1, w2) ? monarch_forward_fused(x, w1, w2, bias, out, activation, keep)
                                       : monarch_forward_gemm(x, w1, w2, bias, out, activation, keep);
}

}  // namespace

bool fused_forward_fits(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2, int rows) {
  return small_enough(x, w1, w2) &&
         plan_fused(forward_task(x, w1, w2), numbers_of(w1.scalar_type()), rows, limits_of(w1)).has_value();
}

bool fused_backward_fits(const MonarchBackwardTask& task, int rows) {
  return small_enough(task.x, task.w1, task.w2) && (task.wanted[0] || task.wanted[1]) &&
         plan_fused(backward_task(task), numbers_of(task.w1.scalar_type()), rows, limits_of(task.w1)).has_value();
}

MonarchForward monarch_forward_fused(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2,
                                     const at::Tensor& bias, int64_t out, Activation activation, bool keep, int rows) {
  const Numbers numbers = numbers_of(w1.scalar_type());
  FusedTask task = forward_task(x, w1, w2);
  const FusedPlan plan = plan_or_fail(task, numbers, rows, limits_of(w1));
  MonarchForward result;
  result.y = at::empty({task.batch, out}, w1.options());
  task.out = result.y.mutable_data_ptr();
  task.out_columns = out;
  task.bias = bias.defined() ? bias.const_data_ptr() : nullptr;
  task.activation = activation;
  if (keep) {
    result.middle = at::empty({w1.size(0) * w1.size(1), task.batch_stride}, w1.options());
    task.middle = result.middle.mutable_data_ptr();
    if (activation != Activation::none && activation != Activation::relu) {
      result.input_of_activation = at::empty({task.batch, out}, w1.options());
      task.z = result.input_of_activation.mutable_data_ptr();
    }
  }
  launch_fused(task, plan, numbers, stream_of(x));
  return result;
}

MonarchGradients monarch_backward_fused(const MonarchBackwardTask& given, int rows) {
  const MonarchBackwardTask task = recomputed(given, &forward_for_recomputing);
  const at::Tensor &x = task.x, &w1 = task.w1, &w2 = task.w2;
  const Numbers numbers = numbers_of(w1.scalar_type());
  FusedTask fused = backward_task(task);
  const FusedPlan plan = plan_or_fail(fused, numbers, rows, limits_of(w1));
  const at::Tensor argument = activation_argument(task);
  fused.activation_in = argument.defined() ? argument.const_data_ptr() : nullptr;

  MonarchGradients gradients;
  at::Tensor dz, dmid;
  if (task.wanted[2] || task.wanted[3]) {
    dz = at::empty({w2.size(0) * w2.size(1), fused.batch_stride}, w2.options());
    fused.in_turned = dz.mutable_data_ptr();
  }
  if (task.wanted[1]) {
    dmid = at::empty({w1.size(0) * w1.size(1), fused.batch_stride}, w1.options());
    fused.middle = dmid.mutable_data_ptr();
  }
  if (task.wanted[0]) {
    gradients[0] = at::empty(x.sizes(), x.options());
    fused.out = gradients[0].mutable_data_ptr();
  }
  launch_fused(fused, plan, numbers, stream_of(x));
  if (task.wanted[1]) gradients[1] = first_gradient(x, dmid, w1);
  if (task.wanted[2]) gradients[2] = second_gradient(dz, task.middle, w2, fused.batch);
  if (task.wanted[3]) gradients[3] = bias_gradient(dz, fused.batch, task.gradient.size(1));
  return gradients;
}

}  // namespace monarch::operators::kernels::cuda
