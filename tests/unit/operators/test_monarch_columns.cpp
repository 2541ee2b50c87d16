#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <catch2/catch.hpp>

#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/operators/fourier.hpp"
#include "monarch/operators/monarch/columns.hpp"
#include "monarch/operators/monarch/transform.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::operators;
using monarch::test::relative_error;

namespace {

at::Tensor random(std::vector<int64_t> shape, at::ScalarType type, const char* stream) {
  return Rng(2, stream).normal(std::move(shape), type);
}

/// The definition, entry by entry.
at::Tensor by_definition(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2) {
  const int64_t k = w1.size(0), l = w1.size(1), p = w1.size(2), s = w2.size(1);
  at::Tensor y = at::zeros({x.size(0), l * s, x.size(2)}, x.options());
  for (int64_t j = 0; j < l; ++j)
    for (int64_t t = 0; t < s; ++t)
      for (int64_t kappa = 0; kappa < k; ++kappa)
        for (int64_t i = 0; i < p; ++i)
          y.select(1, t * l + j) += w2[j][t][kappa] * w1[kappa][j][i] * x.select(1, i * k + kappa);
  return y;
}

}  // namespace

TEST_CASE("Monarch columns: the definition, for unequal blocks, strides and types", "[columns]") {
  for (const auto type : {at::kDouble, at::kComplexDouble, at::kComplexFloat}) {
    const at::Tensor x = random({3, 12, 5}, type, "x"), w1 = random({4, 2, 3}, type, "w1"),
                     w2 = random({2, 5, 4}, type, "w2");
    const double tolerance = type == at::kComplexFloat ? 1e-5 : 1e-12;
    REQUIRE(relative_error(monarch_columns(x, w1, w2), by_definition(x, w1, w2)) <= tolerance);
    const at::Tensor strided = random({5, 12, 3}, type, "strided").transpose(0, 2);
    REQUIRE(relative_error(monarch_columns(strided, w1, w2), by_definition(strided, w1, w2)) <= tolerance);
    // The adjoint is the same product with the factors' adjoints.
    const at::Tensor y = random({3, 10, 5}, type, "y");
    const auto h = [](const at::Tensor& w) { return w.conj().transpose(1, 2); };
    const at::Tensor left = (y.conj() * monarch_columns(x, w1, w2)).sum();
    const at::Tensor right = (monarch_columns(y, h(w2), h(w1)).conj() * x).sum();
    REQUIRE((left - right).abs().item<double>() <= 1e2 * tolerance * left.abs().item<double>());
  }
}

TEST_CASE("Monarch columns: the Fourier transform of composite lengths", "[columns]") {
  for (const int64_t n : {4, 15, 64, 160}) {
    const TransformOptions inverse{.inverse = true, .centred = true};
    const TransformFactors f = monarch_dft(n, inverse);
    const at::Tensor x = random({2, n, 7}, at::kComplexDouble, "x");
    REQUIRE(relative_error(monarch_columns(x, f.factors.w1, f.factors.w2), fourier_transform(x, {1}, inverse)) <=
            1e-12);
  }
}

TEST_CASE("Monarch columns: first and second derivatives are those of the definition", "[columns]") {
  const auto type = at::kComplexDouble;
  const at::Tensor direction = random({2, 6, 3}, type, "direction");
  std::vector<std::vector<at::Tensor>> found;
  for (const bool definition : {true, false}) {
    at::Tensor x = random({2, 8, 3}, type, "x").requires_grad_(), w1 = random({4, 2, 2}, type, "w1").requires_grad_(),
               w2 = random({2, 3, 4}, type, "w2").requires_grad_();
    const at::Tensor y = definition ? by_definition(x, w1, w2) : monarch_columns(x, w1, w2);
    const at::Tensor value = at::real((direction.conj() * y * y).sum());
    const auto first = torch::autograd::grad({value}, {x, w1, w2}, {}, true, true);
    at::Tensor sum = at::zeros({}, at::kDouble);
    for (const at::Tensor& g : first) sum = sum + at::view_as_real(g).square().sum();
    const auto second = torch::autograd::grad({sum}, {x, w1, w2});
    found.push_back({first[0], first[1], first[2], second[0], second[1], second[2]});
    // Without a graph of its own the backward pass takes the products in place.
    if (!definition) {
      const auto plain =
          torch::autograd::grad({at::real((direction.conj() * monarch_columns(x, w1, w2)).sum())}, {x, w1, w2});
      const auto composed =
          torch::autograd::grad({at::real((direction.conj() * by_definition(x, w1, w2)).sum())}, {x, w1, w2});
      for (size_t i = 0; i < 3; ++i) REQUIRE(relative_error(plain[i], composed[i]) <= 1e-12);
    }
  }
  for (size_t i = 0; i < 6; ++i) REQUIRE(relative_error(found[1][i], found[0][i]) <= 1e-10);
}

TEST_CASE("Monarch columns: factors that do not fit are refused with their shapes", "[columns]") {
  const at::Tensor x = at::zeros({1, 8, 2}), w1 = at::zeros({4, 2, 2}), w2 = at::zeros({2, 3, 4});
  REQUIRE_THROWS_AS(monarch_columns(at::zeros({1, 9, 2}), w1, w2), ShapeError);
  REQUIRE_THROWS_AS(monarch_columns(x, w1, at::zeros({3, 3, 4})), ShapeError);
  REQUIRE_THROWS_AS(monarch_columns(x.to(at::kDouble), w1, w2), DtypeError);
}
