// Training a classifier of images.
#include <ATen/ATen.h>

#include <cmath>
#include <filesystem>
#include <numeric>

#include "catch2/catch.hpp"
#include "monarch/core/error.hpp"
#include "monarch/data/images/image_data.hpp"
#include "monarch/experiments/vision/classification_task.hpp"
#include "monarch/experiments/vision/image_classifier.hpp"
#include "monarch/training/trainer.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::test;
using experiments::ClassificationTask;
namespace fs = std::filesystem;

namespace {

constexpr int64_t classes = 3;

/// Three levels of brightness, with noise.
data::ImageSetPtr levels(int64_t count, uint64_t seed) {
  at::Tensor pixels = Rng(seed, "levels").normal({count, 1, 6, 6}, at::kFloat) * 20 + 50;
  std::vector<int64_t> labels;
  for (int64_t i = 0; i < count; ++i) {
    labels.push_back(i % classes);
    pixels[i].add_(75 * labels.back());
  }
  return data::make_image_set({"levels", pixels.clamp(0, 255).to(at::kByte), labels, {"dark", "middle", "bright"}});
}

const std::string model_text = "name = \"vit\"\nwidth = 16\ndepth = 1\nheads = 2\npatch = 2\n";

std::unique_ptr<ClassificationTask> make_task(const Config& config) {
  const data::ImageSplits splits{levels(48, 1), levels(12, 2), levels(30, 3)};
  const auto transform = data::TransformOptions::from_config(config, 1, splits.train->extent());
  const auto options = experiments::ClassificationOptions::from_config(config);
  at::manual_seed(1);
  auto model = experiments::make_vision_model(config, {1, 6, 6}, classes);
  return std::make_unique<ClassificationTask>(options, splits, transform, false, std::move(model));
}

std::vector<at::Tensor> gradients(ClassificationTask& task, const std::vector<std::vector<int64_t>>& parts,
                                  double weight, double* loss = nullptr) {
  task.module().train();
  task.module().zero_grad();
  double sum = 0;
  for (const auto& part : parts) sum += task.accumulate_gradients(part, weight, {7, 0, 0});
  if (loss) *loss = sum;
  std::vector<at::Tensor> result;
  for (const auto& p : task.module().parameters()) result.push_back(p.grad().clone());
  return result;
}

}  // namespace

TEST_CASE("Gradients of parts of a batch add up to the batch's, weighted") {
  const Config config = Config::parse("[model]\n" + model_text +
                                      "[task]\nlabel_smoothing = 0.1\n[data.augment]\ncrop = \"shift\"\npad = 1");
  const auto task = make_task(config);
  std::vector<int64_t> all(12);
  std::iota(all.begin(), all.end(), 0);
  double whole_loss = 0, parts_loss = 0;
  const auto whole = gradients(*task, {all}, 0.5, &whole_loss);
  const auto parts = gradients(*task, {{0, 1, 2, 3, 4}, {5, 6, 7, 8, 9, 10, 11}}, 0.5, &parts_loss);
  const auto twice = gradients(*task, {all}, 1);
  REQUIRE(std::abs(whole_loss - parts_loss) <= 1e-4 * whole_loss);
  for (size_t k = 0; k < whole.size(); ++k) {
    REQUIRE((whole[k] - parts[k]).abs().max().item<double>() <= 1e-4);
    REQUIRE((2 * whole[k] - twice[k]).abs().max().item<double>() <= 1e-4);
  }
  // The check can fail.
  const auto other = gradients(*task, {{0, 1, 2}}, 0.5);
  REQUIRE((whole.back() - other.back()).abs().max().item<double>() > 1e-4);
}

TEST_CASE("Mixed targets of a model without preference cost log of the number of classes") {
  const Config config = Config::parse("[model]\n" + model_text +
                                      "[task]\nlabel_smoothing = 0.2\n[data.augment]\nmixup = 0.8\ncutmix = 1.0");
  const auto task = make_task(config);
  {
    const at::NoGradGuard guard;
    for (const auto& p : task->module().parameters()) p.zero_();
  }
  double loss = 0;
  gradients(*task, {{0, 1, 2, 3}}, 1, &loss);
  REQUIRE(std::abs(loss - 4 * std::log(3.0)) <= 1e-5);
}

TEST_CASE("Positions and the class token have no weight decay, matrices have") {
  const auto task = make_task(Config::parse("[model]\n" + model_text));
  int found = 0;
  for (const auto& group : task->parameters()) {
    if (group.name == "pos_embed" || group.name == "cls_token") {
      REQUIRE_FALSE(group.weight_decay);
      ++found;
    }
    if (group.name.ends_with("fc1.weight")) {
      REQUIRE(group.weight_decay);
      ++found;
    }
  }
  REQUIRE(found == 3);
}

TEST_CASE("Dense and Monarch classifiers learn levels of brightness, and a restored one says the same") {
  for (const std::string kind : {"dense", "monarch"}) {
    INFO(kind);
    const TemporaryFolder folder;
    const Config config =
        Config::parse("[model]\n" + model_text + "[model.layers]\nkind = \"" + kind + "\"\nnblocks = 2\n" +
                      "[training]\nepochs = 8\nbatch = 12\noptimiser.learning_rate = 1e-2\n" +
                      "[task]\nkind = \"image-classification\"\n");
    const auto task = make_task(config);
    const auto options = training::TrainerOptions::from_config(config);
    training::train(*task, options, config, folder / "run", false);
    const auto& metrics = task->test_metrics();
    REQUIRE(metrics[1].first == "error1");
    REQUIRE(metrics[1].second <= 5);
    for (const std::string file : {"metrics.json", "confusion.csv", "confusion.png", "examples.png"})
      REQUIRE(fs::file_size(folder / "run/results" / file) > 0);

    const auto checkpoint = training::load_training_checkpoint(folder / "run");
    const auto classifier = experiments::ImageClassifier::restore(checkpoint, "run");
    REQUIRE(classifier.format().classes == std::vector<std::string>{"dark", "middle", "bright"});
    const auto set = levels(30, 3);
    int64_t wrong = 0;
    for (int64_t i = 0; i < set->size(); ++i) {
      const at::Tensor probability = classifier.probabilities(set->image(i), set->name(i));
      REQUIRE(std::abs(probability.sum().item<double>() - 1) <= 1e-5);
      wrong += probability.argmax().item<int64_t>() != set->label(i);
    }
    REQUIRE(std::abs(100.0 * static_cast<double>(wrong) / 30 - metrics[1].second) <= 1e-9);
  }
}

TEST_CASE("A checkpoint of another kind is no classifier") {
  training::TrainingCheckpoint checkpoint;
  checkpoint.state["config"] = "[model]\n" + model_text;
  REQUIRE_THROWS_AS(experiments::ImageClassifier::restore(checkpoint, "x"), DataError);
}
