#include <ATen/ATen.h>
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <set>

#include "monarch/core/error.hpp"
#include "monarch/experiments/language/length_batches.hpp"
#include "monarch/experiments/language/glue_metrics.hpp"
#include "monarch/experiments/language/glue_task.hpp"
#include "monarch/training/trainer.hpp"
#include "monarch/training/evaluation_mode.hpp"
#include "support/support.hpp"
#include "unit/text/text_files.hpp"

using namespace monarch;
using namespace monarch::test;
using Catch::Matchers::Contains;
using experiments::GlueData;
using experiments::GlueOptions;

namespace {

const std::string vocabulary = (golden_tokenizers / "bert").string();

GlueOptions options_of(const std::string& toml) {
  return GlueOptions::from_config(Config::parse(toml + "\nvocabulary = \"" + vocabulary + "\"\n"));
}

std::shared_ptr<experiments::BertForClassificationImpl> small_model(int64_t tokens, int64_t labels) {
  at::manual_seed(2);
  experiments::BertOptions o;
  o.vocabulary = tokens;
  o.positions = 24;
  o.width = 16;
  o.depth = 1;
  o.heads = 2;
  o.dropout = o.attention_dropout = 0;
  return std::make_shared<experiments::BertForClassificationImpl>(o, labels);
}

experiments::GlueTask make_task(GlueOptions options) {
  options.length = 24;
  const auto tokenizer = data::load_tokenizer("bert", options.vocabulary);
  return {options, GlueData::open(options), *tokenizer, small_model};
}

double value(const training::Metrics& metrics, const std::string& name) {
  for (const auto& [key, number] : metrics)
    if (key == name) return number;
  return std::nan("");
}

/// A row for each i: the sentence has the letter b where the label is 1, and i letters a.
std::string wnli(int64_t rows, bool labels = true) {
  std::string text = labels ? "index\tsentence1\tsentence2\tlabel\n" : "index\tsentence1\tsentence2\n";
  for (int64_t i = 0; i < rows; ++i) {
    text += fmt::format("{}\t", i);
    for (int64_t k = 0; k <= i % 7; ++k) text += "a ";
    text += i % 2 ? "b\ta" : "c\ta";
    text += labels ? fmt::format("\t{}\n", i % 2) : "\n";
  }
  return text;
}

}  // namespace

TEST_CASE("fine-tuning learns a task and writes predictions for dev and test in the order of the files") {
  const TemporaryFolder folder;
  write_text(folder / "train.tsv", wnli(64));
  write_text(folder / "dev.tsv", wnli(30));
  write_text(folder / "test.tsv", wnli(9, false));
  auto task = make_task(options_of("[task]\nname = \"wnli\"\n[data]\nfolder = \"" + folder.path().string() + "\""));
  const Config config = Config::parse("[training]\nepochs = 12\nbatch = 8\noptimiser.learning_rate = 1e-2\n");
  const auto result =
      training::train(task, training::TrainerOptions::from_config(config), config, folder / "run", false);
  REQUIRE(value(result.best_metrics, "accuracy") == 1);
  REQUIRE(value(result.best_metrics, "score") == 100);
  REQUIRE(value(result.best_metrics, "error") == 0);
  for (const auto& [name, rows] : {std::pair<std::string, int64_t>{"dev", 30}, {"test", 9}}) {
    std::string expected = "index\tprediction\n";
    for (int64_t i = 0; i < rows; ++i) expected += fmt::format("{}\t{}\n", i, i % 2);
    REQUIRE(file_text(folder / "run/results" / name / "WNLI.tsv") == expected);
  }
}

TEST_CASE("gradients of a GLUE task do not depend on batching, and evaluation not on its batch") {
  const TemporaryFolder folder;
  std::string text = "index\tsentence1\tsentence2\tscore\n";
  for (int i = 0; i < 12; ++i) text += fmt::format("{}\t{} b\tb\t{}\n", i, std::string(2 * i + 1, 'a'), i % 6);
  write_text(folder / "train.tsv", text);
  write_text(folder / "dev.tsv", text);
  const std::string toml = "[task]\nname = \"STS-B\"\nevaluation_batch = BATCH\n[data]\nfolder = \"" + folder.path().string() + "\"";
  const auto with_batch = [&](const std::string& batch) {
    return make_task(options_of(toml.substr(0, toml.find("BATCH")) + batch + toml.substr(toml.find("BATCH") + 5)));
  };
  auto one = with_batch("32"), other = with_batch("5");
  const auto gradient = [](experiments::GlueTask& task, const std::vector<std::vector<int64_t>>& batches) {
    task.module().zero_grad();
    for (const auto& ids : batches) task.accumulate_gradients(ids, 0.5, {});
    std::vector<at::Tensor> flat;
    for (const at::Tensor& p : task.module().parameters()) flat.push_back(p.grad().flatten());
    return at::cat(flat);
  };
  REQUIRE(relative_error(gradient(one, {{0, 7}, {3}}), gradient(one, {{3, 0, 7}})) <= 1e-5);
  const training::EvaluationMode a(one.module()), b(other.module());
  REQUIRE(std::abs(value(one.evaluate(), "loss") - value(other.evaluate(), "loss")) <= 1e-4);
  REQUIRE(value(one.evaluate(), "error") == Approx(100 - value(one.evaluate(), "score")));
}

TEST_CASE("held-out examples are drawn by seed and line, and never trained on") {
  const TemporaryFolder folder;
  write_text(folder / "dev.tsv", wnli(100));
  const std::string toml = "[task]\nname = \"WNLI\"\n[data]\nhold_out = 0.25\ntrain = \"" + (folder / "dev.tsv").string() + "\"\n";
  const auto lines = [](const data::GlueFile& file) {
    std::set<int64_t> set;
    for (const auto& example : file.examples) set.insert(example.line);
    return set;
  };
  const auto first = GlueData::open(options_of(toml)), again = GlueData::open(options_of(toml));
  REQUIRE(first.dev.at(0).examples.size() == 25);
  REQUIRE(first.train.examples.size() == 75);
  REQUIRE(lines(first.dev[0]) == lines(again.dev[0]));
  auto all = lines(first.train);
  all.merge(lines(first.dev[0]));
  REQUIRE(all.size() == 100);
  REQUIRE(lines(GlueData::open(options_of(toml + "seed = 1")).dev[0]) != lines(first.dev[0]));
  const auto fewer = GlueData::open(options_of(toml + "train_examples = 10"));
  REQUIRE(fewer.train.examples.size() == 10);
  REQUIRE(lines(fewer.dev[0]) == lines(first.dev[0]));
}

TEST_CASE("MNLI is evaluated on both dev files") {
  const TemporaryFolder folder;
  std::string text = "index\tsentence1\tsentence2\tgold_label\n";
  for (int i = 0; i < 6; ++i) text += fmt::format("{}\ta\tb\t{}\n", i, i % 2 ? "neutral" : "contradiction");
  for (const char* name : {"train.tsv", "dev_matched.tsv"}) write_text(folder / name, text);
  write_text(folder / "dev_mismatched.tsv", text + "6\ta\tb\tneutral\n");
  auto task = make_task(options_of("[task]\nname = \"MNLI\"\n[data]\nfolder = \"" + folder.path().string() + "\""));
  const auto metrics = task.test_metrics();
  const double m = value(metrics, "accuracy"), mm = value(metrics, "accuracy_mm");
  REQUIRE(value(metrics, "score") == Approx(50 * (m + mm)));
  task.write_results(folder / "results");
  REQUIRE(std::filesystem::exists(folder / "results/dev/MNLI-mm.tsv"));
}

TEST_CASE("settings of a GLUE task that cannot work are refused") {
  const TemporaryFolder folder;
  write_text(folder / "train.tsv", wnli(4));
  write_text(folder / "dev.tsv", wnli(4, false));
  const std::string here = folder.path().string();
  const std::string start = "[task]\nname = \"WNLI\"\n[data]\n";
  REQUIRE_THROWS_WITH(GlueData::open(options_of(start + "folder = \"" + here + "\"")), Contains("has no column of labels"));
  REQUIRE_THROWS_WITH(options_of(start), Contains("neither data.folder nor data.train"));
  REQUIRE_THROWS_WITH(options_of(start + "train = \"a\""), Contains("no dev set"));
  REQUIRE_THROWS_WITH(options_of(start + "train = \"a\"\ndev = [\"b\"]\nhold_out = 0.1"), Contains("data.dev beside data.hold_out"));
  REQUIRE_THROWS_WITH(options_of(start + "train = \"a\"\ndev = [\"b\", \"c\"]"), Contains("2 files in data.dev"));
  REQUIRE_THROWS_WITH(options_of("[task]\nname = \"WNLY\"\n[data]\n"), Contains("did you mean 'WNLI'?"));
  REQUIRE_THROWS_WITH(GlueOptions::from_config(Config::parse(start + "folder = \"x\"\n[model]\nweights = \"" + here + "\"\n")),
                      Contains("no vocab.txt lies beside"));
  auto options = options_of(start + "train = \"" + here + "/train.tsv\"\nhold_out = 0.5\nlength = 25");
  const auto tokenizer = data::load_tokenizer("bert", vocabulary);
  REQUIRE_THROWS_WITH(experiments::GlueTask(options, GlueData::open(options), *tokenizer, small_model),
                      Contains("data.length is 25, the model has 24 positions"));
}

TEST_CASE("batches by length hold every id once, neighbours in length together") {
  const std::vector<int64_t> lengths{3, 9, 4, 9, 1};
  const auto batches = experiments::batches_by_length({0, 1, 2, 3, 4}, [&](int64_t i) { return lengths[static_cast<size_t>(i)]; }, 2);
  REQUIRE(batches == std::vector<std::vector<int64_t>>{{1, 3}, {2, 0}, {4}});
  REQUIRE(experiments::batches_by_length({}, [](int64_t) { return int64_t{0}; }, 2).empty());
}
