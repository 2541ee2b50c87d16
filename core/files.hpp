#pragma once
// Outputs that appear whole or not at all.

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace monarch {

/// Collects the output files of one run in a hidden folder beside their destination, and moves them into place
/// together: `path("image.npy")` is where to write, `commit()` syncs and renames. When the object dies without
/// commit (an exception, SIGINT, SIGTERM), the hidden folder goes and the destination is as it was.
class OutputFolder {
 public:
  /// Makes `destination` (and its parents) if needed. Throws DataError when it is a file or cannot be written.
  explicit OutputFolder(std::filesystem::path destination);
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  const std::filesystem::path& destination() const { return destination_; }
  /// Where to write `name` now. Sub-folders in the name are made.
  std::filesystem::path path(const std::string& name);
  /// Syncs every file to disk and renames it into the destination, replacing a file of that name.
  /// Throws DataError (disk full, say) and leaves the destination as it was before the first rename.
  void commit();

 private:
  std::filesystem::path destination_;
  std::filesystem::path staging_;
  std::vector<std::string> names_;
  bool made_destination_ = false;
};

/// A folder of its own in the system's temporary folder, which goes with the object. Throws BackendError.
class ScratchFolder {
 public:
  ScratchFolder();
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// Writes one small file atomically: temporary name, fsync, rename. Throws DataError.
void write_file_atomically(const std::filesystem::path& path, std::string_view content);

/// The user's cache folder for Monarch ($MONARCH_CACHE_DIR, else $XDG_CACHE_HOME/monarch, else ~/.cache/monarch);
/// empty when none can be made.
std::filesystem::path cache_folder();

}  // namespace monarch
