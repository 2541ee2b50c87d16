// Which of the two ways computes a Monarch product on a GPU: measured, at the first use of its sizes.
//
// The fused kernel saves memory traffic (small blocks, where the product is bound by it); cuBLAS multiplies large
// blocks faster. Where the one overtakes the other depends on the device, so both are timed on the given data, and the
// faster one is remembered for the device, element type, sizes and power of two of the batch. Nothing is measured or
// remembered, and the blocks' size decides, while the stream is being captured into a CUDA graph, and where PyTorch's
// setting asks for deterministic algorithms (the two ways round differently).
#include <ATen/ATen.h>
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAGuard.h>
#include <fmt/format.h>

#include <bit>
#include <map>
#include <mutex>
#include <optional>

#include "monarch/core/log.hpp"
#include "monarch/operators/kernels/cuda/check.hpp"
#include "monarch/operators/kernels/cuda/monarch_paths.hpp"

namespace monarch::operators::kernels::cuda {
namespace {

constexpr int repetitions = 3;
/// Longest contraction for which the fused kernel is taken unmeasured.
constexpr int64_t small_block = 128;

/// Everything that a choice depends on.
using Key = std::array<int64_t, 14>;

struct Choices {
  std::mutex mutex;
  std::map<Key, bool> fused;
};

Choices& choices() {
  static auto* all = new Choices;  // never destroyed: threads may outlive the statics
  return *all;
}

class Event {
 public:
  Event() { check_cuda(cudaEventCreate(&event_), "cudaEventCreate"); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() { cudaEventDestroy(event_); }  // a destructor has nobody to tell
  void record(cudaStream_t stream) { check_cuda(cudaEventRecord(event_, stream), "cudaEventRecord"); }
  /// Milliseconds since `begin`, after waiting for this.
  float since(const Event& begin) {
    float milliseconds = 0;
    check_cuda(cudaEventSynchronize(event_), "cudaEventSynchronize");
    check_cuda(cudaEventElapsedTime(&milliseconds, begin.event_, event_), "cudaEventElapsedTime");
    return milliseconds;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

template <class Run>
float milliseconds(const Run& run, cudaStream_t stream) {
  run();  // loads the kernels, fills the allocator's cache
  Event begin, end;
  begin.record(stream);
  for (int i = 0; i < repetitions; ++i) run();
  end.record(stream);
  return end.since(begin) / repetitions;
}

Key key_of(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2, int64_t out, Activation activation,
           int64_t direction) {
  return {w1.get_device(),
          static_cast<int64_t>(numbers_of(w1.scalar_type())),
          w1.is_complex() && !x.is_complex(),
          w1.size(0),
          w1.size(1),
          w1.size(2),
          w2.size(0),
          w2.size(1),
          w2.size(2),
          x.size(1),
          out,
          static_cast<int64_t>(activation),
          direction,
          static_cast<int64_t>(std::bit_width(static_cast<uint64_t>(x.size(0))))};
}

/// Runs the faster of the two.
template <class Gemm, class Fused>
auto run_chosen(const Key& key, const at::Tensor& x, bool small, const Gemm& gemm, const Fused& fused) {
  if (at::globalContext().deterministicAlgorithms()) return small ? fused() : gemm();
  Choices& all = choices();
  {
    std::unique_lock lock(all.mutex);
    if (const auto found = all.fused.find(key); found != all.fused.end()) {
      const bool choice = found->second;
      lock.unlock();
      return choice ? fused() : gemm();
    }
  }
  const cudaStream_t stream = at::cuda::getCurrentCUDAStream(x.get_device()).stream();
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  check_cuda(cudaStreamIsCapturing(stream, &capture), "cudaStreamIsCapturing");
  if (capture != cudaStreamCaptureStatusNone) return small ? fused() : gemm();

  const float gemm_time = milliseconds(gemm, stream), fused_time = milliseconds(fused, stream);
  const bool choice = fused_time < gemm_time;
  log::debug(
      fmt::format("Monarch product on cuda:{}, w1 [{}, {}, {}], w2 [{}, {}, {}], {} rows{}: batched products "
                  "{:.3f} ms, fused {:.3f} ms",
                  key[0], key[3], key[4], key[5], key[6], key[7], key[8], x.size(0), key[12] < 2 ? "" : ", backward",
                  gemm_time, fused_time));
  {
    const std::lock_guard lock(all.mutex);
    all.fused[key] = choice;
  }
  return choice ? fused() : gemm();
}

}  // namespace

size_t monarch_choices() {
  const std::lock_guard lock(choices().mutex);
  return choices().fused.size();
}

MonarchForward monarch_forward(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2, const at::Tensor& bias,
                               int64_t out, Activation activation, bool keep) {
  const c10::cuda::CUDAGuard guard(w1.device());
  const auto gemm = [&] { return monarch_forward_gemm(x, w1, w2, bias, out, activation, keep); };
  if (!fused_forward_fits(x, w1, w2)) return gemm();
  return run_chosen(key_of(x, w1, w2, out, activation, keep ? 1 : 0), x,
                    std::max(w1.size(2), w2.size(2)) <= small_block, gemm,
                    [&] { return monarch_forward_fused(x, w1, w2, bias, out, activation, keep); });
}

MonarchGradients monarch_backward(const MonarchBackwardTask& task) {
  const c10::cuda::CUDAGuard guard(task.w1.device());
  if (!fused_backward_fits(task)) return monarch_backward_gemm(task);
  int64_t direction = 2;  // which gradients are wanted and what was kept
  for (size_t i = 0; i < 4; ++i) direction += task.wanted[i] ? int64_t{4} << i : 0;
  direction += (task.middle.defined() ? 64 : 0) + (task.input_of_activation.defined() ? 128 : 0);
  return run_chosen(
      key_of(task.x, task.w1, task.w2, task.gradient.size(1), task.activation, direction), task.x,
      std::max(task.w1.size(1), task.w2.size(1)) <= small_block, [&] { return monarch_backward_gemm(task); },
      [&] { return monarch_backward_fused(task); });
}

}  // namespace monarch::operators::kernels::cuda
