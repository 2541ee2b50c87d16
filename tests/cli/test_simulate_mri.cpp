#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <filesystem>

#include "monarch/data/hdf5.hpp"
#include "monarch/data/nifti.hpp"
#include "monarch/data/npy.hpp"
#include "monarch/data/png.hpp"
#include "monarch/data/scan.hpp"
#include "monarch/data/scan_writer.hpp"
#include "scans.hpp"

using namespace monarch;
using namespace monarch::test;
using Catch::Matchers::Contains;

namespace fs = std::filesystem;

namespace {

const std::string small = "simulate mri --matrix 32 24 --slices 3 --coils 4 ";

at::Tensor kspace(const fs::path& file) {
  return data::hdf5::File::open(file).read("kspace");
}

}  // namespace

TEST_CASE("monarch simulate mri: every format is a scan that info and recon take") {
  const TemporaryFolder folder;
  const std::string format = GENERATE("skm-tea", "fastmri", "ismrmrd");
  const auto run = run_monarch(folder.path(), small + "--seed 3 -o a.h5 --picture a.png --json --format " + format);
  INFO(run.errors);
  REQUIRE(run.exit_code == 0);
  const auto summary = nlohmann::json::parse(run.output);
  REQUIRE(summary["format"] == format);
  REQUIRE(summary["echoes"] == (format == "fastmri" ? 1 : 2));
  REQUIRE(data::load_png(folder / "a.png").std().item<double>() > 1);
  const auto info = run_monarch(folder.path(), "info a.h5 --json");
  INFO(info.errors);
  REQUIRE(info.exit_code == 0);
  REQUIRE(nlohmann::json::parse(info.output)["coils"] == 4);
  const auto recon = run_monarch(folder.path(), "recon a.h5 --method rss --formats npy --out r");
  INFO(recon.errors);
  REQUIRE(recon.exit_code == 0);
  const at::Tensor images = data::load_npy(folder / "r/image.npy");
  REQUIRE(images.sizes() == at::IntArrayRef({format == "fastmri" ? 3 : 6, 1, 32, 24}));
  REQUIRE(images.max().item<double>() > 0.3);
}

TEST_CASE("monarch recon takes an undersampled SKM-TEA scan, and knows its truth and place") {
  const TemporaryFolder folder;
  REQUIRE(run_monarch(folder.path(), "simulate mri --matrix 64 48 --slices 2 --echoes 1 --noise 0.005 -o full.h5")
              .exit_code == 0);
  const auto full = data::open_scan(folder / "full.h5");
  const at::Tensor mask = full->mask("poisson_2.0x");
  data::ScanLayout layout;
  layout.slices = 2;
  layout.coils = 8;
  layout.matrix = {64, 48};
  layout.voxel_mm = {2, 3, 4};
  data::ScanWriter writer(folder / "half.h5", data::ScanFormat::skm_tea, layout);
  for (size_t i = 0; i < 2; ++i) {
    const at::Tensor samples = full->read(i).samples.squeeze(1) * mask;
    writer.add({samples.unsqueeze(0), full->sensitivities(i)->squeeze(2), *full->target(i)});
  }
  writer.commit();
  const auto error = [&](const std::string& method) {
    const auto run =
        run_monarch(folder.path(), "recon half.h5 --json --formats nii --out " + method + " --method " + method);
    INFO(run.errors);
    REQUIRE(run.exit_code == 0);
    REQUIRE(nlohmann::json::parse(run.output)["field_of_view_mm"] == nlohmann::json({96, 192, 4}));
    return relative_error(data::load_nifti(folder / method / "image.nii.gz").pixels.reshape({2, 64, 48}),
                          full->reference()->pixels.squeeze(1));
  };
  const double solved = error("cg-sense"), folded = error("rss");
  INFO(solved << " and " << folded);
  REQUIRE(solved <= 0.1);
  REQUIRE(solved < 0.7 * folded);
}

TEST_CASE("monarch simulate mri: scans depend on seed and number alone") {
  const TemporaryFolder folder;
  REQUIRE(run_monarch(folder.path(), small + "--scans 2 -o one --threads 1").exit_code == 0);
  REQUIRE(run_monarch(folder.path(), small + "--scans 3 -o two --threads 2").exit_code == 0);
  REQUIRE(run_monarch(folder.path(), small + "-o other --seed 1").exit_code == 0);
  for (const std::string name : {"scan_001.h5", "scan_002.h5"})
    REQUIRE(at::equal(kspace(folder / "one" / name), kspace(folder / "two" / name)));
  REQUIRE(relative_error(kspace(folder / "one/scan_001.h5"), kspace(folder / "one/scan_002.h5")) > 0.3);
  REQUIRE(relative_error(kspace(folder / "one/scan_001.h5"), kspace(folder / "other/scan_001.h5")) > 0.3);
}

TEST_CASE("monarch simulate mri: images of one's own, and closed forms") {
  const TemporaryFolder folder;
  at::Tensor images = at::zeros({2, 40, 30});
  images.narrow(1, 10, 20).narrow(2, 8, 12).fill_(3);
  data::save_npy(folder / "images.npy", images);
  const std::string common = "simulate mri --matrix 32 24 --coils 2 --accelerations 2 --calibration 4 --json -o ";
  const auto run = run_monarch(folder.path(), common + "i.h5 --image images.npy");
  INFO(run.errors);
  REQUIRE(run.exit_code == 0);
  const auto summary = nlohmann::json::parse(run.output);
  REQUIRE(summary["slices"] == 2);
  REQUIRE(summary["masks"] == nlohmann::json::array({"poisson_2.0x"}));
  REQUIRE(run_monarch(folder.path(), common + "a.h5 --slices 2 --analytic").exit_code == 0);
  REQUIRE(run_monarch(folder.path(), common + "b.h5 --analytic --image images.npy").exit_code == 2);
  REQUIRE(run_monarch(folder.path(), common + "b.h5 --image missing.npy").exit_code == 3);
  data::save_npy(folder / "images.npy", at::full({2, 40, 30}, NAN));
  REQUIRE(run_monarch(folder.path(), common + "b.h5 --image images.npy").exit_code == 3);
  REQUIRE_FALSE(fs::exists(folder / "b.h5"));
}

TEST_CASE("monarch simulate mri refuses what makes no sense and leaves nothing behind") {
  const TemporaryFolder folder;
  for (const std::string arguments :
       {"", "-o x.h5 --scans 2", "-o x.h5 --matrix 32", "-o x.h5 --coils 33", "-o x.h5 --noise -1",
        "-o x.h5 --noise nan", "-o x.h5 --slices 0", "-o x.h5 --format dicom", "-o x.h5 --format fastmri --echoes 2",
        "-o x.h5 --echoes 0", "-o x.h5 --scans 0"}) {
    const auto run = run_monarch(folder.path(), "simulate mri " + arguments);
    INFO(arguments << ": " << run.errors);
    REQUIRE(run.exit_code == 2);
    REQUIRE(fs::is_empty(folder.path()));
  }
  REQUIRE_THAT(run_monarch(folder.path(), "simulate mri -o x.h5 --scans 2").errors, Contains("folder"));
}
