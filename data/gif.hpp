#pragma once
// Animated GIF files.

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>

namespace monarch::data {

/// The content of a GIF file of frames [frame, y, x, 3] (uint8, RGB, row 0 at the top) that repeats for ever, each
/// frame shown for `milliseconds` (rounded to 10 ms). Exact where all frames together have at most 256 colours, else
/// reduced to 256 by giflib's median cut. Throws ShapeError, DtypeError, DataError (more than 65535 pixels a side).
std::string encode_gif(const at::Tensor& frames, int milliseconds = 100);

/// Writes it atomically. Throws DataError when the file cannot be written.
void save_gif(const std::filesystem::path& path, const at::Tensor& frames, int milliseconds = 100);

}  // namespace monarch::data
