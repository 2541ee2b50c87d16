#include "monarch/experiments/language/language_model_task.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>

#include "monarch/core/error.hpp"
#include "monarch/experiments/language/stored_gpt2.hpp"
#include "monarch/training/checkpoint.hpp"
#include "support/support.hpp"
#include "token_folder.hpp"

using namespace monarch;
using namespace monarch::experiments;
using namespace monarch::test;
using Catch::Matchers::Contains;

namespace {

constexpr int64_t length = 16;

std::string text(int lines) {
  std::string text;
  for (int i = 0; i < lines; ++i) text += "line " + std::to_string(i) + " of the text\n";
  return text;
}

std::shared_ptr<Gpt2Impl> model(int64_t positions = length, int64_t vocabulary = 257) {
  at::manual_seed(3);
  return std::make_shared<Gpt2Impl>(Gpt2Options{.vocabulary = vocabulary,
                                                .positions = positions,
                                                .width = 16,
                                                .depth = 2,
                                                .heads = 2,
                                                .dropout = 0,
                                                .attention_dropout = 0});
}

struct Fixture {
  TemporaryFolder folder;
  Fixture() { write_token_folder(folder / "tokens", text(20), text(5)); }
  LanguageModelTask task(std::shared_ptr<Gpt2Impl> given = model(), int64_t windows = 0) {
    LanguageModelOptions options;
    options.tokens = folder / "tokens";
    options.evaluation_batch = 3;
    options.evaluation_windows = windows;
    options.prompts = {"line "};
    return {options, std::move(given)};
  }
};

double value(const training::Metrics& metrics, const std::string& name) {
  for (const auto& [key, number] : metrics)
    if (key == name) return number;
  return std::nan("");
}

}  // namespace

TEST_CASE("the gradient of a batch is that of the mean cross-entropy of its windows' logits") {
  Fixture f;
  auto task = f.task();
  const std::vector<int64_t> ids{2, 0, 5};
  const data::TokenBatch batch = task.train().read(ids);
  auto& network = dynamic_cast<Gpt2Impl&>(task.module());
  const at::Tensor logits = network.forward(batch.inputs);
  const at::Tensor loss = at::cross_entropy_loss(logits.reshape({-1, 257}), batch.targets.reshape(-1)) * 3;
  const auto parameters = network.parameters();
  const auto expected = torch::autograd::grad({loss * 0.25}, parameters);
  const double sum = task.accumulate_gradients(ids, 0.25, {});
  REQUIRE(std::abs(sum - loss.item<double>()) <= 1e-4);
  for (size_t i = 0; i < parameters.size(); ++i) REQUIRE(relative_error(parameters[i].grad(), expected[i]) <= 1e-5);
}

TEST_CASE("perplexity counts every token of the split but the first, whatever the batch") {
  Fixture f;
  auto task = f.task();
  task.module().eval();
  const at::NoGradGuard guard;
  const auto metrics = task.evaluate();
  const auto& file = task.validation().set().split("validation");
  double sum = 0;
  for (int64_t first = 0; first + 1 < file.size(); first += length) {
    const int64_t count = std::min(length, file.size() - 1 - first);
    const at::Tensor tokens = file.read(first, count + 1);
    const at::Tensor logits = dynamic_cast<Gpt2Impl&>(task.module()).forward(tokens.narrow(0, 0, count).unsqueeze(0));
    sum += at::cross_entropy_loss(logits.squeeze(0), tokens.narrow(0, 1, count), {}, at::Reduction::Sum).item<double>();
  }
  const double loss = sum / static_cast<double>(file.size() - 1);
  REQUIRE(std::abs(value(metrics, "loss") - loss) <= 1e-5);
  REQUIRE(std::abs(value(metrics, "perplexity") / std::exp(loss) - 1) <= 1e-4);
  REQUIRE(std::abs(value(metrics, "bits_per_byte") - loss / std::log(2.0)) <= 1e-4);  // a token is a byte
  REQUIRE(task.test_metrics() == metrics);
  REQUIRE(f.task(model(), 2).evaluate() != metrics);  // some of the windows
}

TEST_CASE("a checkpoint of a language model is a model and a tokenizer, without the data") {
  Fixture f;
  auto task = f.task();
  training::TrainingCheckpoint checkpoint;
  checkpoint.model = training::module_tensors(task.module());
  for (const auto& [name, tensor] : task.constants()) checkpoint.constants.emplace_back(name, tensor);
  checkpoint.state = {{"config", "[task]\nkind = \"language-model\"\n"}};
  training::save_training_checkpoint(f.folder / "saved", checkpoint);
  std::filesystem::remove_all(f.folder / "tokens");
  const StoredGpt2 stored = load_gpt2(f.folder / "saved");
  const auto ids = stored.tokenizer->encode("a text");
  const at::Tensor batch = at::tensor(std::vector<int64_t>(ids.begin(), ids.end())).unsqueeze(0);
  task.module().eval();
  REQUIRE(at::equal(stored.model->forward(batch), dynamic_cast<Gpt2Impl&>(task.module()).forward(batch)));
  checkpoint.state = {{"config", "[task]\nkind = \"rollout\"\n"}};
  training::save_training_checkpoint(f.folder / "other", checkpoint);
  REQUIRE_THROWS_WITH(load_gpt2(f.folder / "other"), Contains("language-model"));
  checkpoint.state = {{"config", "[task]\nkind = \"language-model\"\n"}};
  checkpoint.constants.clear();
  training::save_training_checkpoint(f.folder / "bare", checkpoint);
  REQUIRE_THROWS_AS(load_gpt2(f.folder / "bare"), DataError);
}

TEST_CASE("tokens that do not fit the model are refused") {
  Fixture f;
  REQUIRE_THROWS_WITH(f.task(model(length, 200)), Contains("257") && Contains("200"));
  LanguageModelOptions options;
  options.tokens = f.folder / "tokens";
  options.length = 17;
  REQUIRE_THROWS_WITH(LanguageModelTask(options, model()), Contains("task.length is 17"));
  write_token_folder(f.folder / "short", "a short text", "b");
  options.tokens = f.folder / "short";
  options.length = 0;
  REQUIRE_THROWS_WITH(LanguageModelTask(options, model()), Contains("12 tokens, expected at least 17"));
}

TEST_CASE("results of a language model hold its metrics and a continued prompt") {
  Fixture f;
  auto task = f.task(model(64, 300));  // more tokens than the tokenizer has: those are never written
  task.write_results(f.folder / "results");
  REQUIRE(std::filesystem::file_size(f.folder / "results/metrics.json") > 0);
  REQUIRE(std::filesystem::file_size(f.folder / "results/samples.md") > 0);
}
