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
