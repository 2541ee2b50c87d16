#pragma once
// Parts of numeric HDF5 datasets, with every chunk checked.

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <list>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "monarch/data/hdf5.hpp"
#include "monarch/data/hdf5_types.hpp"

namespace monarch::data::hdf5 {

/// Held around every use of the library by code that several threads may run: libhdf5 may be built without locks.
std::unique_lock<std::recursive_mutex> lock_library();

/// Indices first, first + stride, … (count of them) along each axis.
struct Block {
  std::vector<int64_t> first, count, stride;
  /// All of a shape.
  static Block all(const std::vector<int64_t>& shape);
};

/// Reads blocks of one numeric dataset. Chunks are fetched raw and decoded here (deflate, shuffle, Fletcher-32 and
/// h5py's LZF, filter 32000, which the HDF5 library lacks), because libhdf5 1.10 trusts their decoded size; other
/// filters are left to the library where it has them. The last decoded chunks (64 MiB) are kept, since neighbouring
/// samples lie in the same chunks. Several threads may read.
class BlockReader {
 public:
  /// Throws DataError: no such dataset, no numbers, extents or chunks beyond the file, an unknown filter (named).
  /// `file` must outlive the reader.
  BlockReader(const File& file, const std::string& path);
  const DatasetInfo& info() const { return info_; }
  /// "chunked 1 × 64 × 64, gzip" or "contiguous".
  const std::string& storage() const { return storage_; }
  /// A tensor of the block's shape in the dataset's own order of axes and type (as File::read). Throws DataError for
  /// blocks outside the extents and for damaged chunks, naming them.
  at::Tensor read(const Block& block) const;

 private:
  struct Filter {
    int id = 0;
    unsigned position = 0;
    unsigned element_bytes = 0;  ///< of shuffle
  };
  void read_chunks(const Block& block, at::Tensor& result) const;
  void read_with_library(const Block& block, at::Tensor& result) const;
  at::Tensor chunk(const std::vector<int64_t>& origin, int64_t number) const;
  at::Tensor converted(std::vector<std::byte> bytes, int64_t numel) const;

  std::string place_;
  DatasetInfo info_;
  Handle dataset_, type_;
  MemoryType memory_;
  std::string storage_;
  bool decode_here_ = false;
  std::vector<int64_t> chunk_;
  std::vector<Filter> filters_;
  uint64_t file_bytes_ = 0;
  std::vector<std::byte> fill_;  ///< one element in memory's type

  mutable std::list<std::pair<int64_t, at::Tensor>> recent_;  ///< guarded by the library's lock
  mutable std::unordered_map<int64_t, std::list<std::pair<int64_t, at::Tensor>>::iterator> recent_index_;
  mutable uint64_t recent_bytes_ = 0;
};

/// Undoes HDF5's Fletcher-32: checks the four bytes at the end. False where they do not agree.
bool strip_fletcher32(std::vector<std::byte>& bytes);

}  // namespace monarch::data::hdf5
