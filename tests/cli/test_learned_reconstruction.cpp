#include <ATen/ATen.h>
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <filesystem>

#include "monarch/data/image_io.hpp"
#include "monarch/data/npy.hpp"
#include "scans.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::test;
using Catch::Matchers::Contains;

namespace fs = std::filesystem;

namespace {

constexpr const char* kScan = "simulate mri --slices 2 --matrix 48 40 --coils 4 --echoes 2 --threads 1";

std::string config(const std::string& model, const std::string& more = "") {
  return R"([data]
train = ["train"]
test = ["test/*.h5"]
[data.mask]
acceleration = [2, 3]
calibration = 8
[data.augment]
shift = true
flip = true
[task]
kind = "reconstruction"
[training]
epochs = 3
batch = 2
[training.optimiser]
learning_rate = 3e-3
weight_decay = 0
)" + more +
         "[model]\n" + model + "\n";
}

void make_scans(const TemporaryFolder& folder) {
  for (const auto& [name, seed] : {std::pair{"train", 1}, std::pair{"test", 2}}) {
    const auto made = run_monarch(folder.path(), fmt::format("{} -o {} --scans 2 --seed {}", kScan, name, seed));
    INFO(made.errors);
    REQUIRE(made.exit_code == 0);
  }
}

nlohmann::json train(const TemporaryFolder& folder, const std::string& name, const std::string& toml,
                     const std::string& more = "") {
  write_text(folder / (name + ".toml"), toml);
  const auto result =
      run_monarch(folder.path(), fmt::format("train {0}.toml -o {0} --threads 1 --json {1}", name, more));
  INFO(name << "\n" << result.errors);
  REQUIRE(result.exit_code == 0);
  return nlohmann::json::parse(result.output);
}

}  // namespace

TEST_CASE("train on simulated scans, resume after a stop, reconstruct with the network") {
  const TemporaryFolder folder;
  make_scans(folder);
  const auto sense = train(folder, "sense", config("name = \"sense\""));
  const auto patch = train(folder, "patch", config("name = \"patch\"\npatch_transform = \"kronecker\""));
  REQUIRE(sense["parameters"] == 0);
  REQUIRE(patch["parameters"] == 516);
  REQUIRE(patch["test"]["nrmse"].get<double>() < 0.9 * sense["test"]["nrmse"].get<double>());
  for (const char* key : {"psnr", "psnr_echo2", "ssim_3x", "psnr_echo1_2x", "psnr_mag", "ssim_fastmri"})
    REQUIRE(patch["test"][key].is_number());
  REQUIRE(patch["test"]["psnr_3x"].get<double>() < patch["test"]["psnr_2x"].get<double>());
  REQUIRE(fs::exists(folder / "patch/results/panel.png"));

  // In two parts, the weights are those of one run.
  train(folder, "parts", config("name = \"patch\"\npatch_transform = \"kronecker\""), "--set training.epochs=3");
  REQUIRE(read_bytes(folder / "parts/best/model.safetensors") == read_bytes(folder / "patch/best/model.safetensors"));

  const auto recon = run_monarch(folder.path(), "recon test/scan_001.h5 --model patch --complex -o images --threads 1");
  INFO(recon.errors);
  REQUIRE(recon.exit_code == 0);
  const auto images = data::load_images(folder / "images/image.h5");
  REQUIRE(images.size() == 4);  // slices and echoes
  REQUIRE(at::isfinite(images.pixels.abs()).all().item<bool>());
  const auto report = nlohmann::json::parse(read_bytes(folder / "images/report.json"));
  REQUIRE(report["parameters"]["sensitivities"] == "of the file");
  REQUIRE_THAT(report["parameters"]["network"].get<std::string>(), Contains("patch shrinkage"));
}

TEST_CASE("every model trains from a config") {
  const TemporaryFolder folder;
  make_scans(folder);
  const std::string once = "training.epochs=1";
  const std::vector<std::pair<std::string, std::string>> models{
      {"msense", "name = \"msense\"\ntransform.per_contrast = true"},
      {"weights", "name = \"msense\"\ntransform.kind = \"weights\""},
      {"density", "name = \"density-sense\""},
      {"cg", "name = \"cg-sense\"\nlambda = [0.001, 0.1]\niterations = 10"},
      {"wavelet", "name = \"l1-wavelet\"\niterations = 5"},
      {"unet", "name = \"u-net\"\nresidual = true\nwidth = 4\npools = 2"},
      {"unrolled", "name = \"unrolled\"\nwidth = 6\niterations = 2\nlayers = \"monarch\"\nnblocks = 2"},
      {"modl", "name = \"modl\"\nwidth = 6\niterations = 2\nencoding = \"monarch\""},
      {"varnet",
       "name = \"varnet\"\ncascades = 2\nwidth = 4\npools = 2\nsensitivities = \"learned\"\n"
       "sensitivity_width = 4\nsensitivity_pools = 2"}};
  for (const auto& [name, model] : models) {
    const auto result = train(folder, name, config(model), "--set " + once);
    REQUIRE(result["test"]["nrmse"].get<double>() > 0);
    REQUIRE(result["macs_per_slice"].get<double>() > 0);
    REQUIRE(result["test"].contains("psnr_diagonal") == (name == "msense"));
  }
  const auto ssdu = train(folder, "ssdu", config("name = \"patch\"", ""), "--set task.supervision=ssdu --set " + once);
  REQUIRE(ssdu["test"]["nrmse"].get<double>() < 0.5);
  // Another slice size, another kind of model, another number of contrasts.
  const auto made =
      run_monarch(folder.path(), "simulate mri --slices 1 --matrix 40 40 --coils 4 --echoes 1 -o other.h5");
  REQUIRE(made.exit_code == 0);
  const auto size = run_monarch(folder.path(), "recon other.h5 --model msense -o x");
  REQUIRE(size.exit_code == 1);
  REQUIRE_THAT(size.errors, Contains("48 × 40") && Contains("40 × 40"));
  REQUIRE_FALSE(fs::exists(folder / "x/image.h5"));
  const auto kind = run_monarch(folder.path(), "recon other.h5 --method modl --model varnet -o x");
  REQUIRE(kind.exit_code == 2);
  REQUIRE_THAT(kind.errors, Contains("holds 'varnet'"));
  const auto missing = run_monarch(folder.path(), "recon other.h5 --method modl -o x");
  REQUIRE(missing.exit_code == 2);
  REQUIRE_THAT(missing.errors, Contains("--model"));
}

TEST_CASE("ISMRMRD scans train a network, with sensitivities of their own making") {
  const TemporaryFolder folder;
  shepp_logan(folder, "-n 0.01");
  const std::string toml = R"([data]
train = ["scan.h5"]
test = ["scan.h5"]
coils = 6
[data.mask]
kind = "equispaced-fraction"
acceleration = [2]
[task]
kind = "reconstruction"
loss = "ssim"
[training]
epochs = 2
[model]
name = "modl"
width = 4
iterations = 2
)";
  const auto result = train(folder, "modl", toml);
  REQUIRE(result["test"]["nrmse"].get<double>() < 0.5);
  const auto recon = run_monarch(folder.path(), "recon scan.h5 --compress 6 --model modl -o images --threads 1");
  INFO(recon.errors);
  REQUIRE(recon.exit_code == 0);
  REQUIRE_THAT(read_json(folder / "images/report.json")["parameters"]["sensitivities"].get<std::string>(),
               Contains("ESPIRiT"));
}

TEST_CASE("a scan that was never fully sampled trains a network of its own") {
  const TemporaryFolder folder;
  const fs::path brain = data_file("mri/brain_8ch_kspace_cartesian.npy");
  fs::copy_file(brain, folder / "brain.npy");
  const std::string toml = R"([data]
train = ["brain.npy"]
test = ["brain.npy"]
mask.acceleration = [1]
[task]
kind = "reconstruction"
supervision = "ssdu"
[training]
epochs = 4
evaluate_epochs = 4
[training.optimiser]
learning_rate = 3e-3
[model]
name = "patch"
)";
  const auto result = train(folder, "ssdu", toml);
  REQUIRE(result["test"]["loss"].get<double>() > 0);
  REQUIRE_FALSE(result["test"].contains("psnr"));
  REQUIRE(run_monarch(folder.path(), "recon brain.npy --model ssdu -o images").exit_code == 0);
  const auto full = run_monarch(folder.path(), "train ssdu.toml -o full --set task.supervision=full");
  REQUIRE(full.exit_code == 3);
  REQUIRE_THAT(full.errors, Contains("ssdu"));
}

TEST_CASE("reconstruction configs that make no sense are refused by name") {
  const TemporaryFolder folder;
  make_scans(folder);
  const auto refused = [&](const std::string& toml, const std::string& more, int code) {
    write_text(folder / "bad.toml", toml);
    const auto result = run_monarch(folder.path(), "train bad.toml -o bad " + more);
    INFO(result.errors);
    REQUIRE(result.exit_code == code);
    return result.errors;
  };
  const std::string good = config("name = \"patch\"");
  REQUIRE_THAT(refused(good, "--set data.mask.kind=poisson-disk", 2), Contains("poisson-disc"));
  REQUIRE_THAT(refused(good, "--set data.mask.accelaration=2", 2), Contains("data.mask.acceleration"));
  REQUIRE_THAT(refused(good, "--set task.loss=l3", 2), Contains("l1"));
  REQUIRE_THAT(refused(good, "--set model.name=patches", 2), Contains("patch"));
  REQUIRE_THAT(refused(good, "--set model.widht=3", 2), Contains("model.widht"));
  REQUIRE_THAT(refused(good, "--set data.mask.acceleration=[60]", 2), Contains("acceleration"));
  REQUIRE_THAT(refused(good, "--set data.train_scans=9", 2), Contains("names 2 scans"));
  REQUIRE_THAT(refused(good, "--set data.train=[\\\"nothing.h5\\\"]", 3), Contains("nothing.h5"));
  REQUIRE_THAT(refused(good, "--set data.mask.stored=gaussian", 3), Contains("gaussian"));
  REQUIRE_THAT(refused(good, "--set training.precision=float64", 2), Contains("float64"));
}
