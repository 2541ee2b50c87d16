#pragma once
// The readers behind open_scan, one per format.

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "monarch/data/hdf5.hpp"
#include "monarch/data/scan.hpp"

namespace monarch::data {

/// Reads whichever kind of scan an open HDF5 file holds: ISMRMRD, fastMRI or SKM-TEA. Throws DataError saying what was
/// found in a file that holds neither.
std::unique_ptr<ScanSource> open_hdf5_scan(hdf5::File file, const ScanOptions& options = {});

/// The groups of a file that hold an ISMRMRD measurement (`data` with readouts, and `xml`), in alphabetical order.
std::vector<std::string> ismrmrd_measurements(const hdf5::File& file);

/// ISMRMRD raw data. ScanOptions.dataset picks the measurement.
std::unique_ptr<ScanSource> open_ismrmrd(hdf5::File file, const ScanOptions& options = {});

/// fastMRI: `kspace` [slice, coil, readout, phase] or [slice, readout, phase], with `ismrmrd_header`. The shape of
/// the data is trusted over the header. k-space arrays are [coil, 1, readout, phase], readout axis y.
std::unique_ptr<ScanSource> open_fastmri(hdf5::File file, const ScanOptions& options = {});

/// SKM-TEA: `kspace` [x, ky, kz, echo, coil], hybrid, with `maps` [x, y, z, coil, map], `target` [x, y, z, echo, map]
/// and `masks/…` where they are there. Slices along x: k-space arrays are [coil, 1, ky, kz], contrasts are echoes.
std::unique_ptr<ScanSource> open_skm_tea(hdf5::File file, const ScanOptions& options = {});
/// `kspace` has five axes, or `maps` and `target` lie beside it.
bool is_skm_tea(const hdf5::File& file);

/// BART: `path` is x, x.hdr or x.cfl. READ, PHS1, PHS2, COIL are x, y, z, coil; SLICE is the slice, TE the contrast,
/// TIME the repetition, TIME2 the phase, AVG is averaged. Zero samples are missing ones.
std::unique_ptr<ScanSource> open_cfl(const std::filesystem::path& path, const ScanOptions& options = {});

/// NumPy k-space: [y, x], [coil, y, x] or [slice, coil, y, x], complex64 or complex128. Zero samples are missing.
std::unique_ptr<ScanSource> open_npy(const std::filesystem::path& path, const ScanOptions& options = {});

}  // namespace monarch::data
