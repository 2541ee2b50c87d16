#pragma once
// Attributes of HDF5 objects, checked before the library decodes them.

#include <cstdint>
#include <string>

#include "monarch/data/hdf5.hpp"

namespace monarch::data::hdf5 {

/// Throws DataError where an attribute in the header of an opened object states more bytes than it has. libhdf5 1.10
/// copies as many as name, type and extents of an attribute claim, whatever the size of its message. Headers of version
/// 2 are left out: they carry checksums, which the library compares.
/// Layout: HDF5 File Format Specification 3.0, sections IV.A.1.a, IV.A.2.b, IV.A.2.d, IV.A.2.m and IV.A.2.q.
void check_attributes(const File& file, int64_t object, const std::string& place);

}  // namespace monarch::data::hdf5
