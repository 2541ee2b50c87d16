#pragma once
// Object headers of HDF5 files, checked before the library decodes them.

#include <cstddef>
#include <cstdint>
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

/// Throws DataError where the superblock puts the root group outside the file; the library reads there nevertheless.
/// `start`: the first bytes of the file, which hold the superblock or only a user block (then nothing is checked).
void check_superblock(std::span<const std::byte> start, uint64_t file_bytes, const std::string& name);

}  // namespace monarch::data::hdf5
