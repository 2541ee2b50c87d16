#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <limits>

#include "monarch/data/ismrmrd_stream.hpp"
#include "monarch/data/npy.hpp"
#include "monarch/data/scan.hpp"
#include "monarch/operators/nufft.hpp"
#include "radial_scan.hpp"
#include "scans.hpp"

using namespace monarch;
using namespace monarch::test;
using Catch::Matchers::Contains;

namespace {

at::Tensor image_in(const std::filesystem::path& folder) {
  return data::load_npy(folder / "image.npy");
}

}  // namespace

TEST_CASE("nufft recon: every method takes a radial scan from its file") {
  const RadialScan radial(48);
  const TemporaryFolder folder;
  write_ismrmrd(folder / "scan.h5", radial.scan);
  const auto limits = std::map<std::string, double>{
      {"rss", 0.12}, {"sense", 0.15}, {"cg-sense", 0.05}, {"l1-wavelet", 0.07}, {"tv", 0.08}};
  for (const auto& [method, limit] : limits) {
    const auto result = run_monarch(folder.path(), "recon scan.h5 --json --formats npy --out out --method " + method);
    INFO(method << ": " << result.errors);
    REQUIRE(result.exit_code == 0);
    const double error = radial.error(image_in(folder / "out"));
    CAPTURE(error);
    CHECK(error <= limit);
    CHECK(nlohmann::json::parse(result.output)["method"] == method);
  }
  const auto chosen = run_monarch(folder.path(), "recon scan.h5 --formats npy --out out");
  CHECK_THAT(chosen.errors, Contains("method cg-sense: non-Cartesian, 6144 samples for 4096 pixels"));
  // The controls: without density compensation gridding blurs; one iteration does not solve.
  REQUIRE(run_monarch(folder.path(), "recon scan.h5 --formats npy --out out --method rss --density none").exit_code ==
          0);
  CHECK(radial.error(image_in(folder / "out")) > 0.3);
  REQUIRE(run_monarch(folder.path(), "recon scan.h5 --formats npy --out out --iterations 1").exit_code == 0);
  CHECK(radial.error(image_in(folder / "out")) > 0.05);
  // Spokes have a density in closed form, too.
  REQUIRE(run_monarch(folder.path(), "recon scan.h5 --formats npy --out out --method rss --density ramp").exit_code ==
          0);
  CHECK(radial.error(image_in(folder / "out")) <= 0.12);
  const auto refused = run_monarch(folder.path(), "recon scan.h5 --method grappa --out refused");
  CHECK(refused.exit_code == 2);
  CHECK_THAT(refused.errors, Contains("grappa") && Contains("non-Cartesian"));
}

TEST_CASE("nufft recon: fewer spokes than pixels need the coils") {
  const RadialScan radial(20);
  const TemporaryFolder folder;
  write_ismrmrd(folder / "scan.h5", radial.scan);
  const auto error = [&](const std::string& options) {
    REQUIRE(run_monarch(folder.path(), "recon scan.h5 --formats npy --out out " + options).exit_code == 0);
    return radial.error(image_in(folder / "out"));
  };
  const double gridded = error("--method rss"), solved = error("--method cg-sense"),
               sparse = error("--method l1-wavelet");
  CAPTURE(gridded, solved, sparse);
  CHECK(solved <= 0.17);
  CHECK(sparse <= 0.12);
  CHECK(gridded > 1.25 * solved);
}

TEST_CASE("nufft recon: units of the trajectory are found and can be stated") {
  RadialScan radial(48);
  const TemporaryFolder folder;
  const auto [scale, unit] = GENERATE(std::pair{1.0 / RadialScan::matrix, "normalised"},
                                      std::pair{2 * M_PI / RadialScan::matrix, "radians"}, std::pair{1.0, "cycles"});
  radial.set_trajectory(scale);
  write_ismrmrd(folder / "scan.h5", radial.scan);
  INFO(unit);
  const auto found = run_monarch(folder.path(), "recon scan.h5 --formats npy --out found");
  REQUIRE(found.exit_code == 0);
  CHECK(radial.error(image_in(folder / "found")) <= 0.05);
  CHECK((found.errors.find("--trajectory-unit") != std::string::npos) == (std::string(unit) != "cycles"));
  const auto stated =
      run_monarch(folder.path(), std::string("recon scan.h5 --formats npy --out stated --trajectory-unit ") + unit);
  REQUIRE(stated.exit_code == 0);
  CHECK(at::equal(image_in(folder / "stated"), image_in(folder / "found")));
  CHECK(stated.errors.find("--trajectory-unit") == std::string::npos);
}

TEST_CASE("nufft recon: a trajectory from .npy serves scans without one and arrays of k-space") {
  RadialScan radial(48);
  const TemporaryFolder folder;
  data::save_npy(folder / "k.npy", radial.trajectory);
  write_ismrmrd(folder / "with.h5", radial.scan);
  radial.drop_trajectory();
  write_ismrmrd(folder / "without.h5", radial.scan);
  data::save_npy(folder / "samples.npy", radial.samples.squeeze(1));
  REQUIRE(run_monarch(folder.path(), "recon with.h5 --formats npy --out a").exit_code == 0);
  for (const auto* scan : {"without.h5", "samples.npy"}) {
    const auto result =
        run_monarch(folder.path(), std::string("recon ") + scan + " --trajectory k.npy --formats npy --out b");
    INFO(scan << ": " << result.errors);
    REQUIRE(result.exit_code == 0);
    CHECK(relative_error(image_in(folder / "b"), image_in(folder / "a")) <= 1e-4);  // float32 against float64 places
  }
  // An array's matrix is what the trajectory reaches, or what is said.
  REQUIRE(
      run_monarch(folder.path(), "recon samples.npy --trajectory k.npy --matrix 80 --formats npy --out c").exit_code ==
      0);
  CHECK(image_in(folder / "c").sizes() == at::IntArrayRef{1, 1, 80, 80});
  const auto info = run_monarch(folder.path(), "info with.h5");
  CHECK(info.exit_code == 0);
  CHECK_THAT(info.output, Contains("radial") && Contains("48 readouts") && Contains("kx 32 of 32"));
}

TEST_CASE("nufft recon: a stream carries its trajectory") {
  const RadialScan radial(48);
  const TemporaryFolder folder;
  write_ismrmrd(folder / "scan.h5", radial.scan);
  {
    std::ofstream stream(folder / "scan.stream", std::ios::binary);
    copy_to_stream(folder / "scan.h5", stream);
  }
  REQUIRE(run_monarch(folder.path(), "recon scan.h5 --formats npy --out a").exit_code == 0);
  const auto result = run_monarch(folder.path(), "recon - --formats npy --out b <scan.stream");
  INFO(result.errors);
  REQUIRE(result.exit_code == 0);
  CHECK(relative_error(image_in(folder / "b"), image_in(folder / "a")) <= 1e-6);
}

TEST_CASE("nufft recon: what is wrong with a trajectory is told") {
  RadialScan radial(12);
  const TemporaryFolder folder;
  const auto failure = [&](const std::string& arguments) {
    const auto result = run_monarch(folder.path(), "recon " + arguments + " --out out");
    CHECK(result.exit_code == 3);
    CHECK_FALSE(std::filesystem::exists(folder / "out"));
    return result.errors;
  };
  data::save_npy(folder / "short.npy", radial.trajectory.narrow(0, 0, 11));
  at::Tensor bad = radial.trajectory.clone();
  bad[3][5][1] = std::numeric_limits<double>::quiet_NaN();
  data::save_npy(folder / "nan.npy", bad);
  data::save_npy(folder / "flat.npy", radial.trajectory.flatten());
  data::save_npy(folder / "far.npy", radial.trajectory * 3);
  data::save_npy(folder / "samples.npy", radial.samples.squeeze(1));
  data::save_npy(folder / "small.npy", radial.trajectory / RadialScan::matrix);
  write_ismrmrd(folder / "good.h5", radial.scan);
  CHECK_THAT(failure("good.h5 --trajectory short.npy"), Contains("1536 samples") && Contains("1408"));
  CHECK_THAT(failure("samples.npy --trajectory short.npy"), Contains("1536 samples") && Contains("11 readouts of 128"));
  CHECK_THAT(failure("good.h5 --trajectory nan.npy"), Contains("nan.npy") && Contains("sample 389 of 1536"));
  CHECK_THAT(failure("good.h5 --trajectory flat.npy"), Contains("[readout, sample, axis]") && Contains("[3072]"));
  CHECK_THAT(failure("good.h5 --trajectory far.npy"), Contains("beyond the encoded matrix of 64 x 64"));
  CHECK_THAT(failure("samples.npy --trajectory small.npy"), Contains("0.5") && Contains("--matrix"));
  CHECK_THAT(failure("good.h5 --trajectory missing.npy"), Contains("missing.npy"));
  CHECK(run_monarch(folder.path(), "recon good.h5 --trajectory-unit degrees --out out").exit_code == 2);
  CHECK(run_monarch(folder.path(), "recon good.h5 --density voronoi --out out").exit_code == 2);

  radial.scan.readouts[4].trajectory[7] = std::numeric_limits<float>::infinity();
  write_ismrmrd(folder / "infinite.h5", radial.scan);
  CHECK_THAT(failure("infinite.h5"), Contains("infinite.h5") && Contains("sample 515 of 1536"));
  radial.set_trajectory(1);
  radial.scan.readouts[2].trajectory.pop_back();
  write_ismrmrd(folder / "cut.h5", radial.scan);
  CHECK_THAT(failure("cut.h5"), Contains("dataset/data[2]") && Contains("256 numbers, found 255"));
  radial.drop_trajectory();
  write_ismrmrd(folder / "none.h5", radial.scan);
  CHECK_THAT(failure("none.h5"), Contains("trajectory_dimensions = 0") && Contains("--trajectory FILE.npy"));
}

TEST_CASE("nufft recon: the simulated spiral scan is explained by its image") {
  const auto file = data_file("mri/spiral_simulated_1ch.h5");
  const TemporaryFolder folder;
  const auto result =
      run_monarch(folder.path(), "recon '" + file.string() + "' --complex --formats npy --out out --json");
  INFO(result.errors);
  REQUIRE(result.exit_code == 0);
  CHECK(nlohmann::json::parse(result.output)["method"] == "cg-sense");
  const at::Tensor image = image_in(folder / "out").squeeze();
  REQUIRE(image.sizes() == at::IntArrayRef{220, 220});
  const auto kspace = data::open_scan(file)->read(0);
  CHECK(kspace.samples.sizes() == at::IntArrayRef{1, 1, 15, 4940});
  const auto residual = [&](const at::Tensor& x) {
    const operators::Nufft nufft({{220, 220}, at::kComplexFloat}, kspace.trajectory.flatten(0, 1));
    return relative_error(nufft.apply(x), kspace.samples.flatten());
  };
  CHECK(residual(image) <= 0.005);
  CHECK(residual(image.t().contiguous()) > 0.1);  // the control: axes the other way round
}
