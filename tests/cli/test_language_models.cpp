// monarch train and monarch generate with language models.
#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "monarch/data/checkpoint.hpp"
#include "monarch/data/safetensors.hpp"
#include "scans.hpp"

using namespace monarch;
using namespace monarch::test;
using Catch::Matchers::Contains;
namespace fs = std::filesystem;

namespace {

const std::string project = MONARCH_SOURCE_DIR;

void prepare(const TemporaryFolder& folder) {
  const auto result = run_monarch(folder.path(), "prepare text " + project +
                                                     "/experiments/tables/smoke/shakespeare.txt --documents paragraph "
                                                     "--validation-fraction 0.02 --tokenizer bytes -o shakespeare");
  INFO(result.errors);
  REQUIRE(result.exit_code == 0);
}

/// The quick start, smaller still.
std::string small(const std::string& more) {
  return "train " + project +
         "/experiments/gpt2_quickstart.toml --set model.width=32 --set model.depth=2 --set model.positions=48 --set "
         "task.evaluation_windows=8 --threads 1 " +
         more;
}

}  // namespace

TEST_CASE("a language model trains, resumes, says its perplexity, and continues a prompt") {
  const TemporaryFolder folder;
  prepare(folder);
  const auto trained = run_monarch(folder.path(), small("-o run --set training.steps=60 --json"));
  INFO(trained.errors);
  REQUIRE(trained.exit_code == 0);
  const auto json = nlohmann::json::parse(trained.output);
  const double loss = json["test"]["loss"], start = std::log(257.0);
  REQUIRE(loss <= start - 1);  // it has learned which letters there are
  REQUIRE(std::abs(json["test"]["perplexity"].get<double>() - std::exp(loss)) <= 1e-6);
  REQUIRE(json["macs_per_token"]["blocks"].get<double>() > 0);
  for (const auto* name : {"results/samples.md", "results/metrics.json", "results/curves.svg"})
    REQUIRE(fs::file_size(folder / "run" / name) > 0);
  const auto again = run_monarch(folder.path(), small("-o run --set training.steps=80 --resume"));
  INFO(again.errors);
  REQUIRE(again.exit_code == 0);
  REQUIRE_THAT(again.errors, Contains("resuming") && Contains("step 60"));

  // The data may go: the run has what it needs.
  fs::remove_all(folder / "shakespeare");
  const std::string generate = "generate run --prompt 'KING ' --tokens 20 --json ";
  const auto first = run_monarch(folder.path(), generate + "--seed 1");
  INFO(first.errors);
  REQUIRE(first.exit_code == 0);
  const auto text = nlohmann::json::parse(first.output);
  REQUIRE(text["prompt_tokens"] == 5);
  REQUIRE(text["tokens"].size() == 20);
  REQUIRE(text["text"].get<std::string>().size() >= 10);
  REQUIRE(nlohmann::json::parse(run_monarch(folder.path(), generate + "--seed 1").output)["text"] == text["text"]);
  REQUIRE(nlohmann::json::parse(run_monarch(folder.path(), generate + "--seed 2").output)["text"] != text["text"]);
  const auto plain = run_monarch(folder.path(), "generate run --prompt 'KING ' --tokens 20 --seed 1");
  REQUIRE_THAT(plain.output, Catch::Matchers::StartsWith("KING "));
  REQUIRE(run_monarch(folder.path(), "generate run --tokens 5").exit_code == 0);  // from <|endoftext|>
}

TEST_CASE("generate continues a text with a GPT-2 as HuggingFace stores it") {
  const TemporaryFolder folder;
  const fs::path golden = project + "/tests/golden", model = folder / "gpt2";
  fs::copy(golden / "transformers/gpt2", model);
  const std::string vocabulary = read_bytes(golden / "tokenizers/gpt2/encoder.json");
  const auto tokens = static_cast<int64_t>(nlohmann::json::parse(vocabulary).size());
  std::ofstream(model / "vocab.json") << vocabulary;
  fs::copy_file(golden / "tokenizers/gpt2/vocab.bpe", model / "merges.txt");

  // The fixture has fewer tokens than this vocabulary: weights and vocabulary of two models.
  const auto refused = run_monarch(folder.path(), "generate gpt2 --prompt a");
  REQUIRE(refused.exit_code == 3);
  REQUIRE_THAT(refused.errors, Contains(std::to_string(tokens) + " tokens, but the model has 61"));

  const auto weights = data::open_checkpoint(model);
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  at::manual_seed(1);
  for (const auto& info : weights->tensors()) {
    const bool embedding = info.name.ends_with("wte.weight");
    tensors.emplace_back(info.name, embedding ? at::randn({tokens, info.shape[1]}) : weights->load(info.name));
  }
  auto config = read_json(model / "config.json");
  config["vocab_size"] = tokens;
  std::ofstream(model / "config.json") << config;
  data::save_safetensors(model / "model.safetensors", tensors, {{"format", "pt"}});
  const auto result = run_monarch(folder.path(), "generate gpt2 --prompt 'a b' --tokens 5 --greedy --json");
  INFO(result.errors);
  REQUIRE(result.exit_code == 0);
  const auto json = nlohmann::json::parse(result.output);
  REQUIRE_THAT(json["model"].get<std::string>(), Contains("24 wide, 2 deep, 3 heads"));
  // The likeliest of the first token's logits by hand: with one position the attention passes its value on.
  const auto tokens_of = [&](const std::string& more) {
    const auto one = run_monarch(folder.path(), "generate gpt2 --tokens 5 --json --greedy " + more);
    return nlohmann::json::parse(one.output)["tokens"];
  };
  REQUIRE(json["tokens"].size() == 5);
  REQUIRE(tokens_of("--prompt 'a b'") == json["tokens"]);
  std::map<std::string, at::Tensor> w(tensors.begin(), tensors.end());
  const std::string prefix = w.contains("wte.weight") ? "" : "transformer.";
  const auto get = [&](const std::string& name) { return w.at(prefix + name); };
  const auto norm = [&](const at::Tensor& x, const std::string& name) {
    return at::layer_norm(x, {24}, get(name + ".weight"), get(name + ".bias"), 1e-5);
  };
  const auto conv = [&](const at::Tensor& x, const std::string& name) {
    return at::matmul(x, get(name + ".weight")) + get(name + ".bias");
  };
  const int64_t id = nlohmann::json::parse(vocabulary).at("a");
  at::Tensor x = get("wte.weight")[id] + get("wpe.weight")[0];
  for (const std::string block : {"h.0.", "h.1."}) {
    x = x + conv(conv(norm(x, block + "ln_1"), block + "attn.c_attn").slice(0, 48, 72), block + "attn.c_proj");
    x = x + conv(at::gelu(conv(norm(x, block + "ln_2"), block + "mlp.c_fc"), "tanh"), block + "mlp.c_proj");
  }
  const int64_t likeliest = at::mv(get("wte.weight"), norm(x, "ln_f")).argmax().item<int64_t>();
  REQUIRE(tokens_of("--prompt a").at(0) == likeliest);
}

TEST_CASE("what a language model cannot do ends in a message") {
  const TemporaryFolder folder;
  prepare(folder);
  REQUIRE(run_monarch(folder.path(), small("-o run --set training.steps=2")).exit_code == 0);
  struct Case {
    std::string arguments;
    int exit_code;
    std::string message;
  };
  const std::vector<Case> cases = {
      {"generate run --prompt \"$(printf 'a\\377')\"", 3, "not valid UTF-8"},
      {"generate run --prompt aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 2, "60 tokens"},
      {"generate run --prompt a --tokens 48", 2, "beyond the 48 positions"},
      {"generate run --prompt a --temperature 0", 2, "temperature"},
      {"generate none --prompt a", 3, "none"},
      {"generate shakespeare --prompt a", 3, "shakespeare"},
      {small("-o x --set task.length=49"), 2, "task.length is 49"},
      {small("-o x --set data.tokens=none"), 3, "none"},
      {small("-o x --set model.vocabulary=100"), 3, "vocabulary of 257"},
      {small("-o x --set task.lenght=4"), 2, "did you mean 'task.length'?"},
      {small("-o x --set task.kind=language-modle"), 2, "language-model"},
  };
  for (const auto& [arguments, exit_code, message] : cases) {
    const auto result = run_monarch(folder.path(), arguments);
    INFO(arguments << ": " << result.errors);
    REQUIRE(result.exit_code == exit_code);
    REQUIRE_THAT(result.errors, Contains(message));
    REQUIRE_FALSE(fs::exists(folder / "x/result.json"));
  }
}

TEST_CASE("the GPT-2 tables run as smoke, with published values beside ours") {
  const TemporaryFolder folder;
  for (const std::string name : {"table2", "table6"}) {
    const auto result = run_monarch(folder.path(), "reproduce " + name + " --preset smoke --json --out " + name);
    INFO(name << "\n" << result.errors);
    REQUIRE(result.exit_code == 0);
    const auto json = nlohmann::json::parse(result.output);
    REQUIRE(json["rows"].size() >= 5);
    for (const auto& row : json["rows"]) {
      const double perplexity = row["columns"]["text"]["mean"];
      REQUIRE(perplexity > 1);
      REQUIRE(perplexity <= 400);
      REQUIRE((row["also"]["time_to_loss"]["text"].contains("mean") ||
               row["also"]["time_to_loss"]["text"].contains("not_reached")));
    }
    REQUIRE(json["rows"][0]["also"]["time_to_loss"]["text"]["mean"] == 1);
    for (const auto* file : {"report.html", "summary.json", "figures/overview.svg",
                             "figures/training-text-loss-steps.svg", "figures/training-text-loss-seconds.svg"})
      REQUIRE(fs::file_size(folder / name / file) > 0);
    REQUIRE_THAT(read_bytes(folder / name / "report.md"), Contains(name == "table2" ? "20.60" : "18.00"));
  }
}
