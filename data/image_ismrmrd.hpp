#pragma once
// Images in the ISMRMRD HDF5 layout: /<group>/<variable>/{header, attributes, data}.

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "monarch/data/image.hpp"

namespace monarch::data {

struct IsmrmrdImageOptions {
  std::string group = "dataset";
  std::string variable = "image_0";  ///< the last component; a number behind "image_" becomes image_series_index
  std::string header_xml = {};       ///< ISMRMRD header stored beside the images as /<group>/xml; "" writes none
  std::map<std::string, std::string> meta =
      {};  ///< further entries of every image's attribute string (ISMRMRD meta XML)
};

/// Writes a series as ISMRMRD images through libismrmrd, one per image, in order.
///
/// data_type is 5 (float32, image_type magnitude) or 7 (complex64, image_type complex); matrix_size, field_of_view
/// (mm), position (centre of the slice or slab, LPS, mm), read_dir/phase_dir/slice_dir = directions of image x/y/z;
/// all three are zero where the orientation is unknown. image_index counts from 1. The attribute string says which
/// image axis was read out (key "ReadoutAxis").
///
/// `path` must not exist. Throws ShapeError or DtypeError for pixels that are not [image, z, y, x] float32/complex64
/// with one index and orientation per image or are larger than 65535, DataError when the file cannot be written.
void save_ismrmrd_images(const std::filesystem::path& path, const ImageSeries& series,
                         const IsmrmrdImageOptions& options = {});

/// The image variables of an HDF5 file, as paths inside it ("dataset/image_0"), in the file's order; empty when the
/// file holds none or is not HDF5.
std::vector<std::string> ismrmrd_image_variables(const std::filesystem::path& path);

/// Reads one image variable ("" picks the first; others are named in a warning). Every number type of the format is
/// read; integers and doubles become float32, complex doubles complex64. The shape of the data counts, not that of
/// the headers (differences are warned about). Throws DataError for what is not an image variable, for images with
/// several channels, and for extents that the file's size cannot hold (nothing is allocated then).
ImageSeries load_ismrmrd_images(const std::filesystem::path& path, const std::string& variable = {});

}  // namespace monarch::data
