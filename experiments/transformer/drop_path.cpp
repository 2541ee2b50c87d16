#include "monarch/experiments/transformer/drop_path.hpp"

#include <ATen/ATen.h>

#include <vector>

namespace monarch::experiments {

at::Tensor drop_path(const at::Tensor& x, double rate, bool training) {
  if (!training || rate == 0) return x;
  std::vector<int64_t> shape(static_cast<size_t>(x.dim()), 1);
  shape[0] = x.size(0);
  return x * at::empty(shape, x.options()).bernoulli_(1 - rate).div_(1 - rate);
}

double drop_path_rate(double rate, int64_t layer, int64_t depth) {
  return depth > 1 ? rate * static_cast<double>(layer) / static_cast<double>(depth - 1) : 0;
}

}  // namespace monarch::experiments
