#pragma once
// Object headers of HDF5 files, checked before the library decodes them.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "monarch/data/hdf5.hpp"

namespace monarch::data::hdf5 {

/// Throws DataError where a message in the header of the object at `path` ("" is the root group) states more bytes than
/// it has: element types, extents, fill values, filters, compact data and attributes. libhdf5 1.10 copies what they
/// state, whatever the size of the message. Headers of version 2 are left out: they carry checksums, which the library
/// compares. Does nothing where there is no such object.
/// Layout: HDF5 File Format Specification 3.0, section IV.A.
void check_header(const File& file, const std::string& path);

/// Fills the bytes from a place in the file.
using ReadBytes = std::function<void(uint64_t, std::span<std::byte>)>;

/// The same for the root group, before the library opens the file; and throws DataError where the superblock puts it
/// outside the file.
void check_superblock(const ReadBytes& read, uint64_t file_bytes, const std::string& name);

}  // namespace monarch::data::hdf5
