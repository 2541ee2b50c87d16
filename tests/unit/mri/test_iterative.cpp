#include <ATen/ATen.h>
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>
#include <limits>

#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/mri/espirit.hpp"
#include "monarch/mri/iterative.hpp"
#include "monarch/mri/sense.hpp"
#include "support/phantom.hpp"
#include "support/support.hpp"

using namespace monarch;
using monarch::test::relative_error;

namespace {

struct Scan {
  at::Tensor kspace, mask, maps, truth;  // [coil, z, y, x], [z, y, x], [1, coil, z, y, x], [1, z, y, x]
};

Scan phantom_scan(int64_t axis, int64_t acceleration, const test::PhantomOptions& options = {}) {
  const auto phantom = test::make_phantom(options);
  const auto mask = test::line_mask({options.z, options.y, options.x}, axis, acceleration, 0, 20);
  return {phantom.kspace * mask, mask, phantom.sensitivities.unsqueeze(0), phantom.image.unsqueeze(0)};
}

// ‖a - b‖ / ‖b‖ after the best complex scale, as nrmse of other programs has it.
double scaled_error(const at::Tensor& a, const at::Tensor& b) {
  const auto x = a.reshape({-1}).to(at::kComplexDouble), y = b.reshape({-1}).to(at::kComplexDouble);
  return relative_error(x * (at::vdot(x, y) / at::vdot(x, x)), y);
}

// BART's file pair for [coil, z, y, x] (column-major with x first is row-major with x last).
void write_cfl(const std::string& stem, const at::Tensor& array) {
  const auto data = array.contiguous();
  std::ofstream(stem + ".hdr") << fmt::format("# Dimensions\n{} {} {} {} 1 1 1 1 1 1 1 1 1 1 1 1\n", data.size(3),
                                              data.size(2), data.size(1), data.size(0));
  std::ofstream(stem + ".cfl", std::ios::binary)
      .write(static_cast<const char*>(data.data_ptr()), static_cast<std::streamsize>(data.nbytes()));
}

at::Tensor read_cfl(const std::string& stem, const std::vector<int64_t>& shape) {
  auto array = at::empty(shape, at::kComplexFloat);
  std::ifstream file(stem + ".cfl", std::ios::binary);
  file.read(static_cast<char*>(array.data_ptr()), static_cast<std::streamsize>(array.nbytes()));
  REQUIRE(file.gcount() == static_cast<std::streamsize>(array.nbytes()));
  return array;
}

// The 8-coil brain scan as [coil, 1, y, x].
at::Tensor brain_kspace() {
  std::ifstream file(test::data_file("mri/brain_8ch_kspace_cartesian.npy"), std::ios::binary);
  auto array = at::empty({8, 1, 230, 180}, at::kComplexFloat);
  file.seekg(-static_cast<std::streamoff>(array.nbytes()), std::ios::end);  // the header of a .npy file comes first
  file.read(static_cast<char*>(array.data_ptr()), static_cast<std::streamsize>(array.nbytes()));
  REQUIRE(file.good());
  return array;
}

void run_bart(const test::TemporaryFolder& folder, const std::string& arguments) {
  const auto result =
      test::run_command(fmt::format("cd {} && OMP_NUM_THREADS=1 bart {}", folder.path().string(), arguments));
  INFO(result.output << result.errors);
  REQUIRE(result.exit_code == 0);
}

}  // namespace

TEST_CASE("root sum of squares: fully sampled k-space gives the magnitude of the phantom") {
  const auto c =
      GENERATE(std::array<int64_t, 3>{1, 64, 48}, std::array<int64_t, 3>{1, 65, 47}, std::array<int64_t, 3>{6, 33, 32});
  const auto phantom = test::make_phantom({.coils = 4, .z = c[0], .y = c[1], .x = c[2]});
  REQUIRE(relative_error(mri::root_sum_of_squares(phantom.kspace), at::abs(phantom.image)) <= 1e-5);
  SECTION("the central columns are those of the whole image") {
    for (const int64_t width : {c[2] / 2, c[2] / 2 + 1, c[2]}) {
      const auto whole = mri::root_sum_of_squares(phantom.kspace);
      const auto part = whole.narrow(2, c[2] / 2 - width / 2, width);
      REQUIRE(relative_error(mri::root_sum_of_squares(phantom.kspace, width), part) <= 1e-5);
    }
  }
}

TEST_CASE("data scale: it follows the unit of the data and the solution does not") {
  const auto scan = phantom_scan(1, 2, {.coils = 4, .y = 64, .x = 48});
  const double scale = mri::data_scale(scan.kspace);
  const double factor = GENERATE(1e-7, 3e5);
  const auto scaled = scan.kspace * factor;
  REQUIRE(std::abs(mri::data_scale(scaled) / (scale * factor) - 1) <= 1e-5);
  const auto image = mri::l1_wavelet(scan.kspace, scan.mask, scan.maps, {.iterations = 5}).image;
  REQUIRE(relative_error(mri::l1_wavelet(scaled, scan.mask, scan.maps, {.iterations = 5}).image, image * factor) <=
          1e-4);
  // A phantom in [0, 1] has a brightness of that order.
  REQUIRE(scale > 0.05);
  REQUIRE(scale < 2.0);
}

TEST_CASE("sense adjoint: full sampling with normalised maps gives the image exactly") {
  const auto phantom = test::make_phantom({.coils = 5, .y = 61, .x = 50});
  const auto result =
      mri::sense_adjoint(phantom.kspace, at::ones({1, 61, 50}, at::kBool), phantom.sensitivities.unsqueeze(0));
  REQUIRE(relative_error(result.image[0], phantom.image) <= 1e-5);
}

TEST_CASE("iterative reconstruction: the phantom comes back with the stated error") {
  struct Case {
    int64_t axis, acceleration;
    double cg, l1, tv, zero_filled;
  };
  // Noise of 0.3 % of the image's maximum. The last number must be exceeded by the zero-filled image, which shows
  // that there was something to do.
  // At 4x these smooth coils on a ring hardly tell the folded pixels apart: what is left is mostly aliasing.
  const auto c = GENERATE(Case{1, 2, 0.025, 0.02, 0.012, 0.2}, Case{2, 2, 0.025, 0.02, 0.012, 0.2},
                          Case{1, 4, 0.18, 0.15, 0.14, 0.35});
  CAPTURE(c.axis, c.acceleration);
  const auto scan = phantom_scan(c.axis, c.acceleration, {.coils = 8, .y = 128, .x = 120, .noise = 0.003});
  const double adjoint = scaled_error(mri::sense_adjoint(scan.kspace, scan.mask, scan.maps).image, scan.truth);
  const double cg =
      relative_error(mri::cg_sense(scan.kspace, scan.mask, scan.maps, {.lambda = 1e-4}).image, scan.truth);
  const double l1 =
      relative_error(mri::l1_wavelet(scan.kspace, scan.mask, scan.maps, {.lambda = 0.002}).image, scan.truth);
  const double tv =
      relative_error(mri::total_variation(scan.kspace, scan.mask, scan.maps, {.lambda = 0.001}).image, scan.truth);
  CAPTURE(adjoint, cg, l1, tv);
  REQUIRE(adjoint > c.zero_filled);
  REQUIRE(cg <= c.cg);
  REQUIRE(l1 <= c.l1);
  REQUIRE(tv <= c.tv);
}

TEST_CASE("iterative reconstruction: volumes with two undersampled axes and two maps work") {
  const test::PhantomOptions options{.coils = 6, .z = 12, .y = 40, .x = 32};
  const auto phantom = test::make_phantom(options);
  const auto mask = test::line_mask({12, 40, 32}, 1, 2, 0, 10) & test::line_mask({12, 40, 32}, 0, 2, 0, 6);
  const auto kspace = phantom.kspace * mask;
  const auto maps = phantom.sensitivities.unsqueeze(0);
  REQUIRE(relative_error(mri::cg_sense(kspace, mask, maps, {.lambda = 1e-5, .iterations = 60}).image[0],
                         phantom.image) <= 0.03);
  REQUIRE(relative_error(mri::l1_wavelet(kspace, mask, maps, {.lambda = 1e-3, .iterations = 60}).image[0],
                         phantom.image) <= 0.06);
  // A second map of nothing takes no part.
  const auto two = at::cat({maps, at::zeros_like(maps)});
  const auto result = mri::cg_sense(kspace, mask, two, {.lambda = 1e-5, .iterations = 60});
  REQUIRE(result.image.size(0) == 2);
  REQUIRE(relative_error(result.image[0], phantom.image) <= 0.03);
  REQUIRE(at::abs(result.image[1]).max().item<float>() == 0);
}

TEST_CASE("total variation: a piecewise constant image comes back from few noisy lines") {
  auto image = at::zeros({1, 64, 64}, at::kComplexFloat);
  image.narrow(1, 12, 40).narrow(2, 16, 30).fill_(1.0);
  image.narrow(1, 24, 12).narrow(2, 22, 10).fill_(0.4);
  auto mask = test::line_mask({1, 64, 64}, 1, 4, 1, 12);
  const auto phantom = test::make_phantom({.coils = 4, .y = 64, .x = 64});
  const auto maps = phantom.sensitivities.unsqueeze(0);
  const auto noise = Rng(3, "noise").normal({4, 1, 64, 64}, at::kComplexFloat) * 0.03;
  const auto kspace = (test::centred_fft(phantom.sensitivities * image) + noise) * mask;
  const double tv =
      relative_error(mri::total_variation(kspace, mask, maps, {.lambda = 0.02, .iterations = 300}).image[0], image);
  const double cg = relative_error(mri::cg_sense(kspace, mask, maps).image[0], image);
  CAPTURE(tv, cg);
  REQUIRE(tv <= 0.03);
  REQUIRE(tv <= cg / 3);
}

TEST_CASE("iterative reconstruction: tolerances end a run early and progress is told") {
  const auto scan = phantom_scan(1, 2, {.coils = 4, .y = 48, .x = 48});
  std::vector<int64_t> seen;
  const auto note = [&](int64_t iteration, double) { seen.push_back(iteration); };
  const auto cg = mri::cg_sense(scan.kspace, scan.mask, scan.maps, {.tolerance = 0.01, .progress = note});
  REQUIRE(cg.converged);
  REQUIRE(cg.iterations < 30);
  REQUIRE(static_cast<int64_t>(seen.size()) == cg.iterations);
  const auto l1 = mri::l1_wavelet(scan.kspace, scan.mask, scan.maps, {.iterations = 200, .tolerance = 0.02});
  REQUIRE(l1.converged);
  REQUIRE(l1.iterations < 200);
  const auto tv = mri::total_variation(scan.kspace, scan.mask, scan.maps, {.iterations = 500, .tolerance = 0.001});
  REQUIRE(tv.converged);
  REQUIRE(tv.iterations < 500);
  REQUIRE(tv.seconds > 0);
}

TEST_CASE("l1 wavelet: a seed fixes the result and another seed hardly changes it") {
  const auto scan = phantom_scan(1, 4, {.coils = 6, .y = 64, .x = 64, .noise = 0.003});
  const auto run = [&](uint64_t seed) {
    return mri::l1_wavelet(scan.kspace, scan.mask, scan.maps, {.seed = seed}).image;
  };
  const auto first = run(1);
  REQUIRE(at::equal(first, run(1)));
  REQUIRE_FALSE(at::equal(first, run(2)));
  REQUIRE(relative_error(run(2), first) <= 0.02);
}

TEST_CASE("iterative reconstruction: unusable data and options are told") {
  const auto scan = phantom_scan(1, 2, {.coils = 3, .y = 32, .x = 32});
  auto bad = scan.kspace.clone();
  bad[1][0][16][3] = std::numeric_limits<float>::quiet_NaN();
  REQUIRE_THROWS_AS(mri::cg_sense(bad, scan.mask, scan.maps), DataError);
  REQUIRE_THROWS_AS(mri::cg_sense(at::zeros_like(scan.kspace), scan.mask, scan.maps), DataError);
  REQUIRE_THROWS_AS(mri::cg_sense(scan.kspace.narrow(0, 0, 2), scan.mask, scan.maps), ShapeError);
  REQUIRE_THROWS_AS(mri::cg_sense(scan.kspace, scan.mask[0], scan.maps), ShapeError);
  REQUIRE_THROWS_AS(mri::l1_wavelet(scan.kspace, scan.mask, scan.maps, {.lambda = -1}), ConfigError);
  REQUIRE_THROWS_AS(mri::total_variation(scan.kspace, scan.mask, scan.maps, {.lambda = std::nan("")}), ConfigError);
  REQUIRE_THROWS_AS(mri::l1_wavelet(scan.kspace, scan.mask, scan.maps, {.shifts = 0}), ConfigError);
  REQUIRE_THROWS_AS(mri::cg_sense(scan.kspace, scan.mask, scan.maps, {.iterations = -1}), ConfigError);
}

TEST_CASE("bart: pics on the same data and maps gives the same images") {
  if (!test::has_program("bart")) test::skip("bart is not installed");
  const test::TemporaryFolder folder;
  const auto scan = phantom_scan(1, 3, {.coils = 6, .y = 96, .x = 80, .noise = 0.005});
  write_cfl(folder / "k", scan.kspace);
  write_cfl(folder / "s", scan.maps[0]);
  run_bart(folder, "pics -S -l2 -r 0.001 -i 30 k s cg");
  const auto cg = mri::cg_sense(scan.kspace, scan.mask, scan.maps).image;
  const auto bart_cg = read_cfl(folder / "cg", {1, 1, 96, 80});
  // BART's data scale is taken one sample beside DC, so that its lambda differs by some 0.1 %.
  CHECK(relative_error(cg, bart_cg) <= 1e-3);
  run_bart(folder, "pics -S -l1 -r 0.005 -i 30 k s l1");
  const auto l1 = mri::l1_wavelet(scan.kspace, scan.mask, scan.maps).image;
  const auto bart_l1 = read_cfl(folder / "l1", {1, 1, 96, 80});
  const double ours = scaled_error(l1, scan.truth), theirs = scaled_error(bart_l1, scan.truth);
  CAPTURE(ours, theirs);
  CHECK(relative_error(l1, bart_l1) <= 0.05);
  CHECK(ours <= theirs);
}

TEST_CASE("bart: espirit and l1 wavelet of the brain scan agree with ours") {
  if (!test::has_program("bart")) test::skip("bart is not installed");
  const test::TemporaryFolder folder;
  const auto kspace = brain_kspace();
  const auto mask = kspace.ne(0).any(0);
  write_cfl(folder / "k", kspace);
  run_bart(folder, "ecalib -m 1 -r 24 k s");
  run_bart(folder, "pics -S -l1 -r 0.005 -i 30 k s out");
  const auto theirs = read_cfl(folder / "out", {1, 1, 230, 180});
  const auto calibration = kspace.narrow(2, 103, 24).narrow(3, 78, 24).contiguous();
  const auto maps = mri::espirit(calibration, {180, 230, 1}).maps;
  const auto ours = mri::l1_wavelet(kspace, mask, maps).image;
  const double error = relative_error(at::abs(ours), at::abs(theirs));
  CAPTURE(error);
  REQUIRE(error <= 0.03);
}
