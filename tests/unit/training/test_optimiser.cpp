#include <ATen/ATen.h>

#include <cmath>
#include <functional>

#include "catch2/catch.hpp"
#include "monarch/core/error.hpp"
#include "monarch/training/optimiser.hpp"

using namespace monarch;
using namespace monarch::training;
using Catch::Matchers::Contains;

namespace {

operators::ParameterGroup group(const at::Tensor& value, double multiplier = 1, bool decay = true) {
  value.requires_grad_();
  return {"p", value, multiplier, decay};
}

/// Three steps with given gradients.
at::Tensor after_steps(const at::Tensor& start, const OptimiserOptions& options, double multiplier = 1, bool decay = true) {
  const at::Tensor p = start.clone();
  Optimiser optimiser({group(p, multiplier, decay)}, options);
  for (int step = 1; step <= 3; ++step) {
    p.mutable_grad() = start.detach() * (0.1 * step) + 0.05;
    optimiser.step(0.01);
  }
  return p.detach();
}

/// The formulas of optimiser.hpp for one real number or one complex one.
template <class T>
T by_hand(T p, const OptimiserOptions& o, double rate, double decay) {
  const T start = p;
  T first = 0;
  double second = 0;
  for (int t = 1; t <= 3; ++t) {
    T g = start * (0.1 * t) + 0.05;
    if (o.kind != OptimiserKind::adamw) g += decay * p;
    if (o.kind == OptimiserKind::adamw) p -= rate * decay * p;
    if (o.kind == OptimiserKind::sgd) {
      first = o.momentum * first + g;
      p -= rate * first;
      continue;
    }
    first = o.beta1 * first + (1 - o.beta1) * g;
    second = o.beta2 * second + (1 - o.beta2) * std::norm(g);
    p -= rate * (first / (1 - std::pow(o.beta1, t))) / (std::sqrt(second / (1 - std::pow(o.beta2, t))) + o.epsilon);
  }
  return p;
}

}  // namespace

TEST_CASE("each optimiser makes the steps of its formula") {
  for (const auto kind : {OptimiserKind::adamw, OptimiserKind::adam, OptimiserKind::adam_fno, OptimiserKind::sgd}) {
    OptimiserOptions o;
    o.kind = kind;
    o.weight_decay = 0.1;
    const at::Tensor start = at::tensor({0.7, -1.2, 0.3}, at::kDouble);
    for (const auto& [multiplier, decay] : {std::pair{1.0, true}, {0.5, false}}) {
      const at::Tensor found = after_steps(start, o, multiplier, decay);
      for (int64_t i = 0; i < 3; ++i) {
        const double expected = by_hand(start[i].item<double>(), o, 0.01 * multiplier, decay ? 0.1 : 0.0);
        REQUIRE(std::abs(found[i].item<double>() - expected) <= 1e-12);
        REQUIRE(std::abs(found[i].item<double>() - start[i].item<double>()) >= 1e-4);
      }
    }
  }
}

TEST_CASE("adam_fno has one second moment for a complex number, the others two") {
  const c10::complex<double> z(0.7, -1.2);
  const at::Tensor start = at::complex(at::tensor({0.7}, at::kDouble), at::tensor({-1.2}, at::kDouble));
  OptimiserOptions o;
  o.weight_decay = 0.1;
  o.kind = OptimiserKind::adam_fno;
  const auto together = after_steps(start, o)[0].item<c10::complex<double>>();
  const auto expected = by_hand(std::complex<double>(z.real(), z.imag()), o, 0.01, 0.1);
  REQUIRE(std::abs(together.real() - expected.real()) <= 1e-12);
  REQUIRE(std::abs(together.imag() - expected.imag()) <= 1e-12);
  o.kind = OptimiserKind::adam;
  const auto apart = after_steps(start, o)[0].item<c10::complex<double>>();
  REQUIRE(std::abs(apart.real() - together.real()) >= 1e-4);
}

TEST_CASE("lamb scales a step by the ratio of norms") {
  OptimiserOptions o;
  o.kind = OptimiserKind::lamb;
  o.weight_decay = 0;
  const at::Tensor p = at::tensor({3.0, 4.0}, at::kDouble);
  Optimiser optimiser({group(p)}, o);
  p.mutable_grad() = at::tensor({1.0, 1.0}, at::kDouble);
  optimiser.step(0.1);  // first step: u = (1, 1), of norm sqrt 2; the weights' is 5
  const double move = 0.1 * 5 / std::sqrt(2.0);
  REQUIRE(std::abs(p[0].item<double>() - (3 - move)) <= 1e-6);
  REQUIRE(std::abs(p[1].item<double>() - (4 - move)) <= 1e-6);
}

TEST_CASE("an optimiser continues from its state as if it had not stopped") {
  for (const auto kind : {OptimiserKind::adamw, OptimiserKind::adam_fno, OptimiserKind::lamb, OptimiserKind::sgd}) {
    OptimiserOptions o;
    o.kind = kind;
    const at::Tensor a = at::ones({4}, at::kComplexFloat), b = a.clone();
    const auto step = [](Optimiser& optimiser, const at::Tensor& p, double g) {
      p.mutable_grad() = at::full({4}, g, at::kComplexFloat);
      optimiser.step(0.01);
    };
    Optimiser first({group(a)}, o), before({group(b)}, o);
    step(first, a, 1);
    step(before, b, 1);
    Optimiser after({group(b)}, o);
    after.load(before.state(), "here");
    step(first, a, -2);
    step(after, b, -2);
    REQUIRE(at::equal(a.detach(), b.detach()));
    REQUIRE_THROWS_WITH(after.load({}, "here"), Contains("here: no tensor"));
  }
}

TEST_CASE("schedules have the values of their formulas") {
  ScheduleOptions s;
  s.kind = ScheduleKind::cosine;
  s.warmup_steps = 10;
  s.final_fraction = 0.1;
  REQUIRE(std::abs(schedule_factor(s, 0, 110, 5) - 0.1) <= 1e-15);
  REQUIRE(std::abs(schedule_factor(s, 10, 110, 5) - 1) <= 1e-15);
  REQUIRE(std::abs(schedule_factor(s, 60, 110, 5) - 0.55) <= 1e-15);
  REQUIRE(std::abs(schedule_factor(s, 110, 110, 5) - 0.1) <= 1e-15);
  s.final_steps = 50;
  REQUIRE(std::abs(schedule_factor(s, 35, 110, 5) - 0.55) <= 1e-15);
  for (const int64_t late : {60, 85, 109}) REQUIRE(std::abs(schedule_factor(s, late, 110, 5) - 0.1) <= 1e-15);
  s.final_steps = 0;
  s.kind = ScheduleKind::linear;
  REQUIRE(std::abs(schedule_factor(s, 60, 110, 5) - 0.55) <= 1e-15);
  s.kind = ScheduleKind::polynomial;
  s.power = 2;
  REQUIRE(std::abs(schedule_factor(s, 60, 110, 5) - (0.1 + 0.9 * 0.25)) <= 1e-15);
  ScheduleOptions step;
  step.kind = ScheduleKind::step;
  step.step_epochs = 100;
  REQUIRE(schedule_factor(step, 99 * 50 + 49, 25000, 50) == 1);
  REQUIRE(schedule_factor(step, 100 * 50, 25000, 50) == 0.5);
  REQUIRE(schedule_factor(step, 250 * 50, 25000, 50) == 0.25);
}
