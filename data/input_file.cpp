#include "monarch/data/input_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <vector>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace monarch::data {

namespace fs = std::filesystem;

uint64_t check_input_file(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) {
    std::vector<std::string> names;
    const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
    for (auto entry = fs::directory_iterator(folder, error); !error && entry != fs::directory_iterator();
         entry.increment(error)) {
      names.push_back(entry->path().filename().string());
    }
    const std::string near = closest_match(path.filename().string(), names);
    fail<DataError>(fmt::format("{}: no such file", path.string()),
                    near.empty() ? "check the path" : fmt::format("did you mean {}?", (folder / near).string()));
  }
  check<DataError>(
      !fs::is_directory(status), [&] { return fmt::format("{}: is a directory, expected a file", path.string()); },
      "name one file in it");
  check<DataError>(
      fs::is_regular_file(status), [&] { return fmt::format("{}: is not a regular file", path.string()); },
      "copy it to a file, or stream ISMRMRD messages on stdin with '-'");
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const int reason = errno;
  check<DataError>(
      descriptor >= 0, [&] { return fmt::format("{}: cannot be opened: {}", path.string(), std::strerror(reason)); },
      "check its permissions");
  ::close(descriptor);
  const uint64_t size = fs::file_size(path, error);
  check<DataError>(
      !error && size > 0, [&] { return fmt::format("{}: is empty", path.string()); },
      "the copy or the export that made it may have failed");
  return size;
}

InputFile::InputFile(const fs::path& path) : name_(path.string()), size_(check_input_file(path)) {
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  check<DataError>(descriptor_ >= 0,
                   [&] { return fmt::format("{}: cannot be opened: {}", name_, std::strerror(errno)); });
}

InputFile::~InputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void InputFile::read(uint64_t offset, void* to, uint64_t count) const {
  uint64_t done = 0;
  while (done < count) {
    const ssize_t got =
        ::pread(descriptor_, static_cast<char*>(to) + done, count - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    check<DataError>(
        got > 0, [&] { return fmt::format("{}: cannot read {} bytes at {}", name_, count, offset); },
        "the file changed while it was read, or the disk fails");
    done += static_cast<uint64_t>(got);
  }
}

std::string read_prefix(const fs::path& path, size_t count) {
  std::ifstream stream(path, std::ios::binary);
  check<DataError>(stream.good(), [&] { return fmt::format("{}: cannot be opened", path.string()); });
  std::string bytes(count, '\0');
  stream.read(bytes.data(), static_cast<std::streamsize>(count));
  bytes.resize(static_cast<size_t>(stream.gcount()));
  return bytes;
}

}  // namespace monarch::data
