// What compositions compute, and how operators live, refuse and pass gradients.

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <catch2/catch.hpp>
#include <limits>

#include "monarch/core/error.hpp"
#include "monarch/operators/coils.hpp"
#include "monarch/operators/composition.hpp"
#include "monarch/operators/finite_difference.hpp"
#include "monarch/operators/fourier.hpp"
#include "monarch/operators/sampling.hpp"
#include "support/contract.hpp"
#include "support/support.hpp"

namespace {

using namespace monarch::operators;
using monarch::test::dense_matrix;
using monarch::test::random_vector;
using monarch::test::relative_error;
using monarch::test::tolerance;

const Space space{{4, 5}, at::kComplexDouble, at::kCPU};

OperatorPtr diagonal(const std::string& stream) {
  return std::make_shared<Diagonal>(space, random_vector(space, stream));
}

OperatorPtr difference() { return std::make_shared<FiniteDifference>(space, std::vector<int64_t>{0, 1}); }

/// Counts the calls that reach an operator.
class Counting final : public LinearOperator {
 public:
  explicit Counting(Space s) : LinearOperator(s, s) {}
  std::string describe() const override { return "Counting " + domain().text(); }
  mutable int halves = 0, normals = 0;

 protected:
  at::Tensor do_apply(const at::Tensor& x) const override { return ++halves, x * 2; }
  at::Tensor do_adjoint(const at::Tensor& y) const override { return ++halves, y * 2; }
  at::Tensor do_normal(const at::Tensor& x) const override { return ++normals, x * 4; }
};

/// Returns its argument as it came.
class Through final : public LinearOperator {
 public:
  explicit Through(Space s) : LinearOperator(s, s) {}
  std::string describe() const override { return "Through " + domain().text(); }

 protected:
  at::Tensor do_apply(const at::Tensor& x) const override { return x; }
  at::Tensor do_adjoint(const at::Tensor& y) const override { return y; }
};

/// A real part is linear over the real numbers only.
class RealPart final : public LinearOperator {
 public:
  RealPart() : LinearOperator({{6}, at::kComplexDouble, at::kCPU}, {{6}, at::kDouble, at::kCPU}, Field::real) {}
  std::string describe() const override { return "RealPart " + domain().text(); }

 protected:
  at::Tensor do_apply(const at::Tensor& x) const override { return at::real(x).clone(); }
  at::Tensor do_adjoint(const at::Tensor& y) const override { return y.to(at::kComplexDouble); }
};

}  // namespace

TEST_CASE("Composition: formulas of operators are formulas of their matrices") {
  const auto a = difference(), b = diagonal("b"), c = diagonal("c");
  const auto A = dense_matrix(*a), B = dense_matrix(*b), C = dense_matrix(*c);
  const double limit = tolerance(at::kDouble, 100);
  CHECK(relative_error(dense_matrix(*(a * b)), A.matmul(B)) <= limit);
  CHECK(relative_error(dense_matrix(*(a * b * c)), A.matmul(B).matmul(C)) <= limit);
  CHECK(relative_error(dense_matrix(*(b + c)), B + C) <= limit);
  CHECK(relative_error(dense_matrix(*(-2.5 * a)), -2.5 * A) <= limit);
  CHECK(relative_error(dense_matrix(*adjoint_of(a)), A.t()) <= limit);
  CHECK(relative_error(dense_matrix(*adjoint_of(a * b)), B.t().matmul(A.t())) <= limit);
  CHECK(relative_error(dense_matrix(Stack({b, c})), at::cat({B, C})) <= limit);
  CHECK(relative_error(dense_matrix(*(std::complex<double>(0, 1) * b)), dense_matrix(Identity(space))) > 0.1);
  CHECK(relative_error((std::complex<double>(0, 1) * b)->apply(at::ones({4, 5}, at::kComplexDouble)),
                       b->apply(at::full({4, 5}, c10::complex<double>(0, 1), at::kComplexDouble))) <= limit);
}

TEST_CASE("Composition: the adjoint of an adjoint is the original object") {
  const auto a = difference();
  CHECK(adjoint_of(adjoint_of(a)) == a);
  CHECK(adjoint_of(a)->domain() == a->codomain());
}

TEST_CASE("Composition: the normal operator of a product uses its left factor's shortcut") {
  const auto counting = std::make_shared<Counting>(space);
  const auto product = OperatorPtr(counting) * diagonal("d");
  const auto twice = product * diagonal("e");
  const auto stack = Stack({OperatorPtr(counting), OperatorPtr(counting)});
  const auto x = random_vector(space, "x");
  twice->normal(x);
  CHECK(counting->normals == 1);
  stack.normal(x);
  CHECK(counting->normals == 3);
  (3.0 * OperatorPtr(counting))->normal(x);
  CHECK(counting->normals == 4);
  CHECK(counting->halves == 0);
}

TEST_CASE("Composition: parts that do not fit are refused with both spaces") {
  using monarch::ConfigError, monarch::DtypeError, monarch::ShapeError;
  const auto a = difference(), b = diagonal("b");
  CHECK_THROWS_WITH(b * a, Catch::Contains("[2, 4, 5]") && Catch::Contains("complex128 [4, 5]"));
  CHECK_THROWS_AS(b * a, ShapeError);
  CHECK_THROWS_AS(a + b, ShapeError);
  CHECK_THROWS_AS(Stack({a, b}), ShapeError);
  CHECK_THROWS_AS(Stack(std::vector<OperatorPtr>{}), ShapeError);
  const OperatorPtr single = std::make_shared<Identity>(Space{{4, 5}, at::kComplexFloat, at::kCPU});
  CHECK_THROWS_AS(single * b, ShapeError);
  CHECK_THROWS_AS(OperatorPtr() * b, ConfigError);
  CHECK_THROWS_AS(b * OperatorPtr(), ConfigError);
  CHECK_THROWS_AS(OperatorPtr() + b, ConfigError);
  CHECK_THROWS_AS(b + OperatorPtr(), ConfigError);
  CHECK_THROWS_AS(2.0 * OperatorPtr(), ConfigError);
  CHECK_THROWS_AS(adjoint_of(OperatorPtr()), ConfigError);
  CHECK_THROWS_AS(Stack({OperatorPtr()}), ConfigError);
  const OperatorPtr real = std::make_shared<Identity>(Space{{4, 5}, at::kDouble, at::kCPU});
  CHECK_THROWS_AS(std::complex<double>(0, 1) * real, DtypeError);
  CHECK_THROWS_AS(Identity(Space{{4, 0}, at::kDouble, at::kCPU}), ShapeError);
  CHECK_THROWS_AS(Identity(Space{{-1}, at::kDouble, at::kCPU}), ShapeError);
}

TEST_CASE("Diagonal and Sampling: factors that do not fit are refused with both shapes") {
  using monarch::DtypeError, monarch::ShapeError;
  CHECK_THROWS_WITH(Diagonal(space, at::ones({3}, at::kDouble)), Catch::Contains("[4, 5]") && Catch::Contains("[3]"));
  CHECK_THROWS_AS(Diagonal(space, at::ones({3}, at::kDouble)), ShapeError);
  CHECK_THROWS_AS(Diagonal(space, at::ones({2, 4, 5}, at::kDouble)), ShapeError);
  CHECK_THROWS_AS(Diagonal(space, at::ones({5}, at::kFloat)), DtypeError);
  CHECK_THROWS_AS(Diagonal(space, at::Tensor()), ShapeError);
  CHECK_THROWS_AS(Diagonal(Space{{5}, at::kDouble, at::kCPU}, at::ones({5}, at::kComplexDouble)), DtypeError);
  CHECK_THROWS_AS(Sampling(space, at::ones({4, 4}, at::kBool)), ShapeError);
  CHECK_THROWS_AS(Sampling(space, at::ones({1, 4, 5}, at::kBool)), ShapeError);
  CHECK_THROWS_AS(Sampling(space, at::ones({4, 5}, at::kFloat)), DtypeError);
  CHECK_THROWS_AS(Sampling(space, at::Tensor()), ShapeError);
}

TEST_CASE("Sampling: nothing passes where nothing was acquired and everything where it was") {
  const Space kspace{{3, 2, 4, 5}, at::kComplexFloat, at::kCPU};
  const auto mask = random_vector({{2, 4, 1}, at::kFloat, at::kCPU}, "mask").gt(0);
  const Sampling sampling(kspace, mask);
  const auto x = random_vector(kspace, "x");
  CHECK(sampling.apply(x).equal(x * mask));
  const auto everywhere = mask.expand({3, 2, 4, 5});
  const auto broken = x.masked_fill(everywhere.logical_not(), std::numeric_limits<double>::infinity());
  CHECK(sampling.apply(broken).equal(x * mask));
  CHECK(sampling.normal(broken).equal(x * mask));
}

TEST_CASE("CoilSensitivities: the sums of the definition over maps and over coils") {
  const auto maps = random_vector({{2, 3, 2, 4, 5}, at::kComplexDouble, at::kCPU}, "maps");
  const CoilSensitivities coils(maps);
  const auto x = random_vector(coils.domain(), "x"), y = random_vector(coils.codomain(), "y");
  const double limit = tolerance(at::kDouble, 3);
  CHECK(relative_error(coils.apply(x), (maps * x.unsqueeze(1)).sum(0)) <= limit);
  CHECK(relative_error(coils.adjoint(y), (maps.conj() * y.unsqueeze(0)).sum(1)) <= limit);
  CHECK(relative_error(coils.adjoint(y), (maps * y.unsqueeze(0)).sum(1)) > 0.1);
  CHECK_THROWS_AS(CoilSensitivities(maps[0]), monarch::ShapeError);
  CHECK_THROWS_AS(CoilSensitivities(at::real(maps)), monarch::DtypeError);
  CHECK_THROWS_AS(CoilSensitivities(at::Tensor()), monarch::ShapeError);
}

TEST_CASE("Composition: an encoding model written as its formula keeps the contract") {
  const Space kspace{{3, 1, 6, 7}, at::kComplexDouble, at::kCPU};
  const OperatorPtr coils = std::make_shared<CoilSensitivities>(
      random_vector({{1, 3, 1, 6, 7}, at::kComplexDouble, at::kCPU}, "maps"));
  const OperatorPtr fourier = std::make_shared<Fourier>(kspace, FourierOptions{.centred = true});
  const OperatorPtr sampling = std::make_shared<Sampling>(kspace, at::arange(6).remainder(2).eq(0).unsqueeze(1));
  const OperatorPtr encode = sampling * fourier * coils;
  CHECK(encode->domain().shape == std::vector<int64_t>{1, 1, 6, 7});
  CHECK(encode->codomain() == kspace);
  CHECK(monarch::test::contract_violations(*encode) == std::vector<std::string>{});
}

TEST_CASE("Operators: a real-linear one keeps the contract and makes its compositions real-linear") {
  const auto part = std::make_shared<RealPart>();
  CHECK(monarch::test::contract_violations(*part) == std::vector<std::string>{});
  const OperatorPtr phase = std::make_shared<Diagonal>(part->domain(), random_vector(part->domain(), "phase"));
  const OperatorPtr product = OperatorPtr(part) * phase;
  CHECK(product->field() == Field::real);
  CHECK(monarch::test::contract_violations(*product) == std::vector<std::string>{});
  CHECK(monarch::test::contract_violations(*adjoint_of(product)) == std::vector<std::string>{});
  CHECK(monarch::test::contract_violations(Stack({product, OperatorPtr(part)})) == std::vector<std::string>{});
  CHECK(monarch::test::contract_violations(*(adjoint_of(product) * product)) == std::vector<std::string>{});
}

TEST_CASE("Operators: the result never shares memory with the argument") {
  const Through through(space);
  auto x = random_vector(space, "x");
  const auto kept = x.clone();
  through.apply(x).zero_();
  through.adjoint(x.unsqueeze(0)).zero_();
  through.normal(x).zero_();
  CHECK(x.equal(kept));
}

TEST_CASE("Operators: a graph keeps a shared operator alive and reports one that is gone") {
  auto x = random_vector(space, "x").set_requires_grad(true);
  at::Tensor y, z;
  {
    const auto shared = std::make_shared<const Counting>(space);
    y = shared->apply(x);
    const Counting plain(space);
    z = plain.apply(x);
  }
  CHECK(y.requires_grad());
  const auto gradient = torch::autograd::grad({y}, {x}, {at::ones_like(y)})[0];
  CHECK(gradient.equal(at::full_like(y, 2)));
  CHECK_THROWS_WITH(torch::autograd::grad({z}, {x}, {at::ones_like(z)}), Catch::Contains("no longer exists"));
}

TEST_CASE("Operators: no graph is made where none was asked for") {
  const auto a = difference();
  CHECK_FALSE(a->apply(random_vector(space, "x")).requires_grad());
  auto x = random_vector(space, "x").set_requires_grad(true);
  CHECK(a->apply(x).requires_grad());
  const at::NoGradGuard off;
  CHECK_FALSE(a->apply(x).requires_grad());
}
