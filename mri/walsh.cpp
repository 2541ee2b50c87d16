#include "monarch/mri/walsh.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>

#include "monarch/core/error.hpp"
#include "monarch/mri/arrays.hpp"
#include "monarch/mri/hermitian_eigen.hpp"

namespace monarch::mri {
namespace {

// Sums over the window along one axis of [pair, y, x], cut off at the edges. Each is made of its own few terms:
// running sums would leave rounding of bright pixels in dark ones.
at::Tensor window_sum(const at::Tensor& values, int64_t axis, int64_t window) {
  const int64_t n = values.size(axis), reach = window / 2;
  at::Tensor sum = values.clone();
  for (int64_t shift = 1; shift <= std::min(reach, n - 1); ++shift) {
    sum.narrow(axis, 0, n - shift).add_(values.narrow(axis, shift, n - shift));
    sum.narrow(axis, shift, n - shift).add_(values.narrow(axis, 0, n - shift));
  }
  return sum;
}

}  // namespace

at::Tensor walsh_maps(const at::Tensor& images, const WalshOptions& options) {
  const at::Tensor data = coil_array(images, "Walsh's method: images");
  check<ConfigError>(options.window >= 1 && options.window % 2 == 1 && options.iterations >= 1, [&] {
    return fmt::format("Walsh's method: window must be odd and iterations at least 1, found {} and {}", options.window,
                       options.iterations);
  });
  check_finite(data, "Walsh's method: images");
  const int64_t coils = data.size(0), nz = data.size(1), ny = data.size(2), nx = data.size(3);
  const int64_t pairs = packed_pairs(coils), volume = nz * ny * nx, reach = options.window / 2;
  const int64_t width = (nx + hermitian_padding - 1) / hermitian_padding * hermitian_padding;
  at::Tensor maps = at::empty_like(data), values = at::empty({ny, nx}, at::kFloat);
  EigenRequest request;
  request.coils = coils;
  request.iterations = options.iterations;
  request.reference = principal_channel(data);
  // Scaled so that squares of tiny samples (1e-20 is not unusual in vendor units) stay in range.
  const float largest = at::abs(data).max().item<float>();
  const at::Tensor scaled = largest > 0 ? data / largest : data;

  auto* target = reinterpret_cast<std::complex<float>*>(maps.data_ptr<c10::complex<float>>());
  for (int64_t z = 0; z < nz; ++z) {
    at::Tensor real = at::zeros({pairs, ny, width}, at::kFloat), imag = at::zeros({pairs, ny, width}, at::kFloat);
    for (int64_t near = std::max<int64_t>(0, z - reach); near <= std::min(nz - 1, z + reach); ++near) {
      for (int64_t i = 0; i < coils; ++i) {
        const at::Tensor products = scaled.select(0, i)[near] * scaled.narrow(0, i, coils - i).select(1, near).conj();
        const int64_t first = packed_index(coils, i, i);
        real.narrow(0, first, coils - i).narrow(2, 0, nx).add_(at::real(products));
        imag.narrow(0, first, coils - i).narrow(2, 0, nx).add_(at::imag(products));
      }
    }
    real = window_sum(window_sum(real, 1, options.window), 2, options.window);
    imag = window_sum(window_sum(imag, 1, options.window), 2, options.window);
    const float* r = real.data_ptr<float>();
    const float* q = imag.data_ptr<float>();
    float* power = values.data_ptr<float>();
    at::parallel_for(0, ny, 8, [&](int64_t begin, int64_t end) {
      for (int64_t y = begin; y < end; ++y) {
        const HermitianRun run{r + y * width, q + y * width, ny * width, nx};
        leading_eigenvectors(run, request,
                             {target + (z * ny + y) * nx, coils * volume, volume, power + y * nx, ny * nx});
      }
    });
  }
  return maps;
}

}  // namespace monarch::mri
