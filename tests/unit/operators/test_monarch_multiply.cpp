// The Monarch product: the reference kernel against dense matrices, everything else against the reference kernel.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <cmath>

#include "monarch/core/rng.hpp"
#include "monarch/operators/kernels/monarch.hpp"
#include "monarch_cases.hpp"
#include "support/poison.hpp"
#include "support/support.hpp"

namespace {

using monarch::Rng;
using monarch::operators::Activation;
using monarch::operators::monarch_dense;
using monarch::operators::monarch_multiply;
using monarch::operators::monarch_multiply_adjoint;
using monarch::operators::monarch_multiply_composite;
using monarch::operators::MonarchSizes;
using monarch::operators::MultiplyOptions;
using monarch::test::check_against_reference;
using monarch::test::monarch_arguments;
using monarch::test::monarch_sizes_to_test;
using monarch::test::MonarchArguments;
using monarch::test::MonarchCase;
using monarch::test::numeric_gradient;
using monarch::test::relative_error;
namespace reference = monarch::operators::kernels::reference;

/// blockdiag(w) of w [n, rows, columns].
at::Tensor block_diagonal(const at::Tensor& w) {
  std::vector<at::Tensor> blocks = at::unbind(w);
  return at::block_diag(blocks);
}

/// The matrix with a one in row `to(i)` of column i.
template <class To>
at::Tensor permutation(int64_t n, To to) {
  at::Tensor matrix = at::zeros({n, n}, at::kDouble);
  for (int64_t i = 0; i < n; ++i)
    matrix.index_put_({at::scalar_tensor(to(i), at::kLong), at::scalar_tensor(i, at::kLong)},
                      at::ones({}, at::kDouble));
  return matrix;
}

/// P2 blockdiag(W2) P1 blockdiag(W1) as a product of four dense matrices. P1 puts number rho l + j of the middle vector
/// at place j r + rho, where block j of W2 reads; P2 puts number j s + s' of what W2 gives at place s' l + j.
at::Tensor dense_product(const at::Tensor& w1, const at::Tensor& w2) {
  const int64_t l = w2.size(0), s = w2.size(1), r = w2.size(2);
  const at::Tensor p1 = permutation(l * r, [&](int64_t t) { return t % l * r + t / l; }).to(w1.scalar_type());
  const at::Tensor p2 = permutation(l * s, [&](int64_t t) { return t % s * l + t / s; }).to(w1.scalar_type());
  return at::matmul(p2, at::matmul(block_diagonal(w2), at::matmul(p1, block_diagonal(w1))));
}

/// act(x M^T + bias) with the matrix above, in double.
at::Tensor dense_multiply(const MonarchArguments& a) {
  const at::Tensor matrix = dense_product(a.w1, a.w2);
  const at::Tensor columns = matrix.slice(0, 0, *a.options.out_features).slice(1, 0, a.x.size(1));
  at::Tensor y = at::matmul(a.x.to(a.w1.scalar_type()), columns.t());
  if (a.options.bias) y = y + *a.options.bias;
  switch (a.options.activation) {
    case Activation::gelu:
      return 0.5 * y * (1 + at::erf(y / std::sqrt(2.0)));
    case Activation::gelu_tanh:
      return 0.5 * y * (1 + at::tanh(std::sqrt(2 / 3.14159265358979323846) * (y + 0.044715 * y * y * y)));
    case Activation::relu:
      return at::clamp_min(y, 0);
    case Activation::none:
      break;
  }
  return y;
}

/// Tiny cases for the oracle: l divides q and not, k != l, padded and cropped, one block.
std::vector<MonarchCase> oracle_cases() {
  std::vector<MonarchCase> all;
  for (const MonarchSizes& z : std::vector<MonarchSizes>{{2, 2, 2, 2, 2, 2},
                                                         {2, 4, 3, 2, 3, 4},
                                                         {2, 3, 4, 3, 3, 2},
                                                         {3, 4, 2, 6, 2, 2},
                                                         {1, 3, 2, 1, 2, 3},
                                                         {4, 3, 2, 6, 3, 2},
                                                         {3, 2, 3, 2, 3, 3},
                                                         {2, 1, 3, 1, 3, 2}}) {
    for (const bool uneven : {false, true}) {
      MonarchCase shape{.sizes = z, .batch = 3, .dtype = at::kDouble};
      if (uneven) {
        shape.in = std::max(z.in() - 1, z.k * (z.p - 1) + 1);
        shape.out = z.l * (z.s - 1) + 1;
      }
      for (const auto activation : {Activation::none, Activation::gelu, Activation::gelu_tanh, Activation::relu}) {
        shape.activation = activation;
        shape.bias = uneven || activation != Activation::gelu;
        all.push_back(shape);
      }
      shape.activation = Activation::none;
      shape.dtype = at::kComplexDouble;
      for (const bool real : {false, true}) {
        shape.real_input = real;
        shape.bias = !real;
        all.push_back(shape);
      }
    }
  }
  return all;
}

}  // namespace

TEST_CASE("Monarch oracle: the reference kernel is the product of the four dense matrices") {
  for (const MonarchCase& shape : oracle_cases()) {
    INFO(shape.text());
    const MonarchArguments a = monarch_arguments(shape);
    const at::Tensor bias = a.options.bias.value_or(at::Tensor());
    const auto result =
        reference::monarch_forward(a.x, a.w1, a.w2, bias, *a.options.out_features, shape.activation, true);
    REQUIRE(relative_error(result.y, dense_multiply(a)) <= 1e-14);
    // What is kept: the middle vector in natural order.
    const at::Tensor first = block_diagonal(a.w1).slice(1, 0, a.x.size(1));
    REQUIRE(relative_error(result.middle, at::matmul(a.x.to(a.w1.scalar_type()), first.t())) <= 1e-14);
    REQUIRE(result.input_of_activation.defined() ==
            (shape.activation == Activation::gelu || shape.activation == Activation::gelu_tanh));
  }
}

TEST_CASE("Monarch oracle: the reference gradients are differences of the dense product, kept or recomputed") {
  for (const MonarchCase& shape : oracle_cases()) {
    INFO(shape.text());
    const MonarchArguments a = monarch_arguments(shape);
    const at::Tensor bias = a.options.bias.value_or(at::Tensor());
    const auto kept =
        reference::monarch_forward(a.x, a.w1, a.w2, bias, *a.options.out_features, shape.activation, true);
    monarch::operators::kernels::MonarchBackwardTask task;
    task.x = a.x;
    task.w1 = a.w1;
    task.w2 = a.w2;
    task.bias = bias;
    task.gradient = Rng(6, "gradient").normal(kept.y.sizes().vec(), shape.dtype);
    task.y = kept.y;
    task.activation = shape.activation;
    task.wanted[3] = bias.defined();
    const auto recomputed = reference::monarch_backward(task);
    task.middle = kept.middle;
    task.input_of_activation = kept.input_of_activation;
    const auto gradients = reference::monarch_backward(task);
    const auto value = [&] { return at::real(task.gradient.conj() * dense_multiply(a)).sum().item<double>(); };
    const std::array<at::Tensor, 4> arguments = {a.x, a.w1, a.w2, bias};
    for (size_t i = 0; i < 4; ++i) {
      if (!arguments[i].defined()) continue;
      INFO("argument " << i);
      const at::Tensor expected = numeric_gradient(value, arguments[i]);
      REQUIRE(gradients[i].scalar_type() == arguments[i].scalar_type());
      REQUIRE(relative_error(gradients[i], expected) <= 1e-9);
      REQUIRE(relative_error(recomputed[i], expected) <= 1e-9);
      if (expected.is_complex()) REQUIRE_FALSE(relative_error(gradients[i].conj(), expected) <= 1e-9);
    }
  }
}

TEST_CASE("Monarch product: any size and any batch equals the reference, with every gradient") {
  int64_t turn = 0;
  for (const int threads : {1, 2}) {
    at::set_num_threads(threads);
    for (const MonarchSizes& z : monarch_sizes_to_test()) {
      for (const int64_t batch : {1, 2, 7, 16, 17, 63, 64, 65, 257}) {
        if (threads == 1 && batch % 2 == 0) continue;  // threads meet every batch, one thread every other
        ++turn;
        MonarchCase shape{.sizes = z, .batch = batch, .bias = turn % 3 != 0, .recompute = turn % 2 == 0};
        shape.strided = turn % 5 == 0;
        if (turn % 4 == 1) {  // uneven: one column less of x, as many less as there may be of the result
          shape.in = std::max(z.in() - 1, z.k * (z.p - 1) + 1);
          shape.out = z.l * (z.s - 1) + 1;
        }
        if (batch * (shape.out ? shape.out : z.out()) >= 64) shape.activation = static_cast<Activation>(turn % 4);
        const std::string finding = check_against_reference(shape);
        REQUIRE(finding == "");
      }
    }
  }
}

TEST_CASE("Monarch product: every element type equals the reference, with every gradient") {
  struct Kind {
    at::ScalarType dtype;
    bool real_input;
  };
  for (const int threads : {1, 2}) {
    at::set_num_threads(threads);
    int64_t turn = threads;
    for (const Kind kind :
         {Kind{at::kDouble, false}, Kind{at::kComplexFloat, false}, Kind{at::kComplexDouble, false},
          Kind{at::kBFloat16, false}, Kind{at::kComplexFloat, true}, Kind{at::kComplexDouble, true}}) {
      for (const MonarchSizes& z : monarch_sizes_to_test()) {
        ++turn;
        const int64_t batch = std::array<int64_t, 5>{1, 7, 17, 64, 3}[turn % 5];
        MonarchCase shape{.sizes = z, .batch = batch, .dtype = kind.dtype, .real_input = kind.real_input};
        shape.bias = turn % 2 == 0;
        shape.recompute = turn % 3 == 0;
        shape.strided = turn % 4 == 0;
        if (turn % 3 == 1) {
          shape.in = z.k * (z.p - 1) + 1;
          shape.out = z.out() - z.l / 2;
        }
        if (!at::isComplexType(kind.dtype) && batch * z.out() >= 64) {
          shape.activation = static_cast<Activation>(turn % 4);
        }
        const std::string finding = check_against_reference(shape);
        REQUIRE(finding == "");
      }
    }
  }
}

TEST_CASE("Monarch product: every combination of bias, activation, recomputing and cropping equals the reference") {
  for (const MonarchSizes& z : {MonarchSizes{5, 6, 7, 3, 9, 10}, MonarchSizes{4, 6, 5, 8, 4, 3}}) {
    for (const auto dtype : {at::kFloat, at::kDouble, at::kBFloat16}) {
      for (int i = 0; i < 64; ++i) {
        MonarchCase shape{.sizes = z, .batch = 19, .dtype = dtype, .bias = i % 2 == 1, .recompute = i / 2 % 2 == 1};
        shape.activation = static_cast<Activation>(i / 4 % 4);
        if (i / 16 % 2 == 1) shape.in = z.k * (z.p - 1) + 1;
        if (i / 32 % 2 == 1) shape.out = z.l * (z.s - 1) + 1;
        const std::string finding = check_against_reference(shape);
        REQUIRE(finding == "");
      }
    }
  }
}

TEST_CASE("Monarch product: the composite form equals the reference, with every gradient") {
  int64_t turn = 0;
  for (const MonarchSizes& z : monarch_sizes_to_test()) {
    for (const auto dtype : {at::kFloat, at::kComplexDouble, at::kBFloat16}) {
      ++turn;
      MonarchCase shape{.sizes = z, .batch = 16 + turn % 2, .dtype = dtype, .bias = turn % 2 == 0};
      shape.real_input = at::isComplexType(dtype) && turn % 4 == 1;
      shape.out = z.out() - z.l / 2;
      if (!at::isComplexType(dtype) && shape.out >= 4) shape.activation = static_cast<Activation>(turn % 4);
      const std::string finding = check_against_reference(shape, monarch_multiply_composite);
      REQUIRE(finding == "");
    }
  }
}

TEST_CASE("Monarch product: the dispatcher has a kernel for every key") {
  const auto op = c10::Dispatcher::singleton().findSchemaOrThrow("monarch::multiply", "");
  using c10::DispatchKey;
  for (const auto key : {DispatchKey::CPU, DispatchKey::CUDA, DispatchKey::Meta, DispatchKey::AutogradCPU,
                         DispatchKey::AutogradCUDA, DispatchKey::AutocastCPU, DispatchKey::AutocastCUDA}) {
    INFO(c10::toString(key));
    REQUIRE(op.hasComputedKernelForDispatchKey(key));
  }
  REQUIRE_FALSE(op.hasComputedKernelForDispatchKey(DispatchKey::SparseCPU));
  const auto meta = [](const at::Tensor& t) { return t.to(at::kMeta); };
  const MonarchArguments a = monarch_arguments({.sizes = {2, 3, 4, 3, 3, 2}, .batch = 5, .dtype = at::kComplexFloat});
  const at::Tensor y = monarch_multiply(meta(at::real(a.x)).expand({4, 5, 8}), meta(a.w1), meta(a.w2));
  REQUIRE(y.is_meta());
  REQUIRE(y.sizes() == at::IntArrayRef({4, 5, 9}));
  REQUIRE(y.scalar_type() == at::kComplexFloat);
}

TEST_CASE("Monarch product: the checker rejects wrong products") {
  using monarch::test::MonarchProduct;
  const auto plain = [](const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2, const MultiplyOptions& o) {
    return monarch_multiply_composite(x, w1, w2, o);
  };
  /// The value of the first with the gradient of the second.
  const auto graft = [](const at::Tensor& value, const at::Tensor& other) {
    return value.detach() + (other - other.detach());
  };
  const MonarchCase real{.sizes = {4, 6, 5, 3, 4, 8}, .batch = 9, .dtype = at::kDouble, .bias = true};
  MonarchCase complex = real;
  complex.dtype = at::kComplexDouble;
  for (const MonarchCase& shape : {real, complex}) REQUIRE(check_against_reference(shape, plain) == "");

  const std::vector<std::pair<const char*, MonarchProduct>> wrong = {
      {"one element",
       [&](const auto& x, const auto& w1, const auto& w2, const auto& o) {
         at::Tensor y = plain(x, w1, w2, o).clone();
         at::Tensor mask = at::ones_like(y);
         mask[8][11] = 1 + 1e-9;
         return y * mask;
       }},
      {"NaN in one element",
       [&](const auto& x, const auto& w1, const auto& w2, const auto& o) {
         at::Tensor mask = at::ones({9, 12}, at::kDouble);
         mask[0][0] = std::nan("");
         return plain(x, w1, w2, o) * mask;
       }},
      {"without the bias",
       [&](const auto& x, const auto& w1, const auto& w2, auto o) {
         o.bias.reset();
         return plain(x, w1, w2, o);
       }},
      {"the middle vector read block by block",
       [&](const auto& x, const auto& w1, const auto& w2, const auto& o) {
         const at::Tensor mid = at::bmm(x.reshape({-1, 4, 5}).transpose(0, 1), w1.transpose(1, 2)).transpose(0, 1);
         const at::Tensor y = at::bmm(mid.reshape({-1, 3, 8}).transpose(0, 1), w2.transpose(1, 2));
         return y.permute({1, 2, 0}).reshape({-1, 12}) + *o.bias;
       }},
      {"the result in the order of the blocks",
       [&](const auto& x, const auto& w1, const auto& w2, const auto& o) {
         const auto y = monarch_multiply_composite(x, w1, w2).reshape({-1, 4, 3}).transpose(1, 2);
         return y.reshape({-1, 12}) + *o.bias;
       }},
      {"a gradient of x that is too large",
       [&](const auto& x, const auto& w1, const auto& w2, const auto& o) {
         return graft(plain(x, w1, w2, o), plain(x * 1.000001, w1, w2, o));
       }},
      {"no gradient of the second factor", [&](const auto& x, const auto& w1, const auto& w2,
                                               const auto& o) { return plain(x, w1, w2.detach(), o) + 0 * w2.sum(); }},
      {"another dtype",
       [&](const auto& x, const auto& w1, const auto& w2, const auto& o) {
         const at::Tensor y = plain(x, w1, w2, o);
         return y.to(y.is_complex() ? at::kComplexFloat : at::kFloat);
       }},
  };
  for (const auto& [name, product] : wrong) {
    INFO(name);
    REQUIRE(check_against_reference(real, product) != "");
  }
  // A missing conjugate cannot be seen in real numbers.
  const auto unconjugated = [&](const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2, const auto& o) {
    return graft(plain(x, w1, w2, o), plain(x, w1.conj(), w2, o));
  };
  REQUIRE(check_against_reference(real, unconjugated) == "");
  REQUIRE(check_against_reference(complex, unconjugated) != "");
}

TEST_CASE("Monarch product: strides, lazy conjugates and negatives, and leading dimensions change nothing") {
  for (const auto dtype : {at::kFloat, at::kComplexDouble}) {
    const MonarchSizes z{4, 6, 5, 3, 4, 8};
    const MonarchCase shape{.sizes = z, .batch = 12, .dtype = dtype, .bias = true};
    const MonarchArguments a = monarch_arguments(shape);
    const auto run = [&](const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2) {
      return monarch_multiply(x, w1, w2, a.options);
    };
    const at::Tensor y = run(a.x, a.w1, a.w2);
    REQUIRE(y.is_contiguous());
    const auto equal = [&](const at::Tensor& got, const at::Tensor& expected) {
      REQUIRE(got.sizes() == expected.sizes());
      REQUIRE(relative_error(got, expected) <= monarch::test::tolerance(dtype, 20));
    };
    equal(run(a.x.view({2, 3, 2, 20}), a.w1, a.w2), y.view({2, 3, 2, 12}));
    equal(run(a.x[5], a.w1, a.w2), y[5]);
    equal(run(a.x.view({3, 4, 20}).transpose(0, 1), a.w1, a.w2), y.view({3, 4, 12}).transpose(0, 1));
    equal(run(a.x.t().contiguous().t(), a.w1, a.w2), y);
    equal(run(at::cat({a.x, a.x}, 1).slice(1, 20), a.w1, a.w2), y);
    equal(run(a.x[3].expand({4, 20}), a.w1, a.w2), y[3].expand({4, 12}));
    equal(run(a.x, a.w1.transpose(1, 2).contiguous().transpose(1, 2),
              a.w2.permute({2, 0, 1}).contiguous().permute({1, 2, 0})),
          y);
    equal(run(at::_neg_view(-a.x), a.w1, at::_neg_view(-a.w2)), y);
    if (at::isComplexType(dtype)) {
      const at::Tensor lazy_x = a.x.conj().resolve_conj().conj(), lazy_w = a.w1.conj().resolve_conj().conj();
      REQUIRE(lazy_x.is_conj());
      equal(run(lazy_x, lazy_w, a.w2), y);
      MultiplyOptions lazy = a.options;
      lazy.bias = a.options.bias->conj();
      equal(monarch_multiply(a.x.conj(), a.w1.conj(), a.w2.conj(), lazy), y.conj());
      equal(run(at::imag(a.x), a.w1, a.w2), run(at::imag(a.x).contiguous(), a.w1, a.w2));
    }
  }
}

TEST_CASE("Monarch product: arguments stay as they are, and the result does not depend on what memory held") {
  for (const auto dtype : {at::kFloat, at::kComplexFloat, at::kBFloat16}) {
    for (const bool uneven : {false, true}) {
      const MonarchSizes z{4, 17, 33, 2, 65, 34};
      MonarchCase shape{.sizes = z, .batch = 65, .dtype = dtype, .bias = true};
      if (uneven) shape.in = z.in() - 3, shape.out = z.out() - 1;
      const MonarchArguments a = monarch_arguments(shape), same = monarch_arguments(shape);
      const auto poisoned = [&](unsigned char byte) {
        const monarch::test::Poison poison(byte);
        std::vector<at::Tensor> leaves = {a.x, a.w1, a.w2};
        for (at::Tensor& t : leaves) t = t.detach().requires_grad_();
        const at::Tensor y = monarch_multiply(leaves[0], leaves[1], leaves[2], a.options);
        y.backward(at::ones_like(y));
        return std::vector<at::Tensor>{y.detach(), leaves[0].grad(), leaves[1].grad(), leaves[2].grad()};
      };
      const auto after_nan = poisoned(0xff), after_number = poisoned(0x45);
      for (size_t i = 0; i < after_nan.size(); ++i) {
        REQUIRE(relative_error(after_nan[i], after_number[i]) <= (dtype == at::kBFloat16 ? 0.004 : 1e-6));
      }
      REQUIRE(at::equal(a.x, same.x));
      REQUIRE(at::equal(a.w1, same.w1));
      REQUIRE(at::equal(a.w2, same.w2));
    }
  }
}

TEST_CASE("Monarch product: monarch_dense is its matrix, monarch_multiply_adjoint its adjoint") {
  for (const auto dtype : {at::kDouble, at::kComplexDouble}) {
    for (const MonarchSizes& z : {MonarchSizes{4, 6, 5, 3, 4, 8}, MonarchSizes{4, 3, 7, 6, 3, 2}}) {
      const MonarchArguments a = monarch_arguments({.sizes = z, .batch = 5, .dtype = dtype});
      REQUIRE(relative_error(monarch_dense(a.w1, a.w2), dense_product(a.w1, a.w2)) <= 1e-14);
      const at::Tensor y = Rng(7, "y").normal({5, z.out()}, dtype);
      REQUIRE(relative_error(monarch_multiply_adjoint(y, a.w1, a.w2),
                             at::matmul(y, dense_product(a.w1, a.w2).conj())) <= 1e-14);
    }
  }
}
