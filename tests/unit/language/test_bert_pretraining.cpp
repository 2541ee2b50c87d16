#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>

#include "monarch/core/error.hpp"
#include "monarch/experiments/language/bert_pretraining_task.hpp"
#include "monarch/experiments/language/length_batches.hpp"
#include "monarch/training/trainer.hpp"
#include "monarch/training/evaluation_mode.hpp"
#include "support/support.hpp"
#include "unit/text/text_files.hpp"
#include "unit/text/word_documents.hpp"

using namespace monarch;
using namespace monarch::test;
using Catch::Matchers::Contains;
using experiments::BertPretrainingTask;

namespace {

experiments::BertPretrainingOptions small_options() {
  experiments::BertPretrainingOptions options;
  options.tokens = "made up";
  options.examples.length = 32;
  options.examples.predictions = 5;
  return options;
}

std::shared_ptr<experiments::BertForPreTrainingImpl> small_model(int64_t vocabulary) {
  at::manual_seed(1);
  experiments::BertOptions o;
  o.vocabulary = vocabulary;
  o.positions = 32;
  o.width = 16;
  o.depth = 1;
  o.heads = 2;
  o.dropout = o.attention_dropout = 0;
  return std::make_shared<experiments::BertForPreTrainingImpl>(o);
}

double value(const training::Metrics& metrics, const std::string& name) {
  for (const auto& [key, number] : metrics)
    if (key == name) return number;
  return std::nan("");
}

std::vector<at::Tensor> gradients(BertPretrainingTask& task, const std::vector<std::vector<int64_t>>& batches,
                                  double* loss = nullptr) {
  task.module().zero_grad();
  double sum = 0;
  for (const auto& ids : batches) sum += task.accumulate_gradients(ids, 0.25, {.seed = 3, .epoch = 2});
  if (loss) *loss = sum;
  std::vector<at::Tensor> list;
  for (const at::Tensor& p : task.module().parameters())
    list.push_back(p.grad().defined() ? p.grad().clone() : at::zeros_like(p));
  return list;
}

}  // namespace

TEST_CASE("the pre-training loss is that of full logits at the masked places, and does not depend on batching") {
  const TemporaryFolder folder;
  const auto tokens = token_set(folder.path(), random_documents(6, 8), random_documents(3, 4));
  BertPretrainingTask task(small_options(), tokens, small_model);
  double whole_loss = 0, split_loss = 0;
  const auto whole = gradients(task, {{0, 3, 5, 1}}, &whole_loss);
  const auto parts = gradients(task, {{5, 1}, {0}, {3}}, &split_loss);
  REQUIRE(std::abs(whole_loss - split_loss) <= 1e-5 * std::abs(whole_loss));
  for (size_t i = 0; i < whole.size(); ++i) REQUIRE((whole[i] - parts[i]).abs().max().item<double>() <= 1e-5);

  // By the definition, from logits of every place.
  const std::vector<int64_t> ids{0, 3, 5, 1};
  const auto& examples = task.training_examples();
  double mean_guesses = 0;
  for (int64_t id = 0; id < examples.size(); ++id)
    mean_guesses += static_cast<double>(examples.guesses(id)) / static_cast<double>(examples.size());
  const auto batch = examples.batch(ids, 3, "2");
  const auto model = std::dynamic_pointer_cast<experiments::BertForPreTrainingImpl>(task.module().shared_from_this());
  const at::Tensor features = model->bert->features(batch.pairs.ids, batch.pairs.types, batch.pairs.mask);
  const at::Tensor logits = at::linear(model->masked_features(features), model->decoder_weight(), model->decoder_bias());
  at::Tensor targets = at::full_like(batch.pairs.ids, -100).flatten();
  targets.index_copy_(0, batch.positions, batch.targets);
  const at::Tensor plain =
      at::cross_entropy_loss(logits.flatten(0, 1), targets, {}, at::Reduction::Sum) / mean_guesses +
      at::cross_entropy_loss(model->next_sentence(model->bert->pooled(features)), batch.random, {}, at::Reduction::Sum);
  REQUIRE(std::abs(plain.item<double>() - whole_loss) <= 1e-5 * whole_loss);
  task.module().zero_grad();
  (plain * 0.25).backward();
  size_t i = 0;
  for (const at::Tensor& p : task.module().parameters()) {
    const at::Tensor expected = p.grad().defined() ? p.grad() : at::zeros_like(p);
    REQUIRE((whole[i] - expected).abs().max().item<double>() <= 1e-5 * std::max(1.0, expected.abs().max().item<double>()));
    ++i;
  }
}

TEST_CASE("pre-training metrics do not depend on the evaluation batch, and masks of validation never change") {
  const TemporaryFolder folder;
  const auto tokens = token_set(folder.path(), random_documents(4, 6), random_documents(8, 6));
  auto options = small_options();
  BertPretrainingTask one(options, tokens, small_model);
  options.evaluation_batch = 3;
  BertPretrainingTask other(options, tokens, small_model);
  const training::EvaluationMode mode(one.module()), other_mode(other.module());
  const auto a = one.evaluate(), b = other.evaluate(), again = one.evaluate();
  REQUIRE(a == again);
  for (const char* name : {"loss", "mlm_loss", "mlm_accuracy", "nsp_loss", "nsp_accuracy"})
    REQUIRE(std::abs(value(a, name) - value(b, name)) <= 1e-5 * std::abs(value(a, name)));
  REQUIRE(std::abs(value(a, "loss") - value(a, "mlm_loss") - value(a, "nsp_loss")) <= 1e-12);
  // Fresh weights know nothing: about log(vocabulary) and log 2.
  REQUIRE(std::abs(value(a, "mlm_loss") - std::log(448.0)) <= 0.2);
  REQUIRE(std::abs(value(a, "nsp_loss") - std::log(2.0)) <= 0.1);
}

TEST_CASE("pre-training learns text that can be foreseen, and shows its guesses") {
  const TemporaryFolder folder;
  // Documents repeat one word each: a masked one is known from its neighbours, and so is whether b follows.
  std::vector<data::TokenIds> documents;
  for (int32_t word = 0; word < 8; ++word) {
    auto& document = documents.emplace_back();
    for (int i = 0; i < 40; ++i) {
      document.insert(document.end(), 4, first_word + word);
      document.push_back(full_stop);
    }
  }
  const auto tokens = token_set(folder / "tokens", documents, documents);
  BertPretrainingTask task(small_options(), tokens, small_model);
  const Config config = Config::parse(R"(
[training]
steps = 400
evaluate_steps = 400
batch = 16
clip_norm = 1.0
[training.optimiser]
learning_rate = 1e-2
weight_decay = 0
[training.schedule]
kind = "linear"
warmup_steps = 10
)");
  const auto options = training::TrainerOptions::from_config(config);
  const auto result = training::train(task, options, config, folder / "run", false);
  REQUIRE(value(result.best_metrics, "mlm_accuracy") >= 0.9);
  REQUIRE(value(result.best_metrics, "mlm_loss") <= 0.5);
  const std::string guesses = file_text(folder / "run/results/guesses.txt");
  REQUIRE_THAT(guesses, Contains("[CLS] ") && Contains("{w3 > w3}"));
  REQUIRE(data::load_tokenizer("bert", folder / "run/results")->size() == tokens->info().vocabulary);
}

TEST_CASE("examples longer than the model are refused") {
  const TemporaryFolder folder;
  const auto tokens = token_set(folder.path(), random_documents(4, 6), random_documents(4, 6));
  auto options = small_options();
  options.examples.length = 33;
  REQUIRE_THROWS_WITH(BertPretrainingTask(options, tokens, small_model), Contains("data.length is 33, the model has 32"));
  const auto config = Config::parse("[data]\ntokens = \"a\"\nlength = 512\n");
  REQUIRE(experiments::BertPretrainingOptions::from_config(config).examples.predictions == 80);
}
