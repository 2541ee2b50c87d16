#pragma once
// Pieces that the HDF5 sources share.

#include <cstdint>
#include <string>

#include "monarch/data/hdf5.hpp"

namespace monarch::data::hdf5 {

/// Functions that close identifiers, for Handle.
namespace close {
int file(int64_t id);
int object(int64_t id);
int dataset(int64_t id);
int type(int64_t id);
int space(int64_t id);
int properties(int64_t id);
int attribute(int64_t id);
}  // namespace close

/// How files are opened: without a lock, and closed with everything in them.
Handle access_properties();

/// Kind, size and name of an element type.
void describe_type(int64_t type, DatasetInfo& info);

/// The tensor type that holds a dataset's elements, and the library's description of it.
struct MemoryType {
  at::ScalarType scalar = at::kFloat;
  Handle type;
};
/// Throws DataError, beginning with `place`, for anything but numbers.
MemoryType memory_type(int64_t file_type, const DatasetInfo& info, const std::string& place);

/// True when all parts of a type lie within it. The library checks this when a type is made, but not when it is
/// decoded from a file, and converts values wherever a damaged description points.
bool is_sound(int64_t type, int depth = 0);

}  // namespace monarch::data::hdf5
