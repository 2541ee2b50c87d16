#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/mri/reconstruction.hpp"
#include "support/ismrmrd_writer.hpp"
#include "support/phantom.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::mri;
using namespace monarch::test;
using Catch::Matchers::Contains;

namespace {

/// A scan file of the phantom with every `acceleration`-th line and `calibration` centre lines.
std::filesystem::path accelerated(const TemporaryFolder& folder, const Phantom& phantom, int64_t acceleration,
                                  int64_t calibration) {
  const auto& k = phantom.kspace;
  const at::Tensor mask = line_mask({k.size(1), k.size(2), k.size(3)}, 1, acceleration, 0, calibration);
  TestScan scan = test_scan(k);
  std::erase_if(scan.readouts, [&](const TestReadout& readout) {
    const auto& idx = readout.header.idx;
    return !mask[idx.kspace_encode_step_2][idx.kspace_encode_step_1][0].item<bool>();
  });
  const auto path = folder / "scan.h5";
  std::filesystem::remove(path);
  write_ismrmrd(path, scan);
  return path;
}

/// Error after the best real scale, magnitudes.
double scaled_error(const at::Tensor& image, const at::Tensor& truth) {
  const at::Tensor a = image.abs().to(at::kDouble), b = truth.abs().to(at::kDouble);
  return relative_error(a * ((a * b).sum() / (a * a).sum()), b);
}

ReconOptions with(Method method) {
  ReconOptions options;
  options.method = method;
  return options;
}

}  // namespace

TEST_CASE("a fully sampled scan becomes the root of the sum of squares of its coil images") {
  const auto [y, x] = GENERATE(std::pair<int64_t, int64_t>{64, 64}, std::pair<int64_t, int64_t>{65, 63});
  const Phantom phantom = make_phantom({.coils = 4, .y = y, .x = x});
  const TemporaryFolder folder;
  const auto scan = data::open_scan(accelerated(folder, phantom, 1, 0));
  const auto result = reconstruct(*scan, {});
  REQUIRE(result.method == Method::rss);
  // Sensitivities of the phantom have unit sum of squares: the image is the truth.
  REQUIRE(relative_error(result.images.pixels[0], phantom.image.abs()) <= 1e-5);
}

TEST_CASE("an accelerated scan is recovered by every method that uses coils") {
  const Phantom phantom = make_phantom({.noise = 0.002});
  const TemporaryFolder folder;
  const auto scan = data::open_scan(accelerated(folder, phantom, 3, 24));
  const auto automatic = reconstruct(*scan, {});
  REQUIRE(automatic.method == Method::cg_sense);
  const double aliased = scaled_error(reconstruct(*scan, with(Method::sense)).images.pixels[0], phantom.image);
  REQUIRE(aliased > 0.15);  // the control
  for (const auto& [method, limit] : std::vector<std::pair<Method, double>>{
           {Method::cg_sense, 0.04}, {Method::l1_wavelet, 0.05}, {Method::tv, 0.05}, {Method::grappa, 0.06}}) {
    const auto result = reconstruct(*scan, with(method));
    const double error = scaled_error(result.images.pixels[0], phantom.image);
    INFO(method_name(method) << ": " << error << ", zero-filled " << aliased);
    REQUIRE(error <= limit);
  }
}

TEST_CASE("prewhitening makes noise white and improves an image of unequal coils") {
  const Phantom phantom = make_phantom({.coils = 6});
  // Noise that coils share strongly, with one very noisy coil.
  Rng rng(5, "coil noise");
  at::Tensor mixing = at::eye(6, at::kComplexFloat) + 0.8 * rng.normal({6, 6}, at::kComplexFloat);
  mixing[2] *= 20;
  const auto noise_of = [&](std::vector<int64_t> shape) {
    shape.insert(shape.begin(), 6);
    const at::Tensor white = rng.normal(shape, at::kComplexFloat);
    return at::matmul(mixing, white.reshape({6, -1})).reshape(white.sizes()) * 0.02;
  };
  const at::Tensor noisy = phantom.kspace + noise_of({1, 128, 128});
  TestScan scan = test_scan(noisy);
  const at::Tensor measured = noise_of({1, 16, 128});
  for (int64_t row = 0; row < 16; ++row) {
    TestReadout readout = test_readout(measured, row);
    set_flag(readout, 19);
    scan.readouts.insert(scan.readouts.begin(), readout);
  }
  const TemporaryFolder folder;
  write_ismrmrd(folder / "scan.h5", scan);
  const auto source = data::open_scan(folder / "scan.h5");
  ReconOptions options = with(Method::cg_sense);
  const double white = scaled_error(reconstruct(*source, options).images.pixels[0], phantom.image);
  options.prewhiten = false;
  const double coloured = scaled_error(reconstruct(*source, options).images.pixels[0], phantom.image);
  INFO(white << " with, " << coloured << " without prewhitening");
  REQUIRE(white <= 0.7 * coloured);
}

TEST_CASE("coil compression to most of the energy changes the image little") {
  const Phantom phantom = make_phantom({.noise = 0.001});
  const TemporaryFolder folder;
  const auto scan = data::open_scan(accelerated(folder, phantom, 2, 24));
  ReconOptions options = with(Method::cg_sense);
  const at::Tensor all = reconstruct(*scan, options).images.pixels;
  options.virtual_coils = 6;
  const auto compressed = reconstruct(*scan, options);
  REQUIRE(scaled_error(compressed.images.pixels, all) <= 0.03);
  REQUIRE_FALSE(at::equal(compressed.images.pixels, all));
}

TEST_CASE("a volume that does not fit is done plane by plane with nearly the same result") {
  const Phantom phantom = make_phantom({.coils = 6, .z = 24, .y = 40, .x = 36, .noise = 0.001});
  const TemporaryFolder folder;
  const auto scan = data::open_scan(accelerated(folder, phantom, 2, 20));
  REQUIRE(scan->header().volume);
  ReconOptions options = with(Method::cg_sense);
  const auto whole = reconstruct(*scan, options);
  options.memory_limit_bytes = 1e6;
  const auto planes = reconstruct(*scan, options);
  REQUIRE_FALSE(planes.warnings.empty());
  REQUIRE_THAT(planes.warnings.front(), Contains("plane by plane"));
  REQUIRE(planes.images.pixels.sizes() == whole.images.pixels.sizes());
  REQUIRE(scaled_error(planes.images.pixels[0], phantom.image) <= 0.12);
  REQUIRE(scaled_error(planes.images.pixels, whole.images.pixels) <= 0.12);
}

TEST_CASE("slices contrasts and repetitions become images of their own and can be chosen") {
  const Phantom phantom = make_phantom({.coils = 2, .y = 32, .x = 32});
  TestScan scan = test_scan(phantom.kspace);
  const auto readouts = scan.readouts;
  scan.readouts.clear();
  for (uint16_t slice = 0; slice < 3; ++slice) {
    for (uint16_t contrast = 0; contrast < 2; ++contrast) {
      for (TestReadout readout : readouts) {
        readout.header.idx.slice = slice;
        readout.header.idx.contrast = contrast;
        for (auto& value : readout.data) value *= static_cast<float>(1 + slice + 10 * contrast);
        scan.readouts.push_back(readout);
      }
    }
  }
  const TemporaryFolder folder;
  write_ismrmrd(folder / "scan.h5", scan);
  const auto source = data::open_scan(folder / "scan.h5");
  const auto all = reconstruct(*source, {});
  REQUIRE(all.images.size() == 6);
  for (int64_t i = 0; i < 6; ++i) {
    const auto& index = all.images.index[static_cast<size_t>(i)];
    const double scale = static_cast<double>(1 + index.slice + 10 * index.contrast);
    REQUIRE(relative_error(all.images.pixels[i], phantom.image.abs() * scale) <= 1e-5);
  }
  ReconOptions options;
  options.slices = {1};
  REQUIRE(reconstruct(*source, options).images.size() == 2);
  options.slices = {9};
  REQUIRE_THROWS_WITH(reconstruct(*source, options), Contains("slices 0 to 2"));
}

TEST_CASE("partial Fourier by POCS beats zero filling on an object with smooth phase") {
  const Phantom phantom = make_phantom({.coils = 4, .y = 96, .x = 96, .phase_rad = 0.4});
  TestScan scan = test_scan(phantom.kspace);
  std::erase_if(scan.readouts, [](const TestReadout& readout) { return readout.header.idx.kspace_encode_step_1 < 36; });
  const TemporaryFolder folder;
  write_ismrmrd(folder / "scan.h5", scan);
  const auto source = data::open_scan(folder / "scan.h5");
  ReconOptions options;
  const auto zero = reconstruct(*source, options);
  REQUIRE(zero.method == Method::rss);
  options.partial_fourier = PartialFourier::pocs;
  const double pocs_error = scaled_error(reconstruct(*source, options).images.pixels[0], phantom.image);
  const double zero_error = scaled_error(zero.images.pixels[0], phantom.image);
  INFO("POCS " << pocs_error << ", zero filling " << zero_error);
  REQUIRE(pocs_error <= 0.8 * zero_error);
}

TEST_CASE("methods that cannot work on a scan say why") {
  const Phantom phantom = make_phantom({.coils = 4, .y = 48, .x = 48});
  const TemporaryFolder folder;
  // No calibration region: every third line and nothing more.
  const auto scan = data::open_scan(accelerated(folder, phantom, 3, 0));
  const auto automatic = reconstruct(*scan, {});
  REQUIRE(automatic.method == Method::rss);
  REQUIRE_FALSE(automatic.warnings.empty());
  REQUIRE_THROWS_AS(reconstruct(*scan, with(Method::cg_sense)), DataError);
  REQUIRE_THROWS_AS(reconstruct(*scan, with(Method::grappa)), DataError);
  ReconOptions complex = with(Method::rss);
  complex.complex_images = true;
  REQUIRE_THROWS_AS(reconstruct(*scan, complex), ConfigError);
}
