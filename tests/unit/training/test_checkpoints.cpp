// What a run is continued from, and what is refused.
#include <ATen/ATen.h>

#include <catch2/catch.hpp>

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

TEST_CASE("a run is continued only with its own configuration, but for its length and what it tells") {
  const TemporaryFolder folder;
  const std::string toml = "[training]\nbatch = 8\n";
  SmallTask first;
  run(first, toml + "epochs = 2", folder / "run");
  const auto attempt = [&](const std::string& more, bool resume = true) {
    SmallTask task;
    return run(task, toml + more, folder / "run", resume);
  };
  REQUIRE_THROWS_WITH(attempt("epochs = 2", false), Contains("holds a run already") && Contains("--resume"));
  REQUIRE_THROWS_WITH(attempt("epochs = 2\nseed = 3\noptimiser.beta1 = 0.8"),
                      Contains("training.seed was 0, now 3") && Contains("training.optimiser.beta1 was 0.9, now 0.8"));
  REQUIRE(attempt("epochs = 5\ncheckpoint_minutes = 1\nlog_steps = 1").epochs == 5);
  REQUIRE(log_of(folder / "run").size() == 5 + 9);
  // Keys of a later version count only where the config sets them.
  const auto newest = checkpoint_folders(folder / "run").front();
  auto checkpoint = load_training_checkpoint(newest);
  checkpoint.state["effective"].erase("training.clip_norm");
  save_training_checkpoint(newest, checkpoint);
  REQUIRE_THROWS_WITH(attempt("epochs = 5\nclip_norm = 1.0"), Contains("training.clip_norm was absent, now 1"));
  REQUIRE(attempt("epochs = 6").epochs == 6);
}

TEST_CASE("a damaged checkpoint gives way to the one before, with the same weights in the end") {
  const std::string toml = "[training]\nepochs = 4\nbatch = 8\nema_decay = 0.5\n[small]\nrandom = true\n";
  const SmallRun small(toml);
  const TemporaryFolder folder;
  const auto go = [&](const fs::path& run, const std::string& more = {}) {
    SmallTask task(small.small);
    const SmallRun changed(toml + more);
    train(task, changed.options, changed.config, run, true);
    return outcome_of(run, 12);
  };
  const std::string expected = go(folder / "whole");
  const auto newest = checkpoint_folders(folder / "whole").front();
  for (const std::string file : {"state.json", "model.safetensors", "optimiser.safetensors"}) {
    for (const std::string damage : {"truncated", "removed", "emptied", "garbled"}) {
      INFO(file << " " << damage);
      const fs::path run = folder / (file + damage);
      fs::copy(folder / "whole", run, fs::copy_options::recursive);
      const fs::path target = run / "checkpoints" / newest.filename() / file;
      if (damage == "truncated") fs::resize_file(target, fs::file_size(target) / 2);
      if (damage == "emptied") fs::resize_file(target, 0);
      if (damage == "removed") fs::remove(target);
      if (damage == "garbled") write_text(target, "[1, 2" + std::string(200, '\xff'));
      if (damage != "removed" || file != "optimiser.safetensors")  // checkpoints may have none
        REQUIRE_THROWS_AS(load_training_checkpoint(target.parent_path()), DataError);
      REQUIRE(go(run) == expected);
      REQUIRE(log_of(run).size() == 4);
      if (damage != "truncated") continue;
      for (const auto& checkpoint : checkpoint_folders(run)) fs::resize_file(checkpoint / file, 5);
      REQUIRE_THROWS_AS(go(run), DataError);
      REQUIRE_THROWS_WITH(go(run), Contains("no checkpoint can be used") && Contains(file));
    }
  }
  // best/ that is lost while the run stands elsewhere is chosen anew.
  const fs::path run = folder / "lost";
  fs::copy(folder / "whole", run, fs::copy_options::recursive);
  fs::remove_all(run / "best");
  go(run);
  REQUIRE(bytes_of(run / "best/model.safetensors") == bytes_of(newest / "model.safetensors"));
  REQUIRE(bytes_of(run / "checkpoints" / newest.filename() / "model.safetensors") ==
          bytes_of(newest / "model.safetensors"));
}

TEST_CASE("a checkpoint of another model is refused with every tensor that does not fit") {
  const TemporaryFolder folder;
  SmallTask task;
  run(task, "[training]\nepochs = 1", folder / "run");
  SmallTask wide({.width = 9, .random = true});
  const auto best = load_training_checkpoint(folder / "run");
  REQUIRE_THROWS_MATCHES(load_weights(wide.module(), best.model, "here"), DataError,
                         Catch::Predicate<DataError>([](const DataError& e) {
                           const std::string text = e.what();
                           for (const char* part : {"here: a checkpoint of another model", "a.weight", "[8, 4]",
                                                    "[9, 4]", "norm.running_mean [9] is missing"})
                             if (text.find(part) == std::string::npos) return false;
                           return text.find("\n  spare") == std::string::npos;
                         }));
  NamedTensors more = best.model;
  more.emplace_back("extra", at::ones({2}));
  REQUIRE_THROWS_WITH(load_weights(task.module(), more, "here"), Contains("extra [2] has no place"));
  REQUIRE_THROWS_WITH(run(wide, "[training]\nepochs = 1", folder / "run", true),
                      Contains("checkpoint of another model"));
}

TEST_CASE("checkpoints keep every type, names and constants, and appear whole") {
  const TemporaryFolder folder;
  TrainingCheckpoint c;
  for (const auto type : {at::kFloat, at::kDouble, at::kComplexFloat, at::kComplexDouble, at::kBFloat16, at::kHalf})
    c.model.emplace_back(toString(type), at::randn({2, 3}, at::isComplexType(type) ? type : at::kDouble).to(type));
  c.model.emplace_back("long", at::arange(5));
  c.model.emplace_back("bool", at::arange(2).to(at::kBool));
  c.model.emplace_back("scalar", at::full({}, 3.5));
  c.model.emplace_back("empty", at::empty({0, 4}));
  c.model.emplace_back("conjugate", at::randn({3}, at::kComplexDouble).conj());
  c.model.emplace_back("strided", at::randn({4, 3}).t());
  c.constants.emplace_back("mean", at::ones({2}, at::kComplexDouble));
  c.optimiser.emplace_back("first.x", at::randn({2}));
  c.state = {{"epoch", 3}, {"text", "bytes \xff that are no UTF-8"}};
  write_text(folder / ".ck.partial", "left by another");
  for (int again = 0; again < 2; ++again) {
    save_training_checkpoint(folder / "ck/", c);
    REQUIRE(std::distance(fs::directory_iterator(folder.path()), {}) == 1);
    const auto back = load_training_checkpoint(folder / "ck");
    REQUIRE(back.model.size() == c.model.size());
    for (const auto& [name, tensor] : c.model) {
      const auto found =
          std::find_if(back.model.begin(), back.model.end(), [&](const auto& m) { return m.first == name; });
      REQUIRE(found != back.model.end());
      REQUIRE(found->second.scalar_type() == tensor.scalar_type());
      REQUIRE(at::equal(found->second, tensor.resolve_conj()));
    }
    REQUIRE(back.constants.size() == 1);
    REQUIRE(back.constants[0].first == "mean");
    REQUIRE(back.optimiser.size() == 1);
    REQUIRE(back.state["epoch"] == 3);
  }
  REQUIRE_THROWS_AS(load_training_checkpoint(folder / "nothing"), DataError);
  // What a killed process left: a folder moved aside comes back, an unfinished one goes.
  fs::rename(folder / "ck", folder / ".ck.aside");
  fs::create_directory(folder / ".ck.partial");
  recover_checkpoints(folder.path());
  REQUIRE(std::distance(fs::directory_iterator(folder.path()), {}) == 1);
  REQUIRE(load_training_checkpoint(folder / "ck").state["epoch"] == 3);
}
