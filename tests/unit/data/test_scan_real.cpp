// Real scans in both layouts, and scans from ISMRMRD's own generator.
#include <chrono>

#include "monarch/data/npy.hpp"
#include "scan_checks.hpp"

using namespace monarch;
using namespace monarch::test;
using data::open_scan;

namespace {

/// Root sum of squares on the reconstructed matrix, [y, x], in the scan's own orientation.
at::Tensor reconstruct(const data::ScanSource& scan) {
  const auto& recon = scan.header().recon.matrix;
  const bool readout_x = scan.header().readout == data::ReadoutAxis::x;
  return centre_crop(rss(scan.read(0).samples), readout_x ? recon[1] : recon[0], readout_x ? recon[0] : recon[1])[0];
}

}  // namespace

TEST_CASE("real scans in both layouts equal the reference reconstruction") {
  const std::string name = GENERATE("acr_gre_prisma3t_1ch", "grid_gre_7t_1ch", "head_sag_t1_1ch", "knee_coronal_1ch",
                                    "phantom_gre_skyra3t_2ch");
  CAPTURE(name);
  const auto raw = open_scan(data_file("mri/" + name + ".h5"));
  const auto twin = open_scan(data_file("mri/fastmri_" + name + ".h5"));
  REQUIRE(raw->header().format == "ISMRMRD");
  REQUIRE(twin->header().format == "fastMRI");
  const auto reference = twin->reference();
  REQUIRE(reference.has_value());
  const at::Tensor truth = reference->pixels[0][0];  // [readout, phase]
  REQUIRE(relative_error(reconstruct(*twin), truth) <= 1e-5);
  REQUIRE(relative_error(reconstruct(*raw).t(), truth) <= 1e-5);
  REQUIRE(relative_error(at::rot90(reconstruct(*twin), 2), truth) > 1e-2);  // negative control
  REQUIRE(raw->header().warnings.empty());
  REQUIRE(twin->header().warnings.empty());
  REQUIRE(raw->header().encoded.matrix == twin->header().encoded.matrix);
  const auto a = raw->summarise(), b = twin->summarise();
  REQUIRE(a.centre_found == b.centre_found);
  REQUIRE(a.acceleration == 1);
  REQUIRE(at::equal(a.line_map, b.line_map));
}

TEST_CASE("the file with a UTF-8 header and no reconSpace is told and an option goes on") {
  const auto path = data_file("mri/malformed_utf8_header.h5");
  const auto message = data_error([&] { open_scan(path); });
  REQUIRE_THAT(message, Catch::Contains("reconSpace") && Catch::Contains("malformed_utf8_header.h5: dataset/xml") &&
                            Catch::Contains("--assume-recon-space encoded"));
  data::ScanOptions options;
  options.assume_recon_space_encoded = true;
  const auto scan = open_scan(path, options);
  REQUIRE(scan->header().recon.matrix == data::Extent3{256, 256, 1});
  const auto image = scan->read(0);
  REQUIRE(image.samples.sizes() == at::IntArrayRef{1, 1, 256, 256});
  REQUIRE(scan->summarise().centre_found == data::Extent3{128, 128, 0});
}

TEST_CASE("files that hold no raw scan say what they are") {
  REQUIRE_THAT(data_error([] { open_scan(data_file("mri/ismrmrd_image_series.h5")); }),
               Catch::Contains("ISMRMRD images") && Catch::Contains("image_2000"));
  REQUIRE_THAT(data_error([] { open_scan(data_file("mri/coronal_fatsat_2D_knee.mat")); }),
               Catch::Contains("in no format"));
  REQUIRE_THAT(data_error([] { open_scan(data_file("mri/radial_trajectory.npy")); }),
               Catch::Contains("expected complex"));
  REQUIRE_THAT(data_error([] { open_scan(data_file("mri")); }), Catch::Contains("is a directory"));
}

TEST_CASE("the 8-coil brain array is read with its sampling mask") {
  const auto path = data_file("mri/brain_8ch_kspace_cartesian.npy");
  const auto scan = open_scan(path);
  const auto image = scan->read(0);
  REQUIRE(image.samples.sizes() == at::IntArrayRef{8, 1, 230, 180});
  REQUIRE(same(image.samples.squeeze(1), data::load_npy(path)));
  REQUIRE(image.mask.to(at::kDouble).mean().item<double>() == Approx(0.124).margin(0.002));
}

TEST_CASE("the generator's scans are read and the header's contradiction at no oversampling is found") {
  if (!has_program("ismrmrd_generate_cartesian_shepp_logan"))
    skip("ismrmrd_generate_cartesian_shepp_logan is not installed");
  const TemporaryFolder folder;
  const auto generate = [&](const std::string& arguments) {
    const auto path = folder / "phantom.h5";
    std::filesystem::remove(path);
    REQUIRE(run_command("ismrmrd_generate_cartesian_shepp_logan " + arguments + " -o " + path.string()).exit_code == 0);
    return open_scan(path);
  };
  SECTION("fully sampled") {
    const auto scan = generate("-m 64 -c 4 -O 2 -n 0.001");
    REQUIRE(scan->header().recon.matrix == data::Extent3{64, 64, 1});
    REQUIRE(!scan->read(0).orientation.known);
    REQUIRE(scan->summarise().centre_found == data::Extent3{64, 32, 0});
    // The phantom is brighter inside than at its border.
    const auto image = reconstruct(*scan);
    REQUIRE(image.narrow(0, 24, 16).narrow(1, 24, 16).mean().item<double>() >
            5 * image.narrow(0, 0, 6).narrow(1, 0, 6).mean().item<double>());
  }
  SECTION("accelerated with calibration and noise") {
    const auto scan = generate("-m 64 -c 4 -a 2 -w 12 -C -O 2");
    REQUIRE(scan->images().size() == 2);
    REQUIRE(scan->noise()->samples.sizes() == at::IntArrayRef{4, 128});
    for (size_t i = 0; i < 2; ++i) {
      const auto image = scan->read(i);
      REQUIRE(image.calibration_mask.any(-1).sum().item<int64_t>() == 12);
      REQUIRE(image.mask.any(-1).sum().item<int64_t>() == 32);
    }
    REQUIRE(scan->summarise().calibration->at(1) >= 12);
  }
  SECTION("no oversampling") {
    std::string findings;
    for (const auto& finding : generate("-m 32 -c 2 -O 1")->summarise().findings) findings += finding;
    REQUIRE_THAT(findings, Catch::Contains("16 x 32"));
  }
}

TEST_CASE("reading a scan of 256 readouts by 512 samples by 8 coils takes milliseconds") {
  if (!has_program("ismrmrd_generate_cartesian_shepp_logan"))
    skip("ismrmrd_generate_cartesian_shepp_logan is not installed");
  const TemporaryFolder folder;
  const auto path = folder / "full.h5";
  REQUIRE(
      run_command("ismrmrd_generate_cartesian_shepp_logan -m 256 -c 8 -O 2 -n 0.05 -o " + path.string()).exit_code ==
      0);
  double best = 1e9, opening = 1e9;
  for (int run = 0; run < 9; ++run) {
    const auto start = std::chrono::steady_clock::now();
    const auto scan = open_scan(path);
    const auto middle = std::chrono::steady_clock::now();
    const auto image = scan->read(0);
    const auto end = std::chrono::steady_clock::now();
    opening = std::min(opening, std::chrono::duration<double, std::milli>(middle - start).count());
    best = std::min(best, std::chrono::duration<double, std::milli>(end - start).count());
  }
  WARN("open " << opening << " ms, open and read " << best << " ms");
  REQUIRE(best <= 250);  // ten times what a quiet machine needs
}
