// Monarch layers become dense in the course of training.
#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <map>

#include "monarch/core/error.hpp"
#include "monarch/operators/nn/convert.hpp"
#include "monarch/training/checkpoint.hpp"
#include "monarch/training/trainer.hpp"
#include "small_task.hpp"
#include "worker_group.hpp"

using namespace monarch;
using namespace monarch::test;
using namespace monarch::training;
using Catch::Matchers::Contains;

namespace fs = std::filesystem;

namespace {

// 22 samples in batches of 8: 3 steps an epoch, 12 in all; the switch is before step 7, within the third epoch.
constexpr const char* kRun = R"(
[training]
epochs = 4
batch = 8
ema_decay = 0.8
checkpoint_minutes = 0
densify = {at = 0.6}
[small]
structured = true
)";

std::string with(const std::string& more, const std::string& densify = "at = 0.6") {
  std::string text = kRun;
  text.replace(text.find("densify = {at = 0.6}"), 20, "densify = {" + densify + "}\n" + more);
  return text;
}

SmallOptions structured() {
  SmallOptions o;
  o.structured = true;
  return o;
}

std::map<std::string, at::Tensor> named(const NamedTensors& tensors) {
  return {tensors.begin(), tensors.end()};
}

/// The state of a run as it stands before step `step`, copied while it runs.
void keep_checkpoints(SmallTask& task, const fs::path& run, const fs::path& kept) {
  task.before = [run, kept](std::span<const int64_t>, const Step&) {
    for (const auto& folder : checkpoint_folders(run)) {
      std::error_code ignored;
      fs::create_directories(kept, ignored);
      if (!fs::exists(kept / folder.filename()))
        fs::copy(folder, kept / folder.filename(), fs::copy_options::recursive, ignored);
    }
  };
}

/// A dense network with the function that a checkpoint of a structured one has.
std::map<std::string, at::Tensor> multiplied_out(const NamedTensors& weights) {
  SmallNet net(structured());
  load_weights(net, weights, "test");
  operators::to_dense(net);
  std::map<std::string, at::Tensor> dense;
  for (const auto& [name, tensor] : module_tensors(net)) dense[name] = tensor.detach();
  return dense;
}

}  // namespace

TEST_CASE("at the switch the product of the factors goes on, with step, schedule and average") {
  const TemporaryFolder folder;
  SmallTask task(structured());
  keep_checkpoints(task, folder / "run", folder / "kept");
  const auto result = run(task, with("log_steps = 1"), folder / "run");
  REQUIRE(result.densified_step == 7);
  REQUIRE(result.steps == 12);
  const auto before = load_training_checkpoint(folder / "kept/step-000000007");
  const auto after = load_training_checkpoint(folder / "kept/step-000000008");
  REQUIRE(before.state["densified"] == false);
  REQUIRE(after.state["densified"] == true);
  REQUIRE(after.state["densified_step"] == 7);
  REQUIRE(named(before.model).contains("mix.blkdiag1"));
  REQUIRE(named(after.model).at("mix.weight").sizes() == at::IntArrayRef({8, 8}));
  // The average is the product of averaged factors, then goes on.
  const auto average = multiplied_out(before.model);
  const auto found = named(after.model), raw = named(after.optimiser);
  for (const auto& [name, tensor] : average) {
    const at::Tensor expected = 0.8 * tensor + 0.2 * raw.at("raw." + name);
    REQUIRE(relative_error(found.at(name), expected) <= 1e-6);
  }
  // Raw weights: one step of Adam away from the product of the raw factors, in every number at most the rate.
  NamedTensors weights;
  for (const auto& [name, tensor] : before.optimiser)
    if (name.starts_with("raw.")) weights.emplace_back(name.substr(4), tensor);
  const auto product = multiplied_out(weights);
  const double rate = before.state["learning_rate"];
  const double moved = (raw.at("raw.mix.weight") - product.at("mix.weight")).abs().max().item<double>();
  REQUIRE(moved <= 1.01 * rate);
  REQUIRE(moved >= 0.5 * rate);
  // The schedule is the one without a switch.
  std::string plain = with("log_steps = 1");
  plain.erase(plain.find("densify ="), std::string("densify = {at = 0.6}").size());
  SmallTask other(structured());
  run(other, plain, folder / "plain");
  const auto log = log_of(folder / "run"), expected = log_of(folder / "plain");
  REQUIRE(log.size() == expected.size());
  for (size_t i = 0; i < log.size(); ++i) {
    REQUIRE(log[i]["step"] == expected[i]["step"]);
    REQUIRE(log[i]["learning_rate"] == expected[i]["learning_rate"]);
    if (log[i]["step"].get<int64_t>() <= 7) REQUIRE(log[i]["loss"] == expected[i]["loss"]);
  }
  REQUIRE(log.back()["loss"] != expected.back()["loss"]);
}

TEST_CASE("moments are reset, kept where they fit, or reset with a second warm-up") {
  const TemporaryFolder folder;
  const auto steps_behind = [&](const std::string& policy) {
    const fs::path run_folder = folder / policy.substr(0, 4);
    SmallTask task(structured());
    keep_checkpoints(task, run_folder, run_folder.string() + "_kept");
    run(task, with("log_steps = 1", "at_step = 7, optimiser = " + policy), run_folder);
    std::map<std::string, double> steps;
    for (const auto& [name, tensor] :
         load_training_checkpoint(run_folder.string() + "_kept/step-000000008").optimiser)
      if (name.starts_with("steps.")) steps[name.substr(6)] = tensor.item<double>();
    return steps;
  };
  const auto reset = steps_behind("\"reset\""), keep = steps_behind("\"keep\"");
  const auto rewarm = steps_behind("\"rewarm\", warmup_steps = 3");
  REQUIRE(reset.at("mix.weight") == 1);
  REQUIRE(reset.at("a.weight") == 1);
  REQUIRE(reset.at("mix.bias") == 1);
  REQUIRE(keep.at("mix.weight") == 1);
  REQUIRE(keep.at("a.weight") == 8);
  REQUIRE(keep.at("mix.bias") == 8);
  REQUIRE_FALSE(keep.contains("mix.blkdiag1"));
  REQUIRE(rewarm.at("a.weight") == 1);
  const auto a = log_of(folder / "\"res"), b = log_of(folder / "\"rew");
  REQUIRE(a.size() == b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    if (!a[i].contains("batch")) continue;
    const int64_t step = a[i]["step"].get<int64_t>() - 1;  // the one that the rate is of
    const double factor = step < 7 || step >= 10 ? 1 : static_cast<double>(step - 6) / 3;
    REQUIRE(std::abs(b[i]["learning_rate"].get<double>() - factor * a[i]["learning_rate"].get<double>()) <= 1e-15);
  }
}

TEST_CASE("the best weights from before the switch are dense afterwards, with the same function") {
  const TemporaryFolder folder;
  SmallTask task(structured());
  int evaluations = 0;
  at::Tensor best;  // the dense weight of the best epoch
  task.scripted = [&] {
    ++evaluations;
    if (evaluations == 3) best = task.net().mix->densify().detach().clone();
    return Metrics{{"l2", evaluations == 3 ? 1.0 : 2.0}};
  };
  const auto result = run(task, kRun, folder / "run");
  REQUIRE(result.best_epoch == 2);
  REQUIRE(result.densified_step == 7);
  REQUIRE(relative_error(task.net().mix->densify().detach(), best) <= 1e-6);
  const auto saved = load_training_checkpoint(folder / "run/best");
  REQUIRE(saved.state["densified"] == true);
  REQUIRE(saved.state["step"] == 6);
  REQUIRE(relative_error(named(saved.model).at("mix.weight"), best) <= 1e-6);
  SmallNet structured_again(structured());
  REQUIRE_THROWS_AS(load_weights(structured_again, saved.model, "here"), DataError);
  load_model(structured_again, saved, "here");
  REQUIRE(at::equal(structured_again.mix->densify(), named(saved.model).at("mix.weight")));
}

TEST_CASE("a switch that changes the function is refused, and one that cannot happen is told at once") {
  class Wrong : public SmallTask {
   public:
    using SmallTask::SmallTask;
    operators::ConversionReport densify() override {
      auto report = SmallTask::densify();
      const at::NoGradGuard no_grad;
      for (auto& p : net().mix->parameters()) p.mul_(1.01);
      return report;
    }
  };
  const TemporaryFolder folder;
  Wrong wrong(structured());
  REQUIRE_THROWS_MATCHES(run(wrong, kRun, folder / "wrong"), BackendError,
                         Catch::Predicate<BackendError>([](const BackendError& e) {
                           return std::string(e.what()).find("step 7: the loss of 8 samples was") != std::string::npos;
                         }));
  REQUIRE(load_training_checkpoint(folder / "wrong/best").state["densified"] == false);
  SmallTask dense, late(structured());
  REQUIRE_THROWS_WITH(run(dense, kRun, folder / "dense"), Contains("no structured layer"));
  REQUIRE_THROWS_WITH(run(late, with("", "at_step = 12"), folder / "late"),
                      Contains("before step 12, but there are 12 steps"));
  for (const char* bad : {"at = 1.0", "at = 0.0", "at = nan", "at_step = 0", "at = 0.5, at_step = 3",
                          "optimiser = \"keeps\"", "warmup_steps = 3"})
    REQUIRE_THROWS_AS(SmallRun(with("", bad)), ConfigError);
}

TEST_CASE("a training killed on either side of the switch resumes to the same bits") {
  for (const char* policy : {"reset", "keep", "rewarm"}) {
    const TemporaryFolder folder;
    write_text(folder / "run.toml",
               with("micro_batch = 4\nlog_steps = 2", fmt::format("at = 0.6, optimiser = \"{}\"", policy)) +
                   "random = true\n");
    const std::string expected = run_whole(folder / "run.toml", folder / "whole", 12);
    for (const int64_t step : {2, 6, 7, 8, 11}) {  // 7: during the switch, whose loss is computed then
      Worker worker(folder / "run.toml", folder / "out", "announce=1 pause=2");
      REQUIRE(worker.says(fmt::format("gradient of step {}\n", step)));
      worker.kill(SIGKILL);
      REQUIRE(worker.wait() == 128 + SIGKILL);
    }
    REQUIRE(run_whole(folder / "run.toml", folder / "out", 12) == expected);
    require_same_log(folder / "out", folder / "whole");
  }
}

TEST_CASE("a training killed before any call that changes the disk around the switch resumes to the same bits") {
  const TemporaryFolder folder;
  write_text(folder / "run.toml", with("", "at_step = 3"));
  const std::string expected = run_whole(folder / "run.toml", folder / "whole", 12);
  int lives = 0;
  for (int calls = 50;; calls += 7) {  // a life makes a checkpoint or two
    REQUIRE(++lives < 60);
    Worker worker(folder / "run.toml", folder / "out", fmt::format("kill={}", calls));
    const int code = worker.wait();
    INFO(lives << ". life, killed before call " << calls << ": " << worker.output());
    if (code == 0) break;
    REQUIRE(code == 128 + SIGKILL);
  }
  REQUIRE(lives >= 5);
  REQUIRE(outcome_of(folder / "out", 12) == expected);
  require_same_log(folder / "out", folder / "whole");
}

#ifdef MONARCH_WITH_GLOO
TEST_CASE("two processes switch together, and go on after kills on either side") {
  const TemporaryFolder folder;
  write_text(folder / "run.toml", with("precision = \"float64\""));
  Worker one(folder / "run.toml", folder / "one");
  REQUIRE(one.wait() == 0);
  const auto finish = [&](const fs::path& out) {
    WorkerGroup group(folder / "run.toml", out, 2);
    for (auto& worker : group.workers) {
      const int code = worker->wait();
      INFO(group.output());
      REQUIRE(code == 0);
    }
  };
  finish(folder / "two");
  REQUIRE(difference(folder / "two", folder / "one") <= 1e-11);
  for (const int step : {6, 9}) {
    WorkerGroup killed(folder / "run.toml", folder / "killed", 2, "announce=1 pause=10");
    REQUIRE(killed.workers[1]->says(fmt::format("gradient of step {}\n", step)));
    killed.workers[1]->kill(SIGKILL);
    REQUIRE(killed.workers[0]->wait() == 1);
    REQUIRE(killed.workers[1]->wait() == 128 + SIGKILL);
  }
  finish(folder / "killed");
  REQUIRE(outcome_of(folder / "two", 12).size() > 1000);
  REQUIRE(outcome_of(folder / "killed", 12) == outcome_of(folder / "two", 12));
}
#endif
