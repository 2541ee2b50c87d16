#include "monarch/core/sync.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "monarch/core/error.hpp"

namespace fs = std::filesystem;

namespace monarch {

void sync_file(const fs::path& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) fail<DataError>(fmt::format("{}: {}", path.string(), std::strerror(errno)));
  const int result = fsync(file);
  const int code = errno;
  close(file);
  check<DataError>(result == 0, [&] {
    return fmt::format("{}: cannot be written to disk: {}", path.string(), std::strerror(code));
  });
}

}  // namespace monarch
