#pragma once
// The folder of a run: one process writes it, and whatever a killed process left behind goes.

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "monarch/core/config.hpp"

namespace monarch::training {

/// Makes the folder and holds it for this process, by flock on `folder`/.lock: the lock goes with the process, however
/// that ends. Then removes unfinished checkpoints of processes that were killed. Throws DataError (cannot be made or
/// written) and ConfigError (another process trains here).
class RunFolder {
 public:
  explicit RunFolder(std::filesystem::path path);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /// Where the checkpoint of an optimiser step goes: checkpoints/step-000000123.
  std::filesystem::path checkpoint(int64_t step) const;
  /// Keeps the newest two checkpoints.
  void prune() const;

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
};

/// Refuses to continue a run with another configuration, naming each key: `before` is Config::effective() as the
/// checkpoint has it, `now` as it is. What says how long training goes on and what it tells may change, and defaults of
/// keys that the checkpoint does not know. Throws ConfigError.
void check_same_config(const std::filesystem::path& folder, const nlohmann::json& before, const nlohmann::json& now,
                       const Config& config);

}  // namespace monarch::training
