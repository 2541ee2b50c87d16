#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <limits>

#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/mri/density.hpp"
#include "monarch/mri/iterative.hpp"
#include "monarch/mri/non_cartesian.hpp"
#include "monarch/mri/solvers.hpp"
#include "monarch/operators/coils.hpp"
#include "monarch/operators/composition.hpp"
#include "monarch/operators/nufft.hpp"
#include "support/contract.hpp"
#include "support/phantom.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::mri;
using namespace monarch::test;
using Catch::Matchers::Contains;

namespace {

/// [spoke, sample, 2]: diameters, readout oversampled twice, at equal angles or by the golden one.
at::Tensor radial(int64_t spokes, int64_t n, bool golden = false) {
  const double step = golden ? M_PI * (std::sqrt(5.0) - 1) / 2 : M_PI / static_cast<double>(spokes);
  const at::Tensor angle = at::arange(spokes, at::kDouble).mul(step).unsqueeze(1);
  const at::Tensor radius = at::arange(2 * n, at::kDouble).sub(n).div(2);
  return at::stack({angle.cos() * radius, angle.sin() * radius}, -1);
}

/// One arm from the centre outwards, turned `arms` times: Archimedean at constant angular speed.
at::Tensor spiral(int64_t arms, int64_t samples, int64_t n) {
  const double turns = static_cast<double>(n) / 2 / static_cast<double>(arms);
  const at::Tensor t = at::arange(samples, at::kDouble).div(samples);
  const at::Tensor angle = t.mul(2 * M_PI * turns).add(at::arange(arms, at::kDouble).mul(2 * M_PI / arms).unsqueeze(1));
  const at::Tensor radius = t.mul(static_cast<double>(n) / 2);
  return at::stack({angle.cos() * radius, angle.sin() * radius}, -1);
}

/// [coil, sample]: the phantom's samples, made in double from the direct definition's operator.
at::Tensor measure(const Phantom& phantom, const at::Tensor& trajectory) {
  const at::Tensor images = at::mul(phantom.sensitivities, phantom.image).squeeze(1).to(at::kComplexDouble);
  const operators::Nufft nufft({images.sizes().vec(), at::kComplexDouble}, trajectory.flatten(0, 1),
                               {.accuracy = 1e-10});
  return nufft.apply(images).to(at::kComplexFloat);
}

at::Tensor maps_of(const Phantom& phantom) {
  return phantom.sensitivities.unsqueeze(0);
}

/// Relative error inside the disc of k-space that spokes cover: the corners are not to be had.
double error_in_disc(const at::Tensor& image, const at::Tensor& truth) {
  const int64_t n = truth.size(-1);
  const at::Tensor k = at::arange(n, at::kDouble).sub(n / 2);
  const at::Tensor disc = (k.square() + k.square().unsqueeze(1)).sqrt() < 0.48 * static_cast<double>(n);
  return relative_error(centred_fft(image) * disc, centred_fft(truth) * disc);
}

}  // namespace

TEST_CASE("nufft sense: it is the nufft times the coils, and normal is adjoint times apply") {
  struct Case {
    std::vector<int64_t> maps;
    int64_t axes;
  };
  const auto c = GENERATE(Case{{1, 3, 1, 16, 12}, 2}, Case{{2, 5, 1, 15, 13}, 2}, Case{{1, 1, 1, 20, 11}, 2},
                          Case{{1, 2, 4, 6, 5}, 3}, Case{{2, 3, 1, 8, 9}, 3});
  const at::Tensor maps = Rng(1, "maps").normal(c.maps, at::kComplexFloat);
  at::Tensor k = Rng(2, "k").normal({90, c.axes}, at::kDouble).sigmoid_().sub_(0.5);
  for (int64_t a = 0; a < c.axes; ++a) k.select(1, a).mul_(c.maps[4 - a]);
  const NonCartesianSense encode(maps, k);
  const at::Tensor x = random_vector(encode.domain(), "x", {2}), y = random_vector(encode.codomain(), "y", {2});
  const operators::CoilSensitivities coils(maps);
  operators::Space images = coils.codomain();
  if (c.axes == 2) images.shape.erase(images.shape.begin() + 1);
  const operators::Nufft nufft(images, k);
  const at::Tensor coil_images = coils.apply(x);
  const at::Tensor expected = nufft.apply(c.axes == 2 ? coil_images.squeeze(2) : coil_images);
  CHECK(relative_error(encode.apply(x), expected) <= 1e-5);
  CHECK(relative_error(encode.normal(x), encode.adjoint(encode.apply(x))) <= 1e-5);
  const at::Tensor w = Rng(3, "w").normal({90}, at::kDouble).square();
  const NonCartesianSense weighted(maps, k, w);
  CHECK(relative_error(weighted.apply(x), expected * w.sqrt()) <= 1e-5);
  CHECK(relative_error(weighted.normal(x), encode.adjoint((expected * w).to(at::kComplexFloat))) <= 1e-5);
  const auto inner = [](const at::Tensor& a, const at::Tensor& b) {
    return at::vdot(a.flatten().to(at::kComplexDouble), b.flatten().to(at::kComplexDouble))
        .item<c10::complex<double>>();
  };
  const auto left = inner(encode.apply(x), y), right = inner(x, encode.adjoint(y));
  CHECK(std::abs(left - right) <= 1e-5 * std::abs(left));
}

TEST_CASE("nufft sense: it keeps every law of the operator contract") {
  const at::Tensor maps = Rng(1, "maps").normal({2, 3, 1, 5, 6}, at::kComplexFloat);
  const at::Tensor k = Rng(2, "k").normal({11, 2}, at::kDouble).sigmoid_().sub_(0.5).mul_(5);
  CHECK(contract_violations(NonCartesianSense(maps, k)) == std::vector<std::string>{});
  CHECK(contract_violations(NonCartesianSense(maps, k, at::linspace(0, 2, 11, at::kDouble))) ==
        std::vector<std::string>{});
}

TEST_CASE("nufft sense: cg-sense recovers the phantom from radial and spiral samples") {
  const Phantom phantom = make_phantom({.coils = 8, .y = 64, .x = 64, .taper = 3});
  const std::string kind = GENERATE("radial", "golden", "spiral");
  const at::Tensor k = kind == "spiral" ? spiral(8, 500, 64) : radial(34, 64, kind == "golden");
  const at::Tensor samples = measure(phantom, k);
  const auto problem = non_cartesian_problem(samples, k.flatten(0, 1), maps_of(phantom));
  INFO(kind);
  CHECK(error_in_disc(cg_sense(problem, {.lambda = 1e-4, .iterations = 60}).image[0], phantom.image) <= 0.02);
  // The controls: one iteration is not enough, and other places are the wrong ones.
  CHECK(error_in_disc(cg_sense(problem, {.iterations = 1}).image[0], phantom.image) > 0.05);
  const auto turned = non_cartesian_problem(samples, k.flatten(0, 1).flip(1), maps_of(phantom));
  CHECK(error_in_disc(cg_sense(turned, {.iterations = 30}).image[0], phantom.image) > 0.3);
}

TEST_CASE("nufft sense: l1-wavelet and total variation run on samples, too, and beat the adjoint") {
  const Phantom phantom = make_phantom({.coils = 8, .y = 64, .x = 64});
  const at::Tensor k = radial(20, 64, true);
  const at::Tensor samples = measure(phantom, k), density = pipe_menon_density(k.flatten(0, 1), {64, 64, 1});
  const auto problem = non_cartesian_problem(samples, k.flatten(0, 1), maps_of(phantom), density);
  CHECK(std::abs(largest_eigenvalue(*problem.encode) - 1) <= 0.5);
  CHECK(error_in_disc(l1_wavelet(problem, {.lambda = 1e-3, .iterations = 60}).image[0], phantom.image) <= 0.12);
  CHECK(error_in_disc(total_variation(problem, {.lambda = 1e-3, .iterations = 100}).image[0], phantom.image) <= 0.12);
  CHECK(error_in_disc(problem.rhs[0] * problem.data_scale, phantom.image) > 0.2);
}

TEST_CASE("nufft sense: iterates equal those of bart pics") {
  if (!has_program("bart")) skip("bart is not installed");
  const TemporaryFolder folder;
  const std::string lambda = "0.001", iterations = "15";
  const auto result =
      run_command("cd '" + folder.path().string() +
                  "' && bart traj -r -x 128 -y 33 t0 && bart scale 0.45 t0 t && bart phantom -t t -k -s 6 y && "
                  "bart phantom -x 64 -S 6 maps && bart pics -S -l2 -r " +
                  lambda + " -i " + iterations + " -t t y maps x");
  INFO(result.errors);
  REQUIRE(result.exit_code == 0);
  const auto load = [&](const std::string& name, std::vector<int64_t> shape) {
    at::Tensor array = at::empty(shape, at::kComplexFloat);
    std::ifstream(folder / (name + ".cfl"), std::ios::binary)
        .read(static_cast<char*>(array.mutable_data_ptr()), static_cast<std::streamsize>(array.nbytes()));
    return array;
  };
  const at::Tensor k = at::real(load("t", {33 * 128, 3})).narrow(1, 0, 2).to(at::kDouble);
  const auto problem = non_cartesian_problem(load("y", {6, 33 * 128}), k, load("maps", {1, 6, 1, 64, 64}));
  const at::Tensor bart = load("x", {1, 1, 64, 64});
  CHECK(relative_error(cg_sense(problem, {.lambda = 1e-3, .iterations = 15}).image, bart) <= 0.01);
  CHECK(relative_error(cg_sense(problem, {.lambda = 1e-3, .iterations = 3}).image, bart) > 0.02);  // the control
}

TEST_CASE("nufft density: the area of k-space is shared among the samples") {
  const bool golden = GENERATE(false, true);
  const at::Tensor k = radial(150, 64, golden);
  const double area = M_PI * 32 * 32;
  const at::Tensor ramp = ramp_density(k),
                   iterated = pipe_menon_density(k.flatten(0, 1), {64, 64, 1}).view(ramp.sizes());
  CHECK(std::abs(ramp.sum().item<double>() / area - 1) <= 0.03);
  CHECK(std::abs(iterated.sum().item<double>() / area - 1) <= 0.15);  // the rim counts for what lies beyond
  // Where spokes are no further apart than a cycle they agree; near the centre only the sum over spokes is fixed.
  if (!golden) {
    const at::Tensor ring = iterated.narrow(1, 64 + 20, 30).sum(0) / ramp.narrow(1, 64 + 20, 30).sum(0);
    CHECK((ring - 1).abs().max().item<double>() <= 0.1);
  }
}

TEST_CASE("nufft density: gridding with it is nearly the inverse, and without it is not") {
  const Phantom phantom = make_phantom({.coils = 2, .y = 64, .x = 64, .taper = 3});
  const at::Tensor k = radial(120, 64, true), samples = measure(phantom, k);
  const at::Tensor truth = at::mul(phantom.sensitivities, phantom.image);
  const auto error = [&](const at::Tensor& density) {
    return error_in_disc(gridded_images(samples, k.flatten(0, 1), density.flatten(), {64, 64, 1}), truth);
  };
  CHECK(error(ramp_density(k)) <= 0.06);
  CHECK(error(pipe_menon_density(k.flatten(0, 1), {64, 64, 1})) <= 0.06);
  CHECK(error(at::ones({k.size(0) * k.size(1)}, at::kDouble)) > 0.5);
}

TEST_CASE("nufft density: a spiral's is found by iteration, and refused as a ramp") {
  const Phantom phantom = make_phantom({.coils = 1, .y = 64, .x = 64, .taper = 3});
  const at::Tensor k = spiral(32, 500, 64), samples = measure(phantom, k);
  const at::Tensor images =
      gridded_images(samples, k.flatten(0, 1), pipe_menon_density(k.flatten(0, 1), {64, 64, 1}), {64, 64, 1});
  CHECK(error_in_disc(images, at::mul(phantom.sensitivities, phantom.image)) <= 0.08);
  CHECK_THROWS_WITH(ramp_density(k), Contains("readout 0") && Contains("pipe-menon"));
  CHECK_THROWS_AS(ramp_density(k.flatten(0, 1)), DataError);
  CHECK_THROWS_WITH(parse_density("voronoi"), Contains("'voronoi'") && Contains("ramp"));
}

TEST_CASE("nufft sense: arguments that do not fit are told") {
  const at::Tensor maps = at::ones({1, 2, 1, 16, 16}, at::kComplexFloat);
  const at::Tensor k = radial(5, 16).flatten(0, 1);
  const at::Tensor samples = at::ones({2, k.size(0)}, at::kComplexFloat);
  CHECK_THROWS_AS(NonCartesianSense(maps[0], k), ShapeError);
  CHECK_THROWS_AS(NonCartesianSense(at::ones({1, 2, 4, 16, 16}, at::kComplexFloat), k), ShapeError);
  CHECK_THROWS_AS(NonCartesianSense(maps, k * 1.1), DataError);
  CHECK_THROWS_AS(NonCartesianSense(maps, k, at::full({k.size(0)}, -1.0)), DataError);
  CHECK_THROWS_AS(non_cartesian_problem(samples.narrow(1, 1, 9), k, maps), ShapeError);
  CHECK_THROWS_AS(non_cartesian_problem(samples * 0, k, maps), DataError);
  CHECK_THROWS_AS(non_cartesian_problem(samples * std::numeric_limits<float>::quiet_NaN(), k, maps), DataError);
  CHECK_THROWS_AS(gridded_images(samples, k, at::ones({3}), {16, 16, 1}), ShapeError);
}
