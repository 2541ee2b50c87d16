#pragma once
// Text on pictures.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string_view>

namespace monarch::data {

/// Width in pixels of a line of UTF-8 text in DejaVu Sans of a size in pixels.
int64_t text_width(std::string_view text, int pixels);

/// Draws a line of UTF-8 text, black with 16 levels of smoothing, into a picture [y, x, 3] (uint8, contiguous, on white
/// ground): `x` is its left end, `baseline` the row that letters stand on. What lies outside is cut off.
void draw_text(at::Tensor& picture, std::string_view text, int64_t x, int64_t baseline, int pixels);

}  // namespace monarch::data
