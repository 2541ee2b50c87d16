// Direct sums: what every other back end is compared with.
#include <ATen/ATen.h>

#include <numbers>

#include "monarch/operators/kernels/fourier.hpp"

namespace monarch::operators::kernels::reference {
namespace {

/// Transforms one axis of a contiguous array [outer, n, inner].
template <class Wide>
void transform_axis(std::vector<std::complex<Wide>>& data, int64_t outer, int64_t n, int64_t inner, bool inverse) {
  std::vector<std::complex<Wide>> root(n);
  for (int64_t i = 0; i < n; ++i) {
    const Wide angle = (inverse ? 2 : -2) * std::numbers::pi_v<Wide> * static_cast<Wide>(i) / static_cast<Wide>(n);
    root[i] = {std::cos(angle), std::sin(angle)};
  }
  std::vector<std::complex<Wide>> line(n);
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t i = 0; i < inner; ++i) {
      std::complex<Wide>* first = data.data() + o * n * inner + i;
      for (int64_t k = 0; k < n; ++k) {
        std::complex<Wide> sum = 0;
        for (int64_t j = 0; j < n; ++j) sum += root[j * k % n] * first[j * inner];
        line[k] = sum;
      }
      for (int64_t k = 0; k < n; ++k) first[k * inner] = line[k];
    }
  }
}

/// Multiplies by scale and by each axis's phases.
template <class Wide>
void multiply(std::vector<std::complex<Wide>>& data, const FourierTask& task, std::complex<double> scale) {
  int64_t inner = static_cast<int64_t>(data.size());
  std::vector<int64_t> strides;
  for (const int64_t n : task.sizes) strides.push_back(inner /= n);
  for (size_t at = 0; at < data.size(); ++at) {
    std::complex<Wide> factor(scale.real(), scale.imag());
    for (size_t a = 0; a < task.phases.size(); ++a) {
      const int64_t axis = task.axes[a];
      const std::complex<double> phase = task.phases[a][static_cast<int64_t>(at) / strides[axis] % task.sizes[axis]];
      factor *= std::complex<Wide>(phase.real(), phase.imag());
    }
    data[at] *= factor;
  }
}

template <class T, class Wide>
void transform(const FourierTask& task, const at::Tensor& in, const at::Tensor& out) {
  const at::Tensor source = in.cpu();
  const auto* values = reinterpret_cast<const std::complex<T>*>(source.const_data_ptr());
  std::vector<std::complex<Wide>> data(values, values + source.numel());
  multiply(data, task, 1);
  for (const int64_t axis : task.axes) {
    int64_t outer = 1;
    for (int64_t i = 0; i < axis; ++i) outer *= task.sizes[i];
    const int64_t n = task.sizes[axis];
    transform_axis(data, outer, n, source.numel() / (outer * n), task.inverse);
  }
  multiply(data, task, task.factor);
  at::Tensor result = at::empty_like(source);
  auto* target = reinterpret_cast<std::complex<T>*>(result.mutable_data_ptr());
  for (size_t i = 0; i < data.size(); ++i) {
    target[i] = {static_cast<T>(data[i].real()), static_cast<T>(data[i].imag())};
  }
  out.copy_(result);
}

}  // namespace

void fourier(const FourierTask& task, const at::Tensor& in, const at::Tensor& out) {
  if (in.scalar_type() == at::kComplexDouble) {
    transform<double, long double>(task, in, out);
  } else {
    transform<float, double>(task, in, out);
  }
}

}  // namespace monarch::operators::kernels::reference
