#include "monarch/experiments/language/bert_pretraining_task.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "monarch/core/error.hpp"
#include "monarch/core/files.hpp"
#include "monarch/experiments/language/length_batches.hpp"
#include "monarch/operators/nn/linear_cross_entropy.hpp"
#include "monarch/training/evaluation_mode.hpp"

namespace monarch::experiments {
namespace {

constexpr int64_t kShownExamples = 8;  // in guesses.txt
constexpr int64_t kLogitRows = 512;    // of the output layer at a time, in evaluation
constexpr const char* kValidationDraw = "validation";

}  // namespace

BertPretrainingOptions BertPretrainingOptions::from_config(const Config& config) {
  BertPretrainingOptions o;
  o.tokens = config.text("data.tokens");
  o.examples.length = config.integer("data.length", o.examples.length);
  o.examples.predictions = config.integer("data.max_predictions", o.examples.length <= 128 ? 20 : 80);
  o.examples.masked = config.number_between("data.masked", o.examples.masked, 0, 1);
  o.examples.short_probability = config.number_between("data.short_probability", o.examples.short_probability, 0, 1);
  o.examples.whole_words = config.boolean("data.whole_words", false);
  o.examples.copies = config.integer_at_least("data.copies", 1, 1);
  o.examples.seed = static_cast<uint64_t>(config.integer_at_least("data.seed", 0, 0));
  o.dynamic_masks = config.choice<bool>("data.masks", "dynamic", {{"dynamic", true}, {"static", false}});
  o.validation_examples = config.integer_at_least("data.validation_examples", 0, 0);
  o.evaluation_batch = config.integer_at_least("task.evaluation_batch", o.evaluation_batch, 1);
  return o;
}

BertPretrainingTask::BertPretrainingTask(const BertPretrainingOptions& options,
                                         std::shared_ptr<const data::TokenSet> tokens, const MakeModel& make_model,
                                         at::Device device)
    : options_(options),
      tokens_(std::move(tokens)),
      training_(tokens_, "train", options_.examples),
      validation_(tokens_, "validation",
                  [&] {
                    auto once = options_.examples;
                    once.copies = 1;
                    return once;
                  }()),
      device_(device) {
  double guesses = 0;
  for (int64_t id = 0; id < training_.size(); ++id) guesses += static_cast<double>(training_.guesses(id));
  mean_guesses_ = guesses / static_cast<double>(training_.size());
  model_ = make_model(tokens_->info().vocabulary);
  const int64_t positions = model_->bert->options().positions;
  check<ConfigError>(
      options_.examples.length <= positions,
      [&] { return fmt::format("data.length is {}, the model has {} positions", options_.examples.length, positions); },
      "shorten the examples, or take a model with more positions");
  model_->to(device_);
}

std::string BertPretrainingTask::describe_samples(std::span<const int64_t> ids) const {
  return fmt::format("examples {} of {}", fmt::join(ids, ", "), options_.tokens);
}

int64_t BertPretrainingTask::macs_per_sample() const {
  const auto& o = model_->bert->options();
  const auto guesses = static_cast<int64_t>(std::lround(mean_guesses_));
  return model_->bert->macs(options_.examples.length) + guesses * o.width * (o.vocabulary + o.width) + 2 * o.width;
}

data::MaskedBatch BertPretrainingTask::to_device(data::MaskedBatch batch) const {
  for (at::Tensor* tensor :
       {&batch.pairs.ids, &batch.pairs.types, &batch.pairs.mask, &batch.positions, &batch.targets, &batch.random})
    *tensor = tensor->to(device_);
  return batch;
}

std::pair<at::Tensor, at::Tensor> BertPretrainingTask::predict(const data::MaskedBatch& batch) {
  const at::Tensor features = model_->bert->features(batch.pairs.ids, batch.pairs.types, batch.pairs.mask);
  const at::Tensor guessed = features.flatten(0, 1).index_select(0, batch.positions);
  return {model_->masked_features(guessed), model_->next_sentence(model_->bert->pooled(features))};
}

double BertPretrainingTask::accumulate_gradients(std::span<const int64_t> ids, double weight,
                                                 const training::Step& step) {
  const std::string draw = options_.dynamic_masks ? std::to_string(step.epoch) : "static";
  const data::MaskedBatch batch = to_device(training_.batch(ids, step.seed, draw));
  const at::AutoGradMode on(true);
  const auto [guessed, next] = predict(batch);
  const at::Tensor tokens = operators::linear_cross_entropy(guessed, model_->decoder_weight(), model_->decoder_bias(),
                                                            batch.targets, {.sum = true});
  const at::Tensor pairs = at::cross_entropy_loss(next.to(at::kFloat), batch.random, {}, at::Reduction::Sum);
  const at::Tensor loss = tokens / mean_guesses_ + pairs;
  torch::autograd::backward({loss}, {at::full_like(loss, weight)});
  return loss.item<double>();
}

std::vector<int64_t> BertPretrainingTask::validation_ids() const {
  const int64_t all = validation_.size();
  const int64_t count = options_.validation_examples > 0 ? std::min(all, options_.validation_examples) : all;
  std::vector<int64_t> ids(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) ids[static_cast<size_t>(i)] = i * all / count;
  return ids;
}

training::Metrics BertPretrainingTask::evaluate() {
  double token_loss = 0, tokens_right = 0, tokens = 0, pair_loss = 0, pairs_right = 0, pairs = 0;
  const auto length = [&](int64_t id) { return validation_.length(id); };
  for (const auto& ids : batches_by_length(validation_ids(), length, options_.evaluation_batch)) {
    const data::MaskedBatch batch = to_device(validation_.batch(ids, options_.examples.seed, kValidationDraw));
    const auto [guessed, next] = predict(batch);
    for (int64_t first = 0; first < guessed.size(0); first += kLogitRows) {
      const int64_t count = std::min(kLogitRows, guessed.size(0) - first);
      const at::Tensor logits =
          at::linear(guessed.narrow(0, first, count), model_->decoder_weight(), model_->decoder_bias());
      const at::Tensor targets = batch.targets.narrow(0, first, count);
      token_loss += at::cross_entropy_loss(logits.to(at::kFloat), targets, {}, at::Reduction::Sum).item<double>();
      tokens_right += (logits.argmax(1) == targets).sum().item<double>();
    }
    tokens += static_cast<double>(guessed.size(0));
    pair_loss += at::cross_entropy_loss(next.to(at::kFloat), batch.random, {}, at::Reduction::Sum).item<double>();
    pairs_right += (next.argmax(1) == batch.random).sum().item<double>();
    pairs += static_cast<double>(next.size(0));
  }
  const double mlm = token_loss / tokens, nsp = pair_loss / pairs;
  return {{"loss", mlm + nsp},
          {"mlm_loss", mlm},
          {"mlm_accuracy", tokens_right / tokens},
          {"nsp_loss", nsp},
          {"nsp_accuracy", pairs_right / pairs}};
}

const training::Metrics& BertPretrainingTask::test_metrics() {
  if (!test_metrics_) {
    const training::EvaluationMode mode(*model_);
    test_metrics_ = evaluate();
  }
  return *test_metrics_;
}

void BertPretrainingTask::write_results(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  nlohmann::ordered_json json;
  for (const auto& [name, value] : test_metrics()) json[name] = std::isfinite(value) ? nlohmann::json(value) : nullptr;
  write_file_atomically(folder / "metrics.json", json.dump(2) + "\n");

  const auto tokenizer = tokens_->tokenizer();
  std::string vocabulary;
  for (int64_t id = 0; id < tokenizer->size(); ++id) vocabulary += std::string(tokenizer->token(id)) + "\n";
  write_file_atomically(folder / "vocab.txt", vocabulary);

  const training::EvaluationMode mode(*model_);
  std::vector<int64_t> ids = validation_ids();
  ids.resize(std::min<size_t>(ids.size(), kShownExamples));
  std::string text = "Validation examples; of each guess: {truth > guess of the model}.\n";
  for (const int64_t id : ids) {
    const std::vector<int64_t> one{id};
    const data::MaskedBatch batch = to_device(validation_.batch(one, options_.examples.seed, kValidationDraw));
    const auto [guessed, next] = predict(batch);
    const at::Tensor guesses = at::linear(guessed, model_->decoder_weight(), model_->decoder_bias()).argmax(1).cpu();
    const at::Tensor positions = batch.positions.cpu(), targets = batch.targets.cpu();
    const data::TokenIds tokens = validation_.pair(id).tokens;
    text +=
        fmt::format("\n{} (b {}, model: {})\n", id, batch.random.item<int64_t>() ? "of another document" : "follows",
                    next.argmax(1).item<int64_t>() ? "another" : "follows");
    for (int64_t i = 0, guess = 0; i < static_cast<int64_t>(tokens.size()); ++i) {
      const auto word = [&](int64_t token) { return tokenizer->token(token); };
      const bool hidden = guess < positions.numel() && positions[guess].item<int64_t>() == i;
      text += i ? " " : "";
      if (hidden) {
        text += fmt::format("{{{} > {}}}", word(targets[guess].item<int64_t>()), word(guesses[guess].item<int64_t>()));
        ++guess;
      } else {
        text += word(tokens[static_cast<size_t>(i)]);
      }
    }
    text += "\n";
  }
  write_file_atomically(folder / "guesses.txt", text);
}

}  // namespace monarch::experiments
