#pragma once
// Files that are on disk for sure.

#include <filesystem>

namespace monarch {

/// Returns when the file's content is on disk. Throws DataError.
void sync_file(const std::filesystem::path& path);

}  // namespace monarch
