#include "monarch/operators/nn/linear_cross_entropy.hpp"

#include <ATen/ATen.h>
#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <memory>
#include <optional>
#include <vector>

#include "monarch/core/error.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::operators;
using namespace monarch::test;

namespace {

struct Problem {
  at::Tensor features, weight, bias, targets;
};

Problem problem(int64_t rows, int64_t width, int64_t vocabulary, at::ScalarType dtype) {
  at::manual_seed(5);
  const auto o = at::TensorOptions(dtype);
  Problem p{at::randn({rows, width}, o), at::randn({vocabulary, width}, o) * 0.3, at::randn({vocabulary}, o),
            at::randint(vocabulary, {rows}, at::kLong)};
  for (auto* t : {&p.features, &p.weight, &p.bias}) t->requires_grad_();
  return p;
}

at::Tensor plain(const Problem& p, const CrossEntropyOptions& o, bool bias = true) {
  const at::Tensor logits = at::linear(p.features, p.weight, bias ? p.bias : at::Tensor());
  return at::cross_entropy_loss(logits, p.targets, {}, o.sum ? at::Reduction::Sum : at::Reduction::Mean, o.ignore_index,
                                o.label_smoothing);
}

std::vector<at::Tensor> gradients(const at::Tensor& loss, const Problem& p, double weight, bool bias = true) {
  std::vector<at::Tensor> inputs{p.features, p.weight};
  if (bias) inputs.push_back(p.bias);
  return torch::autograd::grad({loss}, inputs, {at::full_like(loss, weight)});
}

/// Largest sum of live bytes that tensors of this thread took while the object lived.
class PeakMemory {
 public:
  int64_t bytes() const { return counter_->peak; }

 private:
  struct Counter final : c10::MemoryReportingInfoBase {
    void reportMemoryUsage(void*, int64_t size, size_t, size_t, c10::Device) override {
      live += size;
      peak = std::max(peak, live);
    }
    bool memoryProfilingEnabled() const override { return true; }
    int64_t live = 0, peak = 0;
  };
  std::shared_ptr<Counter> counter_ = std::make_shared<Counter>();
  c10::DebugInfoGuard guard_{c10::DebugInfoKind::PROFILER_STATE, counter_};
};

}  // namespace

TEST_CASE("the loss by chunks and its gradients equal cross-entropy of the full logits") {
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    const double tolerance = dtype == at::kDouble ? 1e-13 : 1e-6;
    Problem p = problem(37, 12, 101, dtype);
    p.targets.index_put_({at::tensor({3, 20, 36})}, at::scalar_tensor(-100, at::kLong));
    for (const bool sum : {false, true}) {
      for (const double smooth : {0.0, 0.1}) {
        for (const int64_t bytes : {int64_t{1}, int64_t{16 * 101 * 5}, int64_t{1} << 26}) {
          for (const bool bias : {true, false}) {
            const CrossEntropyOptions o{.label_smoothing = smooth, .sum = sum, .chunk_bytes = bytes};
            const auto b = bias ? std::optional(p.bias) : std::nullopt;
            const at::Tensor ours = linear_cross_entropy(p.features, p.weight, b, p.targets, o);
            const at::Tensor theirs = plain(p, o, bias);
            REQUIRE(relative_error(ours, theirs) <= tolerance);
            const auto found = gradients(ours, p, 0.7, bias), expected = gradients(theirs, p, 0.7, bias);
            for (size_t i = 0; i < expected.size(); ++i) REQUIRE(relative_error(found[i], expected[i]) <= tolerance);
          }
        }
      }
    }
    // The check sees a wrong target.
    const at::Tensor right = linear_cross_entropy(p.features, p.weight, p.bias, p.targets);
    p.targets[0] = (p.targets[0] + 1) % 101;
    REQUIRE(!(relative_error(linear_cross_entropy(p.features, p.weight, p.bias, p.targets), right) <= tolerance));
  }
}

TEST_CASE("losses of rows add up to the loss, and ignored rows have none") {
  Problem p = problem(24, 8, 33, at::kDouble);
  p.targets[5] = -1;
  const CrossEntropyOptions o{.ignore_index = -1, .chunk_bytes = 16 * 33 * 7};
  const auto features = p.features.view({4, 6, 8});
  const at::Tensor rows = linear_cross_entropy_rows(features, p.weight, p.bias, p.targets.view({4, 6}), o);
  REQUIRE(rows.sizes() == at::IntArrayRef({4, 6}));
  REQUIRE(rows.view(-1)[5].item<double>() == 0);
  REQUIRE(!rows.requires_grad());
  const at::Tensor mean = linear_cross_entropy(features, p.weight, p.bias, p.targets.view({4, 6}), o);
  REQUIRE(relative_error(rows.sum() / 23, mean) <= 1e-14);
  REQUIRE(gradients(mean, p, 1)[0].sizes() == p.features.sizes());
}

TEST_CASE("only the gradients that are asked for are made, and a frozen model's loss has none") {
  Problem p = problem(10, 6, 17, at::kDouble);
  const auto expected = gradients(plain(p, {}), p, 1);
  p.weight = p.weight.detach();
  const at::Tensor loss = linear_cross_entropy(p.features, p.weight, p.bias, p.targets);
  const auto found = torch::autograd::grad({loss}, {p.features, p.bias});
  REQUIRE(relative_error(found[0], expected[0]) <= 1e-13);
  REQUIRE(relative_error(found[1], expected[2]) <= 1e-13);
  const at::NoGradGuard guard;
  REQUIRE(!linear_cross_entropy(p.features, p.weight, p.bias, p.targets).requires_grad());
}

TEST_CASE("a graph of the loss by chunks is used once, and not differentiated twice") {
  const Problem p = problem(10, 6, 17, at::kDouble);
  const at::Tensor loss = linear_cross_entropy(p.features, p.weight, p.bias, p.targets);
  torch::autograd::grad({loss}, {p.features}, {}, true);
  REQUIRE_THROWS_WITH(torch::autograd::grad({loss}, {p.features}, {}, true), Catch::Contains("used already"));
  const at::Tensor other = linear_cross_entropy(p.features, p.weight, p.bias, p.targets);
  REQUIRE_THROWS_WITH(torch::autograd::grad({other}, {p.features}, {}, true, true),
                      Catch::Contains("no second derivative"));
}

TEST_CASE("bfloat16 features give the loss and gradients of float32 to their rounding") {
  const Problem p = problem(64, 32, 211, at::kFloat);
  const at::Tensor expected = plain(p, {});
  const auto low = [](const at::Tensor& t) { return t.to(at::kBFloat16); };
  const at::Tensor loss =
      linear_cross_entropy(low(p.features), low(p.weight), low(p.bias), p.targets, {.chunk_bytes = 8 * 211 * 9});
  REQUIRE(loss.scalar_type() == at::kFloat);
  REQUIRE(relative_error(loss, expected) <= 5e-3);
  const auto found = gradients(loss, p, 1), reference = gradients(expected, p, 1);
  for (size_t i = 0; i < found.size(); ++i) REQUIRE(relative_error(found[i], reference[i]) <= 2e-2);
}

TEST_CASE("the full logits are never in memory") {
  constexpr int64_t rows = 2048, vocabulary = 20000;
  const Problem p = problem(rows, 8, vocabulary, at::kFloat);
  constexpr int64_t logits = rows * vocabulary * 4, chunk = int64_t{4} << 20;
  PeakMemory peak;
  const at::Tensor loss = linear_cross_entropy(p.features, p.weight, p.bias, p.targets, {.chunk_bytes = chunk});
  gradients(loss, p, 1);
  REQUIRE(peak.bytes() <= chunk + (int64_t{4} << 20));
  const int64_t before = peak.bytes();
  gradients(plain(p, {}), p, 1);
  REQUIRE(peak.bytes() >= logits);  // the meter sees them
  REQUIRE(before <= logits / 10);
}

TEST_CASE("arguments of the loss by chunks that do not fit are named") {
  const Problem p = problem(6, 4, 9, at::kFloat);
  const auto loss = [&](const at::Tensor& targets) {
    return linear_cross_entropy(p.features, p.weight, p.bias, targets);
  };
  const at::Tensor large = p.targets.clone();
  large[2] = 9;
  REQUIRE_THROWS_AS(loss(large), DataError);
  REQUIRE_THROWS_WITH(loss(large), Catch::Contains("target 9 of row 2") && Catch::Contains("vocabulary of 9"));
  REQUIRE_THROWS_AS(loss(p.targets.narrow(0, 0, 5)), ShapeError);
  REQUIRE_THROWS_AS(loss(p.targets.to(at::kInt)), DtypeError);
  REQUIRE_THROWS_AS(linear_cross_entropy(p.features.narrow(1, 0, 3), p.weight, p.bias, p.targets), ShapeError);
  REQUIRE_THROWS_AS(linear_cross_entropy(p.features, p.weight, p.bias.narrow(0, 0, 8), p.targets), ShapeError);
  REQUIRE_THROWS_AS(linear_cross_entropy(p.features, p.weight, p.bias, p.targets, {.label_smoothing = 1}), ConfigError);
  // As at::cross_entropy: the mean over no rows is no number.
  REQUIRE(std::isnan(loss(at::full({6}, -100, at::kLong)).item<double>()));
}
