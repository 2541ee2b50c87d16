// FiniteDifference against a loop, and the laws of a discrete gradient.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <catch2/catch.hpp>
#include <cmath>

#include "monarch/core/error.hpp"
#include "monarch/operators/finite_difference.hpp"
#include "support/support.hpp"

namespace {

using monarch::operators::Boundary;
using monarch::operators::FiniteDifference;
using monarch::operators::Space;
using monarch::test::relative_error;
using monarch::test::tolerance;
using Shape = std::vector<int64_t>;

at::Tensor noise(const Shape& shape, at::ScalarType dtype, int64_t seed = 1) {
  at::manual_seed(seed);
  return at::randn(shape, at::TensorOptions(dtype));
}

/// Sample by sample along each axis.
at::Tensor by_loop(const at::Tensor& x, const Shape& axes, Boundary boundary) {
  std::vector<at::Tensor> parts;
  for (const int64_t a : axes) {
    at::Tensor part = at::zeros_like(x);
    const int64_t n = x.size(a);
    for (int64_t i = 0; i < n; ++i) {
      if (i + 1 == n && boundary == Boundary::neumann) continue;
      part.select(a, i).copy_(x.select(a, (i + 1) % n) - x.select(a, i));
    }
    parts.push_back(part);
  }
  return at::stack(parts);
}

bool same(const at::Tensor& a, const at::Tensor& b) { return a.equal(b); }

}  // namespace

TEST_CASE("FiniteDifference equals a loop and its adjoint and normal fit") {
  struct Case {
    Shape shape, axes;
  };
  const auto c = GENERATE(values<Case>({{{17}, {0}},           {{1}, {0}},          {{2}, {0}},
                                        {{9, 14}, {0, 1}},     {{9, 14}, {1}},      {{1, 14}, {0, 1}},
                                        {{14, 1}, {-2, -1}},   {{2, 3}, {1, 0}},    {{5, 6, 7}, {0, 1, 2}},
                                        {{4, 5, 6, 7}, {3, 1}}, {{150, 130}, {-1, -2}}}));
  const auto boundary = GENERATE(Boundary::periodic, Boundary::neumann);
  CAPTURE(c.shape, c.axes, boundary == Boundary::periodic);
  for (const auto dtype : {at::kFloat, at::kDouble, at::kComplexFloat, at::kComplexDouble}) {
    const FiniteDifference d(Space{c.shape, dtype, at::kCPU}, c.axes, boundary);
    const at::Tensor x = noise(c.shape, dtype), kept = x.clone();
    const at::Tensor y = d.apply(x);
    Shape expected = c.shape;
    expected.insert(expected.begin(), static_cast<int64_t>(c.axes.size()));
    REQUIRE(y.sizes() == at::IntArrayRef(expected));
    REQUIRE(same(y, by_loop(x, d.axes(), boundary)));
    REQUIRE(same(x, kept));
    REQUIRE((d.normal(x) - d.adjoint(y)).abs().max().item<double>() <= tolerance(dtype, 16));
    const at::Tensor v = noise(expected, dtype, 2);
    const at::Tensor left = at::vdot(v.flatten(), y.flatten()), right = at::vdot(d.adjoint(v).flatten(), x.flatten());
    const double scale = 2 * v.norm().item<double>() * x.norm().item<double>();
    REQUIRE(at::abs(left - right).item<double>() <= tolerance(dtype, x.numel()) * scale);
  }
}

TEST_CASE("FiniteDifference adjoint check notices the other boundary") {
  const Space space{{6, 5}, at::kDouble, at::kCPU};
  const FiniteDifference periodic(space, {0, 1}, Boundary::periodic), neumann(space, {0, 1}, Boundary::neumann);
  const at::Tensor x = noise({6, 5}, at::kDouble), v = noise({2, 6, 5}, at::kDouble, 2);
  const at::Tensor difference = (v * neumann.apply(x)).sum() - (periodic.adjoint(v) * x).sum();
  REQUIRE(std::abs(difference.item<double>()) > 1e-3);
}

TEST_CASE("FiniteDifference of a constant is zero and of a ramp is one") {
  const auto boundary = GENERATE(Boundary::periodic, Boundary::neumann);
  const FiniteDifference d(Space{{12, 20}, at::kFloat, at::kCPU}, {1}, boundary);
  REQUIRE(same(d.apply(at::full({12, 20}, 3.5)), at::zeros({1, 12, 20})));
  REQUIRE(same(d.normal(at::full({12, 20}, 3.5)), at::zeros({12, 20})));
  const at::Tensor y = d.apply(at::arange(20, at::kFloat).expand({12, 20}));
  REQUIRE(same(y.narrow(2, 0, 19), at::ones({1, 12, 19})));
  REQUIRE(same(y.narrow(2, 19, 1), at::full({1, 12, 1}, boundary == Boundary::periodic ? -19.0 : 0.0)));
}

TEST_CASE("FiniteDifference norm bound holds and is reached by the checkerboard") {
  const FiniteDifference d(Space{{8, 6}, at::kDouble, at::kCPU}, {0, 1}, Boundary::periodic);
  REQUIRE(d.norm_bound() == 8);
  const at::Tensor steps = at::arange(8, at::kDouble).unsqueeze(1) + at::arange(6, at::kDouble);
  const at::Tensor signs = 1 - 2 * at::remainder(steps, 2);
  REQUIRE(relative_error(d.normal(signs), 8 * signs) <= 1e-15);
  const FiniteDifference line(Space{{1, 6}, at::kDouble, at::kCPU}, {0, 1}, Boundary::neumann);
  REQUIRE(line.norm_bound() == 4);
  at::Tensor x = noise({1, 6}, at::kDouble);
  for (int i = 0; i < 50; ++i) x = line.normal(x / x.norm());
  REQUIRE(x.norm().item<double>() <= 4);
  REQUIRE(x.norm().item<double>() >= 3);
}

TEST_CASE("FiniteDifference takes batches and any strides and any number of threads") {
  const FiniteDifference d(Space{{200, 130}, at::kComplexFloat, at::kCPU}, {0, 1});
  const at::Tensor x = noise({3, 200, 130}, at::kComplexFloat);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor y = d.apply(x), back = d.adjoint(y), normal = d.normal(x);
  at::set_num_threads(3);
  REQUIRE(y.sizes() == at::IntArrayRef({3, 2, 200, 130}));
  REQUIRE(same(d.apply(x), y));
  REQUIRE(same(d.adjoint(y), back));
  REQUIRE(same(d.normal(x), normal));
  at::set_num_threads(threads);
  REQUIRE(same(y.select(0, 2), d.apply(x.select(0, 2))));
  const at::Tensor turned = x.transpose(1, 2).contiguous().transpose(1, 2);
  REQUIRE(same(d.apply(turned), y));
  REQUIRE(same(d.apply(x.conj()), d.apply(x.conj().resolve_conj())));
}

TEST_CASE("FiniteDifference agrees with its generic path of half precision") {
  const auto boundary = GENERATE(Boundary::periodic, Boundary::neumann);
  const Space half{{9, 7}, at::kBFloat16, at::kCPU}, full{{9, 7}, at::kFloat, at::kCPU};
  const FiniteDifference a(half, {0, 1}, boundary), b(full, {0, 1}, boundary);
  const at::Tensor x = at::arange(63, at::kFloat).remainder(11).view({9, 7}).contiguous();  // exact in bfloat16
  const at::Tensor y = b.apply(x);
  REQUIRE(same(a.apply(x.to(at::kBFloat16)).to(at::kFloat), y));
  REQUIRE(same(a.adjoint(y.to(at::kBFloat16)).to(at::kFloat), b.adjoint(y)));
  REQUIRE(same(a.normal(x.to(at::kBFloat16)).to(at::kFloat), b.normal(x)));
}

TEST_CASE("FiniteDifference refuses axes that make no sense") {
  const Space space{{8, 8}, at::kFloat, at::kCPU};
  REQUIRE_THROWS_AS(FiniteDifference(space, {}), monarch::ConfigError);
  REQUIRE_THROWS_AS(FiniteDifference(space, {2}), monarch::ConfigError);
  REQUIRE_THROWS_AS(FiniteDifference(space, {-3}), monarch::ConfigError);
  REQUIRE_THROWS_AS(FiniteDifference(space, {1, -1}), monarch::ConfigError);
  REQUIRE_THROWS_AS(FiniteDifference(Space{{8}, at::kLong, at::kCPU}, {0}), monarch::DtypeError);
  REQUIRE_THROWS_AS(FiniteDifference(space, {0}).apply(at::zeros({8, 7})), monarch::ShapeError);
}
