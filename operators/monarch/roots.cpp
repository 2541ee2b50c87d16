#include "monarch/operators/monarch/roots.hpp"

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>

namespace monarch::operators {

RootsOfUnity::RootsOfUnity(int64_t count) : count_(count), table_(count) {
  for (int64_t g = 0; g < count; ++g) {
    const int64_t quarters = 4 * g / count;
    const long double angle = std::numbers::pi_v<long double> / 2 * static_cast<long double>(4 * g - quarters * count) /
                              static_cast<long double>(count);
    const double c = static_cast<double>(std::cos(angle)), s = static_cast<double>(std::sin(angle));
    const std::complex<double> turned[4] = {{c, s}, {-s, c}, {-c, -s}, {s, -c}};
    table_[g] = turned[quarters];
  }
}

at::Tensor complex_tensor(const std::vector<std::complex<double>>& values, std::vector<int64_t> shape) {
  at::Tensor t = at::empty(shape, at::kComplexDouble);
  std::copy(values.begin(), values.end(), reinterpret_cast<std::complex<double>*>(t.data_ptr()));
  return t;
}

at::Tensor index_tensor(const std::vector<int64_t>& values) {
  return at::tensor(values, at::kLong);
}

bool is_identity(const std::vector<int64_t>& permutation) {
  for (size_t i = 0; i < permutation.size(); ++i) {
    if (permutation[i] != static_cast<int64_t>(i)) return false;
  }
  return true;
}

std::vector<int64_t> inverse_of(const std::vector<int64_t>& permutation) {
  std::vector<int64_t> inverse(permutation.size());
  for (size_t i = 0; i < permutation.size(); ++i) inverse[permutation[i]] = static_cast<int64_t>(i);
  return inverse;
}

}  // namespace monarch::operators
