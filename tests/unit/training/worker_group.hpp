#pragma once
// Workers that train together.

#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "monarch/data/safetensors.hpp"
#include "monarch/training/checkpoint.hpp"
#include "runs.hpp"
#include "unit/parallel/group.hpp"

namespace monarch::test {

struct WorkerGroup {
  std::vector<std::unique_ptr<Worker>> workers;
  WorkerGroup(const std::filesystem::path& config, const std::filesystem::path& folder, int size, const std::string& flags = {}) {
    const int port = free_port();
    for (int rank = 0; rank < size; ++rank)
      workers.push_back(std::make_unique<Worker>(
          config, folder, flags,
          std::vector<std::string>{fmt::format("RANK={}", rank), fmt::format("LOCAL_RANK={}", rank),
                                   fmt::format("WORLD_SIZE={}", size), fmt::format("LOCAL_WORLD_SIZE={}", size),
                                   "MASTER_ADDR=127.0.0.1", fmt::format("MASTER_PORT={}", port),
                                   "MONARCH_PEER_TIMEOUT=30"}));
  }
  std::string output() const {
    std::string all;
    for (const auto& worker : workers) all += worker->output() + "----\n";
    return all;
  }
};

/// The last checkpoint's weights agree to rounding, moments included.
inline double difference(const std::filesystem::path& a, const std::filesystem::path& b) {
  double worst = 0;
  for (const char* file : {"model.safetensors", "optimiser.safetensors"}) {
    const auto first = data::open_safetensors(training::checkpoint_folders(a).front() / file);
    const auto second = data::open_safetensors(training::checkpoint_folders(b).front() / file);
    REQUIRE(first->tensors().size() == second->tensors().size());
    for (const auto& info : first->tensors())
      if (info.name != "generator")
        worst = std::max(worst, relative_error(first->load(info.name), second->load(info.name)));
  }
  return worst;
}

}  // namespace monarch::test
