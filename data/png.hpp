#pragma once
// Pictures of images: grey-scale and colour PNG files, contact sheets.

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>
#include <vector>

#include "monarch/data/image.hpp"

namespace monarch::data {

/// Values that become black and white; values beyond are clamped.
struct Window {
  double lower = 0;
  double upper = 1;
};

/// 0 to the given percentile of the magnitudes of the whole series (linear interpolation between order statistics,
/// taken over every n-th value so that at most 2^22 are sorted). One window serves a series, so that its pictures
/// can be compared. Where the percentile is 0 the maximum is taken, and 1 for an image without any signal, so that
/// upper > lower always. Values that are not finite count as 0. `pixels` of any shape, real or complex.
Window display_window(const at::Tensor& pixels, double percentile = 99.5);

/// Grey values of magnitudes, uint8 (bits = 8) or int32 in 0..65535 (bits = 16), of the same shape.
at::Tensor grey_values(const at::Tensor& pixels, const Window& window, int bits = 8);

/// Writes a grey-scale PNG of 8 or 16 bits. Row 0 (top) is y = 0, column 0 (left) is x = 0: nothing is flipped.
/// `image` [y, x], real or complex (magnitude). Throws DataError when the file cannot be written.
void save_png(const std::filesystem::path& path, const at::Tensor& image, const Window& window, int bits = 8);

/// Reads a grey-scale PNG (colour is converted) of up to 16 bits: [y, x] float32 in grey levels. Throws DataError.
at::Tensor load_png(const std::filesystem::path& path);

/// The content of an 8-bit colour PNG file of a picture [y, x, 3] (uint8, RGB, row 0 at the top). Throws ShapeError,
/// DtypeError.
std::string encode_png(const at::Tensor& picture);

/// Writes it atomically. Throws DataError when the file cannot be written.
void save_colour_png(const std::filesystem::path& path, const at::Tensor& picture);

/// One picture of a series.
struct Picture {
  std::string name;   ///< "slice_0003.png", "slice_0003_contrast_0001.png", "slice_0000_z_0012.png" (3-D)
  int64_t image = 0;  ///< index into the series
  int64_t z = 0;
};

/// Names of a picture per slice: the slice counter always, the others where they vary within the series.
std::vector<Picture> pictures(const ImageSeries& series);

struct ContactSheetOptions {
  int64_t max_side = 2048;  ///< pixels; slices are averaged down (to 96 pixels at least), then thinned, to fit
  int64_t gap = 4;          ///< pixels between slices
};

/// All slices of a series in a near-square grid, row by row: [y, x] uint8. Ready for save_png with {0, 255}.
at::Tensor contact_sheet(const ImageSeries& series, const Window& window, const ContactSheetOptions& options = {});

}  // namespace monarch::data
