// monarch train: classifiers of images.

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>

#include "monarch/core/error.hpp"
#include "monarch/core/log.hpp"
#include "monarch/experiments/vision/classification_task.hpp"
#include "train.hpp"

namespace monarch::apps {
namespace {

class ClassificationJob final : public TrainingJob {
 public:
  explicit ClassificationJob(std::unique_ptr<experiments::ClassificationTask> task) : task_(std::move(task)) {}

  training::Task& task() override { return *task_; }
  std::string describe() const override { return task_->model().describe(); }
  int64_t parameters(bool) const override { return parameter_numbers(task_->model()); }
  const training::Metrics& test_metrics() override { return task_->test_metrics(); }
  std::string test_text() override {
    const auto& m = test_metrics();
    const double five = metric(m, "accuracy5");
    return fmt::format("{:.2f} % right{}, cross-entropy {:.4f}", metric(m, "accuracy1"),
                       std::isnan(five) ? "" : fmt::format(" ({:.2f} % among the first five)", five),
                       metric(m, "loss"));
  }
  void add_to(nlohmann::ordered_json& result) override {
    const data::ImageSplits& splits = task_->splits();
    result["macs"] = task_->model().macs();
    result["milliseconds_per_image"] = task_->milliseconds_per_image();
    result["classes"] = splits.train->classes().size();
    result["images"] = {{"train", splits.train->size()},
                        {"validation", splits.validation->size()},
                        {"test", splits.test->size()},
                        {"left_out", task_->broken_images()}};
  }

 private:
  std::unique_ptr<experiments::ClassificationTask> task_;
};

}  // namespace

std::unique_ptr<TrainingJob> make_classification_job(const JobSetting& s) {
  Config& config = s.config;
  config.text("task.kind");
  const auto task_options = experiments::ClassificationOptions::from_config(config);
  const auto data_options = data::ImageDataOptions::from_config(config);
  check<ConfigError>(s.trainer.precision != "float64", config.name() + ": training.precision = \"float64\"",
                     "images are float32: take float32 or bfloat16");
  auto splits = data::ImageSplits::open(data_options);
  const auto& train = *splits.train;
  const auto transform = data::TransformOptions::from_config(config, train.channels(), train.extent());
  check_rest(config);
  for (const std::string& note : train.notes()) log::info(note);
  if (splits.validation == splits.test)
    log::info("no images are set apart for validation: the best epoch is chosen on the test images");
  const auto classes = static_cast<int64_t>(train.classes().size());
  log::info(fmt::format("{} training, {} validation, {} test images of {} classes, {} x {} pixels", train.size(),
                        splits.validation->size(), splits.test->size(), classes, transform.size, transform.size));
  at::manual_seed(s.trainer.seed);
  auto model = experiments::make_vision_model(config, {train.channels(), transform.size, transform.size}, classes);
  config.finish();
  return std::make_unique<ClassificationJob>(std::make_unique<experiments::ClassificationTask>(
      task_options, std::move(splits), transform, data_options.skip_broken, std::move(model), s.device));
}

}  // namespace monarch::apps
