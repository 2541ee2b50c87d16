#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include <fstream>

#include "monarch/data/image_io.hpp"
#include "monarch/data/ismrmrd_stream.hpp"
#include "monarch/data/npy.hpp"
#include "scans.hpp"

using namespace monarch;
using namespace monarch::test;
using Catch::Matchers::Contains;

namespace {

int64_t entries(const std::filesystem::path& folder) {
  return std::distance(std::filesystem::directory_iterator(folder), std::filesystem::directory_iterator());
}

/// Relative error of a image against the fully sampled one, after the best scale.
double scaled_error(const at::Tensor& image, const at::Tensor& truth) {
  const at::Tensor a = image.to(at::kDouble), b = truth.to(at::kDouble);
  const double scale = ((a * b).sum() / (a * a).sum()).item<double>();
  return relative_error(a * scale, b);
}

}  // namespace

TEST_CASE("recon writes every output and leaves the scan untouched") {
  const TemporaryFolder folder;
  const auto scan = shepp_logan(folder, "-n 0.05");
  const std::string before = read_bytes(scan);
  const auto result = run_monarch(folder.path(), "recon scan.h5 --out out");
  INFO(result.errors);
  REQUIRE(result.exit_code == 0);
  REQUIRE_THAT(result.errors, Contains("method rss"));
  for (const auto* name :
       {"image.h5", "image.nii.gz", "image.npy", "slice_0000.png", "contact_sheet.png", "report.html", "report.json"}) {
    INFO(name);
    REQUIRE(std::filesystem::file_size(folder / "out" / name) > 100);
  }
  REQUIRE(entries(folder / "out") == 7);
  REQUIRE(read_bytes(scan) == before);
  const auto report = read_json(folder / "out" / "report.json");
  REQUIRE(report["method"] == "rss");
  REQUIRE(report["shape"] == std::vector<int64_t>{1, 1, 128, 128});
  REQUIRE(report["provenance"]["command"].get<std::string>().find("recon scan.h5") != std::string::npos);
  const auto npy = data::load_npy(folder / "out" / "image.npy");
  const auto h5 = data::load_images(folder / "out" / "image.h5");
  const auto nifti = data::load_images(folder / "out" / "image.nii.gz");
  REQUIRE(at::equal(npy, h5.pixels));
  REQUIRE(npy.numel() == nifti.pixels.numel());
}

TEST_CASE("recon of the generator's phantom equals the phantom's shape upright and in place") {
  const TemporaryFolder folder;
  shepp_logan(folder, "-n 0");
  REQUIRE(run_monarch(folder.path(), "recon scan.h5 --out out --formats npy").exit_code == 0);
  const at::Tensor image = data::load_npy(folder / "out" / "image.npy").squeeze();
  // The head is an ellipse that is taller than wide and centred: first and last bright rows and columns tell.
  const at::Tensor bright = image > 0.2 * image.max();
  const at::Tensor rows = at::nonzero(bright.any(1)).squeeze(), columns = at::nonzero(bright.any(0)).squeeze();
  const double height = static_cast<double>(rows.size(0)), width = static_cast<double>(columns.size(0));
  REQUIRE(height > 1.2 * width);
  REQUIRE(std::abs(rows.to(at::kDouble).mean().item<double>() - 64) <= 3);
  REQUIRE(std::abs(columns.to(at::kDouble).mean().item<double>() - 64) <= 2);
}

TEST_CASE("recon of an accelerated scan chooses cg-sense and recovers the image") {
  const TemporaryFolder folder;
  shepp_logan(folder, "-n 0.001");
  REQUIRE(run_monarch(folder.path(), "recon scan.h5 --out full --formats npy --method rss").exit_code == 0);
  std::filesystem::remove(folder / "scan.h5");
  shepp_logan(folder, "-n 0.001 -a 2 -w 24 -r 1");
  const auto result = run_monarch(folder.path(), "recon scan.h5 --out fast --formats npy");
  INFO(result.errors);
  REQUIRE(result.exit_code == 0);
  REQUIRE_THAT(result.errors, Contains("cg-sense") && Contains("calibration region"));
  const at::Tensor full = data::load_npy(folder / "full/image.npy")[0],
                   fast = data::load_npy(folder / "fast/image.npy")[0];
  REQUIRE(scaled_error(fast, full) <= 0.08);
  REQUIRE(run_monarch(folder.path(), "recon scan.h5 --out aliased --formats npy --method sense").exit_code == 0);
  REQUIRE(scaled_error(data::load_npy(folder / "aliased/image.npy")[0], full) > 0.08);  // the control
}

TEST_CASE("every method runs from the command line and says what it did") {
  const TemporaryFolder folder;
  shepp_logan(folder, "-n 0.01 -a 2 -w 32 -r 1");
  const std::string method = GENERATE("rss", "sense", "cg-sense", "l1-wavelet", "tv", "grappa");
  const auto result = run_monarch(
      folder.path(), "recon scan.h5 --json --formats npy,html --out out --iterations 10 --method " + method);
  INFO(method << ": " << result.errors);
  REQUIRE(result.exit_code == 0);
  const auto report = nlohmann::json::parse(result.output);
  REQUIRE(report["method"] == method);
  REQUIRE(report["parameters"]["method"] == method);
  const at::Tensor image = data::load_npy(folder / "out/image.npy");
  REQUIRE(at::isfinite(image).all().item<bool>());
  REQUIRE(image.max().item<double>() > 0);
  if (method == "grappa") REQUIRE(std::filesystem::exists(folder / "out/g_factor.npy"));
}

TEST_CASE("options from a config file take effect and the command line wins") {
  const TemporaryFolder folder;
  shepp_logan(folder, "-n 0.01 -a 2 -w 24 -r 1");
  write_text(folder / "recon.toml",
             "[recon]\nmethod = \"cg-sense\"\niterations = 7\nlambda = 0.02\n[output]\nformats = [\"npy\"]\n");
  auto report =
      nlohmann::json::parse(run_monarch(folder.path(), "recon scan.h5 --json --out a --config recon.toml").output);
  REQUIRE(report["parameters"]["iterations"] == "7");
  REQUIRE(report["parameters"]["lambda"] == "0.02");
  report = nlohmann::json::parse(
      run_monarch(folder.path(), "recon scan.h5 --json --out b --config recon.toml --iterations 5").output);
  REQUIRE(report["parameters"]["iterations"] == "5");
  write_text(folder / "bad.toml", "[recon]\niteratons = 7\n");
  const auto bad = run_monarch(folder.path(), "recon scan.h5 --out c --config bad.toml");
  REQUIRE(bad.exit_code == 2);
  REQUIRE_THAT(bad.errors, Contains("nothing reads 'recon.iteratons'") && Contains("recon.iterations"));
  REQUIRE_FALSE(std::filesystem::exists(folder / "c"));
}

TEST_CASE("the fastMRI twin and the raw scan agree with the published reconstruction") {
  const std::string name = GENERATE("acr_gre_prisma3t_1ch", "grid_gre_7t_1ch", "phantom_gre_skyra3t_2ch",
                                    "knee_coronal_1ch", "head_sag_t1_1ch");
  const auto raw = data_file("mri/" + name + ".h5"), twin = data_file("mri/fastmri_" + name + ".h5");
  const TemporaryFolder folder;
  const auto from_twin =
      run_monarch(folder.path(), "recon '" + twin.string() + "' --method rss --out twin --json --formats npy");
  INFO(name << ": " << from_twin.errors);
  REQUIRE(from_twin.exit_code == 0);
  const at::Tensor truth = data::load_images(twin).pixels.squeeze();
  REQUIRE(relative_error(data::load_npy(folder / "twin/image.npy").squeeze(), truth) <= 1e-5);
  const auto from_raw = run_monarch(
      folder.path(),
      "recon '" + raw.string() + "' --method rss --out raw --json --formats npy --reference '" + twin.string() + "'");
  INFO(from_raw.errors);
  REQUIRE(from_raw.exit_code == 0);
  REQUIRE(relative_error(data::load_npy(folder / "raw/image.npy").squeeze().t(), truth) <= 1e-5);
  REQUIRE(nlohmann::json::parse(from_raw.output)["metrics"]["nrmse_after_best_scale"].get<double>() <= 1e-5);
}

TEST_CASE("a second run replaces the first and a failing one changes nothing") {
  const TemporaryFolder folder;
  shepp_logan(folder);
  REQUIRE(run_monarch(folder.path(), "recon scan.h5 --out out --formats npy").exit_code == 0);
  REQUIRE(run_monarch(folder.path(), "recon scan.h5 --out out --formats npy").exit_code == 0);
  const std::string before = read_bytes(folder / "out/image.npy");
  // No file may grow beyond 8 blocks of 1024 bytes: the disk is full half-way through an image.
  const auto full = run_command("cd '" + folder.path().string() +
                                "' && ulimit -f 8 && '" MONARCH_PROGRAM "' recon scan.h5 --out out");
  INFO(full.errors);
  REQUIRE(full.exit_code == 3);
  REQUIRE_THAT(full.errors, Contains("error:") && Contains("written"));
  REQUIRE(read_bytes(folder / "out/image.npy") == before);
  REQUIRE(entries(folder / "out") == 2);
}

TEST_CASE("a stream on stdin becomes an image stream on stdout equal to the file's images") {
  const TemporaryFolder folder;
  const auto scan = shepp_logan(folder, "-n 0.01");
  REQUIRE(run_monarch(folder.path(), "recon scan.h5 --out out --formats npy").exit_code == 0);
  {
    std::ofstream stream(folder / "scan.stream", std::ios::binary);
    copy_to_stream(scan, stream);
  }
  const auto result = run_monarch(folder.path(), "recon - <scan.stream >images.stream");
  INFO(result.errors);
  REQUIRE(result.exit_code == 0);
  std::ifstream images(folder / "images.stream", std::ios::binary);
  const auto read = data::read_image_stream(images);
  REQUIRE(read.size() == 1);
  REQUIRE(relative_error(read[0].pixels.squeeze(), data::load_npy(folder / "out/image.npy").squeeze()) <= 1e-6);

  std::filesystem::resize_file(folder / "scan.stream", std::filesystem::file_size(folder / "scan.stream") / 2);
  const auto cut = run_monarch(folder.path(), "recon - <scan.stream >cut.stream");
  INFO(cut.errors);
  REQUIRE(cut.exit_code == 3);
}
