// monarch train: pre-training of BERT, and its fine-tuning on GLUE.

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "monarch/core/error.hpp"
#include "monarch/core/log.hpp"
#include "monarch/core/text.hpp"
#include "monarch/experiments/language/bert_pretraining_task.hpp"
#include "monarch/experiments/language/glue_task.hpp"
#include "train.hpp"

namespace monarch::apps {
namespace {

class BertJob final : public TrainingJob {
 public:
  explicit BertJob(std::unique_ptr<experiments::BertPretrainingTask> task) : task_(std::move(task)) {}

  training::Task& task() override { return *task_; }
  std::string describe() const override { return task_->model().bert->describe(); }
  int64_t parameters(bool) const override { return parameter_numbers(task_->model()); }
  const training::Metrics& test_metrics() override { return task_->test_metrics(); }
  std::string test_text() override {
    const auto& m = test_metrics();
    return fmt::format("loss {:.4f} of held-out text: {:.4f} for masked tokens ({:.1f} % right), {:.4f} for pairs ({:.1f} %)",
                       metric(m, "loss"), metric(m, "mlm_loss"), 100 * metric(m, "mlm_accuracy"), metric(m, "nsp_loss"),
                       100 * metric(m, "nsp_accuracy"));
  }
  void add_to(nlohmann::ordered_json& result) override {
    result["macs"] = task_->macs_per_sample();
    const auto& examples = task_->training_examples();
    result["examples"] = {{"training", examples.size()},
                          {"validation", task_->validation_examples().size()},
                          {"documents", examples.documents()},
                          {"sentences", examples.sentences()},
                          {"random_share", examples.random_share()}};
    result["test_split"] = "validation: token sets have no third one";
  }

 private:
  std::unique_ptr<experiments::BertPretrainingTask> task_;
};

class GlueJob final : public TrainingJob {
 public:
  GlueJob(std::unique_ptr<experiments::GlueTask> task, std::string name)
      : task_(std::move(task)), name_(std::move(name)) {}

  training::Task& task() override { return *task_; }
  std::string describe() const override { return task_->model().bert->describe() + ", " + name_; }
  int64_t parameters(bool) const override { return parameter_numbers(task_->model()); }
  const training::Metrics& test_metrics() override { return task_->test_metrics(); }
  std::string test_text() override {
    std::string text = fmt::format("{}: score {:.1f} on the dev set", name_, metric(test_metrics(), "score"));
    for (const auto& [name, value] : test_metrics())
      if (name != "score" && name != "error") text += fmt::format(", {} {:.4f}", name, value);
    return text;
  }
  void add_to(nlohmann::ordered_json& result) override {
    result["task"] = name_;
    result["macs"] = task_->macs_per_sample();
    result["mean_tokens"] = task_->mean_length();
    result["truncated"] = task_->truncated();
    result["milliseconds_per_example"] = task_->milliseconds_per_example();
    result["test_split"] = "dev: GLUE's test sets have no labels";
  }

 private:
  std::unique_ptr<experiments::GlueTask> task_;
  std::string name_;
};

void refuse_float64(const JobSetting& s) {
  check<ConfigError>(s.trainer.precision != "float64", s.config.name() + ": training.precision = \"float64\"",
                     "text models are float32: take float32 or bfloat16");
}

}  // namespace

std::unique_ptr<TrainingJob> make_bert_job(const JobSetting& s) {
  Config& config = s.config;
  const auto options = experiments::BertPretrainingOptions::from_config(config);
  check_rest(config);
  refuse_float64(s);
  const auto tokens = std::make_shared<const data::TokenSet>(options.tokens);
  const auto make_model = [&](int64_t vocabulary) {
    at::manual_seed(s.trainer.seed);
    auto model = experiments::make_bert_for_pretraining(config, vocabulary);
    config.finish();
    return model;
  };
  auto task = std::make_unique<experiments::BertPretrainingTask>(options, tokens, make_model, s.device);
  for (const auto& [name, examples] :
       {std::pair<const char*, const data::MaskedExamples&>{"training", task->training_examples()},
        {"validation", task->validation_examples()}})
    log::info(fmt::format("{} {} examples of {} documents, {} sentences; {:.1f} % of the pairs are of two documents",
                          thousands(examples.size()), name, thousands(examples.documents()),
                          thousands(examples.sentences()), 100 * examples.random_share()));
  return std::make_unique<BertJob>(std::move(task));
}

std::unique_ptr<TrainingJob> make_glue_job(const JobSetting& s) {
  Config& config = s.config;
  const auto options = experiments::GlueOptions::from_config(config);
  check_rest(config);
  refuse_float64(s);
  const auto data = experiments::GlueData::open(options);
  for (const auto& note : data.notes) log::info(note);
  const auto tokenizer = data::load_tokenizer("bert", options.vocabulary);
  const auto make_model = [&](int64_t vocabulary, int64_t labels) {
    at::manual_seed(s.trainer.seed);
    auto model = experiments::make_bert_for_classification(config, vocabulary, labels);
    config.finish();
    return model;
  };
  auto task = std::make_unique<experiments::GlueTask>(options, data, *tokenizer, make_model, s.device);
  log::info(fmt::format("{}: {} training examples of {:.1f} tokens on average, {} dev, {} test", options.task->name,
                        thousands(task->training_size()), task->mean_length(),
                        data.dev.front().examples.size() + (data.dev.size() > 1 ? data.dev[1].examples.size() : 0),
                        data.test.empty() ? 0 : data.test.front().examples.size()));
  if (task->truncated() > 0)
    log::info(fmt::format("{} examples are longer than data.length = {} tokens and were cut", task->truncated(),
                          options.length));
  return std::make_unique<GlueJob>(std::move(task), options.task->name);
}

}  // namespace monarch::apps
