#include "monarch/operators/nn/dense_cache.hpp"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <catch2/catch.hpp>

using namespace monarch::operators;

namespace {

/// A cache whose clock is told: each way takes the time set here.
struct Bench {
  DenseCache cache;
  double dense_seconds = 1, monarch_seconds = 1;
  int builds = 0, timings = 0;
  bool in_dense = false;
  at::Tensor source = at::ones({2, 2});

  Bench() {
    cache.set_stopwatch([this](const std::function<void()>& work) {
      ++timings;
      in_dense = false;
      work();
      return in_dense ? dense_seconds : monarch_seconds;
    });
  }
  at::Tensor ask(int64_t rows) {
    return cache.weight_for(rows, {source},
                            {.build = [this] { return ++builds, source * 2; },
                             .dense = [this](const at::Tensor&) { in_dense = true; },
                             .monarch = [] {},
                             .name = "test"});
  }
};

}  // namespace

TEST_CASE("dense cache: the faster way is used, measured once a batch class") {
  Bench bench;
  bench.dense_seconds = 0.5;
  REQUIRE(bench.ask(1).defined());
  const int timings = bench.timings;
  REQUIRE(timings == 10);
  REQUIRE(bench.ask(1).defined());
  REQUIRE(bench.timings == timings);
  bench.dense_seconds = 2;
  REQUIRE_FALSE(bench.ask(16).defined());  // another class is measured by itself
  REQUIRE(bench.timings == 2 * timings);
  REQUIRE_FALSE(bench.ask(17).defined());  // 16 to 31 rows are one class
  REQUIRE(bench.timings == 2 * timings);
  REQUIRE(bench.ask(1).defined());
  REQUIRE(bench.builds == 1);
}

TEST_CASE("dense cache: a tie stays with the factors, and a weight that lost is not kept") {
  Bench bench;
  bench.dense_seconds = 0.97;
  REQUIRE_FALSE(bench.ask(4).defined());
  REQUIRE_FALSE(bench.cache.holds_weight());
  Bench ahead;
  ahead.dense_seconds = 0.94;
  REQUIRE(ahead.ask(4).defined());
  REQUIRE(ahead.cache.holds_weight());
}

TEST_CASE("dense cache: layers of one name share a decision, those of another are measured") {
  int products = 0;
  const at::Tensor source = at::ones({2, 2});
  const auto ask = [&](const std::string& name) {
    DenseCache cache;
    const int before = products;
    cache.weight_for(1, {source},
                     {.build = [&] { return source * 2; },
                      .dense = [&](const at::Tensor&) { ++products; },
                      .monarch = [&] { ++products; },
                      .name = name});
    return products - before;
  };
  REQUIRE(ask("a layer of this test") == 12);
  REQUIRE(ask("a layer of this test") == 0);
  REQUIRE(ask("another layer of this test") == 12);
}

TEST_CASE("dense cache: large and empty batches are never measured") {
  Bench bench;
  bench.dense_seconds = 0;
  REQUIRE_FALSE(bench.ask(128).defined());
  REQUIRE_FALSE(bench.ask(0).defined());
  REQUIRE(bench.timings == 0);
  REQUIRE(bench.ask(127).defined());
}

TEST_CASE("dense cache: a changed source rebuilds the weight, an unchanged one does not") {
  Bench bench;
  bench.cache.set_path(InferencePath::dense);
  REQUIRE(bench.ask(1000).sum().item<double>() == 8);
  bench.source.mul_(3);
  REQUIRE(bench.ask(1000).sum().item<double>() == 24);
  REQUIRE(bench.builds == 2);
  bench.ask(1000);
  REQUIRE(bench.builds == 2);
  bench.source.set_data(at::full({2, 2}, 5.0));  // another storage
  REQUIRE(bench.ask(1000).sum().item<double>() == 40);
  bench.source.set_data(bench.source.to(at::kDouble));
  REQUIRE(bench.ask(1000).scalar_type() == at::kDouble);
  bench.cache.forget();
  REQUIRE_FALSE(bench.cache.holds_weight());
  REQUIRE(bench.timings == 0);
}

TEST_CASE("dense cache: the path can be forced, and a copy starts empty with the same path") {
  Bench bench;
  bench.dense_seconds = 0;
  bench.cache.set_path(InferencePath::monarch);
  REQUIRE_FALSE(bench.ask(1).defined());
  bench.cache.set_path(InferencePath::dense);
  REQUIRE(bench.ask(1).defined());
  DenseCache copy(bench.cache);
  REQUIRE(copy.path() == InferencePath::dense);
  REQUIRE_FALSE(copy.holds_weight());
  DenseCache assigned;
  assigned = bench.cache;
  REQUIRE(assigned.path() == InferencePath::dense);
  REQUIRE_FALSE(assigned.holds_weight());
}

TEST_CASE("dense cache: tensors without a version counter are not cached") {
  Bench bench;
  bench.cache.set_path(InferencePath::dense);
  {
    const c10::InferenceMode inference;
    bench.source = at::ones({2, 2});
  }
  REQUIRE_FALSE(bench.ask(1).defined());
}
