#pragma once
// Images of any supported format, found by content.

#include <filesystem>
#include <string>

#include "monarch/data/image.hpp"

namespace monarch::data {

/// The formats that load_images knows; `none` for anything else.
enum class ImageFormat { none, ismrmrd, fastmri, nifti, npy, cfl, png };

/// "ISMRMRD images", "fastMRI", "NIfTI", "NumPy", "BART cfl", "PNG", "".
std::string name(ImageFormat format);

/// Which image format a file holds, by its content (a cfl pair by its header file). Never throws for a file that can
/// be opened: an HDF5 file without images is `none`.
ImageFormat detect_images(const std::filesystem::path& path);

/// Reads images to look at or to compare with:
///   ISMRMRD images   every number type; `variable` names one ("dataset/image_0"), else the first
///   fastMRI          reconstruction_rss, reconstruction_esc or reconstruction: [slice, row, column] is
///                    [image, 1, y, x] with the readout along y; field of view from the embedded header
///   NIfTI            see load_nifti
///   NumPy            [y, x], [image, y, x] or [image, z, y, x], real or complex
///   BART cfl         dimensions 0, 1, 2 are x, y, z; all further ones are images
///   PNG              one grey-scale image
/// Result: pixels [image, z, y, x], float32 or complex64, contiguous. Throws DataError for other content.
ImageSeries load_images(const std::filesystem::path& path, const std::string& variable = {});

}  // namespace monarch::data
