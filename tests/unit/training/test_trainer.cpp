// The loop in one process.
#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>

#include "monarch/core/error.hpp"
#include "monarch/training/checkpoint.hpp"
#include "monarch/training/gradients.hpp"
#include "monarch/training/trainer.hpp"
#include "runs.hpp"
#include "small_task.hpp"

using namespace monarch;
using namespace monarch::test;
using namespace monarch::training;
using Catch::Matchers::Contains;

namespace fs = std::filesystem;

namespace {

/// All weights after training, in double precision, as one vector.
at::Tensor trained(const std::string& toml, const std::function<void(SmallTask&)>& prepare = {}) {
  const TemporaryFolder folder;
  const SmallRun small(toml);
  SmallTask task(small.small);
  if (prepare) prepare(task);
  train(task, small.options, small.config, folder / "run", false);
  std::vector<at::Tensor> flat;
  const auto last = load_training_checkpoint(checkpoint_folders(folder / "run").front());
  for (const auto& [name, tensor] : last.model) {
    const at::Tensor real = tensor.is_complex() ? at::view_as_real(tensor) : tensor;
    flat.push_back(real.to(at::kDouble).flatten());
  }
  return at::cat(flat);
}

constexpr const char* kExact = R"(
[training]
epochs = 3
batch = 8
precision = "float64"
optimiser.learning_rate = 1e-2
)";

}  // namespace

TEST_CASE("every epoch visits each sample once, in an order that seed and epoch alone decide") {
  const auto visits = [](const std::string& toml) {
    const TemporaryFolder folder;
    SmallTask task;
    std::vector<std::vector<int64_t>> epochs(3);
    std::vector<size_t> sizes;
    task.before = [&](std::span<const int64_t> ids, const Step& step) {
      auto& seen = epochs[static_cast<size_t>(step.epoch)];
      REQUIRE(step.step == static_cast<int64_t>(sizes.size()));
      seen.insert(seen.end(), ids.begin(), ids.end());
      sizes.push_back(ids.size());
    };
    run(task, toml, folder / "run");
    REQUIRE(sizes == std::vector<size_t>{8, 8, 6, 8, 8, 6, 8, 8, 6});  // the last batch is what remains
    return epochs;
  };
  const auto epochs = visits("[training]\nepochs = 3\nbatch = 8\nseed = 4");
  std::vector<int64_t> all(22);
  std::iota(all.begin(), all.end(), 0);
  for (auto epoch : epochs) {
    REQUIRE(epoch != all);
    std::sort(epoch.begin(), epoch.end());
    REQUIRE(epoch == all);
  }
  REQUIRE(epochs[0] != epochs[1]);
  REQUIRE(epochs == visits("[training]\nepochs = 3\nbatch = 8\nseed = 4\noptimiser.kind = \"sgd\""));
  REQUIRE(epochs != visits("[training]\nepochs = 3\nbatch = 8\nseed = 5"));
}

TEST_CASE("gradients accumulated over small batches are those of the whole batch") {
  const at::Tensor whole = trained(kExact);
  for (const char* micro : {"micro_batch = 1", "micro_batch = 3", "micro_batch = 100"})
    REQUIRE(relative_error(trained(std::string(kExact) + micro), whole) <= 1e-12);
  std::string other = kExact;
  other.replace(other.find("batch = 8"), 9, "batch = 7");
  REQUIRE(relative_error(trained(other), whole) >= 1e-3);
}

TEST_CASE("sum_loss is the gradient of the sum over the batch") {
  const std::string sgd =
      "[training]\nepochs = 3\nbatch = 11\nprecision = \"float64\"\noptimiser.kind = \"sgd\"\n"
      "optimiser.weight_decay = 0\noptimiser.learning_rate = ";
  const at::Tensor mean = trained(sgd + "11e-4"), sum = trained(sgd + "1e-4\nsum_loss = true");
  REQUIRE(relative_error(sum, mean) <= 1e-12);
  REQUIRE(relative_error(trained(sgd + "1e-4"), mean) >= 1e-3);
}

TEST_CASE("the norm of a gradient is taken over all parameters, and clipping scales them together") {
  std::vector<operators::ParameterGroup> groups = {
      {"real", at::zeros({2})}, {"complex", at::zeros({1}, at::kComplexFloat)}, {"none", at::zeros({3})}};
  groups[0].tensor.mutable_grad() = at::tensor({3.0F, 4.0F});
  groups[1].tensor.mutable_grad() = at::complex(at::full({1}, 12.0F), at::full({1}, 84.0F));
  REQUIRE(std::abs(gradient_norm(groups) - 85) <= 1e-5);  // 3² + 4² + 12² + 84² = 85²
  clip_gradients(groups, gradient_norm(groups), 100);
  REQUIRE(groups[0].tensor.grad()[1].item<float>() == 4);
  clip_gradients(groups, gradient_norm(groups), 17);
  REQUIRE(std::abs(gradient_norm(groups) - 17) <= 1e-5);
  REQUIRE(std::abs(groups[0].tensor.grad()[1].item<float>() - 0.8) <= 1e-6);
  groups[0].tensor.mutable_grad()[0] = std::nan("");
  REQUIRE(std::isnan(gradient_norm(groups)));
  clear_gradients(groups);
  for (const auto& group : groups) REQUIRE_FALSE(group.tensor.grad().defined());
  REQUIRE(gradient_norm(groups) == 0);

  // In the loop: a limit below every norm makes sgd steps of that length.
  const TemporaryFolder folder;
  SmallTask task;
  at::Tensor before;
  std::vector<double> lengths;
  task.before = [&](std::span<const int64_t>, const Step&) {
    std::vector<at::Tensor> flat;
    for (const auto& p : task.net().parameters())
      flat.push_back((p.is_complex() ? at::view_as_real(p.detach()) : p.detach()).flatten().clone());
    const at::Tensor now = at::cat(flat);
    if (before.defined()) lengths.push_back((now - before).norm().item<double>());
    before = now;
  };
  run(task,
      "[training]\nepochs = 2\nbatch = 8\nclip_norm = 0.01\nschedule.kind = \"constant\"\n"
      "optimiser = {kind = \"sgd\", momentum = 0.0, weight_decay = 0.0, learning_rate = 0.5}",
      folder / "run");
  REQUIRE(lengths.size() == 5);
  for (const double length : lengths) REQUIRE(std::abs(length - 0.005) <= 1e-6);
  for (const auto& line : log_of(folder / "run")) REQUIRE(line["gradient_norm"].get<double>() >= 0.01);  // the true one
}

TEST_CASE("the average of the weights is what is evaluated and saved, the raw ones train on") {
  const TemporaryFolder folder;
  SmallTask task;
  std::vector<at::Tensor> raw, seen;  // weights before each step and at each evaluation
  const auto weight = [&] { return task.net().a->weight.detach().clone(); };
  task.before = [&](std::span<const int64_t>, const Step&) { raw.push_back(weight()); };
  task.scripted = [&] {
    seen.push_back(weight());
    return Metrics{{"l2", 1.0 / static_cast<double>(seen.size())}};
  };
  run(task, "[training]\nepochs = 2\nbatch = 8\nema_decay = 0.7\ncheckpoint_minutes = 0", folder / "run");
  const auto checkpoints = checkpoint_folders(folder / "run");
  REQUIRE(checkpoints.size() == 2);
  const auto last = load_training_checkpoint(checkpoints.front());
  const auto named = [](const NamedTensors& tensors, const std::string& name) {
    for (const auto& [key, value] : tensors)
      if (key == name) return value;
    return at::Tensor();
  };
  raw.push_back(named(last.optimiser, "raw.a.weight"));
  at::Tensor average = raw[0].clone();
  for (size_t i = 1; i < raw.size(); ++i) {
    average = 0.7 * average + 0.3 * raw[i];
    if (i == 3) REQUIRE(relative_error(seen[1], average) <= 1e-6);
  }
  REQUIRE(seen.size() == 3);
  REQUIRE(relative_error(seen[0], raw[0]) == 0);
  REQUIRE(relative_error(seen[2], average) <= 1e-6);
  REQUIRE(relative_error(raw.back(), average) >= 1e-4);
  REQUIRE(at::equal(named(last.model, "a.weight"), seen[2]));
  REQUIRE(at::equal(named(load_training_checkpoint(folder / "run").model, "a.weight"), seen[2]));
  REQUIRE(at::equal(weight(), seen[2]));  // the best weights stay in the module
}

TEST_CASE("training stops when patience ends, and keeps the weights of the best epoch") {
  const TemporaryFolder folder;
  SmallTask task;
  const std::vector<double> scores = {9, 5, 4, 4.5, 4, 3, std::nan(""), 3.5, 3, 1};
  size_t evaluations = 0;
  at::Tensor best;
  task.scripted = [&] {
    if (evaluations == 5) best = task.net().a->weight.detach().clone();
    return Metrics{{"loss", 1.0}, {"l2", scores.at(evaluations++)}};
  };
  const auto result = run(task, "[training]\nepochs = 50\nbatch = 8\npatience = 3", folder / "run");
  REQUIRE(result.stopped_early);
  REQUIRE(result.epochs == 8);
  REQUIRE(result.best_epoch == 5);
  REQUIRE(result.best == 3);
  REQUIRE(at::equal(task.net().a->weight.detach(), best));
  REQUIRE(task.results == folder / "run/results");
  const auto log = log_of(folder / "run");
  REQUIRE(log.size() == 8);
  REQUIRE(log[5]["metrics"]["l2"].is_null());
  // With an evaluation every second epoch, patience waits for evaluations.
  evaluations = 0;
  SmallTask sparse;
  sparse.scripted = [&] { return Metrics{{"l2", std::vector<double>{9, 5, 6, 7, 4, 3}.at(evaluations++)}}; };
  const auto second =
      run(sparse, "[training]\nepochs = 50\nbatch = 8\npatience = 3\nevaluate_epochs = 2", folder / "b");
  REQUIRE(second.epochs == 6);
  REQUIRE(second.best_epoch == 2);
  REQUIRE(evaluations == 4);
}

TEST_CASE("training.steps ends within an epoch, and evaluate_steps evaluates every so many steps and at the end") {
  const TemporaryFolder folder;
  SmallTask task;
  std::vector<int64_t> made;  // steps before each evaluation
  int64_t steps = 0;
  const std::vector<double> scores = {9, 5, 3, 4};
  task.before = [&](std::span<const int64_t>, const Step& step) { steps = step.step + 1; };
  task.scripted = [&] {
    made.push_back(steps);
    return Metrics{{"l2", scores.at(made.size() - 1)}};
  };
  const auto result = run(task,
                          "[training]\nsteps = 10\nevaluate_steps = 4\nbatch = 8\nlog_steps = 1\n"
                          "optimiser.learning_rate = 1e-2\nschedule.kind = \"linear\"",
                          folder / "run");
  REQUIRE(made == std::vector<int64_t>{0, 4, 8, 10});
  REQUIRE(result.steps == 10);
  REQUIRE(result.epochs == 3);
  REQUIRE(result.best_step == 8);
  REQUIRE(result.best_epoch == 2);
  REQUIRE_FALSE(result.stopped_early);
  const auto log = log_of(folder / "run");
  std::vector<nlohmann::json> lines;
  double sum = 0, samples = 0, seconds = 0;
  for (const auto& line : log) {
    if (line.contains("batch")) {
      const double count = line["batch"] == 3 ? 6 : 8;
      sum += count * line["loss"].get<double>();
      samples += count;
      continue;
    }
    REQUIRE(std::abs(line["loss"].get<double>() - sum / samples) <= 1e-12);
    REQUIRE(line["seconds"].get<double>() >= seconds);
    seconds = line["seconds"].get<double>();
    sum = samples = 0;
    lines.push_back(line);
  }
  REQUIRE(lines.size() == 3);
  for (size_t i = 0; i < 3; ++i) {
    REQUIRE(lines[i]["step"] == made[i + 1]);
    REQUIRE(std::abs(lines[i]["epoch"].get<double>() - static_cast<double>(made[i + 1]) / 3) <= 1e-12);
    REQUIRE(lines[i]["metrics"]["l2"] == scores[i + 1]);
  }
  REQUIRE(std::abs(lines[2]["learning_rate"].get<double>() - 1e-3) <= 1e-12);  // of step 9 of 10
  REQUIRE(load_training_checkpoint(folder / "run/best").state["step"] == 8);
  // In whole epochs a partial one at the end counts for evaluation as well.
  SmallTask other;
  REQUIRE(run(other, "[training]\nsteps = 4\nbatch = 8", folder / "epochs").epochs == 1);
  for (const auto& line : log_of(folder / "epochs")) REQUIRE(line.contains("metrics"));
  REQUIRE(log_of(folder / "epochs").size() == 2);
}

TEST_CASE("with evaluate_steps, patience counts evaluations") {
  const TemporaryFolder folder;
  SmallTask task;
  size_t evaluations = 0;
  task.scripted = [&] { return Metrics{{"l2", std::vector<double>{9, 5, 4, 6, 7, 3}.at(evaluations++)}}; };
  const auto result =
      run(task, "[training]\nsteps = 50\nbatch = 8\npatience = 2\nevaluate_steps = 2", folder / "run");
  REQUIRE(result.stopped_early);
  REQUIRE(result.steps == 8);
  REQUIRE(result.best_step == 4);
}

TEST_CASE("a run that is prolonged in steps goes on within its epoch") {
  const std::string toml = "[training]\nbatch = 8\nevaluate_steps = 5\nschedule.kind = \"constant\"\nsteps = ";
  const TemporaryFolder folder;
  SmallTask whole, first, second;
  run(whole, toml + "10", folder / "whole");
  run(first, toml + "5", folder / "parts");
  REQUIRE(run(second, toml + "10", folder / "parts", true).steps == 10);
  REQUIRE(outcome_of(folder / "parts", 10).size() > 1000);
  REQUIRE(outcome_of(folder / "parts", 10) == outcome_of(folder / "whole", 10));
}

TEST_CASE("a start whose metric is NaN is not the best for ever") {
  const TemporaryFolder folder;
  SmallTask task;
  int evaluations = 0;
  task.scripted = [&] { return Metrics{{"l2", evaluations++ == 0 ? std::nan("") : 7.0}}; };
  const auto result = run(task, "[training]\nepochs = 1", folder / "run");
  REQUIRE(result.best == 7);
  REQUIRE(result.best_epoch == 1);
  task.scripted = [] { return Metrics{{"other", 1.0}}; };
  REQUIRE_THROWS_WITH(run(task, "[training]\nepochs = 1", folder / "other"),
                      Contains("no metric 'l2'") && Contains("other"));
}

TEST_CASE("a loss or gradient that is not finite names epoch, step and samples, and saves them") {
  for (const bool gradient : {false, true}) {
    const TemporaryFolder folder;
    SmallTask task;
    std::vector<int64_t> bad;
    task.before = [&](std::span<const int64_t> ids, const Step& step) {
      if (step.step != 4 || !bad.empty()) return;
      bad.assign(ids.begin(), ids.end());
      if (gradient)
        task.net().a->weight.register_hook([](const at::Tensor& g) { return g * INFINITY; });
      else
        task.loss_factor = std::nan("");
    };
    const std::string toml = "[training]\nepochs = 3\nbatch = 8\nmicro_batch = 4\n";
    REQUIRE_THROWS_MATCHES(
        run(task, toml, folder / "run"), DataError, Catch::Predicate<DataError>([&](const DataError& e) {
          const std::string text = e.what();
          return text.find("epoch 2, step 4") != std::string::npos &&
                 text.find(gradient ? "gradient is not finite" : "loss is not finite") != std::string::npos &&
                 text.find("samples ") != std::string::npos;
        }));
    const auto json = nlohmann::json::parse(bytes_of(folder / "run/failed_batch.json"));
    REQUIRE(json["epoch"] == 2);
    REQUIRE(json["step"] == 4);
    const auto samples = json["samples"].get<std::vector<int64_t>>();
    REQUIRE(samples.size() == (gradient ? 8 : 4));  // a gradient is that of the whole batch
    REQUIRE(std::equal(bad.begin(), bad.end(), samples.begin()));
    REQUIRE(checkpoint_folders(folder / "run").size() == 1);
    SmallTask good;
    run(good, toml, folder / "run", true);
    REQUIRE_FALSE(fs::exists(folder / "run/failed_batch.json"));
  }
}

TEST_CASE("a variant of lamb brings its own defaults, which keys replace") {
  const auto options = [](const std::string& more) {
    return SmallRun("[training]\noptimiser = {kind = \"lamb\"" + more + "}").options;
  };
  const auto nvidia = options(", variant = \"nvidia\""), deepspeed = options(", variant = \"deepspeed\"");
  REQUIRE(nvidia.clip_norm == 1);
  REQUIRE(nvidia.optimiser.epsilon == 1e-6);
  REQUIRE(deepspeed.clip_norm == 0);
  REQUIRE(deepspeed.optimiser.epsilon == 1e-8);
  REQUIRE(deepspeed.optimiser.min_trust_ratio == 0.01);
  REQUIRE(deepspeed.optimiser.max_trust_ratio == 10);
  REQUIRE(options("").optimiser.epsilon == 1e-6);
  REQUIRE(options("").clip_norm == 0);
  REQUIRE(options(", variant = \"deepspeed\", epsilon = 1e-5, max_trust_ratio = 3.0").optimiser.max_trust_ratio == 3);
  REQUIRE(SmallRun("[training]\nclip_norm = 0.5\noptimiser = {kind = \"lamb\", variant = \"nvidia\"}").options.clip_norm ==
          0.5);
}

TEST_CASE("wrong options are named with what was expected") {
  const auto message = [](const std::string& toml) -> std::string {
    try {
      SmallRun run("[training]\n" + toml);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "";
  };
  REQUIRE(message("").empty());
  REQUIRE_THAT(message("epoch = 3"), Contains("'training.epoch'") && Contains("'training.epochs'"));
  REQUIRE_THAT(message("optimiser.learning_rat = 3"), Contains("'training.optimiser.learning_rate'"));
  REQUIRE_THAT(message("optimiser.kind = \"adamv\""), Contains("adam_fno") && Contains("\"adamw\""));
  REQUIRE_THAT(message("schedule.kind = \"cosinus\""), Contains("\"cosine\""));
  REQUIRE_THAT(message("precision = \"float16\""), Contains("bfloat16"));
  REQUIRE_THAT(message("epochs = 3\nsteps = 30"), Contains("both 'training.epochs' and 'training.steps' are set"));
  REQUIRE_THAT(message("evaluate_epochs = 3\nevaluate_steps = 30"), Contains("both 'training.evaluate_epochs'"));
  REQUIRE_THAT(message("schedule.warmup_steps = 3\nschedule.warmup_epochs = 1.0"), Contains("both 'training.schedule"));
  REQUIRE_THAT(message("zero = 2"), Contains("expected 0 or 1"));
  REQUIRE_THAT(message("optimiser.variant = \"nvidia\""), Contains("nothing reads 'training.optimiser.variant'"));
  REQUIRE_THAT(message("optimiser = {kind = \"lamb\", variant = \"apex\"}"), Contains("expected paper, nvidia"));
  REQUIRE_THAT(message("batch = 0"), Contains("'training.batch' is 0, expected 1 or more"));
  REQUIRE_THAT(message("batch = 2.5"), Contains("must be an integer"));
  REQUIRE_THAT(message("ema_decay = 1.0"), Contains("less than 1"));
  REQUIRE_THAT(message("optimiser.beta2 = 1.0"), Contains("less than 1"));
  REQUIRE_THAT(message("optimiser.learning_rate = nan"), Contains("expected 0"));
  REQUIRE_THAT(message("clip_norm = -1.0"), Contains("expected 0"));
}

TEST_CASE("double precision converts complex parameters whole") {
  const TemporaryFolder folder;
  SmallTask task;
  const at::Tensor phase = task.net().phase.detach().clone();
  run(task, "[training]\nepochs = 0\nprecision = \"float64\"", folder / "run");
  REQUIRE(task.net().phase.scalar_type() == at::kComplexDouble);
  REQUIRE(task.net().a->weight.scalar_type() == at::kDouble);
  REQUIRE(relative_error(task.net().phase, phase) == 0);
}

TEST_CASE("mixed precision trains where the processor has it, and is refused elsewhere") {
  const TemporaryFolder folder;
  SmallTask task;
  const std::string toml = "[training]\nepochs = 20\noptimiser.learning_rate = 1e-2\nprecision = ";
  if (!__builtin_cpu_supports("avx512bf16")) {
    REQUIRE_THROWS_AS(run(task, toml + "\"bfloat16\"", folder / "run"), ConfigError);
    return;
  }
  const auto mixed = run(task, toml + "\"bfloat16\"", folder / "run");
  REQUIRE(task.net().a->weight.scalar_type() == at::kFloat);
  SmallTask other;
  const auto single = run(other, toml + "\"float32\"", folder / "single");
  REQUIRE(mixed.best != single.best);
  REQUIRE(std::abs(mixed.best - single.best) <= 0.1 * single.best);
}

TEST_CASE("the base width of muP and the decay of embeddings reach the optimiser") {
  const auto message = [](const std::string& toml) {
    const SmallRun small("[training]\n" + toml);
    return small.options.optimiser;
  };
  REQUIRE(message("optimiser.mup_base_width = 2").mup_base_width == 2);
  REQUIRE_FALSE(message("").decay_embeddings);
  const auto moved = [](const std::string& more) {  // of one step of Adam, which is the rate
    const TemporaryFolder folder;
    SmallTask task;
    const at::Tensor a = task.net().a->weight.detach().clone(), b = task.net().a->bias.detach().clone();
    run(task,
        "[training]\nsteps = 1\nbatch = 22\nschedule.kind = \"constant\"\noptimiser.weight_decay = 0\n"
        "optimiser.learning_rate = 1e-4\n" + more,
        folder / "run");
    const auto last = load_training_checkpoint(checkpoint_folders(folder / "run").front());
    double weight = 0, bias = 0;
    for (const auto& [name, tensor] : last.model) {
      if (name == "a.weight") weight = (tensor - a).abs().max().item<double>();
      if (name == "a.bias") bias = (tensor - b).abs().max().item<double>();
    }
    return std::pair{weight, bias};
  };
  const auto plain = moved(""), narrow = moved("optimiser.mup_base_width = 2");  // a has 4 columns: half the rate
  REQUIRE(std::abs(plain.first - 1e-4) <= 1e-6);
  REQUIRE(std::abs(narrow.first - 0.5e-4) <= 1e-6);
  REQUIRE(std::abs(narrow.second - plain.second) <= 1e-6);
}

TEST_CASE("every optimiser and every schedule learns") {
  for (const char* kind : {"adamw", "adam", "adam_fno", "lamb", "sgd"})
    for (const char* schedule : {"constant", "step", "cosine", "linear", "polynomial"}) {
      const TemporaryFolder folder;
      SmallTask task;
      run(task,
          fmt::format("[training]\nepochs = 20\nevaluate_epochs = 20\nbatch = 8\noptimiser = {{kind = \"{}\", "
                      "learning_rate = {}}}\nschedule.kind = \"{}\"\nschedule.warmup_steps = 5",
                      kind, std::string(kind) == "sgd" ? 0.01 : 0.02, schedule),
          folder / "run");
      const auto log = log_of(folder / "run");
      INFO(kind << " " << schedule);
      REQUIRE(log.back()["loss"].get<double>() <= 0.7 * log.front()["loss"].get<double>());
    }
}
