// Exact transforms: against FFTW, against the projection, and against each other.
#include "monarch/operators/monarch/transform.hpp"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>

#include "fftw_truth.hpp"
#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/operators/monarch/monarch_operator.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::operators;
using Catch::Matchers::Contains;
using test::fftw_dft;
using test::fftw_real;
using test::relative_error;

namespace {

at::Tensor noise(std::vector<int64_t> shape, at::ScalarType dtype, uint64_t seed = 1) {
  return Rng(seed, "transform").normal(std::move(shape), dtype);
}

bool composite(int64_t n) {
  for (int64_t d = 2; d * d <= n; ++d) {
    if (n % d == 0) return true;
  }
  return false;
}

std::vector<int64_t> composites(int64_t last, std::vector<int64_t> more = {}) {
  std::vector<int64_t> result;
  for (int64_t n = 4; n <= last; ++n) {
    if (composite(n)) result.push_back(n);
  }
  result.insert(result.end(), more.begin(), more.end());
  return result;
}

const auto normalisations = {Normalisation::none, Normalisation::ortho, Normalisation::inverse};
const std::vector<RealTransform> real_kinds = {RealTransform::dct2, RealTransform::dct3, RealTransform::dct4,
                                               RealTransform::dst2, RealTransform::dst3, RealTransform::dst4};

/// The vector that FFTW gives, scaled to what the normalisation promises.
at::Tensor real_truth(at::Tensor x, RealTransform kind, Normalisation normalisation) {
  const int64_t n = x.size(-1);
  const double size = static_cast<double>(n);
  if (normalisation != Normalisation::ortho) {
    return fftw_real(x, kind) * (normalisation == Normalisation::none ? 1 : 1 / (2 * size));
  }
  const bool sine = static_cast<int>(kind) >= 3;
  const int64_t alone = sine ? n - 1 : 0;
  const int type = static_cast<int>(kind) % 3 + 2;
  if (type == 3) (x = x.clone()).select(-1, alone).mul_(std::sqrt(2.0));
  at::Tensor y = fftw_real(x, kind) / std::sqrt(2 * size);
  if (type == 2) y.select(-1, alone).div_(std::sqrt(2.0));
  return y;
}

}  // namespace

TEST_CASE("Monarch DFT equals FFTW for every composite size and every option") {
  for (const int64_t n : composites(300, {343, 512, 841, 1000, 1001, 1536, 2187, 4095, 4096})) {
    const at::Tensor x = noise({2, n}, at::kComplexDouble);
    for (const bool inverse : {false, true}) {
      for (const bool centred : {false, true}) {
        for (const auto normalisation : normalisations) {
          const TransformOptions options{inverse, centred, normalisation};
          const TransformFactors f = monarch_dft(n, options);
          INFO("n " << n << ", inverse " << inverse << ", centred " << centred);
          REQUIRE(relative_error(transform_multiply(x, f), fftw_dft(x, options)) <= 1e-13);
          // The comparison sees a wrong sign.
          if (n <= 40) {
            REQUIRE(relative_error(transform_multiply(x, f), fftw_dft(x, {!inverse, centred, normalisation})) > 0.1);
          }
        }
      }
    }
  }
}

TEST_CASE("Monarch DFT: any split of the length is exact, the trivial ones of primes too") {
  const at::Tensor x = noise({60}, at::kComplexDouble);
  for (const int64_t k : {1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60}) {
    const TransformFactors f = monarch_dft(60, {}, {.sizes = {{k, 60 / k}}});
    CHECK(monarch_sizes(f.factors.w1, f.factors.w2) == MonarchSizes{k, 60 / k, 60 / k, 60 / k, k, k});
    CHECK(relative_error(transform_multiply(x, f), fftw_dft(x, TransformOptions{})) <= 1e-13);
  }
  for (const int64_t n : {2, 3, 7, 127}) {
    const at::Tensor z = noise({n}, at::kComplexDouble);
    CHECK(relative_error(transform_multiply(z, monarch_dft(n, {}, {.sizes = {{1, n}}})),
                         fftw_dft(z, TransformOptions{})) <= 1e-13);
    CHECK(relative_error(transform_multiply(z, monarch_dft(n, {}, {.sizes = {{n, 1}}})),
                         fftw_dft(z, TransformOptions{})) <= 1e-13);
  }
}

TEST_CASE("Monarch DFT is what the projection finds, after the input permutation and not without it") {
  for (const int64_t n : {15, 16, 27, 36, 42, 48, 85, 160, 168, 196}) {
    const TransformFactors f = monarch_dft(n, {.centred = n % 2 == 0});
    const MonarchSizes z = monarch_sizes(f.factors.w1, f.factors.w2);
    const at::Tensor dense = fftw_dft(at::eye(n, at::kComplexDouble), {.centred = n % 2 == 0}).transpose(0, 1);
    const Projection p = monarch_project(dense.index_select(1, f.input), z);
    INFO("n " << n);
    CHECK(p.relative_error <= 1e-14);
    CHECK(relative_error(monarch_dense(p.factors.w1, p.factors.w2), monarch_dense(f.factors.w1, f.factors.w2)) <=
          1e-13);
    CHECK(monarch_project(dense, z).relative_error > 0.5);
  }
}

TEST_CASE("Monarch DFT: the orthonormal one has unitary factors, and its adjoint is its inverse") {
  const TransformFactors f = monarch_dft(96, {.centred = true});
  for (const at::Tensor& w : {f.factors.w1, f.factors.w2}) {
    const at::Tensor eye = at::eye(w.size(1), at::kComplexDouble);
    CHECK(relative_error(at::matmul(w, w.mH()), eye.expand_as(w)) <= 1e-14);
  }
  const at::Tensor x = noise({3, 96}, at::kComplexDouble);
  CHECK(relative_error(transform_adjoint(transform_multiply(x, f), f), x) <= 1e-14);
  CHECK(relative_error(transform_multiply(x, monarch_dft(96, {.inverse = true, .centred = true})),
                       transform_adjoint(x, f)) <= 1e-14);
}

TEST_CASE("Monarch DCT and DST equal FFTW for every composite size, type and normalisation") {
  for (const int64_t n : composites(200, {251 * 2, 343, 512, 1000, 1155, 2187})) {
    const at::Tensor x = noise({2, n}, at::kDouble);
    for (const RealTransform kind : real_kinds) {
      for (const auto normalisation : normalisations) {
        const TransformFactors f = monarch_real_transform(n, kind, normalisation);
        INFO("n " << n << ", " << real_transform_name(kind) << ", " << static_cast<int>(normalisation));
        REQUIRE(f.factors.w1.scalar_type() == at::kDouble);
        REQUIRE(relative_error(transform_multiply(x, f), real_truth(x, kind, normalisation)) <= 1e-13);
      }
    }
  }
  // Each is told from every other.
  const at::Tensor x = noise({2, 12}, at::kDouble);
  for (const RealTransform a : real_kinds) {
    for (const RealTransform b : real_kinds) {
      const double error = relative_error(transform_multiply(x, monarch_real_transform(12, a, Normalisation::none)),
                                          real_truth(x, b, Normalisation::none));
      CHECK((error > 0.1) == (a != b));
    }
  }
}

TEST_CASE("Monarch DCT and DST: pairs undo each other, and the orthonormal ones are orthogonal") {
  const auto inverse_of_kind = [](RealTransform kind) {
    const int index = static_cast<int>(kind);
    return static_cast<RealTransform>(index % 3 == 2 ? index : index / 3 * 3 + 1 - index % 3);
  };
  for (const int64_t n : {4, 6, 9, 15, 22, 36, 63}) {
    const at::Tensor x = noise({2, n}, at::kDouble);
    for (const RealTransform kind : real_kinds) {
      INFO("n " << n << ", " << real_transform_name(kind));
      const at::Tensor y = transform_multiply(x, monarch_real_transform(n, kind, Normalisation::none));
      const auto back = monarch_real_transform(n, inverse_of_kind(kind), Normalisation::inverse);
      CHECK(relative_error(transform_multiply(y, back), x) <= 1e-13);
      const TransformFactors ortho = monarch_real_transform(n, kind);
      CHECK(relative_error(transform_adjoint(transform_multiply(x, ortho), ortho), x) <= 1e-13);
      // A complex vector goes part by part.
      const at::Tensor z = noise({n}, at::kComplexDouble);
      const at::Tensor parts =
          at::complex(transform_multiply(at::real(z), ortho), transform_multiply(at::imag(z), ortho));
      CHECK(relative_error(transform_multiply(z, ortho), parts) <= 1e-13);
    }
  }
}

TEST_CASE("Monarch DCT and DST: sizes of the factors, given ones and trivial ones") {
  const auto sizes = [](const TransformFactors& f) { return monarch_sizes(f.factors.w1, f.factors.w2); };
  CHECK(sizes(monarch_real_transform(64, RealTransform::dct2)) == MonarchSizes{8, 16, 8, 8, 8, 16});
  CHECK(sizes(monarch_real_transform(64, RealTransform::dct4)) == MonarchSizes{8, 8, 8, 4, 16, 16});
  CHECK(sizes(monarch_real_transform(64, RealTransform::dct4, Normalisation::ortho, {.sizes = {{8, 8}}})) ==
        MonarchSizes{8, 16, 8, 8, 8, 16});
  for (const int64_t n : {2, 3, 7, 12}) {
    const at::Tensor x = noise({2, n}, at::kDouble);
    for (const RealTransform kind : real_kinds) {
      for (const std::array<int64_t, 2> split : {std::array<int64_t, 2>{1, n}, {n, 1}}) {
        const auto f = monarch_real_transform(n, kind, Normalisation::none, {.sizes = split});
        CHECK(relative_error(transform_multiply(x, f), fftw_real(x, kind)) <= 1e-13);
      }
    }
  }
}

TEST_CASE("Monarch Hadamard transform is Sylvester's matrix, without permutations") {
  at::Tensor h = at::ones({1, 1}, at::kDouble);
  for (int64_t n = 1; n <= 256; n *= 2) {
    if (n != 2) {
      const TransformFactors f = monarch_hadamard(n, Normalisation::none);
      CHECK(relative_error(transform_dense(f), h) == 0);
      CHECK(!f.input.defined());
      CHECK(!f.output.defined());
      const TransformFactors g = monarch_hadamard(n);
      CHECK(relative_error(transform_dense(g), h / std::sqrt(static_cast<double>(n))) <= 1e-15);
      CHECK(monarch_project(h, monarch_sizes(f.factors.w1, f.factors.w2)).relative_error <= 1e-14);
    }
    h = at::cat({at::cat({h, h}, 1), at::cat({h, -h}, 1)}, 0);
  }
  CHECK_THROWS_WITH(monarch_hadamard(48), Contains("48") && Contains("pad to 64"));
  CHECK_THROWS_AS(monarch_hadamard(0), ShapeError);
}

TEST_CASE("Monarch transforms: splits are the pair nearest to the root, larger first") {
  CHECK(monarch_split(512) == std::array<int64_t, 2>{32, 16});
  CHECK(monarch_split(160) == std::array<int64_t, 2>{16, 10});
  CHECK(monarch_split(144) == std::array<int64_t, 2>{12, 12});
  CHECK(monarch_split(1) == std::array<int64_t, 2>{1, 1});
  // The 2-D inverse transform of 512 x 160 has 57,472 real weights.
  int64_t weights = 0;
  for (const auto& [n, reals] : {std::pair<int64_t, int64_t>{512, 49152}, {160, 8320}}) {
    const TransformFactors f = monarch_dft(n, {.inverse = true, .centred = true});
    CHECK(2 * (f.factors.w1.numel() + f.factors.w2.numel()) == reals);
    weights += reals;
  }
  CHECK(weights == 57472);
}

TEST_CASE("Monarch transforms: a prime length says what to do") {
  CHECK_THROWS_AS(monarch_dft(127), ShapeError);
  CHECK_THROWS_WITH(monarch_dft(127), Contains("127") && Contains("pad to 128 = 16 x 8 (3072 weights") &&
                                          Contains("{1, 127}") && Contains("16256 weights"));
  CHECK_THROWS_WITH(monarch_dft(61), Contains("pad to 63 = 9 x 7"));
  CHECK_THROWS_AS(monarch_real_transform(13, RealTransform::dct2), ShapeError);
  CHECK_THROWS_AS(monarch_real_transform(2, RealTransform::dct4), ShapeError);
  CHECK_THROWS_WITH(monarch_dft(12, {}, {.sizes = {{5, 2}}}), Contains("5 x 2") && Contains("12"));
  CHECK_THROWS_AS(monarch_dft(12, {}, {.sizes = {{-3, -4}}}), ShapeError);
  CHECK_THROWS_AS(monarch_real_transform(12, RealTransform::dst4, Normalisation::none, {.sizes = {{-3, -2}}}),
                  ShapeError);
  CHECK_THROWS_AS(monarch_dft(0), ShapeError);
  CHECK_THROWS_AS(monarch_dft(12, {}, {.precision = at::kHalf}), DtypeError);
  for (int64_t n = 1; n <= 600; ++n) {
    const int64_t padded = monarch_composite_size(n);
    CHECK((padded >= n && composite(padded)));
  }
}

TEST_CASE("Monarch real pairs: planar real vectors, real input, real output") {
  for (const int64_t n : {12, 15, 64}) {
    const TransformFactors f = monarch_dft(n, {.inverse = true, .centred = true});
    const at::Tensor z = noise({3, n}, at::kComplexDouble), y = transform_multiply(z, f);
    const auto planar = [](const at::Tensor& t) { return at::cat({at::real(t), at::imag(t)}, -1); };
    const TransformFactors pairs = monarch_real_pairs(f);
    CHECK(pairs.factors.w1.scalar_type() == at::kDouble);
    CHECK(!pairs.output.defined());
    CHECK(relative_error(transform_multiply(planar(z), pairs), planar(y)) <= 1e-14);
    CHECK(relative_error(transform_multiply(planar(z), pairs), planar(y.conj())) > 0.1);
    const at::Tensor x = at::real(z);
    CHECK(relative_error(transform_multiply(x, monarch_real_pairs(f, true)), planar(transform_multiply(x, f))) <=
          1e-14);
    CHECK(relative_error(transform_multiply(planar(z), monarch_real_pairs(f, false, true)), at::real(y)) <= 1e-14);
    CHECK(relative_error(transform_multiply(x, monarch_real_pairs(f, true, true)),
                         at::real(transform_multiply(x, f))) <= 1e-14);
    // Of a truncated transform too, with padding on both sides.
    const TransformFactors cut = monarch_keep_inputs(monarch_keep_outputs(f, {5, 1, 2}), {0, 3, 7, 8, 11});
    const at::Tensor part = noise({5}, at::kComplexDouble);
    CHECK(relative_error(transform_multiply(planar(part), monarch_real_pairs(cut)),
                         planar(transform_multiply(part, cut))) <= 1e-14);
  }
  CHECK_THROWS_AS(monarch_real_pairs(monarch_hadamard(16)), DtypeError);
  const TransformFactors uneven{
      {noise({4, 3, 2}, at::kComplexDouble), noise({2, 5, 6}, at::kComplexDouble)}, {}, {}, 8, 10};
  CHECK_THROWS_WITH(monarch_real_pairs(uneven), Contains("l = 2 does not divide q = 3"));
}

TEST_CASE("Monarch transforms: truncation keeps the wanted rows and columns of the matrix") {
  const auto check = [](const TransformFactors& f, const std::vector<int64_t>& wanted) {
    const at::Tensor dense = transform_dense(f), index = at::tensor(wanted, at::kLong);
    const TransformFactors outputs = monarch_keep_outputs(f, wanted), inputs = monarch_keep_inputs(f, wanted);
    CHECK(relative_error(transform_dense(outputs), dense.index_select(0, index)) <= 1e-15);
    CHECK(relative_error(transform_dense(inputs), dense.index_select(1, index)) <= 1e-15);
    const TransformFactors both = monarch_keep_inputs(outputs, wanted);
    CHECK(relative_error(transform_dense(both), dense.index_select(0, index).index_select(1, index)) <= 1e-15);
    const at::Tensor y = noise({2, static_cast<int64_t>(wanted.size())}, f.factors.w1.scalar_type());
    for (const TransformFactors& g : {outputs, inputs, both}) {
      const at::Tensor v = noise({2, g.out}, f.factors.w1.scalar_type());
      CHECK(relative_error(transform_adjoint(v, g), at::matmul(v, transform_dense(g).conj())) <= 1e-13);
    }
  };
  for (const TransformFactors& f : {monarch_dft(60), monarch_real_transform(60, RealTransform::dct3),
                                    monarch_real_transform(45, RealTransform::dst4), monarch_hadamard(64)}) {
    check(f, first_indices(1));
    check(f, first_indices(7));
    check(f, first_indices(f.in));
    check(f, low_frequencies(f.in, 5));
    check(f, {3, 44, 0, 17});
  }
  // Low modes cost few rows and no permutation.
  const TransformFactors low = monarch_keep_outputs(monarch_dft(1024), first_indices(64));
  CHECK(monarch_sizes(low.factors.w1, low.factors.w2) == MonarchSizes{32, 32, 32, 32, 2, 32});
  CHECK(!low.output.defined());
  CHECK(monarch_sizes(monarch_keep_outputs(monarch_dft(1024), low_frequencies(1024, 32)).factors.w1,
                      monarch_keep_outputs(monarch_dft(1024), low_frequencies(1024, 32)).factors.w2)
            .s == 2);
  const TransformFactors f = monarch_dft(12);
  CHECK_THROWS_WITH(monarch_keep_outputs(f, {1, 12}), Contains("output 12") && Contains("12"));
  CHECK_THROWS_WITH(monarch_keep_inputs(f, {1, 1}), Contains("input 1 is named twice"));
  CHECK_THROWS_AS(monarch_keep_outputs(f, {}), ShapeError);
  CHECK_THROWS_AS(low_frequencies(12, 7), ShapeError);
}

TEST_CASE("Monarch transforms: real input to complex factors, single precision, gradients") {
  const TransformFactors f = monarch_dft(48);
  const at::Tensor x = noise({2, 3, 48}, at::kDouble);
  CHECK(relative_error(transform_multiply(x, f), fftw_dft(x, TransformOptions{})) <= 1e-13);
  const TransformFactors single = monarch_dft(48, {}, {.precision = at::kFloat});
  CHECK(single.factors.w1.scalar_type() == at::kComplexFloat);
  CHECK(relative_error(transform_multiply(x.to(at::kFloat), single), fftw_dft(x, TransformOptions{})) <= 5e-7);
  // d/dw of sum |y|^2 along a direction, by finite differences of a quadratic (exact).
  TransformFactors g = f;
  g.factors.w1 = f.factors.w1.clone().set_requires_grad(true);
  const at::Tensor direction = noise(g.factors.w1.sizes().vec(), at::kComplexDouble, 9);
  const auto loss = [&](const at::Tensor& w) {
    TransformFactors h = f;
    h.factors.w1 = w;
    return at::real(transform_multiply(x, h) * transform_multiply(x, h).conj()).sum();
  };
  loss(g.factors.w1).backward();
  const double slope = at::real(g.factors.w1.grad().conj() * direction).sum().item<double>();
  const at::Tensor w = f.factors.w1;
  CHECK(std::abs(((loss(w + direction) - loss(w - direction)) / 2).item<double>() - slope) <= 1e-10 * std::abs(slope));
  CHECK_THROWS_WITH(transform_multiply(noise({47}, at::kDouble), f), Contains("[..., 48]") && Contains("[47]"));
}

TEST_CASE("MonarchTransform: a 2-D transform is one along each axis, of complex and of real vectors") {
  const auto along = [](const at::Tensor& x, int64_t axis, const TransformOptions& options) {
    return fftw_dft(x.movedim(axis, -1), options).movedim(-1, axis);
  };
  for (const auto& [rows, columns] : {std::pair<int64_t, int64_t>{512, 160}, {12, 15}, {9, 49}}) {
    const TransformOptions options{.inverse = true, .centred = true};
    const MonarchTransform op({{rows, columns}, at::kComplexDouble},
                              {monarch_dft(rows, options), monarch_dft(columns, options)});
    const at::Tensor x = noise({2, rows, columns}, at::kComplexDouble);
    const at::Tensor expected = along(along(x, -1, options), -2, options);
    CHECK(relative_error(op.apply(x), expected) <= 1e-13);
    CHECK(relative_error(op.adjoint(expected), x) <= 1e-13);
    if (rows == 512) CHECK(op.parameters() == 57472);
    // The Fourier operator of the project says the same, and another centring is not it.
    if (rows != 512) {
      const Space space{{rows, columns}, at::kComplexDouble, at::kCPU};
      CHECK(relative_error(op.apply(x), Fourier(space, {2, true, true, Normalisation::ortho}).apply(x)) <= 1e-13);
      CHECK(relative_error(op.apply(x), Fourier(space, {2, true, false, Normalisation::ortho}).apply(x)) > 0.1);
    }
    const MonarchTransform real({{rows, columns}, at::kDouble}, op.axes());
    CHECK(real.codomain().dtype == at::kComplexDouble);
    CHECK(relative_error(real.apply(at::real(x)), op.apply(at::real(x).to(at::kComplexDouble))) <= 1e-14);
  }
  // A cosine transform along both axes, and a truncated one that names what does not fit.
  const TransformFactors a = monarch_real_transform(12, RealTransform::dct2),
                         b = monarch_real_transform(15, RealTransform::dct4);
  const at::Tensor x = noise({12, 15}, at::kDouble);
  const at::Tensor y = MonarchTransform({{12, 15}, at::kDouble}, {a, b}).apply(x);
  const at::Tensor rows = real_truth(x, RealTransform::dct4, Normalisation::ortho);
  CHECK(relative_error(y, real_truth(rows.t(), RealTransform::dct2, Normalisation::ortho).t()) <= 1e-13);
  CHECK_THROWS_WITH(MonarchTransform({{12, 14}, at::kDouble}, {a, b}), Contains("axis 1") && Contains("15 -> 15"));
  CHECK_THROWS_AS(MonarchTransform({{12}, at::kDouble}, {a, b}), ShapeError);
  CHECK_THROWS_AS(MonarchTransform({{12, 15}, at::kFloat}, {a, b}), DtypeError);
  CHECK_THROWS_AS(MonarchTransform({{12}, at::kDouble}, {}), ShapeError);
}
