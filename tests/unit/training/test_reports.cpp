// What a run tells: log, curves, throughput, profile.
#include <catch2/catch.hpp>
#include <cmath>
#include <sstream>

#include "monarch/core/error.hpp"
#include "monarch/training/checkpoint.hpp"
#include "monarch/training/trainer.hpp"
#include "runs.hpp"
#include "small_task.hpp"

using namespace monarch;
using namespace monarch::test;
using namespace monarch::training;
using Catch::Matchers::Contains;

namespace fs = std::filesystem;

TEST_CASE("a run tells what it did: log, events, curves, checkpoints with their origin") {
  const TemporaryFolder folder;
  SmallTask task;
  const auto result = run(task,
                          "[training]\nepochs = 5\nbatch = 8\nlog_steps = 2\nevaluate_epochs = 2\n"
                          "optimiser.learning_rate = 1e-2\nschedule = {kind = \"step\", step_epochs = 2}",
                          folder / "run");
  const auto log = log_of(folder / "run");
  std::vector<nlohmann::json> epochs, steps;
  for (const auto& line : log) (line.contains("batch") ? steps : epochs).push_back(line);
  REQUIRE(epochs.size() == 5);
  REQUIRE(steps.size() == 7);
  for (size_t i = 0; i < 5; ++i) {
    REQUIRE(epochs[i]["epoch"] == i + 1);
    REQUIRE(epochs[i]["step"] == 3 * (i + 1));
    REQUIRE(epochs[i]["learning_rate"].get<double>() == 1e-2 * std::pow(0.5, static_cast<double>(i / 2)));
    REQUIRE(epochs[i]["samples_per_second"].get<double>() > 0);
    REQUIRE(epochs[i].contains("metrics") == (i % 2 == 1 || i == 4));
  }
  REQUIRE(epochs[4]["loss"].get<double>() < epochs[0]["loss"].get<double>());
  REQUIRE(epochs[4]["metrics"]["l2"].get<double>() == result.last[1].second);
  REQUIRE(steps[0]["step"] == 2);
  REQUIRE(steps[1]["epoch"] == 2);
  const std::string svg = bytes_of(folder / "run/results/curves.svg");
  for (const char* text : {"Loss", "Validation: l2", "Learning rate", "epoch"}) REQUIRE_THAT(svg, Contains(text));
  const auto state = nlohmann::json::parse(bytes_of(folder / "run/best/state.json"));
  REQUIRE(state["config"].get<std::string>() == bytes_of(folder / "run/config.toml"));
  REQUIRE(state["config_hash"].get<std::string>().size() == 40);
  REQUIRE(state["provenance"].contains("revision"));
  REQUIRE(checkpoint_folders(folder / "run").size() == 2);
  REQUIRE_FALSE(fs::exists(folder / "run/best/optimiser.safetensors"));
  int events = 0;
  for (const auto& entry : fs::directory_iterator(folder / "run"))
    events += entry.path().filename().string().starts_with("events.out.tfevents") ? 1 : 0;
  REQUIRE(events == 1);
}

TEST_CASE("a run tells how fast it was, and a resumed one that has nothing to do remembers") {
  const TemporaryFolder folder;
  SmallTask task;
  task.flops = 5e6;
  task.tokens = 7;
  task.before = [](std::span<const int64_t>, const Step&) { usleep(2000); };
  const std::string toml = "[training]\nepochs = 4\nbatch = 11\npeak_tflops = 0.1";
  const auto result = run(task, toml, folder / "run");
  const auto& t = result.throughput;
  const double seconds = t.at("seconds_per_step"), samples = t.at("samples_per_second");
  REQUIRE(seconds >= 2e-3);
  REQUIRE(std::abs(samples * seconds - 11) <= 1e-9);
  REQUIRE(std::abs(t.at("tokens_per_second").get<double>() - 7 * samples) <= 1e-6 * samples);
  REQUIRE(std::abs(t.at("tflops").get<double>() * 1e12 - 5e6 * samples) <= 1e-6 * 5e6 * samples);
  REQUIRE(std::abs(t.at("mfu").get<double>() - t.at("tflops").get<double>() / 0.1) <= 1e-12);
  REQUIRE(t.at("peak_memory_mib").get<double>() >= 10);
  REQUIRE(log_of(folder / "run").back().at("throughput").at("seconds_per_step") == seconds);
  SmallTask again;
  REQUIRE(run(again, toml, folder / "run", true).throughput.at("seconds_per_step").get<double>() == seconds);
  SmallTask plain;
  const auto other = run(plain, "[training]\nepochs = 1", folder / "plain").throughput;
  for (const char* key : {"tokens_per_second", "tflops", "mfu"}) REQUIRE_FALSE(other.contains(key));
}

TEST_CASE("a profile names the operators of the steps, and their own times add up") {
  const TemporaryFolder folder;
  SmallTask task;
  run(task, "[training]\nepochs = 5\nbatch = 8\nprofile = true", folder / "run");
  const std::string table = bytes_of(folder / "run/results/profile.txt");
  REQUIRE_THAT(table, Contains("5 steps") && Contains("aten::tanh") && Contains("aten::addmm") && Contains("self ms"));
  double percent = 0;
  std::istringstream lines(table.substr(table.find("operator\n") + 9));
  for (std::string line; std::getline(lines, line) && !line.empty();) {
    std::istringstream words(line);
    double self = 0, part = 0;
    words >> self >> part;
    REQUIRE(self >= 0);
    percent += part;
  }
  REQUIRE(std::abs(percent - 100) <= 2);
  const auto trace = nlohmann::json::parse(bytes_of(folder / "run/results/trace.json"));
  REQUIRE(trace.at("traceEvents").size() >= 50);
  SmallTask short_one;
  run(short_one, "[training]\nepochs = 1\nbatch = 22\nprofile = true", folder / "short");
  REQUIRE_FALSE(fs::exists(folder / "short/results/profile.txt"));
}
