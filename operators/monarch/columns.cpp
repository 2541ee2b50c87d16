#include "monarch/operators/monarch/columns.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace monarch::operators {
namespace {

/// Rows g, g + groups, … of [rows, columns] for each g, as [groups, rows / groups, columns]; a view.
at::Tensor interleaved(const at::Tensor& x, int64_t groups) {
  return x.unflatten(-2, {x.size(-2) / groups, groups}).transpose(-3, -2);
}

at::Tensor adjoint_of(const at::Tensor& w) {
  return w.conj().transpose(1, 2).contiguous();
}

/// The middle vector [batch, k, l, columns] of x [batch, k p, columns].
at::Tensor first_stage(const at::Tensor& x, const at::Tensor& w1) {
  const int64_t batch = x.size(0), k = w1.size(0);
  at::Tensor middle = at::empty({batch, k, w1.size(1), x.size(2)}, x.options());
  at::parallel_for(0, batch, 1, [&](int64_t begin, int64_t end) {
    const at::NoGradGuard guard;
    for (int64_t b = begin; b < end; ++b) {
      const at::Tensor rows = interleaved(x[b], k), out = middle[b];
      for (int64_t i = 0; i < k; ++i) {
        at::Tensor target = out[i];
        at::mm_out(target, w1[i], rows[i]);
      }
    }
  });
  return middle;
}

/// [batch, l s, columns] of the middle vector.
at::Tensor second_stage(const at::Tensor& middle, const at::Tensor& w2) {
  const int64_t batch = middle.size(0), l = w2.size(0);
  at::Tensor y = at::empty({batch, l * w2.size(1), middle.size(3)}, middle.options());
  at::parallel_for(0, batch, 1, [&](int64_t begin, int64_t end) {
    const at::NoGradGuard guard;
    for (int64_t b = begin; b < end; ++b) {
      const at::Tensor out = interleaved(y[b], l), in = middle[b];
      for (int64_t j = 0; j < l; ++j) {
        at::Tensor target = out[j];
        at::mm_out(target, w2[j], in.select(1, j));
      }
    }
  });
  return y;
}

/// sum over the batch of a[b, g] b[b, g]^H for each group g: [groups, rows of a, rows of b]. a, b: [batch, group, row,
/// column], views.
at::Tensor outer_sums(const at::Tensor& a, const at::Tensor& b) {
  const int64_t groups = a.size(1);
  at::Tensor sums = at::zeros({groups, a.size(2), b.size(2)}, a.options());
  at::parallel_for(0, groups, 1, [&](int64_t begin, int64_t end) {
    const at::NoGradGuard guard;
    for (int64_t g = begin; g < end; ++g) {
      at::Tensor sum = sums[g];
      for (int64_t i = 0; i < a.size(0); ++i) sum.addmm_(a[i][g], b[i][g].mH());
    }
  });
  return sums;
}

/// The same by differentiable batched products.
at::Tensor composite(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2) {
  const at::Tensor middle = at::matmul(w1, interleaved(x, w1.size(0)));  // [batch, k, l, columns]
  const at::Tensor groups = at::matmul(w2, middle.transpose(1, 2));      // [batch, l, s, columns]
  return groups.transpose(1, 2).flatten(1, 2);
}

class Columns final : public torch::autograd::Function<Columns> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, const at::Tensor& w1,
                            const at::Tensor& w2) {
    const at::Tensor middle = first_stage(x, w1);
    context->save_for_backward({x, w1, w2, middle});
    return second_stage(middle, w2);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &w1 = saved[1], &w2 = saved[2], &middle = saved[3];
    if (at::GradMode::is_enabled()) {
      const at::Tensor y = composite(x, w1, w2);
      torch::autograd::variable_list inputs;
      std::vector<size_t> places;
      for (size_t i = 0; i < 3; ++i) {
        if (!saved[i].requires_grad()) continue;
        inputs.push_back(saved[i]);
        places.push_back(i);
      }
      const auto found = torch::autograd::grad({y}, inputs, {gradients[0]}, true, true);
      torch::autograd::variable_list all(3);
      for (size_t i = 0; i < places.size(); ++i) all[places[i]] = found[i];
      return all;
    }
    const at::Tensor g = gradients[0].contiguous();
    const at::Tensor gradient_middle = first_stage(g, adjoint_of(w2));  // [batch, l, k, columns]
    torch::autograd::variable_list all(3);
    if (context->needs_input_grad(0)) all[0] = second_stage(gradient_middle, adjoint_of(w1));
    if (context->needs_input_grad(1)) all[1] = outer_sums(gradient_middle.transpose(1, 2), interleaved(x, w1.size(0)));
    if (context->needs_input_grad(2)) all[2] = outer_sums(interleaved(g, w2.size(0)), middle.transpose(1, 2));
    return all;
  }
};

}  // namespace

at::Tensor monarch_columns(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2) {
  check<ShapeError>(x.dim() == 3 && w1.dim() == 3 && w2.dim() == 3 && x.size(1) == w1.size(0) * w1.size(2) &&
                        w2.size(0) == w1.size(1) && w2.size(2) == w1.size(0),
                    [&] {
                      return fmt::format(
                          "columns {} through factors {} and {}: expected [batch, k p, columns], [k, l, p] "
                          "and [l, s, k]",
                          shape_text(x.sizes()), shape_text(w1.sizes()), shape_text(w2.sizes()));
                    });
  check<DtypeError>(x.scalar_type() == w1.scalar_type() && x.scalar_type() == w2.scalar_type(),
                    "columns and factors of a Monarch product must have one type");
  if (!x.is_cpu()) return composite(x, w1, w2);
  return Columns::apply(x.contiguous(), w1.contiguous(), w2.contiguous());
}

}  // namespace monarch::operators
