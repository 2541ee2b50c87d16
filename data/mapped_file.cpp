#include "monarch/data/mapped_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "monarch/core/error.hpp"
#include "monarch/data/input_file.hpp"

namespace monarch::data {

MappedFile::MappedFile(const std::filesystem::path& path) : size_(check_input_file(path)) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  check<DataError>(file >= 0,
                   [&] { return fmt::format("{}: cannot be opened: {}", path.string(), std::strerror(errno)); });
  start_ = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, file, 0);
  const int reason = errno;
  ::close(file);
  check<DataError>(start_ != MAP_FAILED,
                   [&] { return fmt::format("{}: cannot be mapped: {}", path.string(), std::strerror(reason)); });
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : start_(std::exchange(other.start_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile::~MappedFile() {
  if (start_) ::munmap(start_, size_);
}

}  // namespace monarch::data
