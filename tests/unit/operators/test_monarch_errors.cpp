// What the Monarch product refuses, and what bad numbers do to it.

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "monarch/core/error.hpp"
#include "monarch_cases.hpp"

namespace {

using monarch::ConfigError;
using monarch::DtypeError;
using monarch::ShapeError;
using monarch::operators::Activation;
using monarch::operators::activation_from_name;
using monarch::operators::monarch_multiply;
using monarch::operators::monarch_multiply_composite;
using monarch::operators::monarch_sizes;
using monarch::operators::MonarchSizes;
using monarch::operators::MultiplyOptions;
using monarch::test::monarch_arguments;
using monarch::test::MonarchArguments;

at::Tensor ones(std::vector<int64_t> shape, at::ScalarType dtype = at::kFloat) {
  return at::ones(shape, dtype);
}

/// The product with and without a graph and by the composite form must all throw E with these words.
template <class E>
void refused(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2, const MultiplyOptions& options,
             const std::vector<std::string>& words) {
  const auto attempt = [&](const auto& f) {
    try {
      f();
      FAIL("not refused");
    } catch (const E& error) {
      const std::string text = error.what();
      INFO(text);
      for (const std::string& word : words) REQUIRE_THAT(text, Catch::Contains(word));
    }
  };
  attempt([&] { return monarch_multiply(x, w1, w2, options); });
  attempt([&] { return monarch_multiply_composite(x, w1, w2, options); });
  if (x.defined() && (x.is_floating_point() || x.is_complex())) {
    const at::Tensor leaf = x.detach().requires_grad_();
    attempt([&] { return monarch_multiply(leaf, w1, w2, options); });
  }
}

}  // namespace

TEST_CASE("Monarch errors: factors that do not meet or are no factors") {
  const at::Tensor x = ones({3, 8});
  refused<ShapeError>(x, ones({2, 3, 4}), ones({3, 3, 3}), {},
                      {"[2, 3, 4]", "k*q = 6", "[3, 3, 3]", "l*r = 9", "hint"});
  refused<ShapeError>(x, ones({6, 4}), ones({3, 3, 2}), {}, {"[k, q, p]", "[6, 4]"});
  refused<ShapeError>(x, ones({2, 3, 4}), ones({3, 3, 2, 1}), {}, {"[l, s, r]", "[3, 3, 2, 1]"});
  refused<ShapeError>(x, ones({2, 0, 4}), ones({3, 3, 0}), {}, {"extent of 0", "[2, 0, 4]"});
  refused<ShapeError>(x, at::Tensor(), ones({3, 3, 2}), {}, {"undefined"});
  refused<ShapeError>(x, at::Tensor(), at::Tensor(), {}, {"undefined"});
  refused<ShapeError>(at::Tensor(), at::Tensor(), at::Tensor(), {}, {"undefined"});
}

TEST_CASE("Monarch errors: columns that do not divide into the blocks") {
  const at::Tensor w1 = ones({2, 3, 4}), w2 = ones({3, 3, 2});
  for (const int64_t in : {6, 9, 0, 1}) {
    refused<ShapeError>(ones({3, in}), w1, w2, {},
                        {"7 to 8 columns", "[3, " + std::to_string(in) + "]", "p = ceil(in / k)"});
  }
  REQUIRE(monarch_multiply(ones({3, 7}), w1, w2).size(1) == 9);
  for (const int64_t out : {6, 10, 0, -1}) {
    refused<ShapeError>(ones({3, 8}), w1, w2, {.out_features = out},
                        {"7 to 9 columns", std::to_string(out), "s = ceil(out / l)"});
  }
  refused<ShapeError>(at::ones({}), w1, w2, {}, {"no axis"});
  refused<ShapeError>(at::Tensor(), w1, w2, {}, {"no axis"});
  refused<ShapeError>(ones({3, 8}), w1, w2, {.bias = ones({8})}, {"bias [9]", "[8]"});
  refused<ShapeError>(ones({3, 8}), w1, w2, {.bias = ones({9}), .out_features = 8}, {"bias [8]", "[9]"});
  refused<ShapeError>(ones({3, 8}), w1, w2, {.bias = ones({1, 9})}, {"bias [9]", "[1, 9]"});
}

TEST_CASE("Monarch errors: mixed and unknown element types, and devices") {
  const at::Tensor x = ones({3, 8}), w1 = ones({2, 3, 4}), w2 = ones({3, 3, 2});
  refused<DtypeError>(x.to(at::kDouble), w1, w2, {}, {"x float64", "w1 float32", "w2 float32", "to()"});
  refused<DtypeError>(x, w1, w2.to(at::kBFloat16), {}, {"w2 bfloat16"});
  refused<DtypeError>(x.to(at::kComplexFloat), w1, w2, {}, {"x complex64", "w1 float32"});
  refused<DtypeError>(x, w1.to(at::kComplexDouble), w2.to(at::kComplexDouble), {}, {"x float32", "complex128"});
  refused<DtypeError>(x.to(at::kInt), w1.to(at::kInt), w2.to(at::kInt), {}, {"int32 is not supported"});
  refused<DtypeError>(x.to(at::kHalf), w1.to(at::kHalf), w2.to(at::kHalf), {}, {"float16 is not supported on cpu"});
  refused<DtypeError>(x, w1, w2, {.bias = ones({9}, at::kDouble)}, {"bias", "float64"});
  const at::Tensor elsewhere = at::empty({2, 3, 4}, at::TensorOptions().device(at::kMeta).dtype(at::kFloat));
  REQUIRE_THROWS_WITH(monarch_multiply(x, elsewhere, w2),
                      Catch::Contains("different devices") && Catch::Contains("meta"));
}

TEST_CASE("Monarch errors: activations") {
  const auto c = at::kComplexFloat;
  for (const auto activation : {Activation::gelu, Activation::gelu_tanh, Activation::relu}) {
    refused<ConfigError>(ones({3, 8}, c), ones({2, 3, 4}, c), ones({3, 3, 2}, c), {.activation = activation},
                         {"not defined for complex numbers"});
    refused<ConfigError>(ones({3, 8}), ones({2, 3, 4}, c), ones({3, 3, 2}, c), {.activation = activation},
                         {"not defined for complex numbers"});
  }
  REQUIRE_THROWS_WITH(activation_from_name("gelu_tan"), Catch::Contains("did you mean gelu_tanh?"));
  for (const auto activation : {Activation::none, Activation::gelu, Activation::gelu_tanh, Activation::relu}) {
    REQUIRE(activation_from_name(activation_name(activation)) == activation);
  }
}

TEST_CASE("Monarch product: NaN and infinity reach the rows that hold them, and only these") {
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  for (const auto dtype : {at::kFloat, at::kDouble, at::kComplexFloat, at::kComplexDouble, at::kBFloat16}) {
    for (const double bad : {nan, infinity}) {
      for (const MonarchSizes& z : {MonarchSizes{4, 8, 8, 4, 8, 8}, MonarchSizes{4, 64, 63, 4, 65, 64}}) {
        for (const auto activation : {Activation::none, Activation::gelu, Activation::gelu_tanh, Activation::relu}) {
          if (activation != Activation::none && at::isComplexType(dtype)) continue;
          const MonarchArguments a =
              monarch_arguments({.sizes = z, .batch = 37, .dtype = dtype, .activation = activation});
          const at::Tensor clean = monarch_multiply(a.x, a.w1, a.w2, a.options);
          at::Tensor x = a.x.clone();
          for (const int64_t row : {0, 17, 36}) x[row][row % z.in()] = bad;
          const at::Tensor y = monarch_multiply(x, a.w1, a.w2, a.options);
          const at::Tensor finite = at::isfinite(y).all(1);
          for (int64_t row = 0; row < 37; ++row) {
            const bool struck = row == 0 || row == 17 || row == 36;
            INFO("row " << row);
            REQUIRE(finite[row].item<bool>() == !struck);
            if (!struck) REQUIRE(at::equal(y[row], clean[row]));
          }
          // Each of its outputs depends on each of its inputs here, so NaN fills a row.
          if (std::isnan(bad)) REQUIRE(at::isnan(y[17]).all().item<bool>());
        }
      }
    }
  }
}
