#include "monarch/data/gif.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gif_lib.h>

#include <unordered_map>

#include "monarch/core/error.hpp"
#include "monarch/core/files.hpp"
#include "monarch/core/text.hpp"

namespace monarch::data {

namespace {

constexpr int kMostColours = 256;

struct Indexed {
  std::vector<GifByteType> pixels;
  std::vector<GifColorType> palette;
};

/// Every colour as it is; false where there are more than 256.
bool exact_palette(const uint8_t* rgb, size_t count, Indexed& out) {
  std::unordered_map<uint32_t, GifByteType> known;
  out.palette.clear();
  for (size_t i = 0; i < count; ++i, rgb += 3) {
    const uint32_t key = uint32_t{rgb[0]} << 16 | uint32_t{rgb[1]} << 8 | rgb[2];
    auto found = known.find(key);
    if (found == known.end()) {
      if (known.size() == kMostColours) return false;
      found = known.emplace(key, static_cast<GifByteType>(known.size())).first;
      out.palette.push_back({rgb[0], rgb[1], rgb[2]});
    }
    out.pixels[i] = found->second;
  }
  return true;
}

void reduced_palette(const uint8_t* rgb, size_t count, unsigned width, Indexed& out) {
  std::vector<GifByteType> red(count), green(count), blue(count);
  for (size_t i = 0; i < count; ++i) {
    red[i] = rgb[3 * i];
    green[i] = rgb[3 * i + 1];
    blue[i] = rgb[3 * i + 2];
  }
  int colours = kMostColours;
  out.palette.assign(kMostColours, {});
  check<DataError>(GifQuantizeBuffer(width, static_cast<unsigned>(count / width), &colours, red.data(), green.data(),
                                     blue.data(), out.pixels.data(), out.palette.data()) == GIF_OK,
                   "giflib cannot reduce the colours of the frames");
  out.palette.resize(static_cast<size_t>(colours));
}

/// What giflib encodes, in memory.
class GifWriter {
 public:
  GifWriter() {
    int error = 0;
    gif_ = EGifOpen(
        &bytes_,
        [](GifFileType* gif, const GifByteType* data, int count) {
          static_cast<std::string*>(gif->UserData)
              ->append(reinterpret_cast<const char*>(data), static_cast<size_t>(count));
          return count;
        },
        &error);
    check<DataError>(gif_ != nullptr, [&] { return "giflib does not start: " + reason(error); });
    EGifSetGifVersion(gif_, true);
  }
  ~GifWriter() {
    int error = 0;
    if (gif_) EGifCloseFile(gif_, &error);
  }
  GifWriter(const GifWriter&) = delete;
  GifWriter& operator=(const GifWriter&) = delete;
  GifFileType* get() { return gif_; }
  void require(int status) {
    check<DataError>(status == GIF_OK, [&] { return "giflib cannot encode frames: " + reason(gif_->Error); });
  }
  std::string finish() {
    int error = 0;
    const int status = EGifCloseFile(gif_, &error);
    gif_ = nullptr;
    check<DataError>(status == GIF_OK, [&] { return "giflib cannot encode frames: " + reason(error); });
    return std::move(bytes_);
  }

 private:
  static std::string reason(int error) {
    const char* text = GifErrorString(error);
    return text ? text : "unknown error";
  }
  std::string bytes_;
  GifFileType* gif_ = nullptr;
};

}  // namespace

std::string encode_gif(const at::Tensor& frames, int milliseconds) {
  check<ShapeError>(frames.dim() == 4 && frames.size(3) == 3 && frames.numel() > 0, [&] {
    return fmt::format("a GIF needs frames [frame, y, x, 3], found {}",
                       shape_text({frames.sizes().data(), frames.sizes().size()}));
  });
  check<DtypeError>(frames.scalar_type() == at::kByte, "a GIF needs frames of uint8");
  const int64_t ny = frames.size(1), nx = frames.size(2);
  check<DataError>(ny <= 65535 && nx <= 65535,
                   [&] { return fmt::format("{} x {} pixels are too many for a GIF", nx, ny); });
  const at::Tensor dense = frames.contiguous();
  const auto count = static_cast<size_t>(frames.size(0) * ny * nx);
  Indexed image;
  image.pixels.resize(count);
  if (!exact_palette(dense.data_ptr<uint8_t>(), count, image))
    reduced_palette(dense.data_ptr<uint8_t>(), count, static_cast<unsigned>(nx), image);

  int bits = 1;
  while (1 << bits < static_cast<int>(image.palette.size())) ++bits;
  image.palette.resize(size_t{1} << bits);
  const std::unique_ptr<ColorMapObject, decltype(&GifFreeMapObject)> map(
      GifMakeMapObject(1 << bits, image.palette.data()), &GifFreeMapObject);
  check<DataError>(map != nullptr, "giflib has no memory for a colour map");

  GifWriter gif;
  const int width = static_cast<int>(nx), height = static_cast<int>(ny);
  gif.require(EGifPutScreenDesc(gif.get(), width, height, bits, 0, map.get()));
  const GifByteType forever[] = {1, 0, 0};
  gif.require(EGifPutExtensionLeader(gif.get(), APPLICATION_EXT_FUNC_CODE));
  gif.require(EGifPutExtensionBlock(gif.get(), 11, "NETSCAPE2.0"));
  gif.require(EGifPutExtensionBlock(gif.get(), sizeof forever, forever));
  gif.require(EGifPutExtensionTrailer(gif.get()));
  for (int64_t frame = 0; frame < frames.size(0); ++frame) {
    const GraphicsControlBlock control{DISPOSE_DO_NOT, false, std::max(1, (milliseconds + 5) / 10),
                                       NO_TRANSPARENT_COLOR};
    GifByteType extension[4];
    EGifGCBToExtension(&control, extension);
    gif.require(EGifPutExtension(gif.get(), GRAPHICS_EXT_FUNC_CODE, sizeof extension, extension));
    gif.require(EGifPutImageDesc(gif.get(), 0, 0, width, height, false, nullptr));
    for (int64_t y = 0; y < ny; ++y)
      gif.require(EGifPutLine(gif.get(), image.pixels.data() + (frame * ny + y) * nx, width));
  }
  return gif.finish();
}

void save_gif(const std::filesystem::path& path, const at::Tensor& frames, int milliseconds) {
  write_file_atomically(path, encode_gif(frames, milliseconds));
}

}  // namespace monarch::data
