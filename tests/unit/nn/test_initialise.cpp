#include "monarch/operators/nn/initialise.hpp"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>

#include "monarch/core/error.hpp"
#include "monarch/operators/nn/sizes.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::operators;
using namespace monarch::test;

namespace {

struct Extents {
  int64_t in, out, nblocks;
};

/// Divisible and not, square and rectangular, padding of a column, of rows, and of whole blocks (5 columns in 4
/// blocks).
const std::vector<Extents> extents = {{64, 64, 4}, {96, 32, 4}, {32, 96, 2}, {50, 70, 4},
                                      {70, 50, 4}, {5, 40, 4},  {61, 61, 8}, {13, 7, 3}};

/// E |y_o|² over the init and x of unit variance, for each output: the sum of variances along the paths, from the
/// formula of the product and nothing else. `first`, `second`: variance of every entry.
at::Tensor expected_power(const MonarchSizes& z, int64_t in, int64_t out, const at::Tensor& first,
                          const at::Tensor& second) {
  at::Tensor power = at::zeros({out}, at::kDouble);
  auto y = power.accessor<double, 1>();
  const auto v1 = first.accessor<double, 3>(), v2 = second.accessor<double, 3>();
  for (int64_t o = 0; o < out; ++o) {
    const int64_t s = o / z.l, j = o % z.l;
    for (int64_t rho = 0; rho < z.r; ++rho) {
      const int64_t t = rho * z.l + j, k = t / z.q, q = t % z.q;
      for (int64_t p = 0; p < z.p; ++p) {
        if (k * z.p + p < in) y[o] += v2[j][s][rho] * v1[k][q][p];
      }
    }
  }
  return power;
}

/// Mean of |w|² over many draws.
std::pair<at::Tensor, at::Tensor> measured_variances(const MonarchSizes& z, int64_t in, MonarchInit init,
                                                     at::ScalarType dtype) {
  at::Tensor sum1 = at::zeros({z.k, z.q, z.p}, at::kDouble), sum2 = at::zeros({z.l, z.s, z.r}, at::kDouble);
  constexpr int draws = 400;
  for (int i = 0; i < draws; ++i) {
    const at::Tensor w1 = at::empty({z.k, z.q, z.p}, dtype), w2 = at::empty({z.l, z.s, z.r}, dtype);
    initialise_factors(w1, w2, in, init);
    sum1 += w1.abs().square();
    sum2 += w2.abs().square();
  }
  return {sum1 / draws, sum2 / draws};
}

}  // namespace

TEST_CASE("layer sizes: the rule of the paper and its published counts") {
  REQUIRE(monarch_layer_sizes(768, 768, 4).parameters() == 294912);
  REQUIRE(monarch_layer_sizes(768, 3072, 4).parameters() == 737280);
  REQUIRE(monarch_layer_sizes(3072, 768, 4).parameters() == 737280);
  REQUIRE(monarch_layer_sizes(1024, 1024, 4).parameters() == 524288);
  REQUIRE(monarch_layer_sizes(1024, 4096, 4).parameters() == 1310720);
  REQUIRE(monarch_layer_sizes(4096, 1024, 4).parameters() == 1310720);
  REQUIRE(monarch_layer_sizes(768, 3072, 4) == MonarchSizes{4, 192, 192, 4, 768, 192});
  REQUIRE(monarch_layer_sizes(3072, 768, 4) == MonarchSizes{4, 192, 768, 4, 192, 192});
  REQUIRE(monarch_layer_sizes(10, 7, 4) == MonarchSizes{4, 2, 3, 4, 2, 2});
}

TEST_CASE("layer sizes: what does not fit is refused with both numbers") {
  REQUIRE_THROWS_AS(monarch_layer_sizes(0, 4, 1), ShapeError);
  REQUIRE_THROWS_AS(monarch_layer_sizes(4, 4, 0), ShapeError);
  REQUIRE_NOTHROW(check_layer_sizes({3, 4, 2, 2, 5, 6}, 6, 10));
  REQUIRE_NOTHROW(check_layer_sizes({3, 4, 2, 2, 5, 6}, 4, 9));
  REQUIRE_THROWS_WITH(check_layer_sizes({3, 4, 2, 2, 5, 6}, 7, 10), Catch::Contains("4 to 6 columns, the layer has 7"));
  REQUIRE_THROWS_WITH(check_layer_sizes({3, 4, 2, 2, 5, 6}, 6, 8), Catch::Contains("9 to 10 columns, the layer has 8"));
  REQUIRE_THROWS_WITH(check_layer_sizes({3, 4, 2, 2, 5, 5}, 6, 10), Catch::Contains("k*q = 12, l*r = 10"));
  REQUIRE_THROWS_AS(check_layer_sizes({3, 4, 2, 2, 5, 0}, 6, 10), ShapeError);
}

TEST_CASE("initialisation: dense-matching gives every reachable output the variance of torch::nn::Linear") {
  at::manual_seed(1);
  for (const auto& [in, out, nblocks] : extents) {
    const MonarchSizes z = monarch_layer_sizes(in, out, nblocks);
    for (const auto dtype : {at::kDouble, at::kComplexDouble}) {
      const auto [first, second] = measured_variances(z, in, MonarchInit::dense_matching, dtype);
      const at::Tensor power = expected_power(z, in, out, first, second);
      const at::Tensor reached = power > 0;
      INFO(in << " -> " << out << " in " << nblocks << "\n" << power);
      // 400 draws of each weight, and several weights a path: 15 % is more than five deviations of the mean.
      REQUIRE((power - 1.0 / 3).abs().masked_select(reached).max().item<double>() <= 0.05);
      REQUIRE(std::abs(power.masked_select(reached).mean().item<double>() - 1.0 / 3) <= 0.01);
    }
  }
}

TEST_CASE("initialisation: only padding leaves outputs unreached, and its weights are zero or unused") {
  // 5 columns in 4 blocks of 2: the last block has none.
  const MonarchSizes z = monarch_layer_sizes(5, 40, 4);
  const at::Tensor w1 = at::empty({z.k, z.q, z.p}), w2 = at::empty({z.l, z.s, z.r});
  initialise_factors(w1, w2, 5, MonarchInit::dense_matching);
  REQUIRE(w1[3].abs().max().item<double>() == 0);
  REQUIRE(w1[0].abs().min().item<double>() > 0);
}

TEST_CASE("initialisation: fly gives a third of the standard deviation, as the authors' code does") {
  at::manual_seed(2);
  for (const auto dtype : {at::kDouble, at::kComplexDouble}) {
    const MonarchSizes z = monarch_layer_sizes(64, 96, 4);
    const auto [first, second] = measured_variances(z, 64, MonarchInit::fly, dtype);
    const at::Tensor deviation = expected_power(z, 64, 96, first, second).sqrt();
    REQUIRE((deviation - 1.0 / 3).abs().max().item<double>() <= 0.02);
    // The same measurement sees the difference between the inits.
    REQUIRE_FALSE((deviation - 1 / std::sqrt(3.0)).abs().max().item<double>() <= 0.02);
  }
  const at::Tensor w1 = at::empty({4, 16, 16}), w2 = at::empty({4, 24, 16});
  initialise_factors(w1, w2, 64, MonarchInit::fly);
  REQUIRE(w1.abs().max().item<double>() <= 0.25);
  REQUIRE(w1.abs().max().item<double>() >= 0.24);
}

TEST_CASE("initialisation: measured outputs agree with torch::nn::Linear's 1/sqrt(3), and fly's with 1/3") {
  at::manual_seed(3);
  for (const auto& [in, out, nblocks] : std::vector<Extents>{{256, 256, 4}, {250, 390, 4}, {390, 250, 8}}) {
    const MonarchSizes z = monarch_layer_sizes(in, out, nblocks);
    const at::Tensor w1 = at::empty({z.k, z.q, z.p}, at::kDouble), w2 = at::empty({z.l, z.s, z.r}, at::kDouble);
    const at::Tensor x = at::randn({2000, in}, at::kDouble);
    const auto deviation = [&](MonarchInit init) {
      initialise_factors(w1, w2, in, init);
      return monarch_multiply(x, w1, w2, {.bias = {}, .out_features = out}).std().item<double>();
    };
    INFO(in << " -> " << out);
    REQUIRE(std::abs(deviation(MonarchInit::dense_matching) * std::sqrt(3.0) - 1) <= 0.05);
    if (in == 256) {
      REQUIRE(std::abs(deviation(MonarchInit::fly) * 3 - 1) <= 0.05);
    }
  }
}

TEST_CASE("initialisation: biases are within the bound of their rule") {
  at::manual_seed(4);
  const at::Tensor bias = at::empty({1000});
  initialise_bias(bias, 25, MonarchInit::dense_matching);
  REQUIRE(bias.abs().max().item<double>() <= 0.2 + 1e-7);
  REQUIRE(bias.abs().max().item<double>() >= 0.19);
  initialise_bias(bias, 25, MonarchInit::fly);
  REQUIRE(bias.abs().max().item<double>() <= 1 / std::sqrt(1000.0) + 1e-7);
  REQUIRE(bias.abs().max().item<double>() >= 0.95 / std::sqrt(1000.0));
  initialise_bias(bias, 25, MonarchInit::mup);
  REQUIRE(bias.abs().max().item<double>() == 0);
}

TEST_CASE("initialisation: mup deviations and learning-rate multipliers are those of the source") {
  at::manual_seed(5);
  REQUIRE(mup_deviation(16, 64) == Approx(0.25));         // sqrt(1/16)
  REQUIRE(mup_deviation(64, 16) == Approx(0.125 * 0.5));  // sqrt(1/64)·sqrt(16/64)
  const at::Tensor w1 = at::empty({4, 48, 192}, at::kDouble), w2 = at::empty({4, 96, 48}, at::kComplexDouble);
  initialise_factors(w1, at::empty({4, 96, 48}, at::kDouble), 768, MonarchInit::mup);
  initialise_factors(at::empty({4, 48, 192}, at::kComplexDouble), w2, 768, MonarchInit::mup);
  REQUIRE(w1.std().item<double>() == Approx(mup_deviation(192, 48)).epsilon(0.02));
  REQUIRE(w2.abs().square().mean().sqrt().item<double>() == Approx(mup_deviation(48, 96)).epsilon(0.02));

  const auto square = learning_rate_multipliers(monarch_layer_sizes(768, 768, 4), 768, MonarchInit::mup);
  REQUIRE(square.first == 2);
  REQUIRE(square.second == 2);
  const auto narrowing = learning_rate_multipliers(monarch_layer_sizes(3072, 768, 4), 3072, MonarchInit::mup);
  REQUIRE(narrowing.first == 2);
  REQUIRE(narrowing.second == 8);
  const auto scaled = learning_rate_multipliers(monarch_layer_sizes(768, 768, 4), 768, MonarchInit::mup, 192);
  REQUIRE(scaled.first == 0.5);
  for (const auto init : {MonarchInit::fly, MonarchInit::dense_matching}) {
    REQUIRE(learning_rate_multipliers(monarch_layer_sizes(768, 768, 4), 768, init, 192).second == 1);
  }
  REQUIRE_THROWS_AS(learning_rate_multipliers(monarch_layer_sizes(8, 8, 4), 8, MonarchInit::mup, -1), ConfigError);
}

TEST_CASE("initialisation: names round-trip, and a wrong one is answered with the closest") {
  for (const auto init : {MonarchInit::fly, MonarchInit::dense_matching, MonarchInit::mup}) {
    REQUIRE(monarch_init_from_name(monarch_init_name(init)) == init);
  }
  REQUIRE_THROWS_WITH(monarch_init_from_name("dense_matching"), Catch::Contains("did you mean dense-matching?"));
}
