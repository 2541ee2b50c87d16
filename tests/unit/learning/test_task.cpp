#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <numbers>
#include <numeric>

#include "memory_source.hpp"
#include "monarch/core/error.hpp"
#include "monarch/solvers/learning/field_task.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::solvers;
using Catch::Matchers::Contains;
using monarch::test::MemorySource;

namespace {

/// Waves that move by an eighth of the period per frame: u[s, t, c, x] = Σ_k a_sk cos(2π k (x − t/8) + φ_sk).
at::Tensor waves(int64_t samples, int64_t times, int64_t n, int64_t channels = 1) {
  at::manual_seed(11);
  const auto x = at::arange(n, at::kDouble) / n, t = at::arange(times, at::kDouble) / 8;
  at::Tensor u = at::zeros({samples, times, channels, n}, at::kDouble);
  for (int64_t k = 1; k <= 2; ++k) {
    const auto a = at::rand({samples, 1, channels, 1}, at::kDouble) + 0.5,
               phase = at::rand({samples, 1, channels, 1}, at::kDouble) * 6;
    u += a * at::cos(2 * std::numbers::pi * k * (x - t.view({-1, 1, 1})) + phase);
  }
  return u;
}

PdeDataset dataset(const data::FieldSourcePtr& source, const TaskOptions& task, const DataOptions& options,
                   int64_t training, int64_t validation, int64_t test, at::ScalarType dtype = at::kFloat) {
  const auto rows = std::make_shared<const FieldRows>(source, task, options);
  std::vector<int64_t> ids(static_cast<size_t>(training + validation + test));
  std::iota(ids.begin(), ids.end(), 0);
  const auto part = [&](int64_t first, int64_t count) {
    return FieldSet(rows, {ids.begin() + first, ids.begin() + first + count}, dtype);
  };
  return {part(0, training), part(training, validation), part(training + validation, test), {}, {}};
}

NeuralSolverPtr fno(const FieldShape& shape) {
  at::manual_seed(4);
  const std::string modes = shape.grid.size() == 1 ? "[3]" : "[2, 3]";
  return make_neural_solver(Config::parse("[model]\nname='fno'\nwidth=8\nlayers=2\nprojection=16\nmodes=" + modes),
                            shape);
}

TaskOptions rollout(int64_t input, int64_t horizon) {
  TaskOptions task;
  task.input_frames = input;
  task.horizon = horizon;
  task.evaluation_batch = 5;
  return task;
}

double l2(const training::Metrics& metrics, const std::string& name = "l2_full") {
  for (const auto& [key, value] : metrics)
    if (key == name) return value;
  FAIL("no metric " + name);
  return 0;
}

/// Adam as in its paper, enough to see learning.
double train(FieldTask& task, int64_t epochs, double rate) {
  std::vector<at::Tensor> parameters, first, second;
  for (const auto& group : task.parameters()) parameters.push_back(group.tensor);
  for (const auto& p : parameters) {
    const auto real = p.is_complex() ? at::view_as_real(p) : p;
    first.push_back(at::zeros_like(real.detach()));
    second.push_back(at::zeros_like(real.detach()));
  }
  std::vector<int64_t> ids(static_cast<size_t>(task.training_size()));
  std::iota(ids.begin(), ids.end(), 0);
  double loss = 0;
  for (int64_t epoch = 0; epoch < epochs; ++epoch) {
    task.module().train();
    loss = 0;
    constexpr size_t kBatch = 8;
    int64_t step = 0;
    for (size_t begin = 0; begin < ids.size(); begin += kBatch) {
      for (auto& p : parameters) p.mutable_grad() = at::Tensor();
      const auto batch = std::span(ids).subspan(begin, std::min(kBatch, ids.size() - begin));
      loss += task.accumulate_gradients(batch, 1.0 / static_cast<double>(batch.size()), {3, epoch, step++});
      const at::NoGradGuard guard;
      for (size_t i = 0; i < parameters.size(); ++i) {
        if (!parameters[i].grad().defined()) continue;
        const auto real = [](const at::Tensor& t) { return t.is_complex() ? at::view_as_real(t) : t; };
        const at::Tensor g = real(parameters[i].grad());
        first[i].mul_(0.9).add_(g, 0.1);
        second[i].mul_(0.99).addcmul_(g, g, 0.01);
        real(parameters[i].detach()).addcdiv_(first[i], second[i].sqrt().add_(1e-8), -rate);
      }
    }
  }
  task.module().eval();
  return loss / static_cast<double>(ids.size());
}

}  // namespace

TEST_CASE("every way of training a rollout learns moving waves better than persistence") {
  const auto source = std::make_shared<MemorySource>();
  source->add("u", waves(30, 8, 16));
  for (const auto mode : {RolloutMode::bptt, RolloutMode::pushforward, RolloutMode::one_step}) {
    TaskOptions options = rollout(2, 4);
    options.mode = mode;
    options.noise = mode == RolloutMode::one_step ? 0.01 : 0;
    options.curriculum_epochs = mode == RolloutMode::bptt ? 3 : 0;
    FieldTask task(options, {}, dataset(source, options, {}, 20, 5, 5), fno);
    INFO("mode " << static_cast<int>(mode));
    REQUIRE(task.training_size() == (mode == RolloutMode::one_step ? 80 : 20));
    task.module().eval();
    const double before = [&] {
      const at::NoGradGuard guard;
      return l2(task.evaluate());
    }();
    train(task, mode == RolloutMode::one_step ? 10 : 40, 5e-3);
    const at::NoGradGuard guard;
    const double after = l2(task.evaluate());
    const auto baselines = task.baselines(task.data().validation);
    REQUIRE(baselines.size() == 2);
    REQUIRE(baselines[0].name == "persistence");
    INFO(before << " -> " << after << "; persistence " << l2(baselines[0].scores.metrics));
    REQUIRE(after <= 0.5 * before);
    REQUIRE(after <= 0.5 * l2(baselines[0].scores.metrics));
  }
}

TEST_CASE("the loss of a sample is the sum over its steps, and batches may be split") {
  const auto source = std::make_shared<MemorySource>();
  source->add("u", waves(8, 6, 16, 2));
  TaskOptions options = rollout(2, 3);
  FieldTask task(options, {}, dataset(source, options, {}, 6, 1, 1, at::kDouble), [](const FieldShape& shape) {
    auto network = fno(shape);
    network->to(at::kDouble);
    return network;
  });
  REQUIRE(task.model().network().shape().in_channels == 4);
  const auto gradients = [&](const std::vector<std::vector<int64_t>>& batches) {
    for (const auto& p : task.module().parameters()) p.mutable_grad() = at::Tensor();
    double loss = 0;
    for (const auto& ids : batches) loss += task.accumulate_gradients(ids, 0.5, {});
    std::vector<at::Tensor> flat;
    for (const auto& p : task.module().parameters())
      flat.push_back((p.is_complex() ? at::view_as_real(p.grad()) : p.grad()).flatten().to(at::kDouble));
    return std::pair{loss, at::cat(flat)};
  };
  const auto [whole, one] = gradients({{0, 1, 2, 3, 4}});
  const auto [parts, other] = gradients({{4, 2}, {0}, {3, 1}});
  REQUIRE(std::abs(whole - parts) <= 1e-12 * whole);
  REQUIRE(test::relative_error(other, one) <= 1e-10);
  const at::NoGradGuard guard;
  const auto batch = task.data().training.read(0, 5);
  const auto prediction = task.model().predict(batch.input, 3);
  double expected = 0;
  for (int64_t s = 0; s < 5; ++s)
    for (int64_t t = 0; t < 3; ++t)
      expected += ((prediction[s][t] - batch.target[s][t]).norm() / batch.target[s][t].norm()).item<double>();
  REQUIRE(std::abs(whole - expected) <= 1e-10 * expected);
}

TEST_CASE("normalisers act inside the model: scaled data give scaled predictions") {
  const at::Tensor u = waves(12, 6, 16);
  const auto predict = [&](const at::Tensor& fields, NormaliserKind kind) {
    const auto source = std::make_shared<MemorySource>();
    source->add("u", fields);
    TaskOptions options = rollout(2, 3);
    DataOptions data;
    data.input_normaliser = data.target_normaliser = kind;
    FieldTask task(options, data, dataset(source, options, data, 10, 1, 1), fno);
    task.module().eval();
    const at::NoGradGuard guard;
    return task.model().predict(task.data().test.read(0, 1).input, 3).to(at::kDouble);
  };
  for (const auto kind : {NormaliserKind::channel, NormaliserKind::pointwise})
    REQUIRE(test::relative_error(predict(u * 50 + 7, kind), predict(u, kind) * 50 + 7) <= 1e-3);
  REQUIRE(test::relative_error(predict(u * 50 + 7, NormaliserKind::none), predict(u, NormaliserKind::none) * 50 + 7) >=
          0.05);
}

TEST_CASE("a space-time model sees time as an axis of its grid, first or last") {
  const auto source = std::make_shared<MemorySource>();
  const at::Tensor u = waves(24, 6, 12);
  source->add("a", u.select(1, 0), false).add("u", u);
  for (const bool last : {false, true}) {
    TaskOptions options;
    options.kind = TaskKind::space_time;
    options.input_frames = 1;
    options.horizon = 6;
    options.time_last = last;
    DataOptions data;
    data.target_normaliser = NormaliserKind::channel;
    FieldTask task(options, data, dataset(source, options, data, 16, 4, 4), fno);
    const auto grid = task.model().network().shape().grid;
    REQUIRE(grid == (last ? std::vector<int64_t>{12, 6} : std::vector<int64_t>{6, 12}));
    const double first = train(task, 1, 5e-3), trained = train(task, 30, 5e-3);
    REQUIRE(trained <= 0.6 * first);
    const at::NoGradGuard guard;
    const auto prediction = task.model().predict(task.data().test.read(0, 2).input, 6);
    REQUIRE(prediction.sizes() == at::IntArrayRef{2, 6, 1, 12});
    REQUIRE_THROWS_WITH(task.model().predict(task.data().test.read(0, 2).input, 7), Contains("6 frames at once"));
  }
}

TEST_CASE("scores of the truth are zero and those of the baselines are what their definitions say") {
  const auto source = std::make_shared<MemorySource>();
  at::manual_seed(1);
  const at::Tensor w = at::randn({9, 7, 1, 8, 8}, at::kDouble);
  source->add("u", w);
  TaskOptions options = rollout(2, 5);
  options.quantity = "vorticity";
  FieldTask task(options, {}, dataset(source, options, {}, 5, 2, 2, at::kDouble), [](const FieldShape& shape) {
    auto network = make_neural_solver(Config::parse("[model]\nname='fno'\nwidth=4\nlayers=1\nmodes=[2,2]"), shape);
    network->to(at::kDouble);
    return network;
  });
  const auto baselines = task.baselines(task.data().test);
  const at::Tensor truth = w.slice(0, 7).slice(1, 2), held = w.slice(0, 7).slice(1, 1, 2).expand_as(truth);
  const at::Tensor mean = w.slice(0, 0, 5).slice(1, 2).mean(0, true).expand_as(truth);
  const auto error = [&](const at::Tensor& prediction) {
    return ((prediction - truth).flatten(1).norm(2, 1) / truth.flatten(1).norm(2, 1)).mean().item<double>();
  };
  REQUIRE(std::abs(l2(baselines.at(0).scores.metrics) - error(held)) <= 1e-12);
  REQUIRE(std::abs(l2(baselines.at(1).scores.metrics) - error(mean)) <= 1e-12);

  FieldEvaluation perfect(options, task.data().test.rows().target_times(), task.data().test.rows().start_time());
  perfect.add(truth, truth, at::zeros({2}));
  const auto scores = perfect.result();
  REQUIRE(l2(scores.metrics) == 0);
  REQUIRE(l2(scores.metrics, "spectrum_error") <= 1e-12);
  REQUIRE(l2(scores.metrics, "enstrophy_error") <= 1e-12);
  REQUIRE(l2(scores.metrics, "correlation_time") == scores.times.back());
  // Random fields have nothing to do with their predecessor: the correlation is lost within the first frame.
  REQUIRE(l2(baselines[0].scores.metrics, "correlation_time") < scores.times.front());
  FieldEvaluation twice(options, task.data().test.rows().target_times(), task.data().test.rows().start_time());
  twice.add(truth * 2, truth, at::zeros({2}));
  REQUIRE(std::abs(l2(twice.result().metrics, "enstrophy_error") - 3) <= 1e-9);
  REQUIRE(std::abs(l2(twice.result().metrics, "spectrum_error") - std::log10(4.0)) <= 1e-9);
}

TEST_CASE("results are written as numbers, curves and pictures, and the test data are used there") {
  const auto source = std::make_shared<MemorySource>();
  at::manual_seed(1);
  source->add("u", at::randn({9, 7, 1, 8, 8}, at::kDouble));
  TaskOptions options = rollout(2, 5);
  options.save_predictions = true;
  options.quantity = "vorticity";
  FieldTask task(options, {}, dataset(source, options, {}, 5, 2, 2), [](const FieldShape& shape) {
    return make_neural_solver(Config::parse("[model]\nname='fno'\nwidth=4\nlayers=1\nmodes=[2,2]"), shape);
  });
  const test::TemporaryFolder folder;
  task.write_results(folder / "results");
  for (const auto* name :
       {"metrics.json", "error_time.svg", "spectrum.svg", "panel.png", "rollout.gif", "predictions.npy"}) {
    INFO(name);
    REQUIRE(std::filesystem::file_size(folder / "results" / name) > 500);
  }
  const auto json = nlohmann::json::parse(std::ifstream(folder / "results" / "metrics.json"));
  REQUIRE(json["test"]["l2_full"].get<double>() == l2(task.test_metrics()));
  REQUIRE(json["test"]["l2_per_time"].size() == 5);
  REQUIRE(json["baselines"].contains("persistence"));
  REQUIRE_THAT(task.describe_samples(std::vector<int64_t>{1, 4}), Contains("1, 4 of memory.mat"));
}

TEST_CASE("a rollout cannot predict another number of channels than it is given") {
  const auto source = std::make_shared<MemorySource>();
  source->add("a", at::randn({4, 5, 2, 8}), true).add("u", at::randn({4, 5, 1, 8}), true);
  TaskOptions options = rollout(2, 2);
  DataOptions data;
  data.input = std::string("a");
  data.target = std::string("u");
  REQUIRE_THROWS_WITH(FieldTask(options, data, dataset(source, options, data, 2, 1, 1), fno),
                      Contains("2 channels are given, 1 predicted"));
}
