#include <ATen/ATen.h>
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <map>

#include "monarch/core/error.hpp"
#include "monarch/data/scan_writer.hpp"
#include "monarch/mri/learning/learned_reconstruction.hpp"
#include "monarch/mri/learning/reconstruction_task.hpp"
#include "monarch/mri/resize.hpp"
#include "monarch/mri/simulated_scan.hpp"
#include "monarch/training/checkpoint.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::mri;
using Catch::Matchers::Contains;
using monarch::test::relative_error;

namespace {

/// Simulated slices of 32 × 24 in a file.
void write_scan(const std::filesystem::path& path, data::ScanFormat format, int64_t slices, int64_t echoes,
                const std::string& id) {
  SimulatedScanOptions options;
  options.matrix = {32, 24};
  options.coils = 4;
  options.slices = slices;
  options.echoes = echoes;
  const SimulatedScan simulated(options, 1, id);
  data::ScanLayout layout;
  layout.scan_id = id;
  layout.slices = slices;
  layout.echoes = echoes;
  layout.coils = 4;
  layout.matrix = options.matrix;
  layout.voxel_mm = simulated.voxel_mm();
  layout.echo_times_ms = simulated.echo_times_ms();
  data::ScanWriter writer(path, format, layout);
  for (int64_t i = 0; i < slices; ++i) {
    const SimulatedSlice slice = simulated.slice(i);
    writer.add({slice.kspace, slice.sensitivities, slice.target});
  }
  writer.commit();
}

Config task_config(const test::TemporaryFolder& folder, const std::string& more) {
  return Config::parse("[data]\ntrain = [\"" + (folder / "a.h5").string() + "\"]\ntest = [\"" +
                       (folder / "b.h5").string() + "\"]\n[data.mask]\nacceleration = [2, 3]\ncalibration = 6\n" +
                       "[task]\nkind = \"reconstruction\"\n" + more);
}

std::unique_ptr<ReconstructionTask> make_task(const Config& config) {
  const auto options = SliceOptions::from_config(config);
  return std::make_unique<ReconstructionTask>(ReconstructionOptions::from_config(config), options,
                                              SliceSets::open(options), [&](const SliceShape& shape) {
                                                at::manual_seed(1);
                                                return make_reconstruction_model(config, shape);
                                              });
}

std::vector<at::Tensor> gradients(ReconstructionTask& task, const std::vector<std::vector<int64_t>>& batches) {
  for (at::Tensor& p : task.module().parameters()) p.mutable_grad() = at::Tensor();
  for (const auto& ids : batches) task.accumulate_gradients(ids, 1, {.seed = 4, .epoch = 2, .step = 9});
  std::vector<at::Tensor> result;
  for (const at::Tensor& p : task.module().parameters()) result.push_back(p.grad().clone());
  return result;
}

}  // namespace

TEST_CASE("slices of a scan: counts, crop, coils, and a target that is the coil-combined image", "[learned]") {
  const test::TemporaryFolder folder;
  write_scan(folder / "a.h5", data::ScanFormat::skm_tea, 5, 2, "a");
  write_scan(folder / "b.h5", data::ScanFormat::fastmri, 3, 1, "b");
  SliceOptions options;
  options.first_slice = 1;
  options.slice_stride = 2;
  const SliceSet two({(folder / "a.h5").string()}, options);
  REQUIRE(two.size() == 4);  // slices 1 and 3 of two echoes
  REQUIRE(two.contrasts() == 2);
  REQUIRE(two.describe(3) == "a slice 3 contrast 1");
  REQUIRE(two.read(0).maps.sizes() == at::IntArrayRef({4, 32, 24}));

  const SliceSet all({folder.path().string()}, {});
  REQUIRE(all.size() == 13);
  const SliceSet fast({(folder / "b*.h5").string()}, {});
  REQUIRE(fast.size() == 3);
  const Slice slice = fast.read(1);
  REQUIRE(slice.phase_axis == 1);
  const at::Tensor image = operators::plane_fourier(slice.kspace, true);
  REQUIRE(relative_error(slice.target, (slice.maps.conj() * image).sum(0)) <= 1e-5);
  REQUIRE_THAT(fast.notes().at(0), Contains("ESPIRiT"));

  options = {};
  options.crop = {{20, 16}};
  const Slice cropped = SliceSet({(folder / "a.h5").string()}, options).read(0);
  const Slice whole = SliceSet({(folder / "a.h5").string()}, {}).read(0);
  REQUIRE(cropped.kspace.sizes() == at::IntArrayRef({4, 20, 16}));
  const at::Tensor expected =
      centre_crop_or_pad(centre_crop_or_pad(operators::plane_fourier(whole.kspace, true), 1, 20), 2, 16);
  REQUIRE(relative_error(operators::plane_fourier(cropped.kspace, true), expected) <= 1e-5);

  options = {};
  options.coils = 2;
  const Slice compressed = SliceSet({(folder / "a.h5").string()}, options).read(0);
  REQUIRE(compressed.kspace.size(0) == 2);
  // Few virtual coils still encode nearly the same image.
  const at::Tensor seen = (compressed.maps.conj() * operators::plane_fourier(compressed.kspace, true)).sum(0) /
                          at::real(compressed.maps * compressed.maps.conj()).sum(0).clamp_min(1e-3);
  REQUIRE(relative_error(seen, whole.target) <= 0.3);

  options = {};
  options.matrix = {{64, 64}};
  REQUIRE_THROWS_AS(SliceSet({(folder / "a.h5").string()}, options), ConfigError);
  REQUIRE_THROWS_WITH(SliceSet({(folder / "c*.h5").string()}, {}), Contains("c*.h5"));
}

TEST_CASE("gradients add over batches and are the same for the same step", "[learned]") {
  const test::TemporaryFolder folder;
  write_scan(folder / "a.h5", data::ScanFormat::skm_tea, 2, 2, "a");
  write_scan(folder / "b.h5", data::ScanFormat::skm_tea, 2, 2, "b");
  for (const std::string more : {"", "supervision = \"ssdu\"\n"}) {
    const Config config =
        task_config(folder, more + "[data.augment]\nshift = true\nflip = true\nnoise = 0.1\nmotion = 1\n" +
                                "[model]\nname = \"modl\"\nwidth = 4\niterations = 2\nencoding = \"monarch\"\n");
    const auto task = make_task(config);
    REQUIRE(task->training_size() == 4);
    const auto whole = gradients(*task, {{0, 1, 2, 3}}), parts = gradients(*task, {{2, 0}, {3}, {1}});
    for (size_t i = 0; i < whole.size(); ++i) {
      REQUIRE(at::isfinite(whole[i].abs()).all().item<bool>());
      REQUIRE(relative_error(parts[i], whole[i]) <= 2e-3);
    }
    // Negative control: another sample is another gradient.
    const auto other = gradients(*task, {{0, 0, 2, 3}});
    REQUIRE(relative_error(other[0], whole[0]) > 1e-2);
  }
}

TEST_CASE("evaluation repeats, and a restored network gives the same images", "[learned]") {
  const test::TemporaryFolder folder;
  write_scan(folder / "a.h5", data::ScanFormat::skm_tea, 2, 2, "a");
  write_scan(folder / "b.h5", data::ScanFormat::skm_tea, 3, 2, "b");
  const Config config = task_config(folder, "[model]\nname = \"patch\"\npatch_transform = \"kronecker\"\n");
  const auto task = make_task(config), again = make_task(config);
  REQUIRE(task->test_metrics() == again->test_metrics());
  std::map<std::string, double> metrics(task->test_metrics().begin(), task->test_metrics().end());
  for (const char* name : {"nrmse", "psnr", "psnr_echo1", "ssim_2x", "psnr_echo2_3x", "psnr_mag", "loss"})
    REQUIRE(metrics.contains(name));
  REQUIRE(metrics["psnr"] == Approx((metrics["psnr_echo1"] + metrics["psnr_echo2"]) / 2).epsilon(1e-9));

  training::TrainingCheckpoint checkpoint;
  checkpoint.model = training::module_tensors(task->module());
  for (const auto& [name, tensor] : task->constants()) checkpoint.constants.emplace_back(name, tensor);
  checkpoint.state = {{"config", config.toml()}};
  training::save_training_checkpoint(folder / "checkpoint", checkpoint);
  const auto restored = LearnedReconstruction::load(folder / "checkpoint");
  REQUIRE(restored.name() == "patch");
  REQUIRE_THAT(restored.training(), Contains("poisson-disc masks at 2×, 3×"));
  const SliceSet set({(folder / "b.h5").string()}, {});
  const Slice slice = set.read(1);
  const at::Tensor image = restored.reconstruct(slice.kspace, slice.acquired, slice.maps, 0);
  SliceBatch batch{slice.kspace.unsqueeze(0), slice.acquired.unsqueeze(0), slice.maps.unsqueeze(0), {0}};
  const double scale = slice_scale(slice.kspace, slice.maps, SliceScale::percentile);
  batch.kspace = batch.kspace / scale;
  const at::NoGradGuard guard;
  auto& model = dynamic_cast<ReconstructionModel&>(task->module());
  REQUIRE(relative_error(image, model.forward(batch)[0] * scale) <= 1e-5);
  // Twice the signal, twice the image.
  REQUIRE(relative_error(restored.reconstruct(slice.kspace * 1000, slice.acquired, slice.maps, 0), image * 1000) <=
          1e-4);

  checkpoint.constants.clear();
  training::save_training_checkpoint(folder / "shapeless", checkpoint);
  REQUIRE_THROWS_WITH(LearnedReconstruction::load(folder / "shapeless"), Contains("what slices"));
  checkpoint.constants.emplace_back("slice_shape", at::tensor(std::vector<int64_t>{32, 24, 4, 2}));
  checkpoint.model.pop_back();
  training::save_training_checkpoint(folder / "incomplete", checkpoint);
  REQUIRE_THROWS_WITH(LearnedReconstruction::load(folder / "incomplete"), Contains("is missing"));
  checkpoint.state = {{"config", "[task]\nkind = \"rollout\"\n"}};
  training::save_training_checkpoint(folder / "fields", checkpoint);
  REQUIRE_THROWS_WITH(LearnedReconstruction::load(folder / "fields"),
                      Contains("monarch predict") && Contains("rollout"));
  REQUIRE_THROWS_AS(LearnedReconstruction::load(folder / "nothing"), DataError);
}

TEST_CASE("test scans of one name in two folders are two volumes", "[learned]") {
  const test::TemporaryFolder folder;
  for (const std::string name : {"x", "y"}) {
    std::filesystem::create_directories(folder / name);
    write_scan(folder / name / "b.h5", data::ScanFormat::skm_tea, 2, 1, name);
  }
  std::filesystem::copy_file(folder / "x" / "b.h5", folder / "a.h5");
  const auto psnr = [&](const std::string& tests) {
    const Config config =
        Config::parse("[data]\ntrain = [\"" + (folder / "a.h5").string() + "\"]\ntest = [" + tests +
                      "]\n[data.mask]\nacceleration = [2]\ncalibration = 6\n[task]\nkind = \"reconstruction\"\n" +
                      "[model]\nname = \"sense\"\n");
    const auto task = make_task(config);
    const std::map<std::string, double> metrics(task->test_metrics().begin(), task->test_metrics().end());
    return metrics.at("psnr");
  };
  const auto quoted = [&](const char* name) { return fmt::format("\"{}\"", (folder / name / "b.h5").string()); };
  const std::string x = quoted("x"), y = quoted("y");
  const double first = psnr(x), second = psnr(y);
  REQUIRE(std::abs(first - second) > 0.1);  // Negative control: they are different scans.
  REQUIRE(psnr(x + ", " + y) == Approx((first + second) / 2).epsilon(1e-6));
}
