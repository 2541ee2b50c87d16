// Several processes that train together.
#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include "monarch/training/checkpoint.hpp"
#include "worker_group.hpp"

using namespace monarch;
using namespace monarch::test;
using Catch::Matchers::Contains;

namespace fs = std::filesystem;

#ifdef MONARCH_WITH_GLOO
namespace {

constexpr const char* kConfig = R"(
[training]
epochs = 4
batch = 7
micro_batch = 3
ema_decay = 0.8
clip_norm = 2.0
precision = "float64"
checkpoint_minutes = 0
)";

}  // namespace

TEST_CASE("2 and 3 processes train to the weights of one process with the whole batch, also after a kill") {
  const TemporaryFolder folder;
  write_text(folder / "run.toml", kConfig);
  Worker one(folder / "run.toml", folder / "one");
  REQUIRE(one.wait() == 0);
  for (const int size : {2, 3}) {  // 22 samples: shares differ, and the last batch has one sample for all
    const fs::path out = folder / fmt::format("{}", size);
    if (size == 2) {
      WorkerGroup killed(folder / "run.toml", out, size, "announce=1 pause=10");
      REQUIRE(killed.workers[1]->says("gradient of step 6"));
      killed.workers[1]->kill(SIGKILL);
      const int code = killed.workers[0]->wait();
      INFO(killed.output());
      REQUIRE(code == 1);  // the other one notices
      REQUIRE(killed.workers[1]->wait() == 128 + SIGKILL);
    }
    WorkerGroup group(folder / "run.toml", out, size);
    for (auto& worker : group.workers) {
      const int code = worker->wait();
      INFO(group.output());
      REQUIRE(code == 0);
    }
    REQUIRE(difference(out, folder / "one") <= 1e-11);
    REQUIRE(log_of(out).size() == 4);
  }
  std::string other = kConfig;
  other.replace(other.find("batch = 7"), 9, "batch = 8");
  write_text(folder / "other.toml", other);
  Worker different(folder / "other.toml", folder / "different");
  REQUIRE(different.wait() == 0);
  REQUIRE(difference(folder / "different", folder / "one") >= 1e-3);
}

TEST_CASE("a sharded optimiser makes the steps of a whole one, and resumes with another number of processes") {
  for (const char* optimiser : {"kind = \"adamw\"", "kind = \"adam_fno\"", "kind = \"lamb\"",
                                "kind = \"lamb\", variant = \"nvidia\"", "kind = \"lamb\", variant = \"deepspeed\"",
                                "kind = \"sgd\""}) {
    INFO(optimiser);
    const TemporaryFolder folder;
    const std::string text = fmt::format("{}optimiser = {{{}, learning_rate = 1e-2}}\n", kConfig, optimiser);
    write_text(folder / "one.toml", text);
    write_text(folder / "run.toml", text + "zero = 1\n");
    const bool often = std::string(optimiser).find("nvidia") != std::string::npos;
    Worker one(folder / "one.toml", folder / "one");
    REQUIRE(one.wait() == 0);
    const auto finish = [&](const fs::path& out, int size) {
      WorkerGroup group(folder / "run.toml", out, size);
      for (auto& worker : group.workers) {
        const int code = worker->wait();
        INFO(group.output());
        REQUIRE(code == 0);
      }
    };
    finish(folder / "two", 2);
    REQUIRE(difference(folder / "two", folder / "one") <= 1e-11);
    if (!often) continue;
    WorkerGroup killed(folder / "run.toml", folder / "changed", 2, "announce=1 pause=10");
    REQUIRE(killed.workers[1]->says("gradient of step 7\n"));
    killed.workers[1]->kill(SIGKILL);
    REQUIRE(killed.workers[0]->wait() == 1);
    finish(folder / "changed", 3);
    REQUIRE(difference(folder / "changed", folder / "one") <= 1e-11);
  }
}

TEST_CASE("each process keeps its part of the moments") {
  const TemporaryFolder folder;
  std::string text = kConfig;
  write_text(folder / "run.toml", text + "zero = 1\n");
  WorkerGroup group(folder / "run.toml", folder / "out", 2, "moments=1");
  int64_t sum = 0;
  for (auto& worker : group.workers) {
    REQUIRE(worker->wait() == 0);
    const std::string said = worker->output();
    const auto at = said.find("moments ");
    REQUIRE(at != std::string::npos);
    const int64_t bytes = std::stoll(said.substr(at + 8));
    REQUIRE(bytes <= 8 * 2 * 90 / 2 + 16);
    sum += bytes;
  }
  REQUIRE(sum == 8 * 2 * (4 * 8 + 8 + 8 * 2 + 2 + 2 * 8 + 3));  // float64, two moments of each number
}

TEST_CASE("a signal to one process stops all of them behind the same step, with a checkpoint") {
  const TemporaryFolder folder;
  write_text(folder / "run.toml", kConfig);
  WorkerGroup group(folder / "run.toml", folder / "out", 2, "announce=1 pause=20");
  REQUIRE(group.workers[1]->says("gradient of step 1"));
  group.workers[1]->kill(SIGTERM);
  for (auto& worker : group.workers) {
    const int code = worker->wait();
    INFO(group.output());
    REQUIRE(code == 1);
    REQUIRE_THAT(worker->output(), Contains("Error: stopped") && Contains("--resume"));
  }
  REQUIRE_FALSE(training::checkpoint_folders(folder / "out").empty());
}

TEST_CASE("a loss that is not finite in one process ends all of them and is named there") {
  const TemporaryFolder folder;
  write_text(folder / "run.toml", kConfig);
  WorkerGroup group(folder / "run.toml", folder / "out", 2, "nan=5 rank=1");
  for (auto& worker : group.workers) {
    const int code = worker->wait();
    INFO(group.output());
    REQUIRE(code == 3);
  }
  REQUIRE_THAT(group.workers[0]->output(), Contains("step 5: the loss of another process is not finite"));
  REQUIRE_THAT(group.workers[1]->output(),
               Contains("step 5: the loss is not finite") && Contains("failed_batch_1.json"));
  REQUIRE(fs::exists(folder / "out/failed_batch_1.json"));
}
#endif
