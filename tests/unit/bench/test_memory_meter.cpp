#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include "monarch/bench/memory_meter.hpp"

using monarch::bench::MemoryMeter;

TEST_CASE("the meter counts tensors while they live and remembers the peak") {
  const at::Tensor before = at::zeros({1000});
  const MemoryMeter meter;
  REQUIRE(meter.live() == 0);
  {
    const at::Tensor a = at::empty({1 << 20}, at::kFloat);
    REQUIRE(meter.live() == 4.0 * (1 << 20));
    const at::Tensor view = a.narrow(0, 5, 10);
    REQUIRE(meter.live() == 4.0 * (1 << 20));
    const at::Tensor b = at::empty({1 << 10}, at::kDouble);
    REQUIRE(meter.live() == 4.0 * (1 << 20) + 8.0 * (1 << 10));
  }
  REQUIRE(meter.live() == 0);
  REQUIRE(meter.peak() == 4.0 * (1 << 20) + 8.0 * (1 << 10));
  // A tensor from before is not a negative amount, and an operation that makes a copy shows.
  const at::Tensor c = before + 1;
  REQUIRE(meter.live() == 4.0 * 1000);
}

TEST_CASE("what autograd keeps for backward shows as live memory") {
  const at::Tensor x = at::randn({256, 64}).requires_grad_(true);
  const MemoryMeter meter;
  at::Tensor y = at::exp(x).sum();  // exp keeps its result
  REQUIRE(meter.live() >= 4.0 * 256 * 64);
  y.reset();
  REQUIRE(meter.live() == 0);
}
