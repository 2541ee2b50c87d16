#include "monarch/operators/nn/activate.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "monarch/core/error.hpp"

namespace monarch::operators {

at::Tensor activate(const at::Tensor& y, Activation activation) {
  check<ConfigError>(activation == Activation::none || !y.is_complex(), [&] {
    return fmt::format("activation {} is not defined for complex numbers", activation_name(activation));
  });
  switch (activation) {
    case Activation::gelu:
      return at::gelu(y);
    case Activation::gelu_tanh:
      return at::gelu(y, "tanh");
    case Activation::relu:
      return at::relu(y);
    case Activation::none:
      break;
  }
  return y;
}

}  // namespace monarch::operators
