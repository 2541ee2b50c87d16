#pragma once
// First checks on a file that somebody named.

#include <cstdint>
#include <filesystem>
#include <string>

namespace monarch::data {

/// Size in bytes of a readable, regular, non-empty file. Throws DataError for anything else: missing (naming a
/// near match in the same folder), a directory, no permission, a device or pipe, empty.
uint64_t check_input_file(const std::filesystem::path& path);

/// Up to `count` bytes from the start of the file. Throws DataError.
std::string read_prefix(const std::filesystem::path& path, size_t count);

}  // namespace monarch::data
