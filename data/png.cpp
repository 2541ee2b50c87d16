#include "monarch/data/png.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <png.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <memory>
#include <set>

#include "monarch/core/error.hpp"
#include "monarch/core/files.hpp"

namespace monarch::data {

namespace {

struct FileCloser {
  void operator()(std::FILE* f) const { std::fclose(f); }
};
using File = std::unique_ptr<std::FILE, FileCloser>;

/// What libpng calls instead of returning an error. It may not return, and no C++ frame lies between it and setjmp.
struct PngFailure {
  std::jmp_buf jump;
  char message[200] = {};
};

void on_error(png_structp png, png_const_charp message) {
  auto* failure = static_cast<PngFailure*>(png_get_error_ptr(png));
  std::snprintf(failure->message, sizeof failure->message, "%s", message);
  std::longjmp(failure->jump, 1);
}
void on_warning(png_structp, png_const_charp) {}

/// Plain C inside: nothing with a destructor may live across the setjmp.
bool write_rows(std::FILE* file, png_bytepp rows, png_uint_32 width, png_uint_32 height, int bits,
                PngFailure* failure) {
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, failure, on_error, on_warning);
  png_infop info = png ? png_create_info_struct(png) : nullptr;
  if (!info) {
    png_destroy_write_struct(&png, &info);
    return false;
  }
  if (setjmp(failure->jump)) {
    png_destroy_write_struct(&png, &info);
    return false;
  }
  png_init_io(png, file);
  png_set_IHDR(png, info, width, height, bits, PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
               PNG_FILTER_TYPE_DEFAULT);
  png_write_info(png, info);
  png_write_image(png, rows);
  png_write_end(png, info);
  png_destroy_write_struct(&png, &info);
  return true;
}

/// An open PNG: header first, rows when the caller has made room for them.
struct PngReader {
  png_structp png = nullptr;
  png_infop info = nullptr;
  PngFailure failure;
  PngReader() = default;
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;
  ~PngReader() { png_destroy_read_struct(&png, &info, nullptr); }
};

bool read_header(PngReader* reader, std::FILE* file) {
  reader->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader->failure, on_error, on_warning);
  reader->info = reader->png ? png_create_info_struct(reader->png) : nullptr;
  if (!reader->info) return false;
  if (setjmp(reader->failure.jump)) return false;
  png_set_user_limits(reader->png, 65535, 65535);
  png_init_io(reader->png, file);
  png_read_info(reader->png, reader->info);
  png_set_expand(reader->png);
  png_set_strip_alpha(reader->png);
  if (png_get_color_type(reader->png, reader->info) & PNG_COLOR_MASK_COLOR) png_set_rgb_to_gray(reader->png, 1, -1, -1);
  png_set_interlace_handling(reader->png);
  png_read_update_info(reader->png, reader->info);
  return true;
}

bool read_rows(PngReader* reader, png_bytepp rows) {
  if (setjmp(reader->failure.jump)) return false;
  png_read_image(reader->png, rows);
  return true;
}

/// Finite magnitudes, float32.
at::Tensor magnitudes(const at::Tensor& pixels) {
  return at::nan_to_num((pixels.is_complex() ? pixels.abs() : pixels).to(at::kFloat), 0.0, 0.0, 0.0);
}

}  // namespace

Window display_window(const at::Tensor& pixels, double percentile) {
  check<ConfigError>(percentile > 0 && percentile <= 100, [&] {
    return fmt::format("display window: percentile {}, expected above 0, up to 100", percentile);
  });
  const int64_t count = pixels.numel();
  if (count == 0) return {};
  constexpr int64_t kMost = int64_t{1} << 22;
  const int64_t step = ((count + kMost - 1) / kMost) | 1;  // odd, so as not to walk down one column
  const at::Tensor sample = magnitudes(pixels.reshape({-1}).slice(0, 0, count, step)).abs().contiguous();
  float* const first = sample.data_ptr<float>();
  float* const last = first + sample.numel();
  const double position = percentile / 100 * static_cast<double>(sample.numel() - 1);
  float* const nth = first + static_cast<int64_t>(position);
  std::nth_element(first, nth, last);
  const double above = nth + 1 < last ? *std::min_element(nth + 1, last) : *nth;
  double upper = *nth + (position - std::floor(position)) * (above - *nth);
  if (!(upper > 0)) upper = *std::max_element(first, last);
  return {0, upper > 0 ? upper : 1};
}

at::Tensor grey_values(const at::Tensor& pixels, const Window& window, int bits) {
  check<ConfigError>(bits == 8 || bits == 16,
                     [&] { return fmt::format("grey values of {} bits: expected 8 or 16", bits); });
  check<ConfigError>(window.upper > window.lower,
                     [&] { return fmt::format("display window [{}, {}] is empty", window.lower, window.upper); });
  const double top = bits == 8 ? 255 : 65535;
  const at::Tensor scaled = (magnitudes(pixels) - window.lower) * (top / (window.upper - window.lower));
  return scaled.round().clamp(0, top).to(bits == 8 ? at::kByte : at::kInt);
}

void save_png(const std::filesystem::path& path, const at::Tensor& image, const Window& window, int bits) {
  check<ShapeError>(image.dim() == 2 && image.numel() > 0, "a PNG holds one image [y, x] with at least one pixel");
  const at::Tensor grey = grey_values(image, window, bits).contiguous();
  const int64_t ny = grey.size(0), nx = grey.size(1);
  const int64_t row_bytes = nx * bits / 8;
  std::vector<png_byte> bytes(static_cast<size_t>(ny * row_bytes));
  if (bits == 8) {
    std::memcpy(bytes.data(), grey.data_ptr<uint8_t>(), bytes.size());
  } else {
    const int32_t* values = grey.data_ptr<int32_t>();
    for (int64_t i = 0; i < ny * nx; ++i) {  // PNG is big-endian
      bytes[static_cast<size_t>(2 * i)] = static_cast<png_byte>(values[i] >> 8);
      bytes[static_cast<size_t>(2 * i + 1)] = static_cast<png_byte>(values[i] & 255);
    }
  }
  std::vector<png_bytep> rows;
  for (int64_t y = 0; y < ny; ++y) rows.push_back(bytes.data() + y * row_bytes);

  File file(std::fopen(path.c_str(), "wb"));
  check<DataError>(file != nullptr,
                   [&] { return fmt::format("cannot write {}: {}", path.string(), std::strerror(errno)); });
  PngFailure failure;
  const bool written =
      write_rows(file.get(), rows.data(), static_cast<png_uint_32>(nx), static_cast<png_uint_32>(ny), bits, &failure);
  check<DataError>(written, [&] { return fmt::format("cannot write {}: {}", path.string(), failure.message); });
  check<DataError>(std::fclose(file.release()) == 0,
                   [&] { return fmt::format("cannot write {}: {}", path.string(), std::strerror(errno)); });
}

at::Tensor load_png(const std::filesystem::path& path) {
  File file(std::fopen(path.c_str(), "rb"));
  check<DataError>(file != nullptr,
                   [&] { return fmt::format("cannot open {}: {}", path.string(), std::strerror(errno)); });
  PngReader reader;
  const auto refuse = [&] {
    return fmt::format("{} is not a readable PNG: {}", path.string(), reader.failure.message);
  };
  check<DataError>(read_header(&reader, file.get()), refuse);
  const int64_t nx = png_get_image_width(reader.png, reader.info);
  const int64_t ny = png_get_image_height(reader.png, reader.info);
  const int bits = png_get_bit_depth(reader.png, reader.info);
  const int64_t row_bytes = static_cast<int64_t>(png_get_rowbytes(reader.png, reader.info));
  check<DataError>(
      png_get_channels(reader.png, reader.info) == 1 && (bits == 8 || bits == 16) && row_bytes == nx * bits / 8,
      refuse);
  // Deflate packs at most 1032:1, so a file cannot hold more than that.
  const auto size = static_cast<int64_t>(std::filesystem::file_size(path));
  check<DataError>(ny * row_bytes <= size * 1040, [&] {
    return fmt::format("{}: header says {} x {} pixels of {} bits, too many for a file of {} bytes", path.string(), nx,
                       ny, bits, size);
  });
  std::vector<png_byte> bytes(static_cast<size_t>(ny * row_bytes));
  std::vector<png_bytep> rows;
  for (int64_t y = 0; y < ny; ++y) rows.push_back(bytes.data() + y * row_bytes);
  check<DataError>(read_rows(&reader, rows.data()), refuse);
  at::Tensor image = at::empty({ny, nx}, at::kFloat);
  float* out = image.data_ptr<float>();
  for (int64_t i = 0; i < ny * nx; ++i) {
    const auto k = static_cast<size_t>(i);
    out[i] = bits == 8 ? bytes[k] : static_cast<float>(bytes[2 * k] << 8 | bytes[2 * k + 1]);
  }
  return image;
}

std::string encode_png(const at::Tensor& picture) {
  check<ShapeError>(picture.dim() == 3 && picture.size(2) == 3 && picture.numel() > 0,
                    "a colour PNG holds one picture [y, x, 3] with at least one pixel");
  check<DtypeError>(picture.scalar_type() == at::kByte, "a colour PNG needs uint8");
  const at::Tensor dense = picture.contiguous();
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(dense.size(1));
  image.height = static_cast<png_uint_32>(dense.size(0));
  image.format = PNG_FORMAT_RGB;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(image);
  std::string bytes(size, '\0');
  const bool encoded = png_image_write_to_memory(&image, bytes.data(), &size, 0, dense.data_ptr<uint8_t>(), 0, nullptr);
  check<DataError>(encoded, [&] { return fmt::format("libpng cannot encode a picture: {}", image.message); });
  bytes.resize(size);
  return bytes;
}

void save_colour_png(const std::filesystem::path& path, const at::Tensor& picture) {
  write_file_atomically(path, encode_png(picture));
}

std::vector<Picture> pictures(const ImageSeries& series) {
  check<ShapeError>(series.pixels.dim() == 4 && series.pixels.size(0) == series.size(),
                    "a series needs pixels [image, z, y, x] and an index per image");
  struct Counter {
    const char* name;
    int64_t ImageIndex::*member;
  };
  constexpr Counter kCounters[] = {{"contrast", &ImageIndex::contrast},
                                   {"phase", &ImageIndex::phase},
                                   {"repetition", &ImageIndex::repetition},
                                   {"set", &ImageIndex::set}};
  std::vector<Counter> varying;
  for (const Counter& counter : kCounters) {
    const bool varies = std::any_of(series.index.begin(), series.index.end(), [&](const ImageIndex& i) {
      return i.*counter.member != series.index.front().*counter.member;
    });
    if (varies) varying.push_back(counter);
  }
  std::vector<Picture> out;
  std::set<std::string> taken;
  for (int64_t image = 0; image < series.size(); ++image) {
    const ImageIndex& index = series.index[static_cast<size_t>(image)];
    std::string name = fmt::format("slice_{:04}", index.slice);
    for (const Counter& counter : varying) name += fmt::format("_{}_{:04}", counter.name, index.*counter.member);
    for (int64_t z = 0; z < series.pixels.size(1); ++z) {
      std::string full = series.pixels.size(1) > 1 ? fmt::format("{}_z_{:04}", name, z) : name;
      if (!taken.insert(full).second) {  // counters of foreign files need not be unique
        full += fmt::format("_image_{:04}", image);
        taken.insert(full);
      }
      out.push_back({full + ".png", image, z});
    }
  }
  return out;
}

at::Tensor contact_sheet(const ImageSeries& series, const Window& window, const ContactSheetOptions& options) {
  check<ShapeError>(series.pixels.defined() && series.pixels.dim() == 4 && series.pixels.numel() > 0,
                    "a contact sheet needs pixels [image, z, y, x]");
  check<ConfigError>(options.max_side >= 16 && options.gap >= 0 && options.gap < options.max_side,
                     "a contact sheet needs max_side >= 16 and a gap below it");
  constexpr int64_t kSmallestTile = 96;
  const int64_t nz = series.pixels.size(1), ny = series.pixels.size(2), nx = series.pixels.size(3);
  const int64_t slices = series.pixels.size(0) * nz;
  const int64_t gap = options.gap, side = options.max_side;
  const auto fits = [&](int64_t factor) {  // slices on one sheet at this reduction
    const int64_t tile_x = (nx + factor - 1) / factor, tile_y = (ny + factor - 1) / factor;
    return ((side + gap) / (tile_x + gap)) * ((side + gap) / (tile_y + gap));
  };
  int64_t factor = 1;
  while (fits(factor) < 1 || (fits(factor) < slices && std::min(nx, ny) / (factor + 1) >= kSmallestTile)) ++factor;
  const int64_t tile_x = (nx + factor - 1) / factor, tile_y = (ny + factor - 1) / factor;
  const int64_t shown = std::min(slices, fits(factor));
  const int64_t most_columns = (side + gap) / (tile_x + gap), most_rows = (side + gap) / (tile_y + gap);
  int64_t columns = static_cast<int64_t>(std::ceil(
      std::sqrt(static_cast<double>(shown) * static_cast<double>(tile_y + gap) / static_cast<double>(tile_x + gap))));
  columns = std::clamp(columns, (shown + most_rows - 1) / most_rows, most_columns);
  const int64_t rows = (shown + columns - 1) / columns;

  at::Tensor sheet = at::zeros({rows * (tile_y + gap) - gap, columns * (tile_x + gap) - gap}, at::kByte);
  for (int64_t k = 0; k < shown; ++k) {
    const int64_t slice = shown == 1 ? 0 : k * (slices - 1) / (shown - 1);
    at::Tensor tile = grey_values(series.pixels[slice / nz][slice % nz], window).to(at::kFloat);
    if (factor > 1)
      tile = at::avg_pool2d(tile.unsqueeze(0), {factor, factor}, {factor, factor}, {0, 0}, true, false).squeeze(0);
    sheet.narrow(0, (k / columns) * (tile_y + gap), tile_y)
        .narrow(1, (k % columns) * (tile_x + gap), tile_x)
        .copy_(tile.round());
  }
  return sheet;
}

}  // namespace monarch::data
