// Fourier: against a direct sum and against the laws it has to obey.
#include "monarch/operators/fourier.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <fmt/ranges.h>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <numbers>

#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/operators/kernels/fourier.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::operators;
using test::relative_error;
using test::tolerance;

namespace {

at::Tensor noise(std::vector<int64_t> shape, at::ScalarType dtype = at::kComplexFloat, uint64_t seed = 1) {
  return Rng(seed, "fourier").normal(std::move(shape), dtype);
}

double factor(Normalisation normalisation, double n) {
  return normalisation == Normalisation::none ? 1 : normalisation == Normalisation::ortho ? 1 / std::sqrt(n) : 1 / n;
}

/// The definition: rolls (numpy's shifts) around a product with the dense matrix in complex128, per axis.
at::Tensor by_definition(const at::Tensor& x, std::vector<int64_t> axes, TransformOptions options) {
  at::Tensor y = x.to(at::kComplexDouble);
  double n_total = 1;
  for (int64_t axis : axes) {
    if (axis < 0) axis += x.dim();
    const int64_t n = x.size(axis);
    n_total *= static_cast<double>(n);
    if (options.centred) y = at::roll(y, -(n / 2), axis);
    const at::Tensor jk = at::remainder(at::outer(at::arange(n), at::arange(n)), n).to(at::kDouble);
    const at::Tensor angle = jk * ((options.inverse ? 2 : -2) * std::numbers::pi / static_cast<double>(n));
    const at::Tensor matrix = at::complex(at::cos(angle), at::sin(angle));
    y = at::matmul(y.movedim(axis, -1), matrix).movedim(-1, axis);
    if (options.centred) y = at::roll(y, n / 2, axis);
  }
  return y * factor(options.normalisation, n_total);
}

using Back = void (*)(const kernels::FourierTask&, const at::Tensor&, const at::Tensor&);

at::Tensor run(Back back, const kernels::FourierTask& task, const at::Tensor& x) {
  at::Tensor y = at::full_like(x, std::nan(""));
  back(task, x, y);
  return y;
}

}  // namespace

TEST_CASE("Fourier reference: a complex exponential becomes one sample") {
  const auto n = GENERATE(1, 2, 5, 12);
  for (int64_t k = 0; k < n; ++k) {
    const at::Tensor angle = at::arange(n, at::kDouble) * (2 * std::numbers::pi * static_cast<double>(k) / n);
    const at::Tensor wave = at::complex(at::cos(angle), at::sin(angle));
    at::Tensor expected = at::zeros({n}, at::kComplexDouble);
    expected[k] = n;
    REQUIRE(relative_error(run(kernels::reference::fourier, {{n}, {0}, false, {}, 1}, wave), expected) <= 1e-14 * n);
    expected.zero_()[(n - k) % n] = n;
    REQUIRE(relative_error(run(kernels::reference::fourier, {{n}, {0}, true, {}, 1}, wave), expected) <= 1e-14 * n);
  }
}

TEST_CASE("Fourier back ends: FFTW equals the direct sum for every size and option") {
  const auto dtype = GENERATE(at::kComplexFloat, at::kComplexDouble);
  struct Case {
    std::vector<int64_t> sizes, axes;
  };
  const std::vector<Case> cases = {{{1}, {0}},
                                   {{2}, {0}},
                                   {{3}, {0}},
                                   {{16}, {0}},
                                   {{251}, {0}},
                                   {{5, 7}, {0, 1}},
                                   {{3, 8, 9}, {1, 2}},
                                   {{33, 32}, {1}},
                                   {{32, 33}, {0}},
                                   {{4, 5, 6}, {0, 1, 2}},
                                   {{4, 5, 6}, {0, 2}},
                                   {{7, 1, 5}, {0, 1}},
                                   {{3, 4, 5}, {1}},
                                   {{2, 3, 4, 5}, {0, 2}},
                                   {{2, 3, 2, 4, 5}, {1, 3}},
                                   {{64, 48}, {0, 1}},
                                   {{3, 101, 67}, {1, 2}},
                                   {{5, 31, 2, 37}, {1, 3}},
                                   {{997}, {0}}};
  for (const auto& [sizes, axes] : cases) {
    for (const bool inverse : {false, true}) {
      for (const bool centred : {false, true}) {
        INFO(fmt::format("{} {} inverse {} centred {}", sizes, axes, inverse, centred));
        kernels::FourierTask task{sizes, axes, inverse, {}, {0.5, 0}};
        int64_t n = 1;
        for (const int64_t axis : axes) {
          n *= sizes[axis];
          if (!centred) continue;
          kernels::Centring centring = kernels::centring(sizes[axis], inverse);
          task.phases.push_back(centring.phase);
          task.factor *= centring.constant;
        }
        const at::Tensor x = noise(sizes, dtype);
        const at::Tensor kept = x.clone();
        const at::Tensor y = run(kernels::cpu::fourier, task, x);
        REQUIRE(relative_error(y, run(kernels::reference::fourier, task, x)) <= tolerance(dtype, n));
        REQUIRE(at::equal(x, kept));
      }
    }
  }
}

TEST_CASE("Fourier: the transform is its definition with shifts by floor n half") {
  const auto dtype = GENERATE(at::kComplexFloat, at::kComplexDouble);
  const auto inverse = GENERATE(false, true);
  const auto centred = GENERATE(false, true);
  const auto normalisation = GENERATE(Normalisation::none, Normalisation::ortho, Normalisation::inverse);
  const TransformOptions options{inverse, centred, normalisation};
  struct Case {
    std::vector<int64_t> sizes, axes;
  };
  const std::vector<Case> cases = {{{7}, {0}},
                                   {{8}, {-1}},
                                   {{6, 9}, {0, 1}},
                                   {{2, 15, 14}, {-1, -2}},
                                   {{13, 3, 8}, {0, 2}},
                                   {{5, 6, 7}, {2, 0, 1}},
                                   {{1, 4, 1, 9}, {1, 2, 3}},
                                   {{9, 300}, {0}}};
  for (const auto& [sizes, axes] : cases) {
    INFO(fmt::format("{} over {}", sizes, axes));
    const at::Tensor x = noise(sizes, dtype);
    const at::Tensor y = fourier_transform(x, axes, options);
    REQUIRE(y.is_contiguous());
    REQUIRE(relative_error(y, by_definition(x, axes, options)) <= tolerance(dtype, x.numel()));
    // Negative control: the other sign is another transform.
    if (x.numel() > 20) {
      const TransformOptions other{!inverse, centred, normalisation};
      REQUIRE_FALSE(relative_error(fourier_transform(x, axes, other), by_definition(x, axes, options)) <= 0.1);
    }
  }
}

TEST_CASE("Fourier: large transforms equal ATen's in one and several threads") {
  const int threads = GENERATE(1, 2, 3);
  const int before = at::get_num_threads();
  at::set_num_threads(threads);
  struct Case {
    std::vector<int64_t> sizes, axes;
  };
  // Slabs, groups of small ones with a rest, one split by axes, strided axes, volumes.
  const std::vector<Case> cases = {{{8, 256, 256}, {1, 2}},   {{1031, 31}, {1}},         {{512, 509}, {0, 1}},
                                   {{3, 300, 7, 40}, {1, 3}}, {{96, 80, 64}, {0, 1, 2}}, {{400, 3, 130}, {0}},
                                   {{2, 1200, 1100}, {1, 2}}};
  for (const auto& [sizes, axes] : cases) {
    INFO(fmt::format("{} over {} with {} threads", sizes, axes, threads));
    const at::Tensor x = noise(sizes);
    const at::Tensor expected = at::fft_fftshift(
        at::fft_ifftn(at::fft_ifftshift(x.to(at::kComplexDouble), axes), at::OptionalIntArrayRef(), axes, "ortho"),
        axes);
    const at::Tensor y = fourier_transform(x, axes, {.inverse = true, .centred = true});
    REQUIRE(relative_error(y, expected) <= tolerance(at::kComplexFloat, 64));
  }
  at::set_num_threads(before);
}

TEST_CASE("Fourier: the unitary transform keeps energy and is undone by its adjoint") {
  const auto dtype = GENERATE(at::kComplexFloat, at::kComplexDouble);
  for (const std::vector<int64_t>& shape : std::vector<std::vector<int64_t>>{{16, 15}, {9, 11, 13}, {64, 64}}) {
    const Fourier fourier(Space{shape, dtype}, {.dimensions = 2, .centred = true});
    const at::Tensor x = noise(shape, dtype);
    const at::Tensor y = fourier.apply(x);
    const double energy = at::linalg_vector_norm(x).item<double>();
    REQUIRE(std::abs(at::linalg_vector_norm(y).item<double>() - energy) <= tolerance(dtype, x.numel()) * energy);
    REQUIRE(relative_error(fourier.adjoint(y), x) <= tolerance(dtype, x.numel()));
  }
}

TEST_CASE("Fourier: the adjoint is the conjugate transpose for each normalisation") {
  const auto normalisation = GENERATE(Normalisation::none, Normalisation::ortho, Normalisation::inverse);
  const auto inverse = GENERATE(false, true);
  const auto centred = GENERATE(false, true);
  const Fourier fourier(Space{{5, 6, 3}, at::kComplexDouble},
                        {.dimensions = 3, .inverse = inverse, .centred = centred, .normalisation = normalisation});
  const at::Tensor x = noise({5, 6, 3}, at::kComplexDouble, 2), y = noise({5, 6, 3}, at::kComplexDouble, 3);
  const auto left = at::vdot(y.flatten(), fourier.apply(x).flatten()).item<c10::complex<double>>();
  const auto right = at::vdot(fourier.adjoint(y).flatten(), x.flatten()).item<c10::complex<double>>();
  REQUIRE(std::abs(left - right) <= 1e-13 * std::abs(left));
  REQUIRE(relative_error(fourier.normal(x), fourier.adjoint(fourier.apply(x))) <= 1e-14);
  // Negative control: the inverse is not the adjoint unless the transform is unitary.
  if (normalisation != Normalisation::ortho) {
    const at::Tensor back = fourier.adjoint(fourier.apply(x));
    REQUIRE_FALSE(relative_error(back, x) <= 0.1);
  }
}

TEST_CASE("Fourier: an unscaled transform is undone by the inverse one that divides by n") {
  const at::Tensor x = noise({3, 10, 7});
  const at::Tensor y = fourier_transform(x, {1, 2}, {.normalisation = Normalisation::none});
  const at::Tensor back = fourier_transform(y, {1, 2}, {.inverse = true, .normalisation = Normalisation::inverse});
  REQUIRE(relative_error(back, x) <= tolerance(at::kComplexFloat, x.numel()));
}

TEST_CASE("Fourier: a shift is a linear phase about the centre") {
  const int64_t n = GENERATE(32, 33, 31);
  const at::Tensor x = noise({n}, at::kComplexDouble);
  const at::Tensor y = fourier_transform(x, {0}, {.centred = true});
  const at::Tensor shifted = fourier_transform(at::roll(x, 3, 0), {0}, {.centred = true});
  const at::Tensor angle = (at::arange(n, at::kDouble) - n / 2) * (-2 * std::numbers::pi * 3 / static_cast<double>(n));
  REQUIRE(relative_error(shifted, y * at::complex(at::cos(angle), at::sin(angle))) <= 1e-13);
}

TEST_CASE("Fourier: the centre sample becomes a constant for even and odd sizes") {
  for (const int64_t n : {1, 2, 3, 4, 6, 8, 15, 16, 256, 257}) {
    at::Tensor x = at::zeros({n}, at::kComplexDouble);
    x[n / 2] = 1;
    const at::Tensor y = fourier_transform(x, {0}, {.centred = true, .normalisation = Normalisation::none});
    REQUIRE(relative_error(y, at::ones({n}, at::kComplexDouble)) <= 1e-14 * static_cast<double>(n));
  }
}

TEST_CASE("Fourier: any strides and lazy conjugates are understood and batches are independent") {
  const at::Tensor base = noise({12, 9, 10});
  const std::vector<at::Tensor> views = {base.transpose(0, 2), base.slice(0, 1, 12, 2), at::conj(base),
                                         base.expand({4, 12, 9, 10}), base.flip({1})};
  for (const at::Tensor& view : views) {
    REQUIRE(relative_error(fourier_transform(view, {-2, -1}, {.centred = true}),
                           by_definition(view.resolve_conj().contiguous(), {-2, -1}, {.centred = true})) <=
            tolerance(at::kComplexFloat, 120));
  }
  const Fourier fourier(Space{{9, 10}}, {.dimensions = 2});
  const at::Tensor together = fourier.apply(base);
  for (int64_t i = 0; i < 12; ++i) {
    REQUIRE(relative_error(together[i], fourier.apply(base[i])) <= tolerance(at::kComplexFloat, 90));
  }
  REQUIRE(fourier_transform(at::zeros({0, 4, 4}, at::kComplexFloat), {1, 2}).sizes() == at::IntArrayRef({0, 4, 4}));
}

TEST_CASE("Fourier: NaN stays in the slab that holds it") {
  at::Tensor x = noise({3, 16, 16});
  x[1][4][5] = std::nan("");
  const at::Tensor y = fourier_transform(x, {1, 2}, {.centred = true});
  REQUIRE(at::isfinite(y[0]).all().item<bool>());
  REQUIRE(at::isnan(y[1]).all().item<bool>());
  REQUIRE(at::isfinite(y[2]).all().item<bool>());
}

TEST_CASE("Fourier: impossible requests are refused with the reason") {
  REQUIRE_THROWS_AS(Fourier(Space{{8, 8}}, {.dimensions = 0}), ConfigError);
  REQUIRE_THROWS_AS(Fourier(Space{{8, 8}}, {.dimensions = 4}), ConfigError);
  REQUIRE_THROWS_AS(Fourier(Space{{8, 8}}, {.normalisation = static_cast<Normalisation>(7)}), ConfigError);
  REQUIRE_THROWS_AS(Fourier(Space{{8}}, {.dimensions = 2}), ShapeError);
  REQUIRE_THROWS_AS(Fourier(Space{{8, 0}}), ShapeError);
  REQUIRE_THROWS_AS(Fourier(Space{{8, 8}, at::kFloat}), DtypeError);
  const at::Tensor x = noise({4, 4});
  REQUIRE_THROWS_AS(fourier_transform(at::zeros({4, 4}), {0}), DtypeError);
  REQUIRE_THROWS_AS(fourier_transform(x, {}), ShapeError);
  REQUIRE_THROWS_AS(fourier_transform(x, {2}), ShapeError);
  REQUIRE_THROWS_AS(fourier_transform(x, {-3}), ShapeError);
  REQUIRE_THROWS_AS(fourier_transform(x, {0, -2}), ShapeError);
  REQUIRE_THROWS_AS(fourier_transform(noise({2, 2, 2, 2}), {0, 1, 2, 3}), ShapeError);
  REQUIRE_THROWS_AS(fourier_transform(at::empty({4, 4}, at::TensorOptions(at::kMeta).dtype(at::kComplexFloat)), {0}),
                    BackendError);
  REQUIRE_THROWS_WITH(fourier_transform(x, {5}), Catch::Contains("no axis 5") && Catch::Contains("[4, 4]"));
  REQUIRE(Fourier(Space{{16, 15}}, {.centred = true}).describe() ==
          "Fourier(2-D, centred, ortho) on complex64 [16, 15] on cpu");
}
