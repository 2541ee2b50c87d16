// The FFTW back end: arrays are cut into pieces that stay in cache, and into enough of them for all threads.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <numeric>

#include "monarch/operators/kernels/cpu/multiply.hpp"
#include "monarch/operators/kernels/fourier.hpp"

namespace monarch::operators::kernels::cpu {
namespace {

/// Elements that a plan should transform at once: small transforms are grouped up to it.
constexpr int64_t group_elements = 1 << 14;
/// From here on, axis by axis is as fast as a plan of the whole, and takes far less planning.
constexpr int64_t whole_elements = 1 << 21;
/// Below this, splitting one transform over threads costs more than it gains.
constexpr int64_t split_elements = 1 << 15;
/// Up to here, measuring finds nothing that an estimate misses and takes a thousand times longer.
constexpr int64_t estimate_elements = 1 << 12;

Effort effort(int64_t elements) {
  return elements <= estimate_elements ? Effort::estimate : Effort::measure;
}

/// task.phases and task.factor in T, by rows: along a row the last axis' phases, one number for the rest.
template <class T>
class Multiplier {
 public:
  /// slab: extents of one slab; first: the axis of the task that its first extent is.
  Multiplier(const FourierTask& task, std::span<const int64_t> slab, int64_t first, std::complex<double> factor) {
    row_ = slab.back();
    real_ = factor.imag() == 0;
    for (const auto& phase : task.phases) {
      real_ = real_ && std::all_of(phase.begin(), phase.end(), [](std::complex<double> p) { return p.imag() == 0; });
    }
    scales_ = {std::complex<T>(static_cast<T>(factor.real()), static_cast<T>(factor.imag()))};
    identity_ = task.phases.empty() && factor == 1.0;
    if (task.phases.empty()) return;
    std::vector<std::complex<double>> scales = {factor};
    for (size_t a = 0; a < slab.size(); ++a) {
      const auto found = std::find(task.axes.begin(), task.axes.end(), static_cast<int64_t>(a) + first);
      const auto* phase = found == task.axes.end() ? nullptr : &task.phases[found - task.axes.begin()];
      if (a + 1 == slab.size()) {
        if (phase) set_along(*phase);
        break;
      }
      std::vector<std::complex<double>> longer;
      longer.reserve(scales.size() * slab[a]);
      for (const auto& s : scales) {
        for (int64_t i = 0; i < slab[a]; ++i) longer.push_back(phase ? s * (*phase)[i] : s);
      }
      scales = std::move(longer);
    }
    scales_.assign(scales.begin(), scales.end());
  }

  bool identity() const { return identity_; }

  /// out = in * phases * factor for rows [begin, end) counted from the first slab; `in` and `out` point to row 0.
  void rows(const std::complex<T>* in, std::complex<T>* out, int64_t begin, int64_t end) const {
    if (identity_) {
      if (in != out) std::copy(in + begin * row_, in + end * row_, out + begin * row_);
      return;
    }
    const auto count = static_cast<int64_t>(scales_.size());
    const int64_t step = count == 1 && !along() ? end - begin : 1;  // one scale for everything
    for (int64_t row = begin; row < end; row += step) {
      const std::complex<T> scale = scales_[row % count];
      const std::complex<T>* from = in + row * row_;
      std::complex<T>* to = out + row * row_;
      if (real_) {
        multiply_real(reinterpret_cast<const T*>(from), reinterpret_cast<T*>(to),
                      signs_.empty() ? nullptr : signs_.data(), scale.real(), 2 * row_ * step);
      } else {
        multiply_complex(from, to, phases_.empty() ? nullptr : phases_.data(), scale, row_ * step);
      }
    }
  }

  int64_t row() const { return row_; }

 private:
  bool along() const { return !signs_.empty() || !phases_.empty(); }

  void set_along(const std::vector<std::complex<double>>& phase) {
    for (const std::complex<double> p : phase) {
      if (real_) {
        signs_.insert(signs_.end(), 2, static_cast<T>(p.real()));
      } else {
        phases_.emplace_back(static_cast<T>(p.real()), static_cast<T>(p.imag()));
      }
    }
  }

  int64_t row_ = 1;
  bool real_ = true;
  bool identity_ = true;
  std::vector<std::complex<T>> scales_;  ///< one per row of a slab, or one
  std::vector<T> signs_;                 ///< [2 row], where all phases are real
  std::vector<std::complex<T>> phases_;  ///< [row], otherwise
};

/// The largest group of slabs that divides `count` evenly, where one comes near `most`.
int64_t group_size(int64_t count, int64_t most) {
  most = std::clamp<int64_t>(most, 1, count);
  for (int64_t size = most; 4 * size > most; --size) {
    if (count % size == 0) return size;
  }
  return most;
}

/// All `count` slabs, each with one plan over all its axes.
template <class T>
void transform_slabs(const FourierTask& task, std::span<const int64_t> slab, int64_t count, const std::complex<T>* in,
                     std::complex<T>* out, const Multiplier<T>& before, const Multiplier<T>& after) {
  const int64_t elements = std::accumulate(slab.begin(), slab.end(), int64_t{1}, std::multiplies<>());
  const int64_t first = task.axes.front();
  PlanShape shape;
  shape.inverse = task.inverse;
  int64_t stride = elements;
  for (size_t a = 0; a < slab.size(); ++a) {
    stride /= slab[a];
    const bool transformed =
        std::find(task.axes.begin(), task.axes.end(), static_cast<int64_t>(a) + first) != task.axes.end();
    (transformed ? shape.dims : shape.batch).push_back({slab[a], stride});
  }
  const int64_t share = (count + at::get_num_threads() - 1) / at::get_num_threads();
  const int64_t group = group_size(count, std::min(group_elements / elements, share));
  const int64_t rest = count % group;
  const auto plan_of = [&](int64_t slabs) {
    PlanShape grouped = shape;
    if (slabs > 1) grouped.batch.insert(grouped.batch.begin(), {slabs, elements});
    return get_plan<T>(grouped, effort(slabs * elements));
  };
  const auto plan = plan_of(group);
  const auto rest_plan = rest ? plan_of(rest) : nullptr;
  const int64_t rows = elements / before.row();
  at::parallel_for(0, (count + group - 1) / group, 1, [&](int64_t begin, int64_t end) {
    for (int64_t g = begin; g < end; ++g) {
      const int64_t from = g * group, to = std::min(count, from + group);
      before.rows(in, out, from * rows, to * rows);
      (to - from == group ? plan : rest_plan)->execute(out + from * elements);
      after.rows(out, out, from * rows, to * rows);
    }
  });
}

/// One axis of a contiguous array [outer, n, inner], in place, in pieces [n, width] that fit a cache.
template <class T>
void transform_axis(std::complex<T>* data, int64_t outer, int64_t n, int64_t inner, bool inverse) {
  const int64_t most = std::max<int64_t>(8, group_elements / n);
  if (inner == 1) {  // lines are contiguous: a piece is some of them
    const int64_t threads = at::get_num_threads();
    const int64_t group = group_size(outer, std::min(most, (outer + threads - 1) / threads));
    const int64_t rest = outer % group;
    const auto plan_of = [&](int64_t lines) {
      return get_plan<T>({{{n, 1}}, {{lines, n}}, inverse}, effort(lines * n));
    };
    const auto plan = plan_of(group);
    const auto rest_plan = rest ? plan_of(rest) : nullptr;
    at::parallel_for(0, (outer + group - 1) / group, 1, [&](int64_t begin, int64_t end) {
      for (int64_t g = begin; g < end; ++g) {
        (g * group + group <= outer ? plan : rest_plan)->execute(data + g * group * n);
      }
    });
    return;
  }
  const int64_t width = std::min(most, inner);
  const int64_t rest = inner % width;
  const auto plan_of = [&](int64_t lines) {
    return get_plan<T>({{{n, inner}}, {{lines, 1}}, inverse}, effort(lines * n));
  };
  const auto plan = plan_of(width);
  const auto rest_plan = rest ? plan_of(rest) : nullptr;
  const int64_t pieces = (inner + width - 1) / width;
  at::parallel_for(0, outer * pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const int64_t at = p % pieces * width;
      (at + width <= inner ? plan : rest_plan)->execute(data + p / pieces * n * inner + at);
    }
  });
}

/// Axis after axis over the whole array.
template <class T>
void transform_axes(const FourierTask& task, const std::complex<T>* in, std::complex<T>* out, int64_t rows,
                    const Multiplier<T>& before, const Multiplier<T>& after) {
  const int64_t grain = std::max<int64_t>(1, group_elements / before.row());
  at::parallel_for(0, rows, grain, [&](int64_t begin, int64_t end) { before.rows(in, out, begin, end); });
  int64_t outer = 1;
  for (size_t axis = 0; axis < task.sizes.size(); ++axis) {
    const int64_t n = task.sizes[axis];
    if (std::find(task.axes.begin(), task.axes.end(), static_cast<int64_t>(axis)) != task.axes.end()) {
      const int64_t inner =
          std::accumulate(task.sizes.begin() + axis + 1, task.sizes.end(), int64_t{1}, std::multiplies<>());
      transform_axis(out, outer, n, inner, task.inverse);
    }
    outer *= n;
  }
  if (after.identity()) return;
  at::parallel_for(0, rows, grain, [&](int64_t begin, int64_t end) { after.rows(out, out, begin, end); });
}

template <class T>
void transform(const FourierTask& task, const std::complex<T>* in, std::complex<T>* out) {
  const int64_t first = task.axes.front();
  const std::span slab = std::span(task.sizes).subspan(first);
  const int64_t elements = std::accumulate(slab.begin(), slab.end(), int64_t{1}, std::multiplies<>());
  const int64_t count =
      std::accumulate(task.sizes.begin(), task.sizes.begin() + first, int64_t{1}, std::multiplies<>());
  const Multiplier<T> before(task, slab, first, 1);
  const Multiplier<T> after(task, slab, first, task.factor);
  const bool idle = !at::in_parallel_region() && count < at::get_num_threads() && elements > split_elements;
  if (elements > whole_elements || idle) {
    transform_axes(task, in, out, count * elements / slab.back(), before, after);
  } else {
    transform_slabs(task, slab, count, in, out, before, after);
  }
}

}  // namespace

void fourier(const FourierTask& task, const at::Tensor& in, const at::Tensor& out) {
  if (in.scalar_type() == at::kComplexDouble) {
    transform(task, reinterpret_cast<const std::complex<double>*>(in.const_data_ptr()),
              reinterpret_cast<std::complex<double>*>(out.mutable_data_ptr()));
  } else {
    transform(task, reinterpret_cast<const std::complex<float>*>(in.const_data_ptr()),
              reinterpret_cast<std::complex<float>*>(out.mutable_data_ptr()));
  }
}

}  // namespace monarch::operators::kernels::cpu
