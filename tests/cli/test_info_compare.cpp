#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include "monarch/data/npy.hpp"
#include "scans.hpp"

using namespace monarch;
using namespace monarch::test;
using Catch::Matchers::Contains;

TEST_CASE("info tells what is in a scan as a table and as JSON") {
  const TemporaryFolder folder;
  shepp_logan(folder, "-a 2 -w 24 -r 1 -C");
  const auto text = run_monarch(folder.path(), "info scan.h5");
  INFO(text.output << text.errors);
  REQUIRE(text.exit_code == 0);
  REQUIRE_THAT(text.output, Contains("ISMRMRD") && Contains("coils") && Contains("128 × 128") &&
                                Contains("filled k-space") && Contains("noise"));
  const auto json = nlohmann::json::parse(run_monarch(folder.path(), "info scan.h5 --json").output);
  REQUIRE(json["coils"] == 8);
  REQUIRE(json["calibration_found"].is_array());
  REQUIRE(json["acceleration_found"].get<double>() > 1.2);
}

TEST_CASE("info knows the real scans their twins and image files") {
  for (const auto* name :
       {"mri/phantom_gre_skyra3t_2ch.h5", "mri/fastmri_phantom_gre_skyra3t_2ch.h5", "mri/ismrmrd_image_series.h5",
        "mri/BrainPhantom512.nii.gz", "mri/brain_8ch_kspace_cartesian.npy", "mri/brain_reference_512.npy"}) {
    const TemporaryFolder folder;
    const auto file = data_file(name);
    const auto result = run_monarch(folder.path(), "info '" + file.string() + "'");
    INFO(name << result.output << result.errors);
    REQUIRE(result.exit_code == 0);
    REQUIRE(nlohmann::json::parse(run_monarch(folder.path(), "info --json '" + file.string() + "'").output)["file"] ==
            file.string());
  }
}

TEST_CASE("compare prints the published metrics and finds equal images equal") {
  const TemporaryFolder folder;
  at::manual_seed(1);
  const at::Tensor truth = at::rand({2, 40, 40}), noisy = truth + 0.1 * at::randn({2, 40, 40});
  data::save_npy(folder / "truth.npy", truth);
  data::save_npy(folder / "noisy.npy", noisy);
  data::save_npy(folder / "small.npy", truth.narrow(2, 0, 30).contiguous());
  const auto text = run_monarch(folder.path(), "compare noisy.npy truth.npy");
  INFO(text.errors);
  REQUIRE(text.exit_code == 0);
  REQUIRE_THAT(text.output, Contains("fastMRI") && Contains("SSIM") && Contains("PSNR") && Contains("BART"));
  const auto equal = nlohmann::json::parse(run_monarch(folder.path(), "compare --json truth.npy truth.npy").output);
  REQUIRE(equal["nrmse_after_best_scale"].get<double>() <= 1e-6);
  const auto misfit = run_monarch(folder.path(), "compare small.npy truth.npy");
  REQUIRE(misfit.exit_code == 1);
  REQUIRE_THAT(misfit.errors, Contains("30") && Contains("40"));
  REQUIRE(run_monarch(folder.path(), "compare --crop small.npy truth.npy").exit_code == 0);
}
