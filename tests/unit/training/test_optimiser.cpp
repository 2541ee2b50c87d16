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

namespace {

/// The published formulas in double precision, one tensor at a time.
std::vector<double> lamb_by_hand(std::vector<double> p, LambVariant variant, double decay, double rate, double eps,
                                 double low, double high, double slope) {
  const double b1 = 0.9, b2 = 0.999;
  const std::vector<double> start = p;
  std::vector<double> m(p.size(), 0), v(p.size(), 0), u(p.size());
  for (int t = 1; t <= 5; ++t) {
    const double c1 = 1 - std::pow(b1, t), c2 = 1 - std::pow(b2, t);
    double size = 0, length = 0;
    for (size_t i = 0; i < p.size(); ++i) {
      const double g = slope * t * start[i] + 0.05;
      m[i] = b1 * m[i] + (1 - b1) * g;
      v[i] = b2 * v[i] + (1 - b2) * g * g;
      const double direction = variant == LambVariant::deepspeed ? m[i] / (std::sqrt(v[i]) + eps)
                                                                 : (m[i] / c1) / (std::sqrt(v[i] / c2) + eps);
      u[i] = direction + decay * p[i];
      size += p[i] * p[i];
      length += u[i] * u[i];
    }
    double ratio = size > 0 && length > 0 ? std::min(high, std::max(low, std::sqrt(size / length))) : 1;
    if (variant == LambVariant::nvidia && decay == 0) ratio = 1;
    const double step = variant == LambVariant::deepspeed ? rate * std::sqrt(c2) / c1 : rate;
    for (size_t i = 0; i < p.size(); ++i) p[i] -= step * ratio * u[i];
  }
  return p;
}

}  // namespace

TEST_CASE("each variant of lamb makes the steps of its formula, for many tensors at once") {
  for (const auto variant : {LambVariant::paper, LambVariant::nvidia, LambVariant::deepspeed}) {
    OptimiserOptions o;
    o.kind = OptimiserKind::lamb;
    o.variant = variant;
    o.weight_decay = 0.1;
    o.epsilon = 1e-6;
    if (variant == LambVariant::deepspeed) o.min_trust_ratio = 0.5, o.max_trust_ratio = 2;
    struct Case {
      std::vector<double> start;
      double multiplier;
      bool decays;
    };
    const std::vector<Case> cases = {{{0.7, -1.2, 0.3}, 1, true},       // ratio about 1
                                     {{30.0, -20.0, 10.0}, 0.5, true},  // above the upper bound
                                     {{1e-3, 2e-3}, 1, true},           // below the lower one
                                     {{0.5, 0.25, -1.0}, 2, false},
                                     {{0.0, 0.0}, 1, false}};  // no norm: ratio 1
    std::vector<operators::ParameterGroup> groups;
    std::vector<at::Tensor> starts;
    for (const Case& c : cases) {
      starts.push_back(at::tensor(c.start, at::kDouble));
      groups.push_back(group(starts.back().clone(), c.multiplier, c.decays));
      groups.back().name = std::to_string(groups.size());
    }
    Optimiser optimiser(groups, o);
    for (int t = 1; t <= 5; ++t) {
      for (size_t i = 0; i < groups.size(); ++i) groups[i].tensor.mutable_grad() = starts[i] * (0.1 * t) + 0.05;
      optimiser.step(0.01);
    }
    for (size_t i = 0; i < cases.size(); ++i) {
      const auto expected =
          lamb_by_hand(cases[i].start, variant, cases[i].decays ? 0.1 : 0.0, 0.01 * cases[i].multiplier, 1e-6,
                       o.min_trust_ratio, o.max_trust_ratio, 0.1);
      for (size_t k = 0; k < expected.size(); ++k) {
        INFO("variant " << static_cast<int>(variant) << ", tensor " << i);
        REQUIRE(std::abs(groups[i].tensor[static_cast<int64_t>(k)].item<double>() - expected[k]) <=
                1e-12 * (1 + std::abs(expected[k])));
      }
      for (const auto other : {LambVariant::paper, LambVariant::nvidia, LambVariant::deepspeed})
        if (other != variant && i == 3) {  // not decayed: nobody agrees
          const auto wrong = lamb_by_hand(cases[i].start, other, 0, 0.02, 1e-6, 0.5, 2, 0.1);
          const bool same_rule = variant != LambVariant::nvidia && other != LambVariant::nvidia;
          if (!same_rule) REQUIRE(std::abs(wrong[0] - expected[0]) >= 1e-6);
        }
    }
  }
}

TEST_CASE("state of some parameters is taken where name and shape fit") {
  OptimiserOptions o;
  const auto named = [](const std::string& name, const at::Tensor& value) {
    auto g = group(value);
    g.name = name;
    return g;
  };
  const at::Tensor a = at::ones({3}), b = at::ones({2, 2});
  Optimiser before({named("a", a), named("b", b)}, o);
  a.mutable_grad() = at::ones({3});
  b.mutable_grad() = at::ones({2, 2});
  before.step(0.1);
  Optimiser after({named("a", at::ones({3})), named("b", at::ones({4}))}, o);
  after.load_matching(before.state());
  for (const auto& [name, tensor] : after.state())
    REQUIRE((tensor.abs().sum().item<double>() > 0) == name.ends_with(".a"));
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
  s.cooldown_epochs = 10;
  REQUIRE(std::abs(schedule_factor(s, 35, 110, 5) - 0.55) <= 1e-15);
  for (const int64_t late : {60, 85, 109}) REQUIRE(std::abs(schedule_factor(s, late, 110, 5) - 0.1) <= 1e-15);
  s.cooldown_epochs = 0;
  s.kind = ScheduleKind::linear;
  REQUIRE(std::abs(schedule_factor(s, 60, 110, 5) - 0.55) <= 1e-15);
  s.kind = ScheduleKind::polynomial;
  s.power = 2;
  REQUIRE(std::abs(schedule_factor(s, 60, 110, 5) - (0.1 + 0.9 * 0.25)) <= 1e-15);
  // Warm-up by fraction and by epochs is that by steps; from a start of its own.
  for (auto* length : {&s.warmup_fraction, &s.warmup_epochs}) {
    ScheduleOptions other = s;
    other.warmup_steps = 0;
    (length == &s.warmup_fraction ? other.warmup_fraction : other.warmup_epochs) =
        length == &s.warmup_fraction ? 10.0 / 110 : 2;
    for (const int64_t at : {0, 4, 10, 60, 109})
      REQUIRE(std::abs(schedule_factor(other, at, 110, 5) - schedule_factor(s, at, 110, 5)) <= 1e-14);
  }
  s.warmup_start = 0.01;
  REQUIRE(schedule_factor(s, 0, 110, 5) == 0.01);
  REQUIRE(std::abs(schedule_factor(s, 5, 110, 5) - (0.01 + 0.99 * 0.5)) <= 1e-15);
  REQUIRE(schedule_factor(s, 10, 110, 5) == 1);
  // By epochs, with a cool-down: 5 epochs up from 0.1, 10 down, 3 at the end value; 4 steps an epoch.
  ScheduleOptions e;
  e.warmup_epochs = 5;
  e.warmup_start = 0.1;
  e.per_epoch = true;
  e.cooldown_epochs = 3;
  e.final_fraction = 0.2;
  for (int64_t at = 0; at < 18 * 4; ++at) {
    const double epoch = static_cast<double>(at / 4), t = std::min(1.0, (epoch - 5) / 10);
    const double expected = epoch < 5 ? 0.1 + 0.9 * epoch / 5 : 0.2 + 0.8 * 0.5 * (1 + std::cos(M_PI * t));
    REQUIRE(std::abs(schedule_factor(e, at, 18 * 4, 4) - expected) <= 1e-14);
  }
  e.per_epoch = false;
  REQUIRE(schedule_factor(e, 21, 72, 4) < schedule_factor(e, 20, 72, 4));
  REQUIRE(std::abs(schedule_factor(e, 60, 72, 4) - 0.2) <= 1e-14);
  ScheduleOptions step;
  step.kind = ScheduleKind::step;
  step.step_epochs = 100;
  REQUIRE(schedule_factor(step, 99 * 50 + 49, 25000, 50) == 1);
  REQUIRE(schedule_factor(step, 100 * 50, 25000, 50) == 0.5);
  REQUIRE(schedule_factor(step, 250 * 50, 25000, 50) == 0.25);
}
