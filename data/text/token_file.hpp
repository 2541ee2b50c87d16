#pragma once
// Tokens on disk: a .npy file of one axis, uint16 for vocabularies of up to 65536 tokens, else uint32.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>

#include "monarch/data/mapped_file.hpp"

namespace monarch::data {

/// Writes tokens as they come; the header takes 128 bytes, so that numpy.load(path, mmap_mode="r") reads the file, too.
class TokenWriter {
 public:
  /// `vocabulary`: the number of different tokens. Throws DataError where the file cannot be written.
  TokenWriter(const std::filesystem::path& path, int64_t vocabulary);
  /// Goes on in a file that was not finished, behind its first `tokens` tokens, whose checksum is given; what stands
  /// behind them goes. Throws DataError where the file has fewer.
  TokenWriter(const std::filesystem::path& path, int64_t vocabulary, int64_t tokens, uint32_t checksum);
  /// Throws DataError (disk full), ShapeError for ids that are not in the vocabulary.
  void append(std::span<const int32_t> ids);
  /// Returns when what was appended is on disk. Throws DataError.
  void sync();
  /// Writes the header and closes the file, which is none before. Throws DataError.
  void finish();
  int64_t tokens() const { return tokens_; }
  /// CRC-32 (zlib's) of the tokens as stored.
  uint32_t checksum() const { return checksum_; }

 private:
  void check_stream() const;

  std::string name_;
  std::ofstream stream_;
  int64_t vocabulary_;
  int64_t tokens_ = 0;
  uint32_t checksum_ = 0;
  std::string buffer_;
};

/// The same, mapped; several threads may read.
class TokenFile {
 public:
  /// Throws DataError unless the file is a .npy of unsigned 16- or 32-bit numbers along one axis that fills it exactly.
  /// `vocabulary`: the number of different tokens, which reads are checked against.
  TokenFile(const std::filesystem::path& path, int64_t vocabulary);

  int64_t size() const { return size_; }
  /// "uint16" or "uint32".
  std::string dtype() const { return element_bytes_ == 2 ? "uint16" : "uint32"; }
  /// `count` tokens from `first`, an int64 tensor [count]. Throws ShapeError outside of the file, DataError for a token
  /// that the vocabulary lacks, with its place.
  at::Tensor read(int64_t first, int64_t count) const;
  /// CRC-32 of all tokens as stored; reads the whole file.
  uint32_t checksum() const;

 private:
  std::string name_;
  MappedFile file_;
  int64_t vocabulary_;
  int64_t size_ = 0;
  size_t element_bytes_ = 2;
  size_t data_offset_ = 0;
};

}  // namespace monarch::data
