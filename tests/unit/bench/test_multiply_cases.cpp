#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>

#include "monarch/bench/multiply_cases.hpp"
#include "monarch/core/error.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::bench;
using Catch::Matchers::Contains;
using operators::MonarchSizes;

namespace {

MultiplyCase case_of(const LayerShape& shape, const std::string& nblocks, int64_t batch = 1) {
  return {.shape = shape, .nblocks = nblocks, .sizes = sizes_for(shape, nblocks), .batch = batch};
}

/// Numerical rank of the (j, k) slices of a random matrix of these sizes: the largest and the smallest.
std::pair<int64_t, int64_t> slice_ranks(const MonarchSizes& z) {
  const at::Tensor w1 = at::randn({z.k, z.q, z.p}, at::kDouble), w2 = at::randn({z.l, z.s, z.r}, at::kDouble);
  const at::Tensor dense = operators::monarch_dense(w1, w2).reshape({z.s, z.l, z.k, z.p});  // [s, j, k, i]
  const at::Tensor values = at::linalg_svdvals(dense.permute({1, 2, 0, 3}));
  const at::Tensor ranks = (values > 1e-9 * values.max()).sum(-1);
  return {ranks.max().item<int64_t>(), ranks.min().item<int64_t>()};
}

}  // namespace

TEST_CASE("the linear layer's sizes give the parameter counts of the paper") {
  REQUIRE(monarch_linear_sizes({768, 768}, 4).parameters() == 294'912);
  REQUIRE(monarch_linear_sizes({768, 3072}, 4).parameters() == 737'280);
  REQUIRE(monarch_linear_sizes({3072, 768}, 4).parameters() == 737'280);
  REQUIRE(monarch_linear_sizes({1024, 1024}, 4).parameters() == 524'288);
  REQUIRE(monarch_linear_sizes({1024, 4096}, 4).parameters() == 1'310'720);
  REQUIRE(monarch_linear_sizes({4096, 1024}, 4).parameters() == 1'310'720);
  REQUIRE(monarch_linear_sizes({768, 3072}, 4) == MonarchSizes{.k = 4, .q = 192, .p = 192, .l = 4, .s = 768, .r = 192});
  REQUIRE(monarch_linear_sizes({3072, 768}, 4) == MonarchSizes{.k = 4, .q = 192, .p = 768, .l = 4, .s = 192, .r = 192});
  // Uneven sides are rounded up to whole blocks.
  REQUIRE(monarch_linear_sizes({10, 7}, 4) == MonarchSizes{.k = 4, .q = 2, .p = 3, .l = 4, .s = 2, .r = 2});
}

TEST_CASE("sqrt blocks fit the layer exactly and have block rank 1") {
  for (const LayerShape& shape :
       {LayerShape{768, 768}, {1024, 1024}, {4096, 4096}, {768, 3072}, {3072, 768}, {36, 36}, {24, 48}, {12, 6}}) {
    const MonarchSizes z = sqrt_blocks_sizes(shape);
    INFO(layer_shape_text(shape));
    REQUIRE(z.in() == shape.in);
    REQUIRE(z.out() == shape.out);
    REQUIRE(z.l * z.r == z.k * z.q);
    REQUIRE(z.middle() == std::min(shape.in, shape.out));
    REQUIRE(z.k >= z.l);
    if (shape.in <= 48) REQUIRE(slice_ranks(z) == std::pair<int64_t, int64_t>(1, 1));
  }
  REQUIRE(sqrt_blocks_sizes({1024, 1024}) == MonarchSizes{.k = 32, .q = 32, .p = 32, .l = 32, .s = 32, .r = 32});
  REQUIRE(sqrt_blocks_sizes({768, 768}) == MonarchSizes{.k = 32, .q = 24, .p = 24, .l = 24, .s = 32, .r = 32});
  REQUIRE(sqrt_blocks_sizes({768, 3072}) == MonarchSizes{.k = 32, .q = 24, .p = 24, .l = 24, .s = 128, .r = 32});
  REQUIRE(sqrt_blocks_sizes({3072, 768}) == MonarchSizes{.k = 32, .q = 24, .p = 96, .l = 24, .s = 32, .r = 32});
  // The linear layer's rule with 4 blocks on 16 is no block-rank-1 matrix where the blocks are wider than 4.
  REQUIRE(slice_ranks(monarch_linear_sizes({48, 48}, 4)).first > 1);
}

TEST_CASE("the ideal speed-up is the ratio of multiplications") {
  REQUIRE(case_of({1024, 1024}, "4").ideal() == Approx(2));
  REQUIRE(case_of({768, 3072}, "4").ideal() == Approx(3.2));
  REQUIRE(case_of({3072, 768}, "4").ideal() == Approx(3.2));
  REQUIRE(case_of({1024, 1024}, "sqrt").ideal() == Approx(16));
  REQUIRE(case_of({4096, 4096}, "sqrt").ideal() == Approx(32));
  MultiplyCase what = case_of({1024, 1024}, "sqrt", 10);
  REQUIRE(what.flops() == 2.0 * 10 * 65'536);
  REQUIRE(what.dense_flops() == 2.0 * 10 * 1024 * 1024);
  REQUIRE(what.bytes() == 4.0 * (10 * 2048 + 65'536));
  REQUIRE(what.middle_bytes() == 4.0 * 10 * 1024);
  what.training = true;
  REQUIRE(what.flops() == 6.0 * 10 * 65'536);
  what.dtype = at::kComplexFloat;
  REQUIRE(what.flops() == 24.0 * 10 * 65'536);
  REQUIRE(what.bytes() == 8.0 * (10 * 2048 + 65'536));
  REQUIRE(what.ideal() == Approx(16));
}

TEST_CASE("shapes are read in every spelling and nonsense is refused") {
  REQUIRE(layer_shape_from_text("768") == LayerShape{768, 768});
  REQUIRE(layer_shape_from_text("768:3072") == LayerShape{768, 3072});
  REQUIRE(layer_shape_from_text("3072->768") == LayerShape{3072, 768});
  REQUIRE(layer_shape_text({768, 3072}) == "768→3072");
  for (const auto* text : {"", "x", "0", "-4", "12:", ":12", "12:0", "1e3", "12 ", "99999999"}) {
    INFO(text);
    REQUIRE_THROWS_AS(layer_shape_from_text(text), ConfigError);
  }
  REQUIRE_THROWS_AS(sizes_for({16, 16}, "0"), ConfigError);
  REQUIRE_THROWS_AS(sizes_for({16, 16}, "17"), ConfigError);
  REQUIRE_THROWS_AS(sizes_for({16, 16}, "root"), ConfigError);
  REQUIRE_THROWS_WITH(sizes_for({17, 17}, "sqrt"), Contains("17"));
}

TEST_CASE("agreement accepts rounding and rejects one wrong element") {
  MultiplyCase what = case_of({64, 64}, "4", 512);
  for (const auto dtype : {at::kFloat, at::kDouble, at::kComplexFloat, at::kComplexDouble, at::kBFloat16}) {
    what.dtype = dtype;
    INFO(at::toString(dtype));
    const at::Tensor peer = at::randn({512, 64}, dtype);
    const double rounding = agreement_tolerance(what) / 64;
    REQUIRE(check_agreement(what, "y", peer * (1 + rounding), peer) <= agreement_tolerance(what));
    at::Tensor wrong = peer.clone();
    wrong[511][3] += 0.5;
    REQUIRE_THROWS_WITH(check_agreement(what, "y", wrong, peer), Contains("y deviates"));
    wrong[511][3] = std::nan("");
    REQUIRE_THROWS_AS(check_agreement(what, "y", wrong, peer), BackendError);
    REQUIRE_THROWS_AS(check_agreement(what, "y", peer.narrow(0, 0, 5), peer), BackendError);
  }
}
