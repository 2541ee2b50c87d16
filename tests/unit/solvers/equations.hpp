#pragma once
// What the tests of the one-dimensional and the elliptic equations share.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <catch2/catch.hpp>
#include <cmath>

#include "monarch/solvers/numerical/simulation.hpp"

namespace monarch::test {

/// The samples are of the stated shapes and finite, and a function of seed and index alone: not of batch and threads.
inline void require_pure(const solvers::Simulation& simulation) {
  const auto together = simulation.samples(7, 3, 3);
  const auto variables = simulation.variables();
  REQUIRE(together.size() == variables.size());
  for (size_t i = 0; i < variables.size(); ++i) {
    std::vector<int64_t> shape = variables[i].shape;
    shape.insert(shape.begin(), 3);
    REQUIRE(together[i].sizes().vec() == shape);
    REQUIRE(together[i].is_contiguous());
    REQUIRE(at::isfinite(together[i]).all().item<bool>());
  }
  const int threads = at::get_num_threads();
  at::set_num_threads(threads == 1 ? 2 : 1);
  for (int64_t s = 0; s < 3; ++s) {
    const auto alone = simulation.samples(7, 3 + s, 1);
    for (size_t i = 0; i < variables.size(); ++i) REQUIRE(at::equal(alone[i][0], together[i][s]));
  }
  at::set_num_threads(threads);
  REQUIRE_FALSE(at::equal(simulation.samples(8, 3, 1)[0], simulation.samples(7, 3, 1)[0]));
  REQUIRE_FALSE(at::equal(together[0][0], together[0][1]));
  REQUIRE(simulation.samples(7, 0, 0)[0].size(0) == 0);
  REQUIRE(simulation.preferred_batch() >= 1);
}

/// log2(errors[i] / errors[i + 1]) of the last two, for a step or a width that is halved.
inline double observed_order(const std::vector<double>& errors) {
  return std::log2(errors[errors.size() - 2] / errors.back());
}

}  // namespace monarch::test
