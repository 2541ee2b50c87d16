#include "monarch/data/text/token_file.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <zlib.h>

#include <cstring>

#include "monarch/core/error.hpp"
#include "monarch/core/sync.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/npy_header.hpp"

namespace monarch::data {
namespace {

constexpr size_t header_bytes = 128;
constexpr int64_t most_of_uint16 = 65536;

std::string npy_header(int64_t tokens, size_t element_bytes) {
  std::string header("\x93NUMPY\x01\0", 8);
  const uint16_t length = header_bytes - 10;
  header.append(reinterpret_cast<const char*>(&length), 2);
  header += fmt::format("{{'descr': '<u{}', 'fortran_order': False, 'shape': ({},), }}", element_bytes, tokens);
  header.resize(header_bytes - 1, ' ');
  return header + '\n';
}

uint32_t crc(uint32_t before, std::string_view bytes) {
  return static_cast<uint32_t>(crc32_z(before, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

size_t bytes_each(int64_t vocabulary) {
  return vocabulary <= most_of_uint16 ? 2 : 4;
}

template <class Element>
void check_and_copy(const char* from, int64_t first, int64_t count, int64_t vocabulary, const std::string& name,
                    int64_t* to) {
  for (int64_t i = 0; i < count; ++i) {
    Element value;
    std::memcpy(&value, from + static_cast<size_t>(first + i) * sizeof(Element), sizeof(Element));
    check<DataError>(
        static_cast<int64_t>(value) < vocabulary,
        [&] {
          return fmt::format("{}: token {} at place {} is not in the vocabulary, which has 0 … {}", name, value,
                             first + i, vocabulary - 1);
        },
        "the file is damaged, or made with another vocabulary");
    to[i] = static_cast<int64_t>(value);
  }
}

}  // namespace

TokenWriter::TokenWriter(const std::filesystem::path& path, int64_t vocabulary)
    : name_(path.string()), stream_(path, std::ios::binary | std::ios::trunc), vocabulary_(vocabulary) {
  stream_ << std::string(header_bytes, '\0');
  check_stream();
}

TokenWriter::TokenWriter(const std::filesystem::path& path, int64_t vocabulary, int64_t tokens, uint32_t checksum)
    : name_(path.string()), vocabulary_(vocabulary), tokens_(tokens), checksum_(checksum) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  const size_t wanted = header_bytes + static_cast<size_t>(tokens) * bytes_each(vocabulary);
  check<DataError>(!error && size >= wanted, [&] {
    return fmt::format("{}: {}, expected {} tokens of an unfinished file", name_,
                       error ? "cannot be read" : fmt::format("{} bytes", size), tokens);
  });
  std::filesystem::resize_file(path, wanted, error);
  check<DataError>(!error, [&] { return fmt::format("{}: cannot be written: {}", name_, error.message()); });
  stream_.open(path, std::ios::binary | std::ios::in | std::ios::out | std::ios::ate);
  check_stream();
}

void TokenWriter::sync() {
  stream_.flush();
  check_stream();
  sync_file(name_);
}

void TokenWriter::check_stream() const {
  check<DataError>(
      !stream_.fail(), [&] { return fmt::format("{}: cannot be written", name_); },
      "is the disk full, or the folder read-only?");
}

void TokenWriter::append(std::span<const int32_t> ids) {
  const size_t each = bytes_each(vocabulary_);
  buffer_.resize(ids.size() * each);
  for (size_t i = 0; i < ids.size(); ++i) {
    check<ShapeError>(ids[i] >= 0 && ids[i] < vocabulary_,
                      [&] { return fmt::format("{}: token {}, expected 0 … {}", name_, ids[i], vocabulary_ - 1); });
    std::memcpy(buffer_.data() + i * each, &ids[i], each);  // little-endian
  }
  stream_.write(buffer_.data(), static_cast<std::streamsize>(buffer_.size()));
  check_stream();
  checksum_ = crc(checksum_, buffer_);
  tokens_ += static_cast<int64_t>(ids.size());
}

void TokenWriter::finish() {
  stream_.seekp(0);
  stream_ << npy_header(tokens_, bytes_each(vocabulary_));
  stream_.close();
  check_stream();
}

TokenFile::TokenFile(const std::filesystem::path& path, int64_t vocabulary)
    : name_(path.string()), file_(path), vocabulary_(vocabulary) {
  const std::string_view bytes = file_.bytes();
  const NpyHeader header = parse_npy_header(bytes.substr(0, (1 << 16) + 16), bytes.size(), name_);
  check<DataError>(
      header.kind == 'u' && (header.element_bytes == 2 || header.element_bytes == 4) && header.shape.size() == 1,
      [&] {
        return fmt::format("{}: holds elements '{}{}' of shape {}, expected uint16 or uint32 along one axis", name_,
                           header.kind, header.element_bytes, shape_text(header.shape));
      },
      "make token files with `monarch prepare text`");
  size_ = header.shape[0];
  element_bytes_ = header.element_bytes;
  data_offset_ = header.data_offset;
}

at::Tensor TokenFile::read(int64_t first, int64_t count) const {
  check<ShapeError>(first >= 0 && count >= 0 && first <= size_ && count <= size_ - first, [&] {
    return fmt::format("{}: {} tokens from {} on, but the file has {}", name_, count, first, size_);
  });
  at::Tensor tokens = at::empty({count}, at::kLong);
  auto* to = tokens.mutable_data_ptr<int64_t>();
  const char* from = file_.bytes().data() + data_offset_;
  if (element_bytes_ == 2)
    check_and_copy<uint16_t>(from, first, count, vocabulary_, name_, to);
  else
    check_and_copy<uint32_t>(from, first, count, vocabulary_, name_, to);
  return tokens;
}

uint32_t TokenFile::checksum() const {
  return crc(0, file_.bytes().substr(data_offset_));
}

}  // namespace monarch::data
