// The contract over the zoo, on a GPU.

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <catch2/catch.hpp>

#include "support/contract.hpp"
#include "support/support.hpp"
#include "zoo.hpp"

TEST_CASE("Contract on CUDA: every operator of the zoo keeps every law") {
  if (!at::hasCUDA()) monarch::test::skip("no CUDA device");
  for (const auto& entry : monarch::test::zoo(at::kCUDA)) {
    const auto op = entry.make();
    const auto violations = monarch::test::contract_violations(*op);
    INFO(op->describe() << " -> " << op->codomain().text() << "\n" << fmt::format("{}", fmt::join(violations, "\n")));
    CHECK(violations.empty());
  }
}
