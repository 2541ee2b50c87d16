#include "monarch/solvers/learning/normaliser.hpp"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include "monarch/core/error.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::solvers;
using Catch::Matchers::Contains;

namespace {
at::Tensor fields() {
  at::manual_seed(2);
  return at::randn({12, 3, 2, 4, 5}, at::kDouble) * 3 + 1e4;
}
}  // namespace

TEST_CASE("statistics gathered in batches are those of all samples at once") {
  const at::Tensor x = fields();
  const std::vector<int64_t> all{0, 1, 3, 4}, samples{0}, over_time{0, 1};
  for (const auto& [kind, time, axes] : {std::tuple{NormaliserKind::channel, false, all},
                                         {NormaliserKind::channel, true, all},
                                         {NormaliserKind::pointwise, false, samples},
                                         {NormaliserKind::pointwise, true, over_time}}) {
    NormaliserFit fit(kind, time);
    for (int64_t first = 0; first < 12; first += 5) fit.add(x.slice(0, first, std::min<int64_t>(12, first + 5)));
    const Normaliser n = fit.result();
    REQUIRE(test::relative_error(n.mean.expand_as(x), x.mean(axes, true).expand_as(x)) <= 1e-13);
    REQUIRE(test::relative_error(n.std.expand_as(x), at::std(x, axes, true, true).expand_as(x)) <= 1e-10);
    REQUIRE(test::relative_error(n.decode(n.encode(x)), x) <= 1e-12);
    // Another batch would not pass.
    NormaliserFit less(kind, time);
    less.add(x.slice(0, 0, 10));
    REQUIRE(test::relative_error(less.result().std, n.std) >= 1e-4);
  }
}

TEST_CASE("normalised fields have mean 0 and deviation 1") {
  const at::Tensor x = fields();
  NormaliserFit fit(NormaliserKind::channel, false);
  fit.add(x);
  const at::Tensor y = fit.result().encode(x);
  const at::Tensor first = y.select(2, 1);
  REQUIRE(std::abs(first.mean().item<double>()) <= 1e-10);
  REQUIRE(std::abs(first.std().item<double>() - 1) <= 1e-4);
}

TEST_CASE("no normaliser changes nothing and stores nothing") {
  NormaliserFit fit(NormaliserKind::none, false);
  fit.add(fields());
  std::map<std::string, at::Tensor> stored;
  fit.result().store(stored, "input");
  REQUIRE(stored.empty());
  REQUIRE(fit.result().encode(fields()).equal(fields()));
}

TEST_CASE("stored statistics come back, and refuse another grid where they are pointwise") {
  const at::Tensor x = fields();
  NormaliserFit fit(NormaliserKind::pointwise, false);
  fit.add(x);
  std::map<std::string, at::Tensor> stored;
  fit.result().store(stored, "target");
  const Normaliser n = Normaliser::restore(stored, "target");
  REQUIRE(n.encode(x).equal(fit.result().encode(x)));
  REQUIRE_FALSE(Normaliser::restore(stored, "input").active());
  REQUIRE_NOTHROW(n.check_grid(x, "target"));
  REQUIRE_THROWS_WITH(n.check_grid(x.slice(4, 0, 3), "target"), Contains("pointwise") && Contains("target"));
}

TEST_CASE("one sample has no pointwise deviation") {
  NormaliserFit fit(NormaliserKind::pointwise, false);
  fit.add(fields().slice(0, 0, 1));
  REQUIRE_THROWS_AS(fit.result(), DataError);
}
