#include "neural_models.hpp"

#include <ATen/ATen.h>

#include <cmath>

#include "monarch/core/rng.hpp"

namespace monarch::test {

solvers::NeuralSolverPtr make_model(const std::string& lines, const solvers::FieldShape& shape, uint64_t seed) {
  const Config config = Config::parse("[model]\n" + lines);
  at::manual_seed(seed);
  auto model = solvers::make_neural_solver(config, shape);
  config.finish();
  return model;
}

double distance(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.detach().to(at::kDouble), y = b.detach().to(at::kDouble);
  if (x.sizes() != y.sizes()) return INFINITY;
  return ((x - y).norm() / y.norm()).item<double>();
}

at::Tensor band_limited(int64_t batch, int64_t channels, const std::vector<int64_t>& grid, int64_t highest) {
  const int64_t count = 2 * highest + 1;
  std::vector<int64_t> shape{batch, channels};
  for (size_t a = 0; a < grid.size(); ++a) shape.push_back(count);
  at::Tensor field = Rng(3, "band limited").normal(shape, at::kDouble);
  for (size_t a = 0; a < grid.size(); ++a) {
    const at::Tensor points = at::arange(grid[a], at::kDouble) / static_cast<double>(grid[a]);
    std::vector<at::Tensor> waves{at::ones({grid[a]}, at::kDouble)};
    for (int64_t k = 1; k <= highest; ++k) {
      waves.push_back((2 * M_PI * static_cast<double>(k) * points).cos());
      waves.push_back((2 * M_PI * static_cast<double>(k) * points).sin());
    }
    const int64_t axis = static_cast<int64_t>(a) + 2;
    field = at::matmul(field.movedim(axis, -1), at::stack(waves)).movedim(-1, axis);
  }
  return field.contiguous();
}

}  // namespace monarch::test
