#pragma once
// Arrays whose samples lie scattered, kept sample by sample in the user's cache.

#include <cstdint>
#include <filesystem>
#include <string>

#include "monarch/data/field_array.hpp"

namespace monarch::data {

/// When an array is copied to the cache.
struct CacheLimits {
  int64_t smallest_bytes = int64_t{64} << 20;  ///< smaller arrays are kept in memory once they are read
  int64_t block_bytes = int64_t{256} << 20;    ///< memory that copying may take
};

/// `array`, of a file at `path`, with samples that are far apart along `sample_axis`. The first request for less than a
/// quarter of the samples copies the array, sample by sample, into cache_folder()/fields (a file named after path,
/// size and time of change of the original); later requests read one run of that file a sample. Arrays below
/// limits.smallest_bytes are held in memory instead. Where no cache can be written, every request goes to the file.
StoredArrayPtr cached_array(StoredArrayPtr array, int sample_axis, const std::filesystem::path& path,
                            const std::string& variable, CacheLimits limits = {});

}  // namespace monarch::data
