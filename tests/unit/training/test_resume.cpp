// Killed trainings go on as if nothing had happened.
#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <random>
#include <set>

#include "runs.hpp"
#include "small_task.hpp"

using namespace monarch;
using namespace monarch::test;
using Catch::Matchers::Contains;

namespace fs = std::filesystem;

namespace {

// 22 samples in batches of 8: 3 steps an epoch; every step writes a checkpoint.
constexpr const char* kAll = R"(
[training]
epochs = 4
batch = 8
micro_batch = 4
ema_decay = 0.9
clip_norm = 1.0
log_steps = 2
checkpoint_minutes = 0
schedule.warmup_steps = 4
[small]
random = true
)";

}  // namespace

TEST_CASE("a training killed before any call that changes the disk resumes to the same bits") {
  const TemporaryFolder folder;
  write_text(folder / "run.toml", kAll);
  const std::string expected = run_whole(folder / "run.toml", folder / "whole", 12);
  int lives = 0;
  std::set<std::string> found_partial;
  for (int calls = 1;; calls += calls < 60 ? 1 : 7) {
    ++lives;
    Worker worker(folder / "run.toml", folder / "out", fmt::format("kill={}", calls));
    const int code = worker.wait();
    INFO(lives << ". life, killed before call " << calls << ": " << worker.output());
    for (const auto& place : {folder / "out", folder / "out/checkpoints"})
      if (fs::exists(place))
        for (const auto& entry : fs::directory_iterator(place))
          if (entry.path().extension() == ".partial") found_partial.insert(entry.path().filename());
    if (code == 0) break;
    REQUIRE(code == 128 + SIGKILL);
    REQUIRE(lives < 200);
  }
  REQUIRE(lives >= 20);
  REQUIRE(found_partial.size() >= 2);  // some kills fell into the writing of checkpoints
  REQUIRE(outcome_of(folder / "out", 12) == expected);
  require_same_log(folder / "out", folder / "whole");
  for (const auto& entry : fs::recursive_directory_iterator(folder / "out"))
    REQUIRE_FALSE(entry.path().extension() == ".partial");  // and nothing of them remains
}

TEST_CASE("with every optimiser a training killed at random moments resumes to the same bits") {
  std::mt19937 random(5);
  for (const char* kind : {"adamw", "adam", "adam_fno", "lamb", "sgd"}) {
    const TemporaryFolder folder;
    write_text(folder / "run.toml", fmt::format("[training]\nepochs = 5\nbatch = 8\ncheckpoint_minutes = 0\n"
                                                "optimiser.kind = \"{}\"\nschedule.kind = \"linear\"\n",
                                                kind));
    const std::string expected = run_whole(folder / "run.toml", folder / "whole", 15);
    int kills = 0;
    for (int life = 1; life < 20; ++life) {
      Worker worker(folder / "run.toml", folder / "out", "announce=1 pause=2");
      INFO(kind << ", life " << life);
      if (life <= 3) {
        REQUIRE(worker.says("gradient of step "));
        usleep(random() % 30000);
        worker.kill(SIGKILL);
      }
      const int code = worker.wait();
      INFO(worker.output());
      if (code == 0) break;
      REQUIRE(code == 128 + SIGKILL);
      ++kills;
    }
    REQUIRE(kills >= 1);
    REQUIRE(outcome_of(folder / "out", 15) == expected);
    require_same_log(folder / "out", folder / "whole");
  }
}

TEST_CASE("early stopping and sparse evaluations survive a kill") {
  const TemporaryFolder folder;
  write_text(
      folder / "run.toml",
      "[training]\nepochs = 40\nbatch = 8\ncheckpoint_minutes = 0\npatience = 4\nevaluate_epochs = 2\n"
      "optimiser.kind = \"sgd\"\noptimiser.learning_rate = 0.5\nclip_norm = 0.5\nschedule.kind = \"constant\"\n");
  Worker whole(folder / "run.toml", folder / "whole");
  const int code = whole.wait();
  INFO(whole.output());
  REQUIRE(code == 0);
  REQUIRE_THAT(whole.output(), Contains(" early"));
  const auto steps = static_cast<int64_t>(log_of(folder / "whole").back()["step"]);
  REQUIRE(steps < 120);
  for (int life = 0; life < 2; ++life) {
    Worker worker(folder / "run.toml", folder / "out", "announce=1 pause=2");
    REQUIRE(worker.says(fmt::format("gradient of step {}", life == 0 ? 4 : steps - 2)));
    worker.kill(SIGKILL);
    REQUIRE(worker.wait() == 128 + SIGKILL);
  }
  for (int again = 0; again < 2; ++again) {  // once more: a run that has stopped does not go on
    Worker worker(folder / "run.toml", folder / "out");
    REQUIRE(worker.wait() == 0);
    REQUIRE_THAT(worker.output(), Contains(" early"));
    REQUIRE(outcome_of(folder / "out", steps) == outcome_of(folder / "whole", steps));
    require_same_log(folder / "out", folder / "whole");
  }
}

TEST_CASE("a training in steps with evaluations within epochs survives kills") {
  const TemporaryFolder folder;
  write_text(folder / "run.toml",
             "[training]\nsteps = 17\nbatch = 8\nevaluate_steps = 4\nema_decay = 0.9\n[small]\nrandom = true\n");
  const std::string expected = run_whole(folder / "run.toml", folder / "whole", 17);
  for (const int64_t step : {3, 5, 10, 14, 16}) {
    Worker worker(folder / "run.toml", folder / "out", "announce=1 pause=2");
    REQUIRE(worker.says(fmt::format("gradient of step {}\n", step)));
    worker.kill(SIGKILL);
    REQUIRE(worker.wait() == 128 + SIGKILL);
  }
  REQUIRE(run_whole(folder / "run.toml", folder / "out", 17) == expected);
  require_same_log(folder / "out", folder / "whole");
  REQUIRE(log_of(folder / "out").size() == 5);
}

TEST_CASE("a signal finishes the step, writes a checkpoint and says how to go on; a second one ends at once") {
  const TemporaryFolder folder;
  write_text(folder / "run.toml", std::string("[training]\nepochs = 6\nbatch = 8\n[small]\nrandom = true\n"));
  const std::string expected = run_whole(folder / "run.toml", folder / "whole", 18);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) {
    Worker worker(folder / "run.toml", folder / "out", "announce=1 pause=20");
    REQUIRE(worker.says("gradient of step "));
    worker.kill(number);
    const int code = worker.wait();
    INFO(worker.output());
    REQUIRE(code == 1);
    REQUIRE_THAT(worker.output(),
                 Contains("stopped by SIG") && Contains("of 6, after step") && Contains("continue with --resume"));
    REQUIRE_FALSE(fs::is_empty(folder / "out/checkpoints"));
  }
  {
    Worker worker(folder / "run.toml", folder / "out", "announce=1 pause=5000");
    REQUIRE(worker.says("gradient of step "));
    worker.kill(SIGTERM);
    usleep(50000);
    worker.kill(SIGTERM);
    const auto begin = std::chrono::steady_clock::now();
    REQUIRE(worker.wait() == 128 + SIGTERM);
    REQUIRE(std::chrono::steady_clock::now() - begin <= std::chrono::seconds(3));
  }
  REQUIRE(run_whole(folder / "run.toml", folder / "out", 18) == expected);
}

TEST_CASE("a disk that is full at a checkpoint is told, and the checkpoint before is good") {
  const TemporaryFolder folder;
  write_text(folder / "run.toml", kAll);
  const std::string expected = run_whole(folder / "run.toml", folder / "whole", 12);
  Worker worker(folder / "run.toml", folder / "out", "limit=5");
  const int code = worker.wait();
  INFO(worker.output());
  REQUIRE(code == 3);
  REQUIRE_THAT(worker.output(), Contains("step-000000006: the checkpoint cannot be written") &&
                                    Contains("is the disk full?") && Contains("--resume"));
  REQUIRE(fs::exists(folder / "out/checkpoints/step-000000005/state.json"));
  REQUIRE_FALSE(fs::exists(folder / "out/checkpoints/step-000000006"));
  REQUIRE(run_whole(folder / "run.toml", folder / "out", 12) == expected);
}

TEST_CASE("one process at a time trains into a folder; a killed one does not block it") {
  const TemporaryFolder folder;
  write_text(folder / "run.toml", "[training]\nepochs = 2\nbatch = 8\n");
  Worker first(folder / "run.toml", folder / "out", "announce=1 pause=60000");
  REQUIRE(first.says("gradient of step 0"));
  {
    const TemporaryFolder elsewhere;
    fs::create_symlink(folder / "out", elsewhere / "out");
    Worker second(folder / "run.toml", elsewhere / "out");
    REQUIRE(second.wait() == 2);
    REQUIRE_THAT(second.output(), Contains("another process trains here"));
  }
  first.kill(SIGKILL);
  REQUIRE(first.wait() == 128 + SIGKILL);
  Worker third(folder / "run.toml", folder / "out");
  const int code = third.wait();
  INFO(third.output());
  REQUIRE(code == 0);
}
