#pragma once
// Shapes, arguments and checkers for the Monarch product, for every back end alike.

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

#include "monarch/operators/monarch/multiply.hpp"

namespace monarch::test {

/// One product. in and out: 0 stands for all columns.
struct MonarchCase {
  operators::MonarchSizes sizes;
  int64_t batch = 1;
  at::ScalarType dtype = at::kFloat;
  bool real_input = false;  ///< a real x with complex factors
  int64_t in = 0, out = 0;
  bool bias = false;
  operators::Activation activation = operators::Activation::none;
  bool recompute = false;
  bool strided = false;  ///< x is the transpose of a contiguous tensor, every second row of it
  at::Device device = at::kCPU;

  /// "float32 k 4 q 3 p 5, l 6 s 7 r 2, batch 17, in 20, out 42, bias, gelu, recompute".
  std::string text() const;
};

struct MonarchArguments {
  at::Tensor x, w1, w2;
  operators::MultiplyOptions options;
};
/// Random from a fixed seed; the factors are scaled so that all vectors have elements of order 1.
MonarchArguments monarch_arguments(const MonarchCase& shape);

/// Sizes that find mistakes: tiny, odd, prime, rectangular, one block, blocks that do not divide one another, as large
/// as a tile and one more.
const std::vector<operators::MonarchSizes>& monarch_sizes_to_test();

/// A product that is differentiable by autograd.
using MonarchProduct = std::function<at::Tensor(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2,
                                                const operators::MultiplyOptions& options)>;

/// Compares a product (default: monarch_multiply) and its gradients with the reference kernel: shape, dtype, error in
/// the norm and the largest error of an element. Returns "" or one line with what was measured and what was allowed.
std::string check_against_reference(const MonarchCase& shape, const MonarchProduct& product = {});

/// A function of several tensors, double or complex128.
using TensorFunction = std::function<at::Tensor(const std::vector<at::Tensor>& arguments)>;

/// dL/dt by central differences of fourth order, element by element, real and imaginary parts; L reads t.
at::Tensor numeric_gradient(const std::function<double()>& value, const at::Tensor& t);

/// Gradients of f by autograd against differences. Returns "" or a finding.
std::string check_gradient(const TensorFunction& f, const std::vector<at::Tensor>& arguments);

/// All gradients of f as a function of its arguments and a cotangent (last), flattened into one real vector: what
/// second derivatives are checked with.
TensorFunction gradient_of(const TensorFunction& f);

}  // namespace monarch::test
