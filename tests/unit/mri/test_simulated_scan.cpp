#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <numbers>

#include "monarch/core/error.hpp"
#include "monarch/mri/anatomy.hpp"
#include "monarch/mri/arrays.hpp"
#include "monarch/mri/simulated_scan.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::mri;
using Catch::Matchers::Contains;
using test::relative_error;

namespace {

SimulatedScanOptions small() {
  SimulatedScanOptions options;
  options.matrix = {64, 48};
  options.slices = 5;
  options.coils = 4;
  options.noise = 0;
  return options;
}

at::Tensor coil_images(const SimulatedSlice& slice) {  // [echo, coil, y, x]
  return to_image(slice.kspace.unsqueeze(2)).squeeze(2);
}

/// How far coil images are from sensitivities times the target.
double model_error(const SimulatedSlice& slice) {
  const at::Tensor images = coil_images(slice);
  return relative_error(slice.sensitivities * slice.target, images);
}

}  // namespace

TEST_CASE("the spectrum of ellipses is that of their picture on a fine grid") {
  std::vector<Ellipse> ellipses(2);
  ellipses[0] = {{0.05, -0.1}, {{{0.2, -0.05}, {0.07, 0.12}}}, {1.0, 0.3}};
  ellipses[1] = {{-0.2, 0.15}, {{{0.06, 0}, {0, 0.02}}}, {-0.4, 2.0}};
  constexpr int64_t fine = 512;
  const at::Tensor picture = ellipse_image(ellipses, 2, {fine, fine}).to(at::kComplexDouble).unsqueeze(1);
  // Every second frequency of the spectrum is a whole one.
  const at::Tensor spectrum = ellipse_spectrum(ellipses, 2, {33, 25}, {16, 12}).slice(1, 0, 33, 2).slice(2, 0, 25, 2);
  const at::Tensor found =
      to_kspace(picture).squeeze(1).narrow(1, fine / 2 - 8, 17).narrow(2, fine / 2 - 6, 13) / double(fine);
  REQUIRE(relative_error(spectrum, found) <= 1e-3);
  REQUIRE(relative_error(spectrum.conj().resolve_conj(), found) > 0.1);  // control
  REQUIRE(relative_error(spectrum.flip(0), found) > 0.1);                // control: the other echo
  const at::Tensor centre = ellipse_spectrum({ellipses[1]}, 1, {1, 1}, {0, 0});
  REQUIRE(std::abs(at::real(centre).item<double>() + 0.4 * std::numbers::pi * 0.06 * 0.02) <= 1e-12);
}

TEST_CASE("coil images are sensitivities times the target, up to what the grid cuts off") {
  SimulatedScanOptions options = small();
  options.analytic = GENERATE(false, true);
  options.normalised_maps = GENERATE(false, true);
  if (GENERATE(false, true)) options.matrix = {65, 47};
  const SimulatedSlice slice = SimulatedScan(options, 4, "a").slice(2);
  REQUIRE(slice.kspace.sizes() == at::IntArrayRef({2, 4, options.matrix[0], options.matrix[1]}));
  REQUIRE(slice.target.sizes() == at::IntArrayRef({2, 1, options.matrix[0], options.matrix[1]}));
  const double error = model_error(slice);
  REQUIRE(error <= 0.03);
  REQUIRE(error >= 1e-5);  // no inverse crime: the object is finer than the grid
  SimulatedSlice wrong = slice;
  wrong.sensitivities = slice.sensitivities.conj().resolve_conj();
  REQUIRE(model_error(wrong) > 0.1);  // control
  const at::Tensor norm = at::linalg_vector_norm(slice.sensitivities[0], 2, {0});
  const double spread = (norm - 1).abs().max().item<double>();
  REQUIRE((options.normalised_maps ? spread <= 1e-5 : spread > 0.1));
}

TEST_CASE("closed form and fine grid give the same scan") {
  SimulatedScanOptions options = small();
  const SimulatedSlice grid = SimulatedScan(options, 4, "a").slice(2);
  options.analytic = true;
  const SimulatedSlice exact = SimulatedScan(options, 4, "a").slice(2);
  REQUIRE(relative_error(exact.kspace, grid.kspace) <= 0.06);  // the smooth factors are fitted
  REQUIRE(relative_error(exact.sensitivities, grid.sensitivities) <= 0.06);
  REQUIRE(relative_error(SimulatedScan(options, 4, "b").slice(2).kspace, grid.kspace) > 0.3);  // control
}

TEST_CASE("noise is complex Gaussian of the stated strength") {
  SimulatedScanOptions options = small();
  const at::Tensor clean = SimulatedScan(options, 4, "a").slice(1).kspace;
  options.noise = 0.5;
  const SimulatedSlice noisy = SimulatedScan(options, 4, "a").slice(1);
  const at::Tensor parts = at::view_as_real(noisy.kspace - clean).flatten(0, -2).to(at::kDouble);  // [sample, 2]
  const at::Tensor variance = parts.square().mean(0);
  REQUIRE(std::abs(variance[0].item<double>() / 0.125 - 1) <= 0.04);
  REQUIRE(std::abs(variance[1].item<double>() / 0.125 - 1) <= 0.04);
  REQUIRE(parts.prod(1).mean().abs().item<double>() <= 0.004);
  REQUIRE(at::equal(noisy.target, SimulatedScan(small(), 4, "a").slice(1).target));
}

TEST_CASE("a slice is a function of seed, scan and its number") {
  SimulatedScanOptions options = small();
  options.noise = 0.1;
  const SimulatedScan scan(options, 4, "a");
  const SimulatedSlice last = scan.slice(4), first = scan.slice(0);
  const SimulatedScan again(options, 4, "a");
  REQUIRE(at::equal(again.slice(0).kspace, first.kspace));
  REQUIRE(at::equal(again.slice(4).kspace, last.kspace));
  REQUIRE(at::equal(again.slice(4).target, last.target));
  REQUIRE(relative_error(last.target, first.target) > 0.1);
  REQUIRE(relative_error(SimulatedScan(options, 5, "a").slice(0).target, first.target) > 0.3);
  const SimulatedSlice other = SimulatedScan(options, 4, "b").slice(0);
  REQUIRE(relative_error(other.target, first.target) > 0.3);
  REQUIRE(relative_error(other.sensitivities, first.sensitivities) > 0.02);
}

TEST_CASE("echoes decay by tissue and gain phase") {
  const SimulatedSlice slice = SimulatedScan(small(), 4, "a").slice(2);
  const at::Tensor first = slice.target[0][0], second = slice.target[1][0];
  const at::Tensor inside = first.abs() > 0.3;
  const at::Tensor ratio = (second / first).masked_select(inside);
  REQUIRE(ratio.abs().max().item<double>() <= 1.1);
  REQUIRE(ratio.abs().std().item<double>() > 0.08);
  REQUIRE(at::angle(ratio).std().item<double>() > 0.05);
}

TEST_CASE("images given are scanned in place of anatomy") {
  SimulatedScanOptions options = small();
  options.images = at::zeros({3, 96, 72}, at::kFloat);
  options.images[1].narrow(0, 30, 40).narrow(1, 20, 25).fill_(200);
  options.images[2].narrow(0, 50, 10).narrow(1, 20, 25).fill_(100);
  options.images[0].fill_(5);
  options.slices = 4;
  options.first_image = 1;
  const SimulatedScan scan(options, 1, "a");
  const at::Tensor image = at::upsample_bilinear2d(options.images[1].view({1, 1, 96, 72}), {64, 48}, false)[0][0];
  const at::Tensor found = scan.slice(0).target[0][0].abs();
  const double scale = (found * image).sum().item<double>() / (image * image).sum().item<double>();
  REQUIRE(relative_error(found, scale * image) <= 0.35);  // the coils weight it, and the grid cuts it off
  REQUIRE(relative_error(scan.slice(1).target[0][0].abs(), scale * image) > 0.5);  // another image
  REQUIRE(model_error(scan.slice(3)) <= 0.1);                                      // the first, after the last
  const auto refused = [&](const at::Tensor& images) {
    options.images = images;
    SimulatedScan(options, 1, "a");
  };
  REQUIRE_THROWS_AS(refused(at::ones({4, 4})), ShapeError);
  REQUIRE_THROWS_AS(refused(at::ones({1, 4, 4}, at::kComplexFloat)), ShapeError);
  REQUIRE_THROWS_AS(refused(at::zeros({1, 4, 4})), DataError);
  REQUIRE_THROWS_AS(refused(-at::ones({1, 4, 4})), DataError);
  REQUIRE_THROWS_AS(refused(at::full({1, 4, 4}, NAN)), DataError);
  options.analytic = true;
  REQUIRE_THROWS_AS(refused(at::ones({1, 4, 4})), ConfigError);
}

TEST_CASE("anatomy stays inside the field of view, and sections are parts of it") {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const auto anatomy = random_anatomy(seed, "a", {6, 30});
    REQUIRE(anatomy.size() >= 40);
    for (const double s : {-0.5, -0.2, 0.0, 0.3, 0.5}) {
      const auto slice = sections(anatomy, s);
      REQUIRE(slice.size() >= 2);
      REQUIRE(slice.size() <= anatomy.size());
      const at::Tensor image = ellipse_image(slice, 2, {64, 64});
      REQUIRE(image.narrow(1, 0, 2).abs().max().item<double>() <= 1e-9);
      REQUIRE(image.narrow(2, 62, 2).abs().max().item<double>() <= 1e-9);
      REQUIRE(image.max().item<double>() <= 2);
      REQUIRE((image < -0.2).sum().item<int64_t>() <= 8);  // overlaps of small parts
    }
  }
}

TEST_CASE("simulated scans that make no sense are refused") {
  const auto refused = [](auto change) {
    SimulatedScanOptions options = small();
    change(options);
    try {
      SimulatedScan(options, 1, "a");
    } catch (const ConfigError& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  REQUIRE_THAT(refused([](auto& o) { o.matrix = {4, 48}; }), Contains("4 × 48"));
  REQUIRE_THAT(refused([](auto& o) { o.coils = 33; }), Contains("33 coils"));
  REQUIRE_THAT(refused([](auto& o) { o.echoes = 0; }), Contains("0 echoes"));
  REQUIRE_THAT(refused([](auto& o) { o.slices = 0; }), Contains("0 slices"));
  REQUIRE_THAT(refused([](auto& o) { o.noise = -1; }), Contains("noise -1"));
  REQUIRE_THAT(refused([](auto& o) { o.noise = NAN; }), Contains("noise nan"));
  const SimulatedScan scan(small(), 1, "a");
  REQUIRE_THROWS_AS(scan.slice(5), ShapeError);
  REQUIRE_THROWS_AS(scan.slice(-1), ShapeError);
}
