// monarch train: language models.

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <utility>

#include "monarch/core/error.hpp"
#include "monarch/core/log.hpp"
#include "monarch/core/text.hpp"
#include "monarch/experiments/language/language_model_task.hpp"
#include "train.hpp"

namespace monarch::apps {
namespace {

class LanguageModelJob final : public TrainingJob {
 public:
  explicit LanguageModelJob(std::unique_ptr<experiments::LanguageModelTask> task) : task_(std::move(task)) {}

  training::Task& task() override { return *task_; }
  std::string describe() const override { return task_->model().describe(); }
  int64_t parameters(bool) const override { return parameter_numbers(task_->model()); }
  const training::Metrics& test_metrics() override { return task_->test_metrics(); }
  std::string test_text() override {
    const auto& m = test_metrics();
    return fmt::format("perplexity {:.2f} of {} tokens, {:.4f} nats a token, {:.4f} bits a byte",
                       metric(m, "perplexity"), thousands(task_->test().predicted()), metric(m, "loss"),
                       metric(m, "bits_per_byte"));
  }
  void add_to(nlohmann::ordered_json& result) override {
    const int64_t length = task_->train().length();
    const auto macs = task_->macs_per_token();
    result["macs_per_token"] = {{"blocks", macs.blocks}, {"output", macs.output}, {"all", macs.all()}};
    result["tokens"] = {
        {"window", length}, {"training_windows", task_->train().size()}, {"test", task_->test().predicted()}};
    result["metric_definitions"] = {
        {"loss",
         "mean negative log-likelihood of the next token, nats; windows that do not overlap, every token of "
         "the split but the first"},
        {"perplexity", "exp(loss)"},
        {"bits_per_byte", "loss / log 2, divided by the bytes of text per token of the split"}};
  }

 private:
  std::unique_ptr<experiments::LanguageModelTask> task_;
};

}  // namespace

std::unique_ptr<TrainingJob> make_language_model_job(const JobSetting& s) {
  Config& config = s.config;
  const auto options = experiments::LanguageModelOptions::from_config(config);
  check_rest(config);
  const data::TokenSetInfo info = data::TokenSet(options.tokens).info();
  at::manual_seed(s.trainer.seed);
  auto model = experiments::make_gpt2(config, config.integer_at_least("model.vocabulary", info.vocabulary, 1));
  config.finish();
  if (s.trainer.precision == "float64") model->to(at::kDouble);
  auto task = std::make_unique<experiments::LanguageModelTask>(options, std::move(model), s.device);
  log::info(fmt::format("{}: {} training windows of {} tokens, {} validation tokens, {} test tokens", options.tokens,
                        thousands(task->train().size()), task->train().length(),
                        thousands(task->validation().predicted()), thousands(task->test().predicted())));
  return std::make_unique<LanguageModelJob>(std::move(task));
}

}  // namespace monarch::apps
