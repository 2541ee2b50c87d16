#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include "monarch/core/rng.hpp"
#include "support/support.hpp"

using monarch::Rng;

TEST_CASE("streams are reproducible and differ by seed and by name") {
  Rng first(7, "mask"), again(7, "mask"), other_stream(7, "noise"), other_seed(8, "mask");
  int same_stream = 0, same_seed = 0;
  for (int i = 0; i < 1000; ++i) {
    const uint32_t bits = first.bits();
    REQUIRE(bits == again.bits());
    same_stream += bits == other_stream.bits();
    same_seed += bits == other_seed.bits();
  }
  REQUIRE(same_stream <= 1);
  REQUIRE(same_seed <= 1);
}

TEST_CASE("uniform and normal samples have the moments of their distributions") {
  Rng rng(1, "moments");
  const int count = 200000;
  double mean = 0, square = 0, normal_mean = 0, normal_square = 0, low = 1, high = 0;
  for (int i = 0; i < count; ++i) {
    const double u = rng.uniform(), n = rng.normal();
    mean += u / count;
    square += u * u / count;
    normal_mean += n / count;
    normal_square += n * n / count;
    low = std::min(low, u);
    high = std::max(high, u);
  }
  REQUIRE(std::abs(mean - 0.5) <= 0.004);
  REQUIRE(std::abs(square - 1.0 / 3) <= 0.004);
  REQUIRE(std::abs(normal_mean) <= 0.012);
  REQUIRE(std::abs(normal_square - 1) <= 0.02);
  REQUIRE(low >= 0);
  REQUIRE(high < 1);
}

TEST_CASE("complex normal tensors have unit variance and independent parts") {
  const at::Tensor z = Rng(3, "z").normal({4, 50000}, at::kComplexFloat);
  REQUIRE(z.scalar_type() == at::kComplexFloat);
  const at::Tensor real = at::real(z), imaginary = at::imag(z);
  REQUIRE(std::abs((real * real).mean().item<double>() - 0.5) <= 0.02);
  REQUIRE(std::abs((real * imaginary).mean().item<double>()) <= 0.01);
  REQUIRE(at::equal(z, Rng(3, "z").normal({4, 50000}, at::kComplexFloat)));
}

TEST_CASE("integers below a bound reach every value and none beyond") {
  Rng rng(5);
  std::vector<int> seen(7, 0);
  for (int i = 0; i < 7000; ++i) ++seen.at(static_cast<size_t>(rng.below(7)));
  for (const int count : seen) REQUIRE(std::abs(count - 1000) <= 200);
}
