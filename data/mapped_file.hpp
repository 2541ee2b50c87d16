#pragma once
// A file as memory.

#include <cstddef>
#include <filesystem>
#include <string_view>

namespace monarch::data {

/// A whole file mapped read-only, so that its bytes are read from disk as they are touched and take no memory of their
/// own. The file must not become shorter while it is mapped (the system ends programs that touch what has gone).
class MappedFile {
 public:
  /// Checks as check_input_file does (data/input_file.hpp). Throws DataError.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  std::string_view bytes() const { return {static_cast<const char*>(start_), size_}; }

 private:
  void* start_ = nullptr;
  size_t size_ = 0;
};

}  // namespace monarch::data
