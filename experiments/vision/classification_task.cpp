#include "monarch/experiments/vision/classification_task.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "monarch/core/error.hpp"
#include "monarch/core/files.hpp"
#include "monarch/core/progress.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/data/png.hpp"

namespace monarch::experiments {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kExamples = 32;
constexpr int64_t kMostClassesDrawn = 64;

}  // namespace

ClassificationOptions ClassificationOptions::from_config(const Config& config) {
  ClassificationOptions o;
  o.label_smoothing = config.number_between("task.label_smoothing", o.label_smoothing, 0, 0.999);
  o.evaluation_batch = config.integer_at_least("task.evaluation_batch", o.evaluation_batch, 1);
  o.pictures = config.boolean("task.pictures", o.pictures);
  o.mix = data::MixOptions::from_config(config);
  return o;
}

ClassificationTask::ClassificationTask(const ClassificationOptions& options, data::ImageSplits splits,
                                       const data::TransformOptions& transform, bool skip_broken,
                                       std::shared_ptr<VisionModel> model, at::Device device)
    : options_(options),
      splits_(std::move(splits)),
      format_{splits_.train->channels(), splits_.train->extent(), splits_.train->classes()},
      transform_(transform, format_.channels),
      broken_(skip_broken),
      model_(std::move(model)),
      device_(device) {
  model_->to(device_);
}

double ClassificationTask::accumulate_gradients(std::span<const int64_t> ids, double weight,
                                                const training::Step& step) {
  const data::ImageBatch batch =
      data::load_batch(*splits_.train, ids, transform_, broken_, step.seed, fmt::format("augment {}", step.epoch));
  if (batch.ids.empty()) return 0;
  Rng rng(step.seed, fmt::format("mix {} {}", step.epoch, batch.ids.front()));
  const data::Mix mix = data::draw_mix(options_.mix, {batch.images.size(2), batch.images.size(3)}, rng);
  const at::Tensor images = data::mix_images(batch.images.to(device_), mix);
  const at::Tensor targets = data::mix_targets(batch.labels.to(device_), static_cast<int64_t>(format_.classes.size()),
                                               mix, options_.label_smoothing);
  const at::AutoGradMode on(true);
  const at::Tensor loss = -(model_->forward(images).to(at::kFloat).log_softmax(1) * targets).sum();
  torch::autograd::backward({loss * weight}, {});
  return loss.item<double>();
}

ClassificationScores ClassificationTask::score(const data::ImageSet& set, double* milliseconds) {
  const at::NoGradGuard guard;
  ClassificationScores scores(static_cast<int64_t>(format_.classes.size()));
  std::vector<int64_t> ids(static_cast<size_t>(set.size()));
  std::iota(ids.begin(), ids.end(), int64_t{0});
  std::chrono::duration<double, std::milli> spent{};
  Progress progress("classifying", set.size());
  const auto most = static_cast<size_t>(options_.evaluation_batch);
  for (size_t first = 0; first < ids.size(); first += most) {
    const auto part = std::span(ids).subspan(first, std::min(most, ids.size() - first));
    const data::ImageBatch batch = data::load_batch(set, part, transform_, broken_);
    progress.advance(static_cast<int64_t>(part.size()));
    if (batch.ids.empty()) continue;
    const auto start = Clock::now();
    const at::Tensor logits = model_->forward(batch.images.to(device_)).to(at::kCPU);
    spent += Clock::now() - start;
    scores.add(logits, batch.labels, batch.ids);
  }
  check<DataError>(scores.images() > 0, "none of the images to classify can be read");
  if (milliseconds) *milliseconds = spent.count() / static_cast<double>(scores.images());
  return scores;
}

training::Metrics ClassificationTask::evaluate() {
  return score(*splits_.validation, nullptr).metrics();
}

const training::Metrics& ClassificationTask::test_metrics() {
  if (!test_scores_) {
    const bool training = model_->is_training();
    model_->eval();
    test_scores_ = score(*splits_.test, &milliseconds_);
    model_->train(training);
    test_metrics_ = test_scores_->metrics();
  }
  return test_metrics_;
}

void ClassificationTask::write_results(const std::filesystem::path& folder) {
  const training::Metrics& metrics = test_metrics();
  const at::Tensor& confusion = test_scores_->confusion();
  std::filesystem::create_directories(folder);
  nlohmann::ordered_json json;
  json["model"] = model_->describe();
  json["images"] = test_scores_->images();
  for (const auto& [name, value] : metrics) json["test"][name] = std::isfinite(value) ? nlohmann::json(value) : nullptr;
  for (size_t c = 0; c < format_.classes.size(); ++c) {
    const auto row = static_cast<int64_t>(c);
    const auto images = confusion[row].sum().item<int64_t>();
    const auto right = static_cast<double>(confusion[row][row].item<int64_t>());
    json["accuracy_of_class"][format_.classes[c]] =
        images > 0 ? nlohmann::json(100 * right / static_cast<double>(images)) : nullptr;
  }
  write_file_atomically(folder / "metrics.json", json.dump(2) + "\n");
  write_file_atomically(folder / "confusion.csv", confusion_csv(confusion, format_.classes));
  if (!options_.pictures) return;
  if (confusion.size(0) <= kMostClassesDrawn)
    data::save_colour_png(folder / "confusion.png", draw_confusion(confusion, model_->describe()));
  const auto shown = examples(test_scores_->verdicts(), kExamples);
  std::vector<at::Tensor> images;
  for (const Verdict& verdict : shown) images.push_back(transform_(*splits_.test, verdict.image, nullptr));
  data::save_colour_png(folder / "examples.png",
                        draw_verdicts(transform_.denormalise(at::stack(images)), shown, format_.classes));
}

std::string ClassificationTask::describe_samples(std::span<const int64_t> ids) const {
  std::vector<std::string> names;
  for (const int64_t id : ids) names.push_back(splits_.train->name(id));
  return fmt::format("{}", fmt::join(names, "; "));
}

}  // namespace monarch::experiments
