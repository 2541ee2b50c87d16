#pragma once
// Roots of unity and permutations that the constructions share.

#include <ATen/core/Tensor.h>

#include <complex>
#include <cstdint>
#include <vector>

namespace monarch::operators {

/// exp(2 pi i g / count) for whole g, to half a unit in the last place; quarter turns are exact.
class RootsOfUnity {
 public:
  explicit RootsOfUnity(int64_t count);
  std::complex<double> operator()(int64_t g) const {
    const int64_t rest = g % count_;
    return table_[rest < 0 ? rest + count_ : rest];
  }

 private:
  int64_t count_;
  std::vector<std::complex<double>> table_;
};

/// A complex128 tensor of the given shape, row by row.
at::Tensor complex_tensor(const std::vector<std::complex<double>>& values, std::vector<int64_t> shape);
/// An int64 tensor.
at::Tensor index_tensor(const std::vector<int64_t>& values);
bool is_identity(const std::vector<int64_t>& permutation);
std::vector<int64_t> inverse_of(const std::vector<int64_t>& permutation);

}  // namespace monarch::operators
