#include "monarch/data/images/decode.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <csetjmp>
#include <cstdio>
// jpeglib.h needs FILE and size_t first.
#include <jerror.h>
#include <jpeglib.h>
#include <png.h>

#include "monarch/core/error.hpp"
#include "monarch/data/mapped_file.hpp"

namespace monarch::data {
namespace {

constexpr int64_t kMostPixels = int64_t{1} << 27;
constexpr int kMostScans = 200;  // of a progressive JPEG; encoders make about ten

/// What libjpeg calls instead of returning an error. It may not return, and no C++ frame lies between it and setjmp.
struct JpegReader {
  jpeg_decompress_struct info = {};
  jpeg_error_mgr errors = {};
  jpeg_progress_mgr progress = {};
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX] = {};
  JpegReader() = default;
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;
  ~JpegReader() { jpeg_destroy_decompress(&info); }
};

JpegReader* reader_of(j_common_ptr common) {
  return static_cast<JpegReader*>(common->client_data);
}

[[noreturn]] void on_error(j_common_ptr common) {
  JpegReader* reader = reader_of(common);
  common->err->format_message(common, reader->message);
  std::longjmp(reader->jump, 1);
}

/// Warnings that mean missing pixels end the reading; others (stray bytes between segments) do not.
void on_message(j_common_ptr common, int level) {
  if (level >= 0) return;
  const int code = common->err->msg_code;
  if (code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER || code == JWRN_HUFF_BAD_CODE || code == JWRN_MUST_RESYNC)
    on_error(common);
}

void on_progress(j_common_ptr common) {
  const auto* info = reinterpret_cast<j_decompress_ptr>(common);
  if (info->input_scan_number <= kMostScans) return;
  JpegReader* reader = reader_of(common);
  std::snprintf(reader->message, sizeof reader->message, "more than %d scans", kMostScans);
  std::longjmp(reader->jump, 1);
}

/// Plain C inside the next three: nothing with a destructor may live across a setjmp.
bool read_header(JpegReader* reader, const unsigned char* bytes, size_t count) {
  reader->info.err = jpeg_std_error(&reader->errors);
  reader->errors.error_exit = on_error;
  reader->errors.emit_message = on_message;
  reader->info.client_data = reader;
  if (setjmp(reader->jump)) return false;
  jpeg_create_decompress(&reader->info);
  reader->progress.progress_monitor = on_progress;
  reader->info.progress = &reader->progress;
  jpeg_mem_src(&reader->info, bytes, static_cast<unsigned long>(count));
  jpeg_save_markers(&reader->info, JPEG_APP0 + 1, 0xffff);
  jpeg_read_header(&reader->info, TRUE);
  return true;
}

bool start(JpegReader* reader) {
  if (setjmp(reader->jump)) return false;
  jpeg_start_decompress(&reader->info);
  return true;
}

bool read_rows(JpegReader* reader, unsigned char* to, size_t row_bytes) {
  if (setjmp(reader->jump)) return false;
  while (reader->info.output_scanline < reader->info.output_height) {
    JSAMPROW row = to + row_bytes * reader->info.output_scanline;
    jpeg_read_scanlines(&reader->info, &row, 1);
  }
  jpeg_finish_decompress(&reader->info);
  return true;
}

/// Rows and columns as EXIF's orientation wants them: [y, x, channel].
at::Tensor upright(const at::Tensor& image, int orientation) {
  switch (orientation) {
    case 2:
      return image.flip(1);
    case 3:
      return image.flip({0, 1});
    case 4:
      return image.flip(0);
    case 5:
      return image.transpose(0, 1);
    case 6:
      return image.flip(0).transpose(0, 1);
    case 7:
      return image.flip({0, 1}).transpose(0, 1);
    case 8:
      return image.transpose(0, 1).flip(0);
    default:
      return image;
  }
}

void check_pixels(Extent extent, int64_t most, const std::string& name) {
  check<DataError>(
      extent.height > 0 && extent.width > 0 && extent.height <= kMostPixels / extent.width &&
          extent.height * extent.width <= most,
      [&] {
        return fmt::format("{}: the header says {} x {} pixels, expected at most {}", name, extent.width, extent.height,
                           std::min(most, kMostPixels));
      },
      "the file is damaged, or far larger than a picture");
}

/// [y, x, channel]
at::Tensor decode_jpeg(std::string_view bytes, const std::string& name, int64_t channels, const Reduction& reduction) {
  JpegReader reader;
  const auto refuse = [&] { return fmt::format("{} is not a readable JPEG: {}", name, reader.message); };
  check<DataError>(read_header(&reader, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()), refuse);
  jpeg_decompress_struct& info = reader.info;
  const Extent stored{info.image_height, info.image_width};
  // A block of 64 pixels takes a bit at least, and chroma may be thinned to a sixteenth.
  check_pixels(stored, 2048 * static_cast<int64_t>(bytes.size()), name);
  int orientation = 1;
  for (auto* marker = info.marker_list; marker && orientation == 1; marker = marker->next)
    orientation = exif_orientation({reinterpret_cast<const char*>(marker->data), marker->data_length});
  const bool turned = orientation >= 5;
  const double most = reduction ? reduction(turned ? Extent{stored.width, stored.height} : stored) : 1;
  info.scale_num = 1;
  info.scale_denom = most >= 8 ? 8 : most >= 4 ? 4 : most >= 2 ? 2 : 1;
  const bool four = info.jpeg_color_space == JCS_CMYK || info.jpeg_color_space == JCS_YCCK;
  info.out_color_space = four ? JCS_CMYK : channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
  check<DataError>(start(&reader), refuse);
  at::Tensor image = at::empty({info.output_height, info.output_width, info.output_components}, at::kByte);
  check<DataError>(read_rows(&reader, image.data_ptr<uint8_t>(), static_cast<size_t>(image.stride(0))), refuse);
  if (four) {
    // Inks are stored inverted (Adobe's convention, which Pillow assumes of all): light = ink' * black' / 255.
    const at::Tensor light = image.to(at::kInt);
    image = (light.narrow(2, 0, 3) * light.narrow(2, 3, 1)).add(127).floor_divide(255).to(at::kByte);
    if (channels == 1) {
      const at::Tensor rgb = image.to(at::kInt);
      image = (rgb.narrow(2, 0, 1) * 19595 + rgb.narrow(2, 1, 1) * 38470 + rgb.narrow(2, 2, 1) * 7471 + 0x8000)
                  .bitwise_right_shift(16)
                  .to(at::kByte);
    }
  }
  return upright(image, orientation).contiguous();
}

/// [y, x, channel]
at::Tensor decode_png(std::string_view bytes, const std::string& name, int64_t channels) {
  png_image png{};
  png.version = PNG_IMAGE_VERSION;
  const auto refuse = [&] { return fmt::format("{} is not a readable PNG: {}", name, png.message); };
  check<DataError>(png_image_begin_read_from_memory(&png, bytes.data(), bytes.size()), refuse);
  struct Free {
    png_image* image;
    ~Free() { png_image_free(image); }
  } const free{&png};
  // Deflate packs at most 1032:1, and a pixel takes a bit at least.
  check_pixels({png.height, png.width}, 8 * 1040 * static_cast<int64_t>(bytes.size()), name);
  png.format = channels == 1 ? PNG_FORMAT_GA : PNG_FORMAT_RGBA;
  at::Tensor image = at::empty({png.height, png.width, channels + 1}, at::kByte);
  check<DataError>(png_image_finish_read(&png, nullptr, image.data_ptr<uint8_t>(), 0, nullptr), refuse);
  return image.narrow(2, 0, channels).contiguous();
}

}  // namespace

int exif_orientation(std::string_view app1) {
  constexpr std::string_view start("Exif\0\0", 6);
  if (!app1.starts_with(start)) return 1;
  const std::string_view tiff = app1.substr(start.size());
  if (tiff.size() < 8) return 1;
  const bool little = tiff.starts_with("II");
  const auto number = [&](size_t at, size_t width) -> uint32_t {
    uint32_t value = 0;
    for (size_t k = 0; k < width; ++k) {
      const auto byte = static_cast<unsigned char>(tiff[at + (little ? width - 1 - k : k)]);
      value = value << 8 | byte;
    }
    return value;
  };
  const size_t directory = number(4, 4);
  if (directory + 2 > tiff.size()) return 1;
  const size_t entries = number(directory, 2);
  for (size_t e = 0; e < entries; ++e) {
    const size_t at = directory + 2 + 12 * e;
    if (at + 12 > tiff.size()) return 1;
    constexpr uint32_t kOrientation = 0x0112, kShort = 3;
    if (number(at, 2) != kOrientation || number(at + 2, 2) != kShort) continue;
    const uint32_t value = number(at + 8, 2);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

at::Tensor decode_image(std::string_view bytes, const std::string& name, int64_t channels, const Reduction& reduction) {
  check<ConfigError>(channels == 1 || channels == 3, "an image is read with 1 or 3 channels");
  constexpr std::string_view jpeg = "\xff\xd8\xff", png = "\x89PNG\r\n\x1a\n";
  const bool is_jpeg = bytes.starts_with(jpeg);
  check<DataError>(
      is_jpeg || bytes.starts_with(png), [&] { return name + ": its first bytes are neither a JPEG's nor a PNG's"; },
      "other formats are not read: convert the file");
  return (is_jpeg ? decode_jpeg(bytes, name, channels, reduction) : decode_png(bytes, name, channels))
      .permute({2, 0, 1});
}

at::Tensor load_image(const std::filesystem::path& path, int64_t channels, const Reduction& reduction) {
  const MappedFile file(path);
  return decode_image(file.bytes(), path.string(), channels, reduction);
}

}  // namespace monarch::data
