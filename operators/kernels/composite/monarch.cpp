// The Monarch product by ATen operations: two batched products and the copies that the permutations cost.
#include <ATen/ATen.h>

#include "monarch/operators/kernels/monarch.hpp"
#include "monarch/operators/monarch/checks.hpp"

namespace monarch::operators::kernels::composite {
namespace {

/// [batch, n] with zero columns appended up to `width`.
at::Tensor padded(const at::Tensor& x, int64_t width) {
  const int64_t n = extent(x, 1);
  return n == width ? x : at::constant_pad_nd(x, {0, width - n});
}

at::Tensor cropped(const at::Tensor& y, int64_t width) {
  return extent(y, 1) == width ? y : y.narrow(1, 0, width);
}

/// x [batch, in] -> [k, batch, p], dtype of w1.
at::Tensor input_blocks(const at::Tensor& x, const at::Tensor& w1, const MonarchSizes& z) {
  return padded(x, z.in()).to(w1.scalar_type()).reshape({-1, z.k, z.p}).transpose(0, 1);
}

/// [k, batch, p] -> the middle vector in natural order, [batch, k q].
at::Tensor first_stage(const at::Tensor& blocks, const at::Tensor& w1, const MonarchSizes& z) {
  return at::bmm(blocks, w1.transpose(1, 2)).transpose(0, 1).reshape({-1, z.middle()});
}

/// [batch, n l], number rho l + j of the vector in place (j, rho): [l, batch, n].
at::Tensor gathered(const at::Tensor& rows, int64_t n, int64_t l) {
  return rows.reshape({-1, n, l}).permute({2, 0, 1});
}

/// [l, batch, n] -> [batch, n l]: the inverse of gathered().
at::Tensor scattered(const at::Tensor& blocks, int64_t n, int64_t l) {
  return blocks.permute({1, 2, 0}).reshape({-1, n * l});
}

/// The middle vector -> the argument of the activation, [batch, out].
at::Tensor second_stage(const at::Tensor& middle, const at::Tensor& w2, const at::Tensor& bias, int64_t out,
                        const MonarchSizes& z) {
  const at::Tensor y = scattered(at::bmm(gathered(middle, z.r, z.l), w2.transpose(1, 2)), z.s, z.l);
  return bias.defined() ? cropped(y, out) + bias : cropped(y, out);
}

}  // namespace

MonarchForward monarch_forward(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2, const at::Tensor& bias,
                               int64_t out, Activation activation, bool keep) {
  const MonarchSizes z = monarch_sizes(w1, w2);
  MonarchForward result;
  const at::Tensor middle = first_stage(input_blocks(x, w1, z), w1, z);
  at::Tensor y = second_stage(middle, w2, bias, out, z).contiguous();
  if (keep) result.middle = middle;
  if (keep && (activation == Activation::gelu || activation == Activation::gelu_tanh)) result.input_of_activation = y;
  switch (activation) {
    case Activation::gelu:
      y = at::gelu(y);
      break;
    case Activation::gelu_tanh:
      y = at::gelu(y, "tanh");
      break;
    case Activation::relu:
      y = at::relu(y);
      break;
    case Activation::none:
      break;
  }
  result.y = y;
  return result;
}

MonarchGradients monarch_backward(const MonarchBackwardTask& task) {
  const auto& [for_x, for_w1, for_w2, for_bias] = task.wanted;
  const MonarchSizes z = monarch_sizes(task.w1, task.w2);
  const int64_t out = extent(task.gradient, 1);
  const bool gelu = task.activation == Activation::gelu || task.activation == Activation::gelu_tanh;
  const bool needs_middle = for_w2 || (gelu && !task.input_of_activation.defined());
  at::Tensor x, middle = task.middle;
  if (for_w1 || (needs_middle && !middle.defined())) x = input_blocks(task.x, task.w1, z);
  if (needs_middle && !middle.defined()) middle = first_stage(x, task.w1, z);

  at::Tensor gradient = task.gradient;  // [batch, out], of the argument of the activation
  if (gelu) {
    const at::Tensor argument = task.input_of_activation.defined() ? task.input_of_activation
                                                                   : second_stage(middle, task.w2, task.bias, out, z);
    gradient = at::gelu_backward(gradient, argument, task.activation == Activation::gelu ? "none" : "tanh");
  } else if (task.activation == Activation::relu) {
    gradient = at::threshold_backward(gradient, task.y, 0);
  }
  MonarchGradients result;
  if (for_bias) result[3] = gradient.sum(0);
  if (!for_x && !for_w1 && !for_w2) return result;
  gradient = gathered(padded(gradient, z.out()), z.s, z.l);  // [l, batch, s]
  if (for_w2) result[2] = at::bmm(gradient.transpose(1, 2), gathered(middle, z.r, z.l).conj());
  if (!for_x && !for_w1) return result;
  gradient = scattered(at::bmm(gradient, task.w2.conj()), z.r, z.l);  // [batch, k q], of the middle vector
  gradient = gradient.reshape({-1, z.k, z.q}).transpose(0, 1);        // [k, batch, q]
  if (for_w1) result[1] = at::bmm(gradient.transpose(1, 2), x.conj());
  if (for_x) {
    const at::Tensor all = at::bmm(gradient, task.w1.conj()).transpose(0, 1).reshape({-1, z.in()});
    const at::Tensor columns = cropped(all, extent(task.x, 1));
    result[0] = task.x.is_complex() || !columns.is_complex() ? columns : at::real(columns);
  }
  return result;
}

}  // namespace monarch::operators::kernels::composite
