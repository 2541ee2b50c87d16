#include "monarch/solvers/learning/rollout.hpp"

#include <ATen/ATen.h>
#include <malloc.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/dropout.h>

#include <catch2/catch.hpp>

#include "support/support.hpp"

using namespace monarch;
using namespace monarch::solvers;

namespace {

/// A small nonlinear step with F frames of C channels, and what makes recomputation delicate.
struct Step : torch::nn::Module {
  Step(int64_t frames, int64_t channels, int64_t width, double dropout)
      : narrow(register_module("narrow",
                               torch::nn::Conv2d(torch::nn::Conv2dOptions(frames * channels, width, 3).padding(1)))),
        wide(register_module("wide", torch::nn::Conv2d(torch::nn::Conv2dOptions(width, channels, 3).padding(1)))),
        norm(register_module("norm", torch::nn::BatchNorm2d(width))),
        drop(register_module("drop", torch::nn::Dropout(dropout))) {}
  at::Tensor forward(const at::Tensor& x) { return wide(drop(at::gelu(norm(narrow(x))))); }
  torch::nn::Conv2d narrow, wide;
  torch::nn::BatchNorm2d norm;
  torch::nn::Dropout drop;
};

struct Outcome {
  double loss;
  at::Tensor prediction;
  std::vector<at::Tensor> gradients, buffers;
};

Outcome run(bool recompute, int64_t steps, int64_t frames, int64_t channels, double dropout) {
  at::manual_seed(7);
  Step model(frames, channels, 6, dropout);
  model.to(at::kDouble);
  const auto input = at::randn({3, frames, channels, 5, 6}, at::kDouble);
  const auto target = at::randn({3, steps, channels, 5, 6}, at::kDouble);
  const auto result = rollout_gradient([&](const at::Tensor& w) { return model.forward(w); }, model, input, target,
                                       training::relative_l2, 0.25, recompute);
  Outcome outcome{result.loss, result.prediction, {}, {}};
  for (const auto& p : model.parameters()) outcome.gradients.push_back(p.grad().clone());
  for (const auto& b : model.buffers()) outcome.buffers.push_back(b.clone());
  outcome.buffers.push_back(at::rand({4}));  // where the generator stands
  return outcome;
}

/// Of all tensors together: a bias before a normalisation has a gradient of rounding only.
double distance(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  const auto flat = [](const std::vector<at::Tensor>& tensors) {
    std::vector<at::Tensor> parts;
    for (const auto& t : tensors) parts.push_back(t.to(at::kDouble).flatten());
    return at::cat(parts);
  };
  return test::relative_error(flat(a), flat(b));
}

}  // namespace

TEST_CASE("the recomputed gradient of a rollout is that of its one graph") {
  for (const auto& [steps, frames, channels] :
       {std::array<int64_t, 3>{1, 3, 1}, {2, 3, 2}, {3, 1, 2}, {7, 3, 1}, {9, 4, 2}}) {
    INFO(steps << " steps, " << frames << " frames, " << channels << " channels");
    const Outcome one = run(false, steps, frames, channels, 0), other = run(true, steps, frames, channels, 0);
    REQUIRE(std::abs(one.loss - other.loss) <= 1e-12 * one.loss);
    REQUIRE(test::relative_error(other.prediction, one.prediction) <= 1e-13);
    REQUIRE(distance(other.gradients, one.gradients) <= 1e-10);
  }
}

TEST_CASE("recomputing leaves running statistics and random numbers as one pass does") {
  const Outcome one = run(false, 5, 2, 1, 0.4), other = run(true, 5, 2, 1, 0.4);
  REQUIRE(distance(other.gradients, one.gradients) <= 1e-10);  // the same dropout masks
  REQUIRE(distance(other.buffers, one.buffers) <= 1e-12);
  // Twice the updates would be seen.
  Outcome wrong = run(false, 10, 2, 1, 0.4);
  REQUIRE(distance(wrong.buffers, one.buffers) >= 1e-3);
}

TEST_CASE("the gradient through the rollout is not that of single steps") {
  // What a backward sweep without the gradients that later windows send back would give.
  at::manual_seed(7);
  Step model(2, 1, 6, 0);
  model.to(at::kDouble);
  const auto input = at::randn({3, 2, 1, 5, 6}, at::kDouble), target = at::randn({3, 5, 1, 5, 6}, at::kDouble);
  const auto step = [&](const at::Tensor& w) { return model.forward(w); };
  rollout_gradient(step, model, input, target, training::relative_l2, 1, true);
  std::vector<at::Tensor> whole, single;
  for (auto& p : model.parameters()) {
    whole.push_back(p.grad().clone());
    p.mutable_grad() = at::Tensor();
  }
  rollout_gradient([&](const at::Tensor& w) { return model.forward(w.detach()); }, model, input, target,
                   training::relative_l2, 1, false);
  for (const auto& p : model.parameters()) single.push_back(p.grad().clone());
  REQUIRE(distance(single, whole) >= 1e-3);
}

TEST_CASE("the gradient of a rollout agrees with finite differences") {
  at::manual_seed(3);
  Step model(2, 2, 3, 0);
  model.to(at::kDouble);
  const auto input = at::randn({2, 2, 2, 4, 4}, at::kDouble), target = at::randn({2, 4, 2, 4, 4}, at::kDouble);
  const auto step = [&](const at::Tensor& w) { return model.forward(w); };
  rollout_gradient(step, model, input, target, training::mean_square, 2, true);
  auto weight = model.narrow->weight;
  const auto direction = at::randn_like(weight);
  const double along = (weight.grad() * direction).sum().item<double>();
  const auto loss_at = [&](double h) {
    const at::NoGradGuard guard;
    weight.add_(direction, h);
    const auto prediction = roll_out(step, input, 4);
    double sum = 0;
    for (int64_t t = 0; t < 4; ++t)
      sum += training::mean_square(prediction.select(1, t), target.select(1, t)).sum().item<double>();
    weight.add_(direction, -h);
    return 2 * sum;
  };
  const double h = 1e-5, difference = (loss_at(h) - loss_at(-h)) / (2 * h);
  REQUIRE(std::abs(along - difference) <= 1e-6 * std::abs(difference));
}

TEST_CASE("memory of a recomputed rollout does not grow with its graph") {
  // Bytes in use when a step is asked for, at most, above what the first call finds.
  const auto peak = [](bool recompute, int64_t steps) {
    at::manual_seed(1);
    Step model(4, 1, 32, 0);
    const auto input = at::randn({4, 4, 1, 32, 32}), target = at::randn({4, steps, 1, 32, 32});
    double first = 0, most = 0;
    const auto in_use = [] {
      const auto info = mallinfo2();
      return static_cast<double>(info.uordblks + info.hblkhd);
    };
    rollout_gradient(
        [&](const at::Tensor& w) {
          const double now = in_use();
          if (first == 0) first = now;
          most = std::max(most, now - first);
          return model.forward(w);
        },
        model, input, target, training::relative_l2, 1, recompute);
    return most;
  };
  const double frame = 4.0 * 32 * 32 * 4;
  const double few = peak(true, 4), many = peak(true, 24), graph = peak(false, 24);
  INFO("recomputed: " << few << " and " << many << " bytes; one graph: " << graph);
  REQUIRE(many - few <= 20 * 3 * frame);  // two frames per step, and room
  REQUIRE(graph >= 8 * many);             // the measure sees what the other way holds
}

TEST_CASE("a rollout without gradients is the loop over its steps") {
  at::manual_seed(5);
  Step model(3, 2, 4, 0);
  model.to(at::kDouble);
  model.eval();
  const at::NoGradGuard guard;
  const auto input = at::randn({2, 3, 2, 5, 5}, at::kDouble);
  const auto prediction = roll_out([&](const at::Tensor& w) { return model.forward(w); }, input, 6);
  at::Tensor window = input;
  for (int64_t t = 0; t < 6; ++t) {
    const auto next = model.forward(window.flatten(1, 2));
    REQUIRE(test::relative_error(prediction.select(1, t), next) <= 1e-14);
    window = at::cat({window.slice(1, 1), next.unsqueeze(1)}, 1);
  }
}

TEST_CASE("pushforward sends its gradient through the last step only") {
  at::manual_seed(9);
  Step model(2, 1, 4, 0);
  model.to(at::kDouble);
  const auto input = at::randn({2, 2, 1, 5, 5}, at::kDouble), truth = at::randn({2, 1, 5, 5}, at::kDouble);
  const auto step = [&](const at::Tensor& w) { return model.forward(w); };
  const auto before = model.norm->running_mean.clone();
  const double loss = pushforward_gradient(step, model, input, 3, truth, training::relative_l2, 1);
  const auto after = model.norm->running_mean.clone();
  std::vector<at::Tensor> gradients, expected;
  for (auto& p : model.parameters()) {
    gradients.push_back(p.grad().clone());
    p.mutable_grad() = at::Tensor();
  }
  at::Tensor window;
  {
    const at::NoGradGuard guard;
    window = at::cat({input, roll_out(step, input, 3)}, 1).slice(1, 3);
  }
  model.norm->running_mean.copy_(before);
  const auto value = training::relative_l2(step(window.flatten(1, 2)), truth).sum();
  value.backward();
  for (const auto& p : model.parameters()) expected.push_back(p.grad().clone());
  REQUIRE(std::abs(loss - value.item<double>()) <= 1e-12);
  REQUIRE(distance(gradients, expected) <= 1e-12);
  REQUIRE(test::relative_error(after, model.norm->running_mean) <= 1e-12);  // updated once, by the last step
}
