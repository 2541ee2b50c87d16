#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>

#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/mri/arrays.hpp"
#include "monarch/mri/coil_compression.hpp"
#include "support/phantom.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::mri;
using Catch::Matchers::Contains;

TEST_CASE("compression to all coils loses nothing") {
  const test::Phantom phantom = test::make_phantom({.y = 48, .x = 40});
  const CoilCompression all = compress_coils(phantom.kspace, 8);
  REQUIRE(std::abs(all.kept_energy - 1) <= 1e-12);
  REQUIRE(test::relative_error(at::mm(all.matrix, all.matrix.mH()), at::eye(8, at::kComplexFloat)) <= 1e-5);
  REQUIRE(test::relative_error(mix_coils(all.matrix.mH().contiguous(), mix_coils(all.matrix, phantom.kspace)),
                               phantom.kspace) <= 1e-5);
}

TEST_CASE("virtual coils keep the stated energy and no other mixture of as few keeps more") {
  const test::Phantom phantom = test::make_phantom({.y = 48, .x = 40});
  const int64_t count = GENERATE(1, 3, 5);
  const CoilCompression some = compress_coils(phantom.kspace, count);
  const auto energy = [](const at::Tensor& t) { return at::abs(t).to(at::kDouble).square().sum().item<double>(); };
  const at::Tensor virtual_coils = mix_coils(some.matrix, phantom.kspace);
  REQUIRE(virtual_coils.sizes() == at::IntArrayRef({count, 1, 48, 40}));
  const double kept = energy(virtual_coils) / energy(phantom.kspace);
  REQUIRE(std::abs(kept - some.kept_energy) <= 1e-5);
  const at::Tensor other = std::get<0>(at::linalg_qr(Rng(2).normal({8, count}, at::kComplexFloat)));
  REQUIRE(energy(mix_coils(other.mH().contiguous(), phantom.kspace)) / energy(phantom.kspace) < kept);
  SECTION("control: without the conjugate less is kept") {
    REQUIRE(energy(mix_coils(at::conj(some.matrix).resolve_conj(), phantom.kspace)) / energy(phantom.kspace) <
            kept - 1e-4);
  }
}

TEST_CASE("the number of virtual coils follows the energy asked for") {
  const test::Phantom phantom = test::make_phantom({.y = 48, .x = 40});
  const at::Tensor share = compress_coils(phantom.kspace, 8).energy;
  const double two = share[0].item<double>() + share[1].item<double>();
  REQUIRE(compress_coils_by_energy(phantom.kspace, two - 1e-6).matrix.size(0) == 2);
  REQUIRE(compress_coils_by_energy(phantom.kspace, two + 1e-6).matrix.size(0) == 3);
  REQUIRE(compress_coils_by_energy(phantom.kspace, 1).matrix.size(0) == 8);
  REQUIRE(compress_coils_by_energy(at::cat({phantom.kspace, phantom.kspace}), 1 - 1e-9).matrix.size(0) <= 8);
  REQUIRE_THROWS_AS(compress_coils_by_energy(phantom.kspace, 1.1), ConfigError);
  REQUIRE_THROWS_AS(compress_coils_by_energy(phantom.kspace, std::nan("")), ConfigError);
}

TEST_CASE("coil compression of data without signal or with NaN ends in an error") {
  REQUIRE_THROWS_WITH(compress_coils(at::zeros({3, 9}, at::kComplexFloat), 2), Contains("no signal"));
  REQUIRE_THROWS_AS(compress_coils(at::full({3, 9}, std::nan(""), at::kComplexFloat), 2), DataError);
  REQUIRE_THROWS_WITH(compress_coils(at::ones({3, 9}, at::kComplexFloat), 4), Contains("3 coils"));
  REQUIRE_THROWS_AS(compress_coils(at::ones({3}, at::kComplexFloat), 1), ShapeError);
  REQUIRE_THROWS_AS(compress_coils(at::ones({3, 9}), 1), DtypeError);
  REQUIRE_THROWS_WITH(mix_coils(at::ones({2, 4}, at::kComplexFloat), at::ones({3, 9}, at::kComplexFloat)),
                      Contains("does not fit"));
}
