#include "monarch/experiments/language/gpt2_generate.hpp"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <map>

#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::experiments;
using namespace monarch::test;
using Catch::Matchers::Contains;

namespace {

std::shared_ptr<Gpt2Impl> model(bool monarch = false) {
  at::manual_seed(7);
  auto made = std::make_shared<Gpt2Impl>(
      Gpt2Options{.vocabulary = 50, .positions = 24, .width = 32, .depth = 3, .heads = 4, .scale_by_layer = true});
  if (monarch) {
    StructureOptions structure;
    structure.kind = StructureOptions::Kind::monarch;
    apply_structure(*made, structure, Gpt2Impl::structure_presets());
  }
  // Far from the tiny start, so that tokens matter.
  const at::NoGradGuard guard;
  for (auto& parameter : made->parameters()) parameter.mul_(8);
  made->eval();
  return made;
}

const at::Tensor kLogits = at::log(at::tensor({0.1, 0.4, 0.2, 0.3}, at::kDouble));

}  // namespace

TEST_CASE("features with a cache of keys and values equal those of the whole text, dense and Monarch") {
  for (const bool monarch : {false, true}) {
    const auto gpt = model(monarch);
    const at::NoGradGuard guard;
    const at::Tensor ids = at::randint(50, {2, 24}, at::kLong);
    const at::Tensor whole = gpt->features(ids);
    auto caches = gpt->cache(24);
    std::vector<at::Tensor> parts{gpt->features(ids.narrow(1, 0, 9), caches)};
    for (int64_t t = 9; t < 24; ++t) parts.push_back(gpt->features(ids.narrow(1, t, 1), caches));
    REQUIRE(relative_error(at::cat(parts, 1), whole) <= 1e-5);
    REQUIRE_THROWS_AS(gpt->features(ids.narrow(1, 0, 1), caches), ShapeError);  // beyond the positions
    auto begun = gpt->cache(24);
    gpt->features(ids.narrow(1, 0, 2), begun);
    REQUIRE_THROWS_AS(gpt->features(ids.narrow(1, 2, 2), begun), ShapeError);
  }
}

TEST_CASE("greedy text is the likeliest token after all before it, each time") {
  const auto gpt = model();
  const data::TokenIds prompt{3, 1, 4};
  const auto text = generate(*gpt, prompt, {.tokens = 21, .greedy = true});
  REQUIRE(text.ids.size() == 21);
  std::vector<int64_t> ids(prompt.begin(), prompt.end());
  const at::NoGradGuard guard;
  for (const int32_t token : text.ids) {
    const at::Tensor logits = gpt->forward(at::tensor(ids).unsqueeze(0)).select(1, -1);
    REQUIRE(logits.argmax().item<int64_t>() == token);
    ids.push_back(token);
  }
  // It ends where the model writes the token that ends a text.
  const auto stopped = generate(*gpt, prompt, {.tokens = 21, .greedy = true}, text.ids[0]);
  REQUIRE(stopped.stopped);
  REQUIRE(stopped.ids.empty());
}

TEST_CASE("draws follow seed, temperature, top-k and top-p") {
  const auto frequency = [](const GenerateOptions& options) {
    std::map<int32_t, double> counts;
    Rng rng(1, "draws");
    constexpr int draws = 20000;
    for (int i = 0; i < draws; ++i) counts[sample_token(kLogits, options, rng.uniform())] += 1. / draws;
    return counts;
  };
  auto plain = frequency({});
  for (const auto& [token, p] : std::map<int32_t, double>{{0, 0.1}, {1, 0.4}, {2, 0.2}, {3, 0.3}})
    REQUIRE(std::abs(plain[token] - p) <= 0.015);
  auto cold = frequency({.temperature = 0.5});  // squares of the probabilities
  REQUIRE(std::abs(cold[1] - 0.16 / 0.30) <= 0.015);
  auto two = frequency({.top_k = 2});
  REQUIRE(two.size() == 2);
  REQUIRE(std::abs(two[1] - 4. / 7) <= 0.015);
  REQUIRE(frequency({.top_p = 0.71}).size() == 3);
  REQUIRE(frequency({.top_p = 0.69}).size() == 2);
  REQUIRE(frequency({.top_p = 0.01}).size() == 1);
  REQUIRE(frequency({.greedy = true}).count(1) == 1);
  REQUIRE(sample_token(at::zeros({4}), {}, 0.9999999) == 3);
  const auto gpt = model();
  const auto draw = [&](uint64_t seed) { return generate(*gpt, {1, 2}, {.tokens = 12, .seed = seed}).ids; };
  REQUIRE(draw(5) == draw(5));
  REQUIRE(draw(5) != draw(6));
}

TEST_CASE("what cannot be generated is said") {
  const auto gpt = model();
  REQUIRE_THROWS_WITH(generate(*gpt, {}, {}), Contains("no token"));
  REQUIRE_THROWS_WITH(generate(*gpt, data::TokenIds(24, 1), {.tokens = 1}), Contains("24 tokens"));
  REQUIRE_THROWS_WITH(generate(*gpt, {1}, {.tokens = 24}), Contains("beyond the 24 positions"));
  REQUIRE_THROWS_AS(generate(*gpt, {1}, {.tokens = 2, .temperature = 0}), ConfigError);
  REQUIRE_THROWS_AS(generate(*gpt, {1}, {.tokens = 2, .top_p = 0}), ConfigError);
  REQUIRE_THROWS_AS(generate(*gpt, {50}, {.tokens = 2}), DataError);
}
