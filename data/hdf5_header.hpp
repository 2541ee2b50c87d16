#pragma once
// Object headers of HDF5 files, checked before the library decodes them.

#include <string>

#include "monarch/data/hdf5.hpp"

namespace monarch::data::hdf5 {

/// Throws DataError where a message in the header of the object at `path` ("" is the root group) states more bytes than
/// it has: element types, extents, fill values, filters, compact data and attributes. libhdf5 1.10 copies what they
/// state, whatever the size of the message. Headers of version 2 are left out: they carry checksums, which the library
/// compares. Does nothing where there is no such object.
/// Layout: HDF5 File Format Specification 3.0, section IV.A.
void check_header(const File& file, const std::string& path);

}  // namespace monarch::data::hdf5
