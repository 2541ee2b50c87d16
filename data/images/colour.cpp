#include "monarch/data/images/colour.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "monarch/core/error.hpp"

namespace monarch::data {
namespace {

/// The pixels of an image [y, x, channel], dense.
struct Pixels {
  explicit Pixels(const at::Tensor& image) {
    check<ShapeError>(image.dim() == 3 && image.numel() > 0 && (image.size(0) == 1 || image.size(0) == 3),
                      "an image needs axes [channel, y, x] with 1 or 3 channels");
    check<DtypeError>(image.scalar_type() == at::kByte, "an image needs uint8");
    tensor = image.permute({1, 2, 0}).contiguous();
    values = tensor.const_data_ptr<uint8_t>();
    height = tensor.size(0), width = tensor.size(1), channels = tensor.size(2);
  }
  int64_t count() const { return height * width * channels; }
  at::Tensor tensor;
  const uint8_t* values;
  int64_t height, width, channels;
};

/// A new image of the same extent, and its values.
struct Result {
  explicit Result(const Pixels& like) : tensor(at::empty_like(like.tensor)), values(tensor.data_ptr<uint8_t>()) {}
  at::Tensor image() const { return tensor.permute({2, 0, 1}); }
  at::Tensor tensor;
  uint8_t* values;
};

using Table = std::array<uint8_t, 256>;
using Histogram = std::array<int64_t, 256>;

uint8_t clipped(double value) {
  return value <= 0 ? 0 : value >= 255 ? 255 : static_cast<uint8_t>(value);
}

/// out[c] = table_of(histogram of channel c)[in[c]]
template <class MakeTable>
at::Tensor map_by_histogram(const at::Tensor& image, MakeTable table_of) {
  const Pixels in(image);
  const Result out(in);
  for (int64_t c = 0; c < in.channels; ++c) {
    Histogram histogram{};
    for (int64_t i = c; i < in.count(); i += in.channels) ++histogram[in.values[i]];
    const Table table = table_of(histogram);
    for (int64_t i = c; i < in.count(); i += in.channels) out.values[i] = table[in.values[i]];
  }
  return out.image();
}

template <class Value>
at::Tensor map_values(const at::Tensor& image, Value value) {
  Table table;
  for (int v = 0; v < 256; ++v) table[static_cast<size_t>(v)] = static_cast<uint8_t>(value(v));
  const Pixels in(image);
  const Result out(in);
  for (int64_t i = 0; i < in.count(); ++i) out.values[i] = table[in.values[i]];
  return out.image();
}

Table identity() {
  Table table;
  std::iota(table.begin(), table.end(), uint8_t{0});
  return table;
}

/// ITU-R 601 luma in 16-bit fixed point.
uint8_t luma(const uint8_t* rgb) {
  return static_cast<uint8_t>((rgb[0] * 19595 + rgb[1] * 38470 + rgb[2] * 7471 + 0x8000) >> 16);
}

/// degenerate + factor (image - degenerate), `degenerate(i)` being the value at place i of the interleaved image.
template <class Degenerate>
at::Tensor blend(const Pixels& in, double factor, Degenerate degenerate) {
  const Result out(in);
  const auto weight = static_cast<float>(factor);
  for (int64_t i = 0; i < in.count(); ++i) {
    const auto from = static_cast<float>(degenerate(i));
    out.values[i] = clipped(from + weight * (static_cast<float>(in.values[i]) - from));
  }
  return out.image();
}

double cubic(double v1, double v2, double v3, double v4, double d) {
  const double p2 = v3 - v1, p3 = 2 * (v1 - v2) + v3 - v4, p4 = v2 - v1 - v3 + v4;
  return v2 + d * (p2 + d * (p3 + d * p4));
}

}  // namespace

at::Tensor auto_contrast(const at::Tensor& image) {
  return map_by_histogram(image, [](const Histogram& histogram) {
    const auto used = [](int64_t n) { return n > 0; };
    const auto low = std::find_if(histogram.begin(), histogram.end(), used) - histogram.begin();
    const auto high = 255 - (std::find_if(histogram.rbegin(), histogram.rend(), used) - histogram.rbegin());
    Table table = identity();
    if (high <= low) return table;
    const double scale = 255.0 / static_cast<double>(high - low), offset = -static_cast<double>(low) * scale;
    for (size_t v = 0; v < table.size(); ++v) table[v] = clipped(static_cast<double>(v) * scale + offset);
    return table;
  });
}

at::Tensor equalize(const at::Tensor& image) {
  return map_by_histogram(image, [](const Histogram& histogram) {
    const int64_t total = std::accumulate(histogram.begin(), histogram.end(), int64_t{0});
    const int64_t last = *std::find_if(histogram.rbegin(), histogram.rend(), [](int64_t n) { return n > 0; });
    const int64_t step = (total - last) / 255;
    Table table = identity();
    if (step == 0) return table;
    int64_t sum = step / 2;
    for (size_t v = 0; v < table.size(); ++v) {
      table[v] = static_cast<uint8_t>(std::min<int64_t>(sum / step, 255));
      sum += histogram[v];
    }
    return table;
  });
}

at::Tensor invert(const at::Tensor& image) {
  return map_values(image, [](int v) { return 255 - v; });
}

at::Tensor posterize(const at::Tensor& image, int bits) {
  const int mask = ~((1 << (8 - std::clamp(bits, 0, 8))) - 1);
  return map_values(image, [mask](int v) { return v & mask; });
}

at::Tensor solarize(const at::Tensor& image, int threshold) {
  return map_values(image, [threshold](int v) { return v < threshold ? v : 255 - v; });
}

at::Tensor solarize_add(const at::Tensor& image, int add) {
  return map_values(image, [add](int v) { return v < 128 ? std::clamp(v + add, 0, 255) : v; });
}

at::Tensor enhance_colour(const at::Tensor& image, double factor) {
  const Pixels in(image);
  if (in.channels == 1) return image.clone();
  return blend(in, factor, [&](int64_t i) { return luma(in.values + i / 3 * 3); });
}

at::Tensor enhance_contrast(const at::Tensor& image, double factor) {
  const Pixels in(image);
  int64_t sum = 0;
  for (int64_t i = 0; i < in.count(); i += in.channels) sum += in.channels == 3 ? luma(in.values + i) : in.values[i];
  const double mean = static_cast<double>(sum) / static_cast<double>(in.height * in.width);
  const auto grey = static_cast<uint8_t>(mean + 0.5);
  return blend(in, factor, [grey](int64_t) { return grey; });
}

at::Tensor enhance_brightness(const at::Tensor& image, double factor) {
  return blend(Pixels(image), factor, [](int64_t) { return uint8_t{0}; });
}

at::Tensor enhance_sharpness(const at::Tensor& image, double factor) {
  const Pixels in(image);
  const int64_t row = in.width * in.channels;
  return blend(in, factor, [&](int64_t i) {
    const int64_t y = i / row, x = i % row / in.channels;
    if (y == 0 || x == 0 || y == in.height - 1 || x == in.width - 1) return in.values[i];
    int sum = 4 * in.values[i];
    for (int64_t dy = -row; dy <= row; dy += row)
      for (int64_t dx = -in.channels; dx <= in.channels; dx += in.channels) sum += in.values[i + dy + dx];
    return static_cast<uint8_t>((2 * sum + 13) / 26);  // sum / 13, rounded
  });
}

at::Tensor warp(const at::Tensor& image, const std::array<double, 6>& map, Interpolation interpolation,
                const Fill& fill) {
  const Pixels in(image);
  const Result out(in);
  const int taps = interpolation == Interpolation::bicubic ? 4 : 2;
  uint8_t* to = out.values;
  for (int64_t y = 0; y < in.height; ++y) {
    for (int64_t x = 0; x < in.width; ++x, to += in.channels) {
      const double at_x = static_cast<double>(x) + 0.5, at_y = static_cast<double>(y) + 0.5;
      const double from_x = map[0] * at_x + map[1] * at_y + map[2], from_y = map[3] * at_x + map[4] * at_y + map[5];
      if (!(from_x >= 0 && from_x < static_cast<double>(in.width) && from_y >= 0 &&
            from_y < static_cast<double>(in.height))) {
        std::copy_n(fill.begin(), in.channels, to);
        continue;
      }
      const double floor_x = std::floor(from_x - 0.5), floor_y = std::floor(from_y - 0.5);
      const double dx = from_x - 0.5 - floor_x, dy = from_y - 0.5 - floor_y;
      std::array<int64_t, 4> column, row;  // offsets; those beyond the rim repeat it
      for (int k = 0; k < taps; ++k) {
        const int64_t shift = k - (taps / 2 - 1);
        column[static_cast<size_t>(k)] =
            std::clamp<int64_t>(static_cast<int64_t>(floor_x) + shift, 0, in.width - 1) * in.channels;
        row[static_cast<size_t>(k)] =
            std::clamp<int64_t>(static_cast<int64_t>(floor_y) + shift, 0, in.height - 1) * in.width * in.channels;
      }
      for (int64_t c = 0; c < in.channels; ++c) {
        const auto value = [&](size_t r, size_t k) { return static_cast<double>(in.values[row[r] + column[k] + c]); };
        if (taps == 2) {
          const auto line = [&](size_t r) { return value(r, 0) + (value(r, 1) - value(r, 0)) * dx; };
          to[c] = clipped(line(0) + (line(1) - line(0)) * dy);
        } else {
          const auto line = [&](size_t r) { return cubic(value(r, 0), value(r, 1), value(r, 2), value(r, 3), dx); };
          to[c] = clipped(cubic(line(0), line(1), line(2), line(3), dy));
        }
      }
    }
  }
  return out.image();
}

at::Tensor rotate(const at::Tensor& image, double degrees, Interpolation interpolation, const Fill& fill) {
  const double angle = -degrees * std::numbers::pi / 180, cosine = std::cos(angle), sine = std::sin(angle);
  const double middle_x = static_cast<double>(image.size(2)) / 2, middle_y = static_cast<double>(image.size(1)) / 2;
  return warp(image,
              {cosine, sine, middle_x - cosine * middle_x - sine * middle_y, -sine, cosine,
               middle_y + sine * middle_x - cosine * middle_y},
              interpolation, fill);
}

}  // namespace monarch::data
