#include "monarch/training/run_folder.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "monarch/core/error.hpp"
#include "monarch/training/checkpoint.hpp"

namespace fs = std::filesystem;

namespace monarch::training {

RunFolder::RunFolder(fs::path path) : path_(std::move(path)) {
  std::error_code error;
  fs::create_directories(path_ / "checkpoints", error);
  check<DataError>(
      !error, [&] { return fmt::format("{}: the run's folder cannot be made: {}", path_.string(), error.message()); },
      "choose a folder that you may write to");
  descriptor_ = open((path_ / ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  check<DataError>(
      descriptor_ >= 0, [&] { return fmt::format("{}: cannot be written: {}", path_.string(), std::strerror(errno)); },
      "choose a folder that you may write to");
  if (flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    const int code = errno;
    close(descriptor_);
    check<ConfigError>(
        code != EWOULDBLOCK, [&] { return fmt::format("{}: another process trains here", path_.string()); },
        "wait for it, stop it, or choose another folder");
    fail<DataError>(fmt::format("{}: cannot be locked: {}", path_.string(), std::strerror(code)));
  }
  recover_checkpoints(path_);
  recover_checkpoints(path_ / "checkpoints");
}

RunFolder::~RunFolder() {
  close(descriptor_);
}

fs::path RunFolder::checkpoint(int64_t step) const {
  return path_ / "checkpoints" / fmt::format("step-{:09}", step);
}

void RunFolder::prune() const {
  const auto all = checkpoint_folders(path_);
  std::error_code ignored;
  for (size_t i = 2; i < all.size(); ++i) fs::remove_all(all[i], ignored);
}

void check_same_config(const fs::path& folder, const nlohmann::json& before, const nlohmann::json& now,
                       const Config& config) {
  static const std::set<std::string> free = {"training.epochs", "training.steps", "training.checkpoint_minutes",
                                             "training.log_steps", "training.zero", "training.peak_tflops",
                                             "training.profile"};
  std::set<std::string> keys;
  for (const auto& item : before.items()) keys.insert(item.key());
  for (const auto& item : now.items()) keys.insert(item.key());
  std::vector<std::string> differences;
  const auto text = [](const nlohmann::json& json, const std::string& key) {
    return json.contains(key) ? json[key].dump() : "absent";
  };
  for (const auto& key : keys) {
    if (free.contains(key)) continue;
    if (!before.contains(key) && !config.has(key)) continue;  // a default that this version was the first to have
    const std::string was = text(before, key), is = text(now, key);
    if (was != is) differences.push_back(fmt::format("\n  {} was {}, now {}", key, was, is));
  }
  check<ConfigError>(
      differences.empty(),
      [&] {
        const size_t shown = std::min<size_t>(differences.size(), 10);
        std::string list;
        for (size_t i = 0; i < shown; ++i) list += differences[i];
        if (shown < differences.size()) list += fmt::format("\n  and {} more", differences.size() - shown);
        return fmt::format("{}: this run has another configuration:{}", folder.string(), list);
      },
      "choose another output folder, or take the old configuration");
}

}  // namespace monarch::training
