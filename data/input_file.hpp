#pragma once
// First checks on a file that somebody named.

#include <cstdint>
#include <filesystem>
#include <string>

namespace monarch::data {

/// Size in bytes of a readable, regular, non-empty file. Throws DataError for anything else: missing (naming a
/// near match in the same folder), a directory, no permission, a device or pipe, empty.
uint64_t check_input_file(const std::filesystem::path& path);

/// A file that is read by position; several threads may do so.
class InputFile {
 public:
  /// Checks as check_input_file does.
  explicit InputFile(const std::filesystem::path& path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;
  uint64_t size() const { return size_; }
  /// Exactly `count` bytes from `offset`. Throws DataError when the file has become shorter or the disk fails.
  void read(uint64_t offset, void* to, uint64_t count) const;

 private:
  std::string name_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
};

/// Up to `count` bytes from the start of the file. Throws DataError.
std::string read_prefix(const std::filesystem::path& path, size_t count);

}  // namespace monarch::data
