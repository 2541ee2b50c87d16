// monarch train: networks that reconstruct images from undersampled k-space.

#include "train.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>

#include "monarch/core/error.hpp"
#include "monarch/core/log.hpp"
#include "monarch/mri/learning/reconstruction_task.hpp"

namespace monarch::apps {
namespace {

std::string set_text(const char* what, const std::shared_ptr<const mri::SliceSet>& set) {
  if (!set) return fmt::format("no {} scans", what);
  return fmt::format("{} slices of {} {} scan{}", set->size(), set->scan_count(), what,
                     set->scan_count() == 1 ? "" : "s");
}

class ReconstructionJob final : public TrainingJob {
 public:
  explicit ReconstructionJob(std::unique_ptr<mri::ReconstructionTask> task) : task_(std::move(task)) {}

  training::Task& task() override { return *task_; }
  std::string describe() const override { return task_->model().describe(); }
  int64_t parameters(bool complex_once) const override {
    return complex_once ? parameter_numbers(task_->model()) : mri::model_parameter_count(task_->model());
  }
  const training::Metrics& test_metrics() override { return task_->test_metrics(); }
  std::string test_text() override {
    const auto& m = test_metrics();
    if (std::isnan(metric(m, "psnr"))) return fmt::format("loss of held-out samples {:.4f}", metric(m, "loss"));
    return fmt::format("PSNR {:.2f} dB complex, {:.2f} dB magnitude, SSIM {:.4f}, nRMSE {:.4f}", metric(m, "psnr"),
                       metric(m, "psnr_mag"), metric(m, "ssim"), metric(m, "nrmse"));
  }
  void add_to(nlohmann::ordered_json& result) override {
    const auto& mask = task_->mask();
    result["mask"] = {{"kind", mask.stored.empty() ? mri::mask_kind_name(mask.mask.kind) : "stored: " + mask.stored},
                      {"accelerations", mask.accelerations},
                      {"calibration", mask.mask.calibration},
                      {"seed", mask.seed},
                      {"test_scan", "the mask of a scan follows from seed, name of its file and acceleration"}};
    result["macs_per_slice"] = task_->model().macs();
    result["milliseconds_per_slice"] = task_->milliseconds_per_slice();
    result["metric_definitions"] = {
        {"psnr", "meddlr, of a volume: 20 log10(max|x| / RMSE) of the complex error, mean over volumes"},
        {"psnr_slice", "meddlr, of each slice, mean over slices"},
        {"psnr_mag", "as psnr, of magnitudes"},
        {"ssim", "meddlr (Wang et al. 2004): magnitudes, Gaussian window 11, sigma 1.5, mean over slices"},
        {"nrmse", "of the complex volume: |x^ - x| / |x|"},
        {"psnr_fastmri, ssim_fastmri, nmse_fastmri", "fastMRI, of magnitudes of a volume"}};
  }

 private:
  std::unique_ptr<mri::ReconstructionTask> task_;
};

}  // namespace

std::unique_ptr<TrainingJob> make_reconstruction_job(const JobSetting& s) {
  Config& config = s.config;
  const auto task_options = mri::ReconstructionOptions::from_config(config);
  const auto slice_options = mri::SliceOptions::from_config(config);
  check_rest(config);
  mri::make_reconstruction_loss(task_options.loss);
  check<ConfigError>(s.trainer.precision != "float64", config.name() + ": training.precision = \"float64\"",
                     "scans are float32: take float32 or bfloat16");
  auto sets = mri::SliceSets::open(slice_options);
  log::info(fmt::format("{}, {}, {}", set_text("training", sets.train), set_text("validation", sets.validation),
                        set_text("test", sets.test)));
  const auto make_model = [&](const mri::SliceShape& shape) {
    at::manual_seed(s.trainer.seed);
    auto model = mri::make_reconstruction_model(config, shape);
    config.finish();
    return model;
  };
  auto task = std::make_unique<mri::ReconstructionTask>(task_options, slice_options, sets, make_model, s.device);
  return std::make_unique<ReconstructionJob>(std::move(task));
}

}  // namespace monarch::apps
