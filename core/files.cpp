#include "monarch/core/files.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <set>

#include "monarch/core/error.hpp"
#include "monarch/core/sync.hpp"

namespace fs = std::filesystem;

namespace monarch {
namespace {

// Staging folders to remove when a signal ends the program.
std::mutex registry_mutex;
std::set<std::string>& registry() {
  static std::set<std::string> folders;
  return folders;
}

extern "C" void remove_staging_and_die(int signal_number) {
  // The process ends here in any case; removing a few files is worth the breach of signal safety, and a second
  // signal takes the default action.
  signal(signal_number, SIG_DFL);
  if (registry_mutex.try_lock()) {
    std::error_code ignored;
    for (const auto& folder : registry()) fs::remove_all(folder, ignored);
    registry_mutex.unlock();
  }
  raise(signal_number);
}

void install_handlers() {
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction present {};
    sigaction(number, nullptr, &present);
    if (present.sa_handler == SIG_DFL) signal(number, remove_staging_and_die);
  }
}

}  // namespace

OutputFolder::OutputFolder(fs::path destination) : destination_(std::move(destination)) {
  if (destination_.filename().empty()) destination_ = destination_.parent_path();
  std::error_code error;
  check<DataError>(
      !fs::exists(destination_, error) || fs::is_directory(destination_, error),
      [&] { return fmt::format("{}: output folder expected, found a file of that name", destination_.string()); },
      "choose another folder with --out");
  made_destination_ = fs::create_directories(destination_, error);
  check<DataError>(
      !error,
      [&] { return fmt::format("{}: cannot make the output folder: {}", destination_.string(), error.message()); },
      "choose a folder that you may write to");
  std::string name = (destination_ / ".monarch-XXXXXX").string();
  check<DataError>(
      mkdtemp(name.data()) != nullptr,
      [&] {
        return fmt::format("{}: cannot write into the output folder: {}", destination_.string(), std::strerror(errno));
      },
      "choose a folder that you may write to");
  staging_ = name;
  install_handlers();
  const std::lock_guard lock(registry_mutex);
  registry().insert(staging_.string());
}

OutputFolder::~OutputFolder() {
  const std::lock_guard lock(registry_mutex);
  std::error_code ignored;
  fs::remove_all(staging_, ignored);
  registry().erase(staging_.string());
  if (made_destination_ && fs::is_empty(destination_, ignored)) fs::remove(destination_, ignored);
}

fs::path OutputFolder::path(const std::string& name) {
  const fs::path full = staging_ / name;
  std::error_code error;
  fs::create_directories(full.parent_path(), error);
  check<DataError>(!error, [&] { return fmt::format("{}: {}", full.parent_path().string(), error.message()); });
  names_.push_back(name);
  return full;
}

void OutputFolder::commit() {
  for (const auto& name : names_) sync_file(staging_ / name);
  for (const auto& name : names_) {
    const fs::path target = destination_ / name;
    std::error_code error;
    fs::create_directories(target.parent_path(), error);
    if (!error) fs::rename(staging_ / name, target, error);
    check<DataError>(!error,
                     [&] { return fmt::format("{}: cannot be written: {}", target.string(), error.message()); });
  }
  names_.clear();
}

ScratchFolder::ScratchFolder() {
  std::string pattern = (fs::temp_directory_path() / "monarch-XXXXXX").string();
  check<BackendError>(mkdtemp(pattern.data()) != nullptr,
                      [] { return fmt::format("cannot make a folder in {}", fs::temp_directory_path().string()); });
  path_ = pattern;
}

ScratchFolder::~ScratchFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

void write_file_atomically(const fs::path& path, std::string_view content) {
  std::string name = path.string() + ".XXXXXX";
  const int file = mkstemp(name.data());
  check<DataError>(file >= 0,
                   [&] { return fmt::format("{}: cannot be written: {}", path.string(), std::strerror(errno)); });
  size_t written = 0;
  int code = 0;
  while (written < content.size() && code == 0) {
    const ssize_t count = write(file, content.data() + written, content.size() - written);
    if (count < 0 && errno != EINTR) code = errno;
    if (count > 0) written += static_cast<size_t>(count);
  }
  if (code == 0 && fsync(file) != 0) code = errno;
  fchmod(file, 0644);
  if (close(file) != 0 && code == 0) code = errno;
  if (code == 0 && std::rename(name.c_str(), path.c_str()) != 0) code = errno;
  if (code != 0) {
    unlink(name.c_str());
    fail<DataError>(fmt::format("{}: cannot be written: {}", path.string(), std::strerror(code)));
  }
}

fs::path cache_folder() {
  fs::path folder;
  if (const char* own = std::getenv("MONARCH_CACHE_DIR"); own && *own) {
    folder = own;
  } else if (const char* xdg = std::getenv("XDG_CACHE_HOME"); xdg && *xdg) {
    folder = fs::path(xdg) / "monarch";
  } else if (const char* home = std::getenv("HOME"); home && *home) {
    folder = fs::path(home) / ".cache" / "monarch";
  } else {
    return {};
  }
  std::error_code error;
  fs::create_directories(folder, error);
  return error ? fs::path() : folder;
}

}  // namespace monarch
