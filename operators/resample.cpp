#include "monarch/operators/resample.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <numbers>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace monarch::operators {

at::Tensor resampling_matrix(int64_t n, int64_t n_out) {
  check<ShapeError>(n >= 1 && n_out >= 1,
                    [&] { return fmt::format("resampling {} points to {}: at least 1 of each", n, n_out); });
  const int64_t m = std::min(n, n_out), highest = m / 2;
  const at::Tensor k = at::arange(highest + 1, at::kLong).unsqueeze(1);
  // Products are reduced before they become angles: exact for long axes.
  const auto phases = [&](int64_t points) {
    return (k * at::arange(points, at::kLong)).remainder(points).to(at::kDouble) *
           (2 * std::numbers::pi / static_cast<double>(points));
  };
  at::Tensor weight = at::full({highest + 1, 1}, 2.0, at::kDouble);  // k and -k together
  weight[0] = 1.0;
  // k = ±m/2 of a finer source are two frequencies that meet in one place; of the field itself they share one value.
  if (m % 2 == 0 && m == n) weight[highest] = 1.0;
  const at::Tensor out = phases(n_out), in = phases(n);
  const at::Tensor scaled = weight / static_cast<double>(n);
  return at::matmul((scaled * out.cos()).t(), in.cos()) + at::matmul((scaled * out.sin()).t(), in.sin());
}

at::Tensor resample(const at::Tensor& x, at::IntArrayRef grid) {
  const int64_t d = static_cast<int64_t>(grid.size());
  check<ShapeError>(d >= 1 && x.dim() >= d, [&] {
    return fmt::format("resampling to a grid of {}: x has the shape {}", shape_text(grid), shape_text(x.sizes()));
  });
  check<DtypeError>(x.is_floating_point() || x.is_complex(), "resampling: x must be real or complex");
  at::Tensor y = x;
  for (int64_t a = 0; a < d; ++a) {
    const int64_t axis = x.dim() - d + a, n = x.size(axis);
    if (n == grid[a]) continue;
    y = at::matmul(y.movedim(axis, -1), resampling_matrix(n, grid[a]).to(x.options()).t()).movedim(-1, axis);
  }
  return y.contiguous();
}

}  // namespace monarch::operators
