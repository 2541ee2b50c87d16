#pragma once
// Fourier transforms below the operator: one task, the same call in every back end, and planned in-place
// transforms for kernels that fuse a transform with their own work.

#include <ATen/core/Tensor.h>

#include <complex>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace monarch::operators::kernels {

/// A centred transform is a plain one between two multiplications, exact for every n. With c = floor(n/2):
///   sum_j x_j exp(-2 pi i (j-c)(k-c)/n) = constant * phase[k] * sum_j (phase[j] x_j) exp(-2 pi i jk/n),
///   phase[j] = exp(2 pi i cj/n),  constant = exp(-2 pi i c^2/n);  both conjugate for the inverse.
/// For even n phase[j] is exactly (-1)^j and constant exactly (-1)^(n/2). Over several axes they multiply, so they
/// may be folded into any diagonal factor that is there anyway (coil sensitivities, sampling masks).
struct Centring {
  std::vector<std::complex<double>> phase;  ///< [n]
  std::complex<double> constant = 1;
};
Centring centring(int64_t n, bool inverse);

/// y = factor * phase_1 phase_2 ... * F(phase_1 phase_2 ... * x) over `axes` of contiguous arrays of shape `sizes`.
struct FourierTask {
  std::vector<int64_t> sizes;  ///< extents, slowest first; all positive
  std::vector<int64_t> axes;   ///< transformed ones, ascending, one to three
  bool inverse = false;        ///< exponent +2 pi i
  /// One vector per transformed axis, [sizes[axes[i]]]; empty where nothing is to be multiplied.
  std::vector<std::vector<std::complex<double>>> phases;
  std::complex<double> factor = 1;
};

/// in, out: contiguous tensors of shape task.sizes, complex64 or complex128 alike; out is overwritten and must not
/// overlap in. Each throws BackendError when its library or device fails or is not in this build.
namespace reference {
/// Direct sums per axis in double: O(n) operations per element and axis, no library. Any device (computes on the CPU).
void fourier(const FourierTask& task, const at::Tensor& in, const at::Tensor& out);
}  // namespace reference
namespace cuda {
/// cuFFT on the current stream of in's device.
void fourier(const FourierTask& task, const at::Tensor& in, const at::Tensor& out);
}  // namespace cuda

namespace cpu {
/// FFTW, split over at::parallel_for.
void fourier(const FourierTask& task, const at::Tensor& in, const at::Tensor& out);

/// One dimension of an array: extent, and distance between neighbours in complex elements.
struct Dimension {
  int64_t n = 1;
  int64_t stride = 1;
  auto operator<=>(const Dimension&) const = default;
};

/// What a plan transforms, as in FFTW's guru interface: `dims` (one to three, slowest first) for every index of
/// `batch` (any number of dimensions, none for one transform). Everything is relative to the pointer of execute().
struct PlanShape {
  std::vector<Dimension> dims;
  std::vector<Dimension> batch;
  bool inverse = false;  ///< exponent +2 pi i
  auto operator<=>(const PlanShape&) const = default;
};

/// `measure` tries algorithms on scratch memory (milliseconds to two seconds, once per machine and shape);
/// `estimate` guesses one in microseconds, which runs up to four times slower.
enum class Effort { estimate, measure };

/// A single-threaded in-place transform by FFTW, without scale and shift. T: float or double. Made by get_plan().
template <class T>
class Plan {
 public:
  struct Variants;
  explicit Plan(std::unique_ptr<Variants> variants);
  ~Plan();
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  /// Transforms data in place. Lock-free; any number of threads may execute one plan on different data at once.
  /// Fastest where data is aligned to 16 bytes (every tensor is; every row of one with an even extent is): for a
  /// pointer that is not, a plan of its own is made at its first use.
  void execute(std::complex<T>* data) const;

 private:
  std::unique_ptr<Variants> variants_;
};

/// The plan of a shape, from the process's cache or planned now (one planner at a time; the lookup does not wait for
/// it). Measured plans are kept as FFTW wisdom in monarch::cache_folder(). Safe from any thread.
/// Throws ShapeError for extents or strides below one, no or more than three dims; BackendError where FFTW finds no
/// plan. Cost of a hit: a shared lock and a map lookup, so look a plan up outside inner loops.
template <class T>
std::shared_ptr<const Plan<T>> get_plan(const PlanShape& shape, Effort effort = Effort::measure);

/// Planner's figures of this process, for tests and reports.
struct PlanStatistics {
  int64_t planned = 0;      ///< plans made, by any means
  int64_t measured = 0;     ///< of them, those that had to be measured
  int64_t from_wisdom = 0;  ///< of them, those that wisdom answered
  double planning_seconds = 0;
};
PlanStatistics plan_statistics();

/// Held while FFTW plans are made or destroyed anywhere in the program: its planner is not thread-safe.
std::mutex& planner_mutex();
}  // namespace cpu

}  // namespace monarch::operators::kernels
