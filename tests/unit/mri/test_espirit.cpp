#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>
#include <numbers>

#include "monarch/core/error.hpp"
#include "monarch/core/log.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/mri/arrays.hpp"
#include "monarch/mri/calibration_region.hpp"
#include "monarch/mri/espirit.hpp"
#include "support/phantom.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::mri;
using Catch::Matchers::Contains;

namespace {

at::Tensor centre(const at::Tensor& kspace, int64_t size) {
  data::Extent3 extent{};
  for (size_t axis = 0; axis < 3; ++axis) extent[axis] = std::min(size, kspace.size(3 - static_cast<int64_t>(axis)));
  return centre_block(kspace, extent).contiguous();
}

// ||maps - truth|| / ||truth|| over `where`, after the best phase per pixel. maps, truth: [coil, z, y, x]
double map_difference(const at::Tensor& maps, const at::Tensor& truth, const at::Tensor& where) {
  const at::Tensor dot = (maps.conj() * truth).sum(0, true);
  const at::Tensor size = at::abs(dot);
  const at::Tensor phase = at::where(size > 0, dot / size, at::ones_like(dot));
  return test::relative_error(maps * phase * where, truth * where);
}

// Eigenvalues [z, y, x, coil] and vectors [z, y, x, coil, coil] of G(x), from the definition: full SVD of the
// calibration matrix and kernels transformed one by one, in double.
std::tuple<at::Tensor, at::Tensor> dense_espirit(const at::Tensor& region, std::array<int64_t, 3> image,
                                                 std::array<int64_t, 3> kernel, double threshold) {
  const int64_t coils = region.size(0), elements = kernel[0] * kernel[1] * kernel[2];
  const at::Tensor a = region.to(at::kComplexDouble)
                           .unfold(1, kernel[0], 1)
                           .unfold(2, kernel[1], 1)
                           .unfold(3, kernel[2], 1)
                           .permute({1, 2, 3, 0, 4, 5, 6})
                           .reshape({-1, coils * elements});
  const auto [u, s, vh] = at::linalg_svd(a, false);
  const int64_t kept = (s >= threshold * s[0]).sum().item<int64_t>();
  at::Tensor v = vh.narrow(0, 0, kept).conj().resolve_conj().view({kept, coils, kernel[0], kernel[1], kernel[2]});
  const auto along = [&](size_t axis) {
    const at::Tensor x = at::arange(image[axis], at::kDouble) - static_cast<double>(image[axis] / 2);
    const at::Tensor angle = at::outer(x, at::arange(kernel[axis], at::kDouble)) *
                             (-2 * std::numbers::pi / static_cast<double>(image[axis]));
    return at::polar(at::ones_like(angle), angle);
  };
  v = at::einsum("rczyx,Zz,Yy,Xx->rcZYX", {v, along(0), along(1), along(2)});
  const at::Tensor g = at::einsum("rizyx,rjzyx->zyxij", {v.conj().resolve_conj(), v}) / static_cast<double>(elements);
  return at::linalg_eigh(g);
}

}  // namespace

TEST_CASE("ESPIRiT finds the sensitivities of a phantom up to a phase") {
  const double noise = GENERATE(0.0, 0.01);
  const test::Phantom phantom = test::make_phantom({.y = 96, .x = 81, .noise = noise});
  const EspiritMaps found = espirit(centre(phantom.kspace, 24), {81, 96, 1});
  REQUIRE(found.maps.sizes() == at::IntArrayRef({1, 8, 1, 96, 81}));
  REQUIRE(found.eigenvalues.sizes() == at::IntArrayRef({1, 1, 96, 81}));
  const at::Tensor inside = at::abs(phantom.image) > 0.05;
  REQUIRE(map_difference(found.maps[0], phantom.sensitivities, inside) <= 0.04);
  const at::Tensor norms = at::linalg_vector_norm(found.maps[0], 2, {0});
  REQUIRE(at::logical_or((norms - 1).abs() <= 1e-5, norms == 0).all().item<bool>());
  SECTION("and eigenvalues are one inside and below the crop threshold far outside") {
    const at::Tensor values = found.eigenvalues[0];
    REQUIRE(values.masked_select(inside).mean().item<double>() >= 0.97);
    REQUIRE(values.max().item<double>() <= 1 + 1e-4);
    REQUIRE(values[0][0][0].item<double>() <= 0.5);
    REQUIRE(norms[0][0][0].item<double>() == 0);
  }
  SECTION("combined with the first principal component they are real and positive") {
    const auto u = principal_channel(centre(phantom.kspace, 24));
    at::Tensor sum = at::zeros({1, 96, 81}, at::kComplexFloat);
    for (int64_t coil = 0; coil < 8; ++coil) {
      const auto weight = std::conj(u[static_cast<size_t>(coil)]);
      sum = sum + c10::complex<float>(weight.real(), weight.imag()) * found.maps[0][coil];
    }
    REQUIRE(at::real(sum).min().item<double>() >= -1e-5);
    REQUIRE(at::imag(sum).abs().max().item<double>() <= 1e-5);
  }
  SECTION("control: swapped coils and a missing conjugate are told apart") {
    REQUIRE(map_difference(found.maps[0].roll(1, 0), phantom.sensitivities, inside) > 0.3);
    REQUIRE(map_difference(found.maps[0].conj().resolve_conj(), phantom.sensitivities, inside) > 0.3);
  }
}

TEST_CASE("ESPIRiT equals the dense eigendecomposition of its definition") {
  struct Case {
    std::vector<int64_t> region;
    std::array<int64_t, 3> image;
    int64_t kernel;
  };
  const Case c = GENERATE(Case{{3, 1, 9, 10}, {1, 11, 13}, 3}, Case{{3, 8, 7, 8}, {6, 7, 5}, 3},
                          Case{{1, 1, 8, 8}, {1, 10, 9}, 3}, Case{{5, 1, 7, 12}, {1, 8, 17}, 4});
  const test::Phantom phantom =
      test::make_phantom({.coils = c.region[0], .z = c.image[0] > 1 ? 16 : 1, .y = 24, .x = 24});
  const at::Tensor region = centre_block(phantom.kspace, {c.region[3], c.region[2], c.region[1]}).contiguous();
  const std::array<int64_t, 3> kernel{c.region[1] > 1 ? c.kernel : 1, c.kernel, c.kernel};
  EspiritOptions options;
  options.kernel = c.kernel;
  options.crop = 0;
  options.threshold_on_singular_values = 0.05;
  options.iterations = 400;
  const EspiritMaps found = espirit(region, {c.image[2], c.image[1], c.image[0]}, options);
  const auto [values, vectors] = dense_espirit(region, c.image, kernel, 0.05);
  const int64_t last = c.region[0] - 1;
  REQUIRE(test::relative_error(found.eigenvalues[0].to(at::kDouble), values.select(3, last)) <= 1e-4);
  const at::Tensor truth = vectors.select(4, last).permute({3, 0, 1, 2});
  const at::Tensor gap =
      last > 0 ? values.select(3, last) - values.select(3, last - 1) : at::ones_like(values.select(3, 0));
  const at::Tensor clear = gap > 0.1;
  REQUIRE(clear.any().item<bool>());
  REQUIRE(map_difference(found.maps[0].to(at::kComplexDouble), truth, clear) <= 1e-3);
}

TEST_CASE("ESPIRiT in three dimensions finds the sensitivities of a volume") {
  const test::Phantom phantom = test::make_phantom({.coils = 6, .z = 20, .y = 36, .x = 32});
  EspiritOptions options;
  options.kernel = 4;
  options.calibration = 12;
  const EspiritMaps found = espirit(centre(phantom.kspace, 16), {32, 36, 20}, options);
  REQUIRE(found.maps.sizes() == at::IntArrayRef({1, 6, 20, 36, 32}));
  REQUIRE(map_difference(found.maps[0], phantom.sensitivities, at::abs(phantom.image) > 0.05) <= 0.1);
}

TEST_CASE("a second ESPIRiT map is orthogonal and describes the part that folds over") {
  test::Phantom phantom = test::make_phantom({.y = 96, .x = 80});
  // Every other phase-encode line: half the field of view, the head folds onto itself.
  const at::Tensor folded = phantom.kspace.slice(2, 0, 96, 2).contiguous();
  EspiritOptions options;
  options.maps = 2;
  const EspiritMaps found = espirit(centre(folded, 24), {80, 48, 1}, options);
  REQUIRE(at::abs((found.maps[0].conj() * found.maps[1]).sum(0)).max().item<double>() <= 1e-4);
  const at::Tensor both = found.eigenvalues.amin(0) > 0.9;
  REQUIRE(both.sum().item<int64_t>() > 500);
  REQUIRE(at::linalg_vector_norm(found.maps[1] * both, 2).item<double>() > 0);
  SECTION("control: without folding there is almost none") {
    const EspiritMaps whole = espirit(centre(phantom.kspace, 24), {80, 96, 1}, options);
    const at::Tensor inside = at::abs(phantom.image[0]) > 0.05;
    const double share = (whole.eigenvalues[1][0].masked_select(inside) > 0.9).to(at::kDouble).mean().item<double>();
    REQUIRE(share <= 0.1);
  }
}

TEST_CASE("ESPIRiT maps depend neither on the unit of k-space nor on the number of threads") {
  const test::Phantom phantom = test::make_phantom({.coils = 4, .y = 40, .x = 37});
  const at::Tensor region = centre(phantom.kspace, 20);
  const at::Tensor before = region.clone();
  at::set_num_threads(1);
  const EspiritMaps one = espirit(region, {37, 40, 1});
  REQUIRE(at::equal(region, before));
  at::set_num_threads(2);
  const EspiritMaps two = espirit(region, {37, 40, 1});
  REQUIRE(test::relative_error(two.eigenvalues, one.eigenvalues) <= 1e-5);
  REQUIRE(map_difference(two.maps[0], one.maps[0], one.eigenvalues[0] > 0.9) <= 1e-4);
  for (const double unit : {1e-25, 1e25}) {
    const EspiritMaps scaled = espirit(region * unit, {37, 40, 1});
    REQUIRE(test::relative_error(scaled.eigenvalues, one.eigenvalues) <= 1e-3);
  }
}

TEST_CASE("ESPIRiT of one coil is one inside the object") {
  const test::Phantom phantom = test::make_phantom({.coils = 1, .y = 40, .x = 40});
  const EspiritMaps found = espirit(centre(phantom.kspace, 24), {40, 40, 1});
  const at::Tensor inside = at::abs(phantom.image) > 0.05;
  const at::Tensor ones = at::ones_like(found.maps[0][0]);
  REQUIRE(test::relative_error(found.maps[0][0] * inside, ones * inside) <= 1e-5);
}

TEST_CASE("ESPIRiT refuses calibration data and options that cannot work") {
  log::set_level(log::Level::error);
  const at::Tensor region = centre(test::make_phantom({.coils = 3, .y = 32, .x = 32}).kspace, 12);
  const data::Extent3 image{32, 32, 1};
  REQUIRE_THROWS_WITH(espirit(region.narrow(2, 0, 4), image), Contains("[3, 1, 4, 12] is smaller than the kernel (6)"));
  REQUIRE_THROWS_WITH(espirit(at::zeros_like(region), image), Contains("no signal"));
  at::Tensor broken = region.clone();
  broken[1][0][2][3] = std::nan("");
  REQUIRE_THROWS_WITH(espirit(broken, image), Contains("[1, 0, 2, 3]"));
  REQUIRE_THROWS_AS(espirit(region[0], image), ShapeError);
  REQUIRE_THROWS_AS(espirit(at::Tensor(), image), ShapeError);
  REQUIRE_THROWS_AS(espirit(region.to(at::kComplexDouble), image), DtypeError);
  REQUIRE_THROWS_AS(espirit(region, {0, 32, 1}), ShapeError);
  EspiritOptions options;
  SECTION("maps") {
    options.maps = 4;
  }
  SECTION("kernel") {
    options.kernel = 0;
  }
  SECTION("threshold") {
    options.threshold_on_singular_values = std::nan("");
  }
  SECTION("crop") {
    options.crop = 1.5;
  }
  SECTION("iterations") {
    options.iterations = 0;
  }
  REQUIRE_THROWS_AS(espirit(region, image, options), ConfigError);
}

TEST_CASE("ESPIRiT agrees with BART") {
  if (!test::has_program("bart")) test::skip("bart is not installed");
  const test::TemporaryFolder folder;
  const auto run = test::run_command(
      "cd '" + folder.path().string() +
      "' && export OMP_NUM_THREADS=1 && bart phantom -x 128 -s 8 -k k0 && bart noise -s 1 -n 1 k0 k && "
      "bart ecalib -m 1 -r 24 k maps values");
  REQUIRE(run.exit_code == 0);
  const auto read = [&](const std::string& name, std::vector<int64_t> shape) {
    at::Tensor data = at::empty(shape, at::kComplexFloat);
    std::ifstream file(folder / (name + ".cfl"), std::ios::binary);
    file.read(static_cast<char*>(data.data_ptr()), data.numel() * 8);
    REQUIRE(file.gcount() == data.numel() * 8);
    return data;
  };
  const at::Tensor k = read("k", {8, 1, 128, 128}), maps = read("maps", {8, 1, 128, 128});
  const at::Tensor values = at::real(read("values", {1, 1, 128, 128})), everywhere = at::ones({1, 128, 128}, at::kBool);
  EspiritOptions options;
  options.start = EigenStart::first_coil;
  const EspiritMaps same = espirit(centre(k, 24), {128, 128, 1}, options);
  CHECK(map_difference(same.maps[0], maps, everywhere) <= 0.01);
  CHECK(test::relative_error(same.eigenvalues * (values > 0), values) <= 0.01);
  CHECK(threshold_from_squared(0.001) == Approx(options.threshold_on_singular_values));
  // From the other start: the same wherever one eigenvalue stands out.
  options.start = EigenStart::strongest_coil;
  options.maps = 2;
  const EspiritMaps ours = espirit(centre(k, 24), {128, 128, 1}, options);
  CHECK(map_difference(ours.maps[0], maps, ours.eigenvalues[1] < 0.7) <= 0.01);
}
