#pragma once
// JPEG and PNG files as tensors.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "monarch/data/images/image_set.hpp"

namespace monarch::data {

/// Decodes a JPEG (libjpeg-turbo) or PNG (libpng), told by its first bytes whatever the file is called:
/// [channel, y, x] uint8, interleaved in memory as [y, x, channel]. channels: 3 (grey becomes RGB) or 1 (colour becomes
/// luma). JPEG: CMYK and YCCK become RGB as in Pillow, the orientation in EXIF is applied, and `reduction`, given the
/// upright extent, lets the inverse DCT make 1/2, 1/4 or 1/8 of each side (rounded up) at a fraction of the time.
/// PNG: transparency is dropped, 16 bits become 8. `name` is for messages. Throws DataError for what is neither,
/// damaged or cut off, or larger than 2^27 pixels; memory is taken only for what a file of that size can hold.
at::Tensor decode_image(std::string_view bytes, const std::string& name, int64_t channels = 3,
                        const Reduction& reduction = {});

/// The same from a file.
at::Tensor load_image(const std::filesystem::path& path, int64_t channels = 3, const Reduction& reduction = {});

/// EXIF's orientation (1 to 8) out of the payload of a JPEG's APP1 segment; 1 (upright) where there is none.
int exif_orientation(std::string_view app1);

}  // namespace monarch::data
