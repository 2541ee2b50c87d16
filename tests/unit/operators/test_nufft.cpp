#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <limits>

#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/operators/fourier.hpp"
#include "monarch/operators/nufft.hpp"
#include "support/contract.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::operators;
using namespace monarch::test;
using Catch::Matchers::Contains;
using Shape = std::vector<int64_t>;

namespace {

/// [sample, axis], uniform over k-space, its edges and its centre included.
at::Tensor random_trajectory(const Shape& image, int64_t samples) {
  const auto axes = static_cast<int64_t>(image.size());
  at::Tensor k = Rng(5, "trajectory").normal({samples, axes}, at::kDouble).sigmoid_().sub_(0.5);
  k[0].fill_(0.5);
  k[1].fill_(-0.5);
  k[2].zero_();
  for (int64_t a = 0; a < axes; ++a) k.select(1, a).mul_(image[axes - 1 - a]);
  return k;
}

/// The matrix of the definition, [sample, pixel] complex128.
at::Tensor direct_matrix(const Shape& image, const at::Tensor& k) {
  at::Tensor turns = at::zeros({k.size(0), 1}, at::kDouble);
  double pixels = 1;
  for (int64_t axis = 0; axis < k.size(1); ++axis) {
    const int64_t n = image[k.size(1) - 1 - axis];
    pixels *= static_cast<double>(n);
    const at::Tensor places = at::arange(n, at::kDouble).sub(n / 2).div(n);
    // The later axis is the slower one.
    turns = (k.select(1, axis).unsqueeze(1) * places).unsqueeze(2).add(turns.unsqueeze(1)).flatten(1);
  }
  return at::polar(at::ones_like(turns), turns * (-2 * M_PI)).div(std::sqrt(pixels));
}

at::Tensor direct_sum(const at::Tensor& x, const at::Tensor& k) {
  const Shape image = x.sizes().vec();
  return at::matmul(direct_matrix(image, k), x.to(at::kComplexDouble).flatten());
}

/// A fan of spokes through the centre.
at::Tensor radial(int64_t spokes, int64_t samples, int64_t n) {
  const at::Tensor angle = at::arange(spokes, at::kDouble).mul(M_PI / static_cast<double>(spokes)).unsqueeze(1);
  const at::Tensor radius = at::arange(samples, at::kDouble).div(samples).sub(0.5).mul(n);
  return at::stack({angle.cos() * radius, angle.sin() * radius}, -1).flatten(0, 1);
}

}  // namespace

TEST_CASE("nufft: it equals the direct sum to the accuracy asked for") {
  const auto kernel = GENERATE(NufftKernel::exponential_of_semicircle, NufftKernel::kaiser_bessel);
  const double oversampling = GENERATE(1.25, 1.5, 2.0);
  const Shape image = GENERATE(Shape{33}, Shape{20, 27}, Shape{1, 16}, Shape{9, 12, 10});
  const double accuracy = GENERATE(1e-2, 1e-4, 1e-6, 1e-8, 1e-10);
  if (oversampling < 1.5 && accuracy < 1e-8) return;  // needs too wide a kernel
  const at::Tensor k = random_trajectory(image, 300);
  const at::Tensor x = random_vector({image, at::kComplexDouble}, "x");
  const at::Tensor truth = direct_sum(x, k);
  const NufftOptions options{accuracy, oversampling, kernel};
  INFO(Nufft({image, at::kComplexDouble}, k, options).describe());
  const double error = relative_error(Nufft({image, at::kComplexDouble}, k, options).apply(x), truth);
  CAPTURE(error, accuracy);
  CHECK(error <= 3 * accuracy);
  const at::Tensor x32 = x.to(at::kComplexFloat);
  CHECK(relative_error(Nufft({image, at::kComplexFloat}, k, options).apply(x32), truth) <= 3 * accuracy + 6e-6);
}

TEST_CASE("nufft: a coarse accuracy is no fine one") {
  const Shape image = {20, 27};
  const at::Tensor k = random_trajectory(image, 300);
  const at::Tensor x = random_vector({image, at::kComplexDouble}, "x");
  CHECK(relative_error(Nufft({image, at::kComplexDouble}, k, {.accuracy = 1e-2}).apply(x), direct_sum(x, k)) > 1e-5);
}

TEST_CASE("nufft: the adjoint is the conjugate transpose of the direct sum's matrix") {
  const Shape image = GENERATE(Shape{15}, Shape{8, 7}, Shape{4, 3, 5});
  const at::Tensor k = random_trajectory(image, 40);
  const Nufft nufft({image, at::kComplexDouble}, k, {.accuracy = 1e-11});
  const at::Tensor y = random_vector(nufft.codomain(), "y", {3});
  const at::Tensor truth = at::matmul(y, direct_matrix(image, k).conj()).reshape(nufft.adjoint(y).sizes());
  CHECK(relative_error(nufft.adjoint(y), truth) <= 1e-10);
}

TEST_CASE("nufft: on whole numbers it is the centred unitary transform") {
  const Shape image = GENERATE(Shape{8, 6}, Shape{7, 9}, Shape{4, 5, 6});
  std::vector<at::Tensor> axes;
  for (const int64_t n : image) axes.push_back(at::arange(n, at::kDouble) - n / 2);
  auto grid = at::meshgrid(axes, "ij");
  std::reverse(grid.begin(), grid.end());
  const at::Tensor k = at::stack(grid, -1).flatten(0, -2);
  const Space space{image, at::kComplexDouble};
  const auto dimensions = static_cast<int64_t>(image.size());
  const at::Tensor x = random_vector(space, "x");
  const at::Tensor truth = Fourier(space, {.dimensions = dimensions, .centred = true}).apply(x).flatten();
  CHECK(relative_error(Nufft(space, k, {.accuracy = 1e-10}).apply(x), truth) <= 1e-9);
}

TEST_CASE("nufft: the result does not depend on the number of threads") {
  const at::Tensor k = radial(31, 96, 48);
  const Nufft nufft({{5, 48, 48}, at::kComplexFloat}, k);
  const NufftNormal normal({{5, 48, 48}, at::kComplexFloat}, k);
  const at::Tensor y = random_vector(nufft.codomain(), "y"), x = random_vector(nufft.domain(), "x");
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor one[] = {nufft.apply(x), nufft.adjoint(y), normal.apply(x)};
  at::set_num_threads(3);
  const at::Tensor three[] = {nufft.apply(x), nufft.adjoint(y), normal.apply(x)};
  at::set_num_threads(before);
  for (int i = 0; i < 3; ++i) CHECK(at::equal(one[i], three[i]));
}

TEST_CASE("nufft: the Toeplitz convolution is adjoint times weights times forward") {
  const Shape image = GENERATE(Shape{31}, Shape{24, 20}, Shape{1, 13}, Shape{17, 1}, Shape{6, 7, 5}, Shape{1, 12, 9});
  const bool weighted = GENERATE(false, true);
  const at::Tensor k = random_trajectory(image, 150);
  const at::Tensor w = weighted ? Rng(3, "weights").normal({150}, at::kDouble).sigmoid_() : at::Tensor();
  const Space space{image, at::kComplexDouble};
  const Nufft nufft(space, k, {.accuracy = 1e-11});
  const NufftNormal normal(space, k, w);
  const at::Tensor x = random_vector(space, "x", {2});
  const at::Tensor y = nufft.apply(x);
  const at::Tensor truth = nufft.adjoint(weighted ? y * w : y);
  INFO(normal.describe());
  CHECK(relative_error(normal.apply(x), truth) <= 1e-7);
  const Space space32{image, at::kComplexFloat};
  CHECK(relative_error(NufftNormal(space32, k, w).apply(x.to(at::kComplexFloat)), truth) <= 2e-6);
  // The control: other weights.
  CHECK(relative_error(NufftNormal(space, k, at::linspace(0.1, 2, 150, at::kDouble)).apply(x), truth) > 1e-2);
}

TEST_CASE("nufft: forward and adjoint equal BART's") {
  if (!has_program("bart")) skip("bart is not installed");
  const TemporaryFolder folder;
  const auto in_folder = [&](const std::string& words) {
    const auto result = run_command("cd '" + folder.path().string() + "' && " + words);
    INFO(words << ": " << result.errors);
    REQUIRE(result.exit_code == 0);
  };
  const auto load = [&](const std::string& name, Shape shape) {
    at::Tensor array = at::empty(shape, at::kComplexFloat);
    std::ifstream(folder / (name + ".cfl"), std::ios::binary)
        .read(static_cast<char*>(array.mutable_data_ptr()), static_cast<std::streamsize>(array.nbytes()));
    return array;
  };
  in_folder(
      "bart traj -r -x 96 -y 33 t0 && bart scale 0.45 t0 t && bart phantom -x 48 -s 3 x && bart nufft t x y && "
      "bart nufft -a -d 48:48:1 t y xa");
  const at::Tensor k = at::real(load("t", {33 * 96, 3})).narrow(1, 0, 2);
  const at::Tensor x = load("x", {3, 48, 48});
  const Nufft nufft({{3, 48, 48}, at::kComplexFloat}, k);
  CHECK(relative_error(load("y", {3, 33 * 96}), nufft.apply(x)) <=
        2e-3);  // BART's own accuracy; at the very edge of k-space it is 4e-3
  CHECK(relative_error(load("xa", {3, 48, 48}), nufft.adjoint(load("y", {3, 33 * 96}))) <= 2e-3);
}

TEST_CASE("nufft: what does not fit is told") {
  const Space space{{2, 16, 16}, at::kComplexFloat};
  at::Tensor k = random_trajectory({16, 16}, 20);
  k[7][1] = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_WITH(Nufft(space, k), Contains("ky of sample 7 is nan") && Contains("8"));
  k[7][1] = 8.5;
  CHECK_THROWS_AS(Nufft(space, k), DataError);
  CHECK_THROWS_WITH(NufftNormal(space, k), Contains("ky of sample 7 is 8.5") && Contains("half of 16 pixels"));
  k[7][1] = 0;
  CHECK_THROWS_AS(Nufft(space, k.flatten()), ShapeError);
  CHECK_THROWS_AS(Nufft(space, at::zeros({5, 4})), ShapeError);
  CHECK_THROWS_AS(Nufft(space, at::zeros({0, 2})), ShapeError);
  CHECK_THROWS_AS(Nufft({{16}, at::kComplexFloat}, k), ShapeError);
  CHECK_THROWS_AS(Nufft(space, k.to(at::kLong)), DtypeError);
  CHECK_THROWS_AS(Nufft({{16, 16}, at::kFloat}, k), DtypeError);
  CHECK_THROWS_AS(Nufft(space, k, {.accuracy = 0}), ConfigError);
  CHECK_THROWS_AS(Nufft(space, k, {.oversampling = 1}), ConfigError);
  CHECK_THROWS_WITH(Nufft({{16, 16}, at::kComplexDouble}, k, {.accuracy = 1e-13, .oversampling = 1.25}),
                    Contains("needs a kernel of 22 points") && Contains("raise the oversampling"));
  CHECK_THROWS_WITH(NufftNormal(space, k, at::ones({3})), Contains("[3]") && Contains("[20]"));
}
