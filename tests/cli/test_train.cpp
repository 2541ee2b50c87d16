#include <ATen/ATen.h>
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "monarch/data/npy.hpp"
#include "monarch/training/checkpoint.hpp"
#include "scans.hpp"

using namespace monarch;
using namespace monarch::test;
using Catch::Matchers::Contains;

namespace fs = std::filesystem;

namespace {

constexpr const char* kSimulate =
    "navier-stokes --viscosity 1e-2 --samples 14 --seed 3 --grid 16 --stored 16 --duration 6";

/// A training of seconds: 8 of 14 small flows, 2 frames in, 4 out.
std::string config(const std::string& data) {
  return "[data]\n" + data + R"(
train = 8
validation = 3
test = 3
[task]
input_frames = 2
horizon = 4
quantity = "vorticity"
[model]
name = "monarch-no"
modes = [3, 3]
width = 6
layers = 2
projection = 12
[training]
epochs = 3
batch = 4
seed = 5
[training.optimiser]
learning_rate = 5e-3
)";
}

void make_run(const TemporaryFolder& folder) {
  const auto made = run_monarch(folder.path(), std::string("simulate ") + kSimulate + " -o flow.mat --threads 1");
  INFO(made.errors);
  REQUIRE(made.exit_code == 0);
  write_text(folder / "run.toml", config("file = \"flow.mat\""));
}

CommandResult train(const TemporaryFolder& folder, const std::string& more) {
  return run_monarch(folder.path(), "train run.toml --threads 1 " + more);
}

std::vector<nlohmann::json> log_of(const fs::path& run) {
  std::vector<nlohmann::json> lines;
  std::ifstream file(run / "log.jsonl");
  for (std::string line; std::getline(file, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

}  // namespace

TEST_CASE("monarch train simulates, learns, writes results, and predict repeats its test error") {
  const TemporaryFolder folder;
  write_text(folder / "run.toml", config(std::string("simulate = \"") + kSimulate + "\""));
  const auto result =
      train(folder, "-o out --json --set training.epochs=20 --set training.optimiser.learning_rate=1e-2");
  INFO(result.errors);
  REQUIRE(result.exit_code == 0);
  const auto json = nlohmann::json::parse(result.output);
  REQUIRE(json == read_json(folder / "out/result.json"));
  REQUIRE(json["epochs"] == 20);
  REQUIRE(json["parameters"].get<int64_t>() > json["parameters_complex_once"].get<int64_t>());
  REQUIRE(json["baselines"].contains("persistence"));
  REQUIRE_THAT(result.errors, Contains("persistence") && Contains("mean"));
  for (const auto* name :
       {"config.toml", "log.jsonl", "best/model.safetensors", "results/metrics.json", "results/error_time.svg",
        "results/spectrum.svg", "results/panel.png", "results/rollout.gif", "results/curves.svg"}) {
    INFO(name);
    REQUIRE(fs::file_size(folder / "out" / name) > 0);
  }
  // The loss falls.
  std::vector<double> losses;
  for (const auto& line : log_of(folder / "out"))
    if (line.contains("loss") && line["loss"].is_number()) losses.push_back(line["loss"]);
  REQUIRE(losses.size() == 20);
  REQUIRE(losses.back() <= 0.7 * losses.front());

  // The last three samples are the test data.
  const auto predicted = run_monarch(
      folder.path(), "predict out out/data/simulated.mat -o p.npy --samples -3: --picture --json --threads 1");
  INFO(predicted.errors);
  REQUIRE(predicted.exit_code == 0);
  const auto prediction = nlohmann::json::parse(predicted.output);
  const double trained = json["test"]["l2_full"], again = prediction["error"]["l2_full"];
  REQUIRE(std::abs(trained - again) <= 1e-6 * trained);
  REQUIRE(data::load_npy(folder / "p.npy").sizes() == at::IntArrayRef{3, 4, 16, 16});
  REQUIRE(fs::file_size(folder / "p.png") > 1000);
  REQUIRE(fs::file_size(folder / "p.gif") > 1000);
  // Other samples have another error.
  const auto others = run_monarch(folder.path(), "predict out out/data/simulated.mat -o q.mat --samples 0:2 --json");
  REQUIRE(others.exit_code == 0);
  REQUIRE(std::abs(nlohmann::json::parse(others.output)["error"]["l2_full"].get<double>() - trained) >= 1e-4 * trained);
  // What was written is a file of fields like the published ones.
  const auto info = run_monarch(folder.path(), "info q.mat --json");
  INFO(info.errors);
  REQUIRE(info.exit_code == 0);
  REQUIRE_THAT(info.output, Contains("\"u\""));
}

TEST_CASE("a rollout may go beyond the data in prediction, where the truth that is there is named") {
  const TemporaryFolder folder;
  make_run(folder);
  REQUIRE(train(folder, "-o out --set training.epochs=1").exit_code == 0);
  const auto result = run_monarch(folder.path(), "predict out flow.mat -o long.h5 --steps 9 --samples 0:2 --json");
  INFO(result.errors);
  REQUIRE(result.exit_code == 0);
  const auto json = nlohmann::json::parse(result.output);
  REQUIRE(json["shape"] == std::vector<int64_t>{2, 9, 1, 16, 16});
  REQUIRE(json["steps_with_truth"] == 4);
  REQUIRE(json["error"]["l2_per_time"].size() == 4);
  REQUIRE_THAT(result.errors, Contains("4 of 9 steps"));
  // In training it is an error.
  const auto longer = train(folder, "-o other --set task.horizon=5");
  REQUIRE(longer.exit_code == 3);
  REQUIRE_THAT(longer.errors, Contains("6 frames") && Contains("5 frames from frame 2"));
  REQUIRE_FALSE(fs::exists(folder / "other"));
}

TEST_CASE("a model without parameters is evaluated, and predicts") {
  const TemporaryFolder folder;
  make_run(folder);
  const std::string text = read_bytes(folder / "run.toml");
  const size_t begin = text.find("[model]"), end = text.find("[training]");
  write_text(folder / "run.toml", text.substr(0, begin) + "[model]\nname = \"persistence\"\n" + text.substr(end));
  const auto result = train(folder, "-o out --json --set data.validation=0");
  INFO(result.errors);
  REQUIRE(result.exit_code == 0);
  const auto json = nlohmann::json::parse(result.output);
  REQUIRE(json["epochs"] == 0);
  REQUIRE(json["parameters"] == 0);
  // Without validation data the baselines are those of the test: the model is one of them.
  REQUIRE(json["test"]["l2_full"] == json["baselines"]["persistence"]["l2_full"]);
  REQUIRE(json["test"]["l2_full"] != json["baselines"]["mean"]["l2_full"]);
  REQUIRE(fs::file_size(folder / "out/results/panel.png") > 1000);
  const auto predicted = run_monarch(folder.path(), "predict out flow.mat -o p.npy --samples -3: --json");
  INFO(predicted.errors);
  REQUIRE(predicted.exit_code == 0);
  const double again = nlohmann::json::parse(predicted.output)["error"]["l2_full"];
  REQUIRE(std::abs(again - json["test"]["l2_full"].get<double>()) <= 1e-6 * again);
}

TEST_CASE("a training that was killed goes on to the same weights") {
  const TemporaryFolder folder;
  make_run(folder);
  const std::string options =
      "--set training.checkpoint_minutes=0 --set training.epochs=12 --set training.ema_decay=0.9";
  REQUIRE(train(folder, "-o whole " + options).exit_code == 0);
  const std::string expected = read_bytes(folder / "whole/best/model.safetensors");
  // Killed without warning after a few checkpoints, more than once.
  for (const int steps : {3, 11}) {
    const auto killed = run_command(fmt::format(
        "cd '{}' && {{ '{}' train run.toml -o out --resume --threads 1 {} >log 2>&1 & pid=$!; "
        "while kill -0 $pid 2>/dev/null && ! ls out/checkpoints 2>/dev/null | grep -q 'step-0*{}$'; do :; done; "
        "kill -9 $pid; wait $pid; }} 2>/dev/null",
        folder.path().string(), MONARCH_PROGRAM, options, steps));
    INFO(killed.errors << read_bytes(folder / "log"));
    REQUIRE(killed.exit_code == 137);
  }
  REQUIRE_FALSE(fs::exists(folder / "out/result.json"));
  const auto resumed = train(folder, "-o out --resume " + options);
  INFO(resumed.errors);
  REQUIRE(resumed.exit_code == 0);
  REQUIRE_THAT(resumed.errors, Contains("resuming"));
  REQUIRE(read_bytes(folder / "out/best/model.safetensors") == expected);
  auto whole = read_json(folder / "whole/result.json"), out = read_json(folder / "out/result.json");
  REQUIRE(whole["test"] == out["test"]);
  REQUIRE(log_of(folder / "whole").size() == log_of(folder / "out").size());
  // Another seed has other weights, and does not continue this run.
  const auto other = train(folder, "-o out --resume --seed 6 " + options);
  REQUIRE(other.exit_code == 2);
  REQUIRE_THAT(other.errors, Contains("training.seed was 5, now 6"));
  const auto again = train(folder, "-o out " + options);
  REQUIRE(again.exit_code == 2);
  REQUIRE_THAT(again.errors, Contains("--resume"));
}

TEST_CASE("training tells bad input before it begins") {
  const TemporaryFolder folder;
  make_run(folder);
  const auto refused = [&](const std::string& settings, int code, const std::string& message) {
    const auto result = train(folder, "-o out " + settings);
    INFO(settings << ": " << result.errors);
    REQUIRE(result.exit_code == code);
    REQUIRE_THAT(result.errors, Contains(message));
    REQUIRE_FALSE(fs::exists(folder / "out"));
  };
  refused("--set training.epoch=4", 2, "did you mean 'training.epochs'?");
  refused("--set task.horizn=4", 2, "did you mean 'task.horizon'?");
  refused("--set model.widht=4", 2, "did you mean 'model.width'?");
  refused("--set model.name=monarch_no", 2, "monarch-no");
  refused("--set task.loss=l3", 2, "l2");
  refused("--set 'model.modes=[9,9]'", 1, "9");
  refused("--set data.file=nothing.mat", 3, "nothing.mat");
  refused("--set data.target=w", 3, "'w'");
  refused("--set data.train=20", 2, "14 samples");
  refused("--set 'data.grid_stride=[1,1,1]'", 2, "3 numbers");
  refused("--set training.device=tpu", 2, "tpu");
  refused("--set data.simulate=burgers", 2, "both");
  REQUIRE(run_monarch(folder.path(), "train nothing.toml").exit_code == 2);
  std::ofstream(folder / "text.mat") << "no data";
  refused("--set data.file=text.mat", 3, "text.mat");
}

TEST_CASE("predict tells what does not fit") {
  const TemporaryFolder folder;
  make_run(folder);
  REQUIRE(train(folder, "-o out --set training.epochs=1").exit_code == 0);
  const auto refused = [&](const std::string& arguments, int code, const std::string& message) {
    const auto result = run_monarch(folder.path(), "predict " + arguments + " -o p.npy --threads 1");
    INFO(arguments << ": " << result.errors);
    REQUIRE(result.exit_code == code);
    REQUIRE_THAT(result.errors, Contains(message));
    REQUIRE_FALSE(fs::exists(folder / "p.npy"));
  };
  refused("nowhere flow.mat", 3, "no checkpoint");
  refused("out nothing.mat", 3, "nothing.mat");
  refused("out flow.mat --samples 9:20", 2, "14");
  refused("out flow.mat --samples 3", 2, "range");
  refused("out flow.mat --grid 7,7", 2, "16 points");
  refused("out flow.mat --grid 8", 2, "2 axes");
  REQUIRE(run_monarch(folder.path(), "predict out flow.mat -o p.txt").exit_code == 2);
  // Fewer frames than the model takes, a line instead of a plane, and values that are no numbers.
  at::manual_seed(1);
  data::save_npy(folder / "few.npy", at::randn({3, 1, 16, 16}));
  refused("out few.npy", 3, "frames");
  at::Tensor broken = at::randn({3, 5, 16, 16});
  broken[1][1][2][2] = std::nan("");
  data::save_npy(folder / "broken.npy", broken);
  refused("out broken.npy", 3, "sample 1");
  // Weights of another model beside this config.
  auto checkpoint = training::load_training_checkpoint(folder / "out/best");
  checkpoint.model.pop_back();
  training::save_training_checkpoint(folder / "mixed", checkpoint);
  refused("mixed flow.mat", 3, "another model");
  checkpoint.state.erase("config");
  training::save_training_checkpoint(folder / "bare", checkpoint);
  refused("bare flow.mat", 3, "does not say what model");
}
