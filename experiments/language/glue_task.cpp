#include "monarch/experiments/language/glue_task.hpp"

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
#include "monarch/core/rng.hpp"
#include "monarch/experiments/language/glue_metrics.hpp"
#include "monarch/experiments/language/length_batches.hpp"
#include "monarch/training/evaluation_mode.hpp"

namespace fs = std::filesystem;

namespace monarch::experiments {
namespace {

/// Where a vocabulary lies beside a model's weights: a folder of HuggingFace, a file in one, or a run of ours.
fs::path vocabulary_beside(const fs::path& weights) {
  std::error_code ignored;
  const fs::path folder = fs::is_directory(weights, ignored) ? weights : weights.parent_path();
  for (const fs::path& place : {folder, folder / "results"})
    for (const char* name : {"vocab.txt", "tokenizer.json"})
      if (fs::exists(place / name, ignored)) return place;
  return {};
}

void note_skipped(const data::GlueFile& file, std::vector<std::string>& notes) {
  if (file.cut_off > 0)
    notes.push_back(fmt::format("{}: {} rows with columns missing, left out", file.name, file.cut_off));
  if (file.blank > 0) notes.push_back(fmt::format("{}: {} blank lines, left out", file.name, file.blank));
}

void check_labelled(const data::GlueFile& file, const char* purpose) {
  check<DataError>(
      file.labelled, [&] { return fmt::format("{}: has no column of labels, {}", file.name, purpose); },
      "files of the test split go under data.test");
}

/// The examples with the smallest draws of Rng(seed, "<what> <line>"), in the order of the file.
std::vector<data::GlueExample> drawn(const std::vector<data::GlueExample>& examples, size_t count, uint64_t seed,
                                     const std::string& what, std::vector<data::GlueExample>* rest) {
  std::vector<std::pair<double, size_t>> draws;
  for (size_t i = 0; i < examples.size(); ++i)
    draws.emplace_back(Rng(seed, fmt::format("{} {}", what, examples[i].line)).uniform(), i);
  std::sort(draws.begin(), draws.end());
  std::vector<bool> taken(examples.size(), false);
  for (size_t i = 0; i < count; ++i) taken[draws[i].second] = true;
  std::vector<data::GlueExample> kept;
  for (size_t i = 0; i < examples.size(); ++i) {
    if (taken[i])
      kept.push_back(examples[i]);
    else if (rest)
      rest->push_back(examples[i]);
  }
  return kept;
}

std::vector<std::string> files_in(const fs::path& folder, const std::vector<std::string>& names, bool all) {
  std::vector<std::string> files;
  std::error_code ignored;
  if (folder.empty()) return files;
  for (const auto& name : names)
    if (all || fs::exists(folder / name, ignored)) files.push_back(folder / name);
  return files;
}

}  // namespace

GlueOptions GlueOptions::from_config(const Config& config) {
  GlueOptions o;
  o.task = &data::glue_task(config.text("task.name"));
  o.evaluation_batch = config.integer_at_least("task.evaluation_batch", o.evaluation_batch, 1);
  o.folder = config.text("data.folder", "");
  o.hold_out = config.number_between("data.hold_out", 0, 0, 0.9);
  o.train = config.text("data.train", o.folder.empty() ? "" : (o.folder / "train.tsv").string());
  o.dev = config.texts("data.dev", o.hold_out > 0 ? std::vector<std::string>{} : files_in(o.folder, o.task->dev, true));
  o.test = config.texts("data.test", files_in(o.folder, o.task->test, false));
  o.train_examples = config.integer_at_least("data.train_examples", 0, 0);
  o.seed = static_cast<uint64_t>(config.integer_at_least("data.seed", 0, 0));
  o.length = config.integer_at_least("data.length", o.length, 5);
  check<ConfigError>(!o.train.empty(), config.name() + ": neither data.folder nor data.train says where the data are",
                     "data.folder is the task's folder of the GLUE archive, with train.tsv and dev.tsv");
  check<ConfigError>(o.hold_out > 0 || !o.dev.empty(), config.name() + ": no dev set",
                     "name its files in data.dev, or hold out a share of the training file with data.hold_out");
  check<ConfigError>(o.hold_out == 0 || o.dev.empty(), config.name() + ": data.dev beside data.hold_out",
                     "the share held out is the dev set");
  check<ConfigError>(o.dev.size() <= o.task->dev.size() && o.test.size() <= o.task->test.size(), [&] {
    return fmt::format("{}: {} files in data.dev and {} in data.test, {} has at most {} of each", config.name(),
                       o.dev.size(), o.test.size(), o.task->name, o.task->dev.size());
  });
  o.vocabulary = config.text("data.vocabulary", "");
  const std::string weights = config.text("model.weights", "");
  if (o.vocabulary.empty() && !weights.empty()) o.vocabulary = vocabulary_beside(weights);
  check<ConfigError>(!o.vocabulary.empty(),
                     config.name() + ": no vocabulary: data.vocabulary is absent" +
                         (weights.empty() ? "" : ", and no vocab.txt lies beside " + weights),
                     "data.vocabulary is the folder of BERT's vocab.txt");
  return o;
}

GlueData GlueData::open(const GlueOptions& options) {
  GlueData data;
  data.train = data::read_glue(*options.task, options.train);
  check_labelled(data.train, "to train on");
  note_skipped(data.train, data.notes);
  for (const auto& file : options.dev) {
    data.dev.push_back(data::read_glue(*options.task, file));
    check_labelled(data.dev.back(), "to evaluate on");
    note_skipped(data.dev.back(), data.notes);
  }
  for (const auto& file : options.test) {
    data.test.push_back(data::read_glue(*options.task, file));
    note_skipped(data.test.back(), data.notes);
  }
  auto& examples = data.train.examples;
  if (options.hold_out > 0) {
    const auto count = static_cast<size_t>(std::lround(options.hold_out * static_cast<double>(examples.size())));
    check<ConfigError>(count > 0 && count < examples.size(), [&] {
      return fmt::format("{}: data.hold_out = {} of {} examples leaves none", data.train.name, options.hold_out,
                         examples.size());
    });
    data::GlueFile dev = data.train;
    std::vector<data::GlueExample> rest;
    dev.examples = drawn(examples, count, options.seed, "hold out", &rest);
    examples = std::move(rest);
    data.notes.push_back(
        fmt::format("{}: {} of {} examples held out as the dev set", dev.name, count, count + examples.size()));
    data.dev.push_back(std::move(dev));
  }
  if (const auto most = static_cast<size_t>(options.train_examples); most > 0 && most < examples.size()) {
    data.notes.push_back(
        fmt::format("{}: {} of {} training examples are used", data.train.name, most, examples.size()));
    examples = drawn(examples, most, options.seed, "subset", nullptr);
  }
  return data;
}

GlueTask::GlueTask(const GlueOptions& options, const GlueData& data, const data::Tokenizer& tokenizer,
                   const MakeModel& make_model, at::Device device)
    : options_(options),
      pad_(data::PairSymbols::of(tokenizer, options.vocabulary.string()).pad),
      train_(encode(data.train, tokenizer)),
      device_(device) {
  for (const auto& file : data.dev) dev_.push_back(encode(file, tokenizer));
  for (const auto& file : data.test) test_.push_back(encode(file, tokenizer));
  model_ = make_model(tokenizer.size(), options_.task->outputs());
  const int64_t positions = model_->bert->options().positions;
  check<ConfigError>(
      options_.length <= positions,
      [&] { return fmt::format("data.length is {}, the model has {} positions", options_.length, positions); },
      fmt::format("set data.length to {} at most: longer texts are cut, and counted", positions));
  model_->to(device_);
}

GlueTask::Split GlueTask::encode(const data::GlueFile& file, const data::Tokenizer& tokenizer) {
  auto encoding = data::encode_glue(file.examples, tokenizer, options_.length);
  truncated_ += encoding.truncated;
  Split split{.name = file.name, .pairs = std::move(encoding.pairs), .labels = {}, .indices = {}, .lines = {}};
  for (const auto& example : file.examples) {
    split.labels.push_back(example.label);
    split.indices.push_back(example.index);
    split.lines.push_back(example.line);
  }
  return split;
}

std::string GlueTask::describe_samples(std::span<const int64_t> ids) const {
  std::vector<int64_t> lines;
  for (const int64_t id : ids) lines.push_back(train_.lines[static_cast<size_t>(id)]);
  return fmt::format("lines {} of {}", fmt::join(lines, ", "), train_.name);
}

double GlueTask::mean_length() const {
  double tokens = 0;
  for (const auto& pair : train_.pairs) tokens += static_cast<double>(pair.tokens.size());
  return tokens / static_cast<double>(train_.pairs.size());
}

at::Tensor GlueTask::logits(const Split& split, std::span<const int64_t> ids) {
  std::vector<data::SentencePair> pairs;
  for (const int64_t id : ids) pairs.push_back(split.pairs[static_cast<size_t>(id)]);
  const data::PairBatch batch = data::pad_pairs(pairs, pad_);
  return model_->forward(batch.ids.to(device_), batch.types.to(device_), batch.mask.to(device_)).to(at::kFloat);
}

at::Tensor GlueTask::loss(const at::Tensor& logits, const Split& split, std::span<const int64_t> ids) const {
  std::vector<double> labels;
  for (const int64_t id : ids) labels.push_back(split.labels[static_cast<size_t>(id)]);
  const at::Tensor truth = at::tensor(labels, at::kFloat).to(device_);
  if (options_.task->regression()) return at::mse_loss(logits.squeeze(1), truth, at::Reduction::Sum);
  return at::cross_entropy_loss(logits, truth.to(at::kLong), {}, at::Reduction::Sum);
}

double GlueTask::accumulate_gradients(std::span<const int64_t> ids, double weight, const training::Step&) {
  const at::AutoGradMode on(true);
  const at::Tensor value = loss(logits(train_, ids), train_, ids);
  torch::autograd::backward({value}, {at::full_like(value, weight)});
  return value.item<double>();
}

GlueTask::Predictions GlueTask::predict(const Split& split) {
  std::vector<int64_t> all(split.pairs.size());
  std::iota(all.begin(), all.end(), 0);
  const auto length = [&](int64_t id) {
    return static_cast<int64_t>(split.pairs[static_cast<size_t>(id)].tokens.size());
  };
  Predictions predictions;
  predictions.values.resize(all.size());
  for (const auto& ids : batches_by_length(all, length, options_.evaluation_batch)) {
    const at::Tensor outputs = logits(split, ids);
    predictions.loss += loss(outputs, split, ids).item<double>() / static_cast<double>(all.size());
    const at::Tensor values =
        (options_.task->regression() ? outputs.squeeze(1) : outputs.argmax(1)).to(at::kDouble).cpu().contiguous();
    for (size_t i = 0; i < ids.size(); ++i)
      predictions.values[static_cast<size_t>(ids[i])] = values.const_data_ptr<double>()[i];
  }
  return predictions;
}

training::Metrics GlueTask::evaluate() {
  training::Metrics metrics;
  std::vector<double> values;
  double loss = 0;
  for (size_t i = 0; i < dev_.size(); ++i) {
    const Predictions predictions = predict(dev_[i]);
    loss += predictions.loss / static_cast<double>(dev_.size());
    for (const auto metric : options_.task->metrics) {
      values.push_back(glue_metric(metric, predictions.values, dev_[i].labels));
      metrics.emplace_back(data::glue_metric_name(metric) + (i > 0 ? "_mm" : ""), values.back());
    }
  }
  const double score = glue_task_score(*options_.task, values);
  metrics.emplace_back("loss", loss);
  metrics.emplace_back("score", score);
  metrics.emplace_back("error", 100 - score);
  return metrics;
}

const training::Metrics& GlueTask::test_metrics() {
  if (test_metrics_) return *test_metrics_;
  const training::EvaluationMode mode(*model_);
  const auto start = std::chrono::steady_clock::now();
  test_metrics_ = evaluate();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  size_t examples = 0;
  for (const Split& split : dev_) examples += split.pairs.size();
  milliseconds_ = 1e3 * seconds / static_cast<double>(examples);
  return *test_metrics_;
}

void GlueTask::write_predictions(const fs::path& file, const Split& split, const Predictions& predictions) const {
  std::string text = "index\tprediction\n";
  for (size_t i = 0; i < split.indices.size(); ++i) {
    const double value = predictions.values[i];
    text += split.indices[i] + "\t";
    text += options_.task->regression() ? fmt::format("{:.3f}", std::clamp(value, 0.0, 5.0))
                                        : options_.task->labels[static_cast<size_t>(value)];
    text += "\n";
  }
  fs::create_directories(file.parent_path());
  write_file_atomically(file, text);
}

void GlueTask::write_results(const fs::path& folder) {
  fs::create_directories(folder);
  nlohmann::ordered_json json;
  for (const auto& [name, value] : test_metrics()) json[name] = std::isfinite(value) ? nlohmann::json(value) : nullptr;
  write_file_atomically(folder / "metrics.json", json.dump(2) + "\n");
  const training::EvaluationMode mode(*model_);
  const auto& names = options_.task->submissions;
  for (size_t i = 0; i < dev_.size(); ++i) write_predictions(folder / "dev" / names[i], dev_[i], predict(dev_[i]));
  for (size_t i = 0; i < test_.size(); ++i) write_predictions(folder / "test" / names[i], test_[i], predict(test_[i]));
}

}  // namespace monarch::experiments
