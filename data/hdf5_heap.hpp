#pragma once
// Variable-length values of HDF5, read by their place in the file.
//
// libhdf5 (1.10 at least) trusts the lengths of variable-length values: a damaged one makes it copy beyond its
// buffer, or loop for ever in the heap. The bulk of a scan lies in such values, so they are fetched here from the
// file's bytes, with every length checked. One read a value is also several times faster.
// Layout: HDF5 File Format Specification 3.0, section III.E (global heap).

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "monarch/data/hdf5.hpp"

namespace monarch::data::hdf5 {

/// Where a variable-length value lies.
struct HeapReference {
  uint32_t length = 0;   ///< elements
  uint64_t address = 0;  ///< of its collection
  uint32_t index = 0;    ///< within the collection
};

/// Global heap collections of one file. Keeps the last one, where neighbours usually lie as well.
class GlobalHeap {
 public:
  explicit GlobalHeap(const File& file) : file_(file) {}

  /// The bytes of a value of `element_bytes`-sized elements, valid until the next call; nothing where the value is
  /// empty. Throws DataError, beginning with `place`, where heap and reference contradict each other.
  std::span<const std::byte> value(const HeapReference& reference, size_t element_bytes, const std::string& place);

 private:
  void load(const HeapReference& reference, size_t wanted_bytes, const std::string& place);

  const File& file_;
  uint64_t loaded_address_ = ~uint64_t{0};
  std::vector<std::byte> collection_;
};

/// Reads the references of one variable-length member of a dataset's elements, or of a dataset of such values.
class ReferenceReader {
 public:
  /// `member`: name in the compound, "" where the elements themselves are of variable length.
  ReferenceReader(const File& file, const std::string& path, const std::string& member);
  /// False where the storage (filters, compact layout, a user block, unusual address size) must be left to the library.
  bool direct() const { return direct_; }
  /// The reference of element i, below the extent of the dataset.
  HeapReference reference(uint64_t i);

 private:
  const File& file_;
  std::string place_;
  Handle dataset_;
  bool direct_ = false;
  uint64_t element_bytes_ = 0;
  uint64_t member_offset_ = 0;
  uint64_t chunk_elements_ = 0;  ///< 0: contiguous
  uint64_t contiguous_address_ = 0;
  uint64_t loaded_chunk_ = ~uint64_t{0};
  std::vector<std::byte> chunk_;
};

}  // namespace monarch::data::hdf5
