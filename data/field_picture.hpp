#pragma once
// Pictures of fields: panels with labels and colour bars, side by side.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "monarch/core/colour.hpp"

namespace monarch::data {

/// One field with its colours.
struct FieldPanel {
  std::string label;  ///< above the panel
  at::Tensor values;  ///< [y, x], real; row 0 is drawn at the top, nothing is flipped; NaN is grey
  ColourMap map = ColourMap::sequential;
  double low = 0, high = 1;  ///< values that get the first and the last colour; beyond them colours stay
};

struct PanelRow {
  std::string title;  ///< left of the row, such as "t = 10"
  std::vector<FieldPanel> panels;
};

struct PictureOptions {
  std::string title = {};      ///< above everything
  int64_t panel_pixels = 224;  ///< of the longer side; a field longer than 4 times its width fills a square
  bool smooth = false;         ///< bilinear between points instead of square pixels
};

/// Panels in rows and columns, each with a colour bar that names its limits -> [y, x, 3] uint8 on white. Fields with
/// more points than pixels are averaged. At most 2 · kColourLevels + 17 colours. Throws ShapeError (no panels, a field
/// that is not [y, x]), ConfigError (limits that are not finite or not low < high).
at::Tensor draw_panels(const std::vector<PanelRow>& rows, const PictureOptions& options = {});

/// Limits and map for fields of this kind: sequential from the least to the largest finite value, or diverging with ±m
/// where there are both signs and neither side is less than a fifth of the other. low < high always.
FieldPanel panel_style(const at::Tensor& values);

/// Truth | prediction | error for each of several fields [row, y, x], with one scale for the first two (taken from the
/// truth) and one for the errors, over all rows. `titles` name the rows: as many, or none. Throws ShapeError.
std::vector<PanelRow> comparison_rows(const at::Tensor& truth, const at::Tensor& prediction,
                                      const std::vector<std::string>& titles = {});

/// Frames of an animation, [frame, y, x, 3]: one picture of each row. Throws as draw_panels.
at::Tensor draw_frames(const std::vector<PanelRow>& rows, const PictureOptions& options = {});

}  // namespace monarch::data
