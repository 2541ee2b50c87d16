#include "monarch/experiments/language/language_model_task.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <span>
#include <utility>

#include "monarch/core/error.hpp"
#include "monarch/core/files.hpp"
#include "monarch/data/text/unicode.hpp"
#include "monarch/experiments/language/gpt2_generate.hpp"
#include "monarch/experiments/language/stored_gpt2.hpp"
#include "monarch/operators/nn/linear_cross_entropy.hpp"

namespace monarch::experiments {
namespace {

using data::TokenWindows;

constexpr int64_t kSampleTokens = 80;

int64_t window_length(const LanguageModelOptions& o, const Gpt2Impl& model) {
  const int64_t positions = model.options().positions;
  check<ConfigError>(
      o.length <= positions,
      [&] { return fmt::format("task.length is {}, but the model has {} positions", o.length, positions); },
      "shorten the windows, or set model.positions");
  return o.length > 0 ? o.length : positions;
}

std::shared_ptr<const data::TokenSet> open_set(const std::string& folder, const Gpt2Impl& model) {
  auto set = std::make_shared<const data::TokenSet>(folder);
  check<DataError>(
      set->info().vocabulary <= model.options().vocabulary,
      [&] {
        return fmt::format("{}: tokens of a vocabulary of {}, but the model has {}", folder, set->info().vocabulary,
                           model.options().vocabulary);
      },
      "prepare the text with the vocabulary of the model");
  return set;
}

}  // namespace

LanguageModelOptions LanguageModelOptions::from_config(const Config& config) {
  LanguageModelOptions o;
  o.tokens = config.text("data.tokens");
  o.test = config.text("data.test", o.test);
  o.length = config.integer_at_least("task.length", o.length, 0);
  o.evaluation_batch = config.integer_at_least("task.evaluation_batch", o.evaluation_batch, 1);
  o.evaluation_windows = config.integer_at_least("task.evaluation_windows", o.evaluation_windows, 0);
  o.prompts = config.texts("task.prompts", {"The "});
  return o;
}

LanguageModelTask::LanguageModelTask(LanguageModelOptions options, std::shared_ptr<Gpt2Impl> model, at::Device device)
    : options_(std::move(options)),
      model_(std::move(model)),
      device_(device),
      train_(open_set(options_.tokens, *model_), "train", window_length(options_, *model_),
             TokenWindows::Last::dropped),
      validation_(open_set(options_.tokens, *model_), "validation", train_.length(), TokenWindows::Last::kept),
      test_(open_set(options_.test.empty() ? options_.tokens : options_.test, *model_), "validation", train_.length(),
            TokenWindows::Last::kept) {
  check<DataError>(
      test_.set().info().vocabulary_hash == train_.set().info().vocabulary_hash,
      [&] { return fmt::format("{} and {} have other vocabularies", options_.tokens, options_.test); },
      "prepare both with the same one");
  model_->to(device_);
}

double LanguageModelTask::accumulate_gradients(std::span<const int64_t> ids, double weight, const training::Step&) {
  const data::TokenBatch batch = train_.read(ids);
  const at::AutoGradMode on(true);
  const at::Tensor features = model_->features(batch.inputs.to(device_));
  const at::Tensor loss = operators::linear_cross_entropy(features, model_->output_weight(), std::nullopt,
                                                          batch.targets.to(device_), {.sum = true}) /
                          train_.length();
  torch::autograd::backward({loss}, {at::full_like(loss, weight)});
  return loss.item<double>();
}

training::Metrics LanguageModelTask::score(const TokenWindows& windows, int64_t most) {
  const int64_t count = most > 0 ? std::min(most, windows.size()) : windows.size();
  double sum = 0, tokens = 0;
  for (int64_t first = 0; first < count; first += options_.evaluation_batch) {
    std::vector<int64_t> ids(static_cast<size_t>(std::min(options_.evaluation_batch, count - first)));
    std::iota(ids.begin(), ids.end(), first);
    // Windows spread over the split, where not all are taken.
    for (int64_t& id : ids) id = id * windows.size() / count;
    const data::TokenBatch batch = windows.read(ids);
    const at::Tensor features = model_->features(batch.inputs.to(device_));
    sum += operators::linear_cross_entropy(features, model_->output_weight(), std::nullopt, batch.targets.to(device_),
                                           {.sum = true})
               .item<double>();
    tokens += (batch.targets >= 0).sum().item<double>();
  }
  const double loss = sum / tokens;
  return {{"loss", loss},
          {"perplexity", std::exp(loss)},
          {"bits_per_byte", loss / std::log(2.0) / windows.bytes_per_token()}};
}

training::Metrics LanguageModelTask::evaluate() {
  return score(validation_, options_.evaluation_windows);
}

const training::Metrics& LanguageModelTask::test_metrics() {
  if (test_metrics_) return *test_metrics_;
  const at::NoGradGuard no_gradients;
  const bool training = model_->is_training();
  model_->eval();
  test_metrics_ = score(test_, 0);
  model_->train(training);
  return *test_metrics_;
}

std::map<std::string, at::Tensor> LanguageModelTask::constants() const {
  return gpt2_constants(*model_, train_.set());
}

void LanguageModelTask::write_results(const std::filesystem::path& folder) {
  const training::Metrics& metrics = test_metrics();
  std::filesystem::create_directories(folder);
  nlohmann::ordered_json json;
  json["model"] = model_->describe();
  for (const auto& [name, value] : metrics) json["test"][name] = std::isfinite(value) ? nlohmann::json(value) : nullptr;
  write_file_atomically(folder / "metrics.json", json.dump(2) + "\n");
  const auto tokenizer = train_.set().tokenizer();
  std::string page = fmt::format("# {}\n", model_->describe());
  for (const auto& prompt : options_.prompts) {
    data::TokenIds ids = tokenizer->encode(prompt);
    const int64_t room = model_->options().positions - static_cast<int64_t>(ids.size());
    if (ids.empty() || room < 1) continue;
    const auto text =
        generate(*model_, ids, {.tokens = std::min(kSampleTokens, room), .top_k = 40, .vocabulary = tokenizer->size()},
                 tokenizer->separator());
    int64_t cut = 0;
    const std::string written = data::replace_invalid_utf8(tokenizer->decode(text.ids), cut);
    page += fmt::format("\n**{}**{}\n", prompt, written);
  }
  write_file_atomically(folder / "samples.md", page);
}

}  // namespace monarch::experiments
