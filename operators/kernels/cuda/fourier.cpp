// The cuFFT back end.
#include <ATen/ATen.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <fmt/format.h>

#include <map>
#include <mutex>
#include <tuple>

#include "monarch/core/error.hpp"
#include "monarch/operators/kernels/cuda/check.hpp"
#include "monarch/operators/kernels/cuda/multiply.hpp"
#include "monarch/operators/kernels/fourier.hpp"

namespace monarch::operators::kernels::cuda {

namespace {

constexpr size_t most_plans = 256;

/// What cuFFT's advanced layout says: `rank` nested dimensions, one batch dimension; the rest is looped over.
struct Key {
  int device;
  bool twofold;  ///< complex128
  std::vector<long long> n, embed;
  long long stride, distance, batch;
  auto operator<=>(const Key&) const = default;
};

/// A plan with its phases. Stream and workspace are properties of a cuFFT handle, so one call at a time sets and
/// starts it; the work itself runs on the caller's stream with a workspace of the call's own.
struct Entry {
  std::mutex mutex;
  cufftHandle handle = 0;
  size_t workspace_bytes = 0;
  std::vector<std::vector<std::complex<double>>> phases;
  std::vector<at::Tensor> device_phases;

  Entry() = default;
  Entry(const Entry&) = delete;
  Entry& operator=(const Entry&) = delete;
  ~Entry() {
    if (handle) cufftDestroy(handle);  // a destructor has nobody to tell
  }
};

std::shared_ptr<Entry> find_plan(const Key& key) {
  static auto* mutex = new std::mutex;
  static auto* cache = new std::map<Key, std::shared_ptr<Entry>>;  // never destroyed: CUDA may be gone before
  const std::lock_guard lock(*mutex);
  if (const auto found = cache->find(key); found != cache->end()) return found->second;
  auto entry = std::make_shared<Entry>();
  check_cufft(cufftCreate(&entry->handle), "cufftCreate");
  check_cufft(cufftSetAutoAllocation(entry->handle, 0), "cufftSetAutoAllocation");
  std::vector<long long> n = key.n, embed = key.embed;
  check_cufft(cufftMakePlanMany64(entry->handle, static_cast<int>(n.size()), n.data(), embed.data(), key.stride,
                                  key.distance, embed.data(), key.stride, key.distance,
                                  key.twofold ? CUFFT_Z2Z : CUFFT_C2C, key.batch, &entry->workspace_bytes),
              "cufftMakePlanMany64");
  if (cache->size() >= most_plans) cache->clear();
  cache->emplace(key, entry);
  return entry;
}

/// The phases on the device; uploaded when they change, which a plan of one centring never does again.
void upload_phases(Entry& entry, const FourierTask& task, const at::Tensor& like, cudaStream_t stream) {
  if (entry.phases == task.phases) return;
  entry.device_phases.clear();
  for (const auto& phase : task.phases) {
    const at::Tensor host = at::from_blob(const_cast<std::complex<double>*>(phase.data()),
                                          {static_cast<int64_t>(phase.size())}, at::kComplexDouble);
    entry.device_phases.push_back(host.to(like.scalar_type()).to(like.device()));
  }
  // Later calls may come on other streams.
  check_cuda(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  entry.phases = task.phases;
}

template <class T>
void transform(const FourierTask& task, const at::Tensor& in, const at::Tensor& out) {
  const c10::cuda::CUDAGuard guard(in.device());
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream(in.get_device()).stream();
  const auto rank = static_cast<int64_t>(task.sizes.size());
  std::vector<int64_t> strides(rank, 1);
  for (int64_t a = rank - 2; a >= 0; --a) strides[a] = strides[a + 1] * task.sizes[a + 1];

  Key key{in.get_device(), std::is_same_v<T, double>, {}, {}, strides[task.axes.back()], 1, 1};
  for (size_t a = 0; a < task.axes.size(); ++a) {
    const int64_t axis = task.axes[a];
    key.n.push_back(task.sizes[axis]);
    key.embed.push_back(a == 0 ? task.sizes[axis] : strides[task.axes[a - 1]] / strides[axis]);
  }
  std::vector<int64_t> others;
  for (int64_t a = 0; a < rank; ++a) {
    if (std::find(task.axes.begin(), task.axes.end(), a) == task.axes.end()) others.push_back(a);
  }
  std::sort(others.begin(), others.end(), [&](int64_t a, int64_t b) { return task.sizes[a] < task.sizes[b]; });
  if (!others.empty()) {  // the largest other dimension is the batch
    key.batch = task.sizes[others.back()];
    key.distance = strides[others.back()];
    others.pop_back();
  }
  std::vector<int64_t> offsets = {0};
  for (const int64_t axis : others) {
    std::vector<int64_t> more;
    for (const int64_t offset : offsets) {
      for (int64_t i = 0; i < task.sizes[axis]; ++i) more.push_back(offset + i * strides[axis]);
    }
    offsets = std::move(more);
  }

  const auto* source = reinterpret_cast<const std::complex<T>*>(in.const_data_ptr());
  auto* target = reinterpret_cast<std::complex<T>*>(out.mutable_data_ptr());
  const std::shared_ptr<Entry> entry = find_plan(key);
  const at::Tensor workspace = at::empty({static_cast<int64_t>(entry->workspace_bytes)}, in.options().dtype(at::kByte));
  const std::lock_guard lock(entry->mutex);
  upload_phases(*entry, task, in, stream);
  Phases phases;
  for (const at::Tensor& phase : entry->device_phases) {
    const int64_t axis = task.axes[phases.axes];
    phases.n[phases.axes] = task.sizes[axis];
    phases.stride[phases.axes] = strides[axis];
    phases.phase[phases.axes] = phase.const_data_ptr();
    ++phases.axes;
  }
  if (phases.axes > 0) {
    multiply(source, target, in.numel(), phases, 1, stream);
  } else {
    check_cuda(cudaMemcpyAsync(target, source, in.nbytes(), cudaMemcpyDeviceToDevice, stream), "cudaMemcpyAsync");
  }
  check_cufft(cufftSetStream(entry->handle, stream), "cufftSetStream");
  check_cufft(cufftSetWorkArea(entry->handle, workspace.mutable_data_ptr()), "cufftSetWorkArea");
  const int direction = task.inverse ? CUFFT_INVERSE : CUFFT_FORWARD;
  for (const int64_t offset : offsets) {
    if constexpr (std::is_same_v<T, double>) {
      auto* data = reinterpret_cast<cufftDoubleComplex*>(target + offset);
      check_cufft(cufftExecZ2Z(entry->handle, data, data, direction), "cufftExecZ2Z");
    } else {
      auto* data = reinterpret_cast<cufftComplex*>(target + offset);
      check_cufft(cufftExecC2C(entry->handle, data, data, direction), "cufftExecC2C");
    }
  }
  if (phases.axes > 0 || task.factor != 1.0) {
    multiply(target, target, in.numel(), phases, task.factor, stream);
  }
}

}  // namespace

void fourier(const FourierTask& task, const at::Tensor& in, const at::Tensor& out) {
  if (in.scalar_type() == at::kComplexDouble) {
    transform<double>(task, in, out);
  } else {
    transform<float>(task, in, out);
  }
}

}  // namespace monarch::operators::kernels::cuda
