#include "monarch/data/field_picture.hpp"

#include <ATen/ATen.h>
#include <gif_lib.h>
#include <png.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>
#include <limits>
#include <set>
#include <sstream>

#include "monarch/core/error.hpp"
#include "monarch/data/gif.hpp"
#include "monarch/data/lettering.hpp"
#include "monarch/data/png.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::data;
using namespace monarch::test;

namespace {

/// CIE lightness L* of an sRGB colour.
double lightness(const Rgb& rgb) {
  const auto linear = [](double v) { return v <= 0.04045 ? v / 12.92 : std::pow((v + 0.055) / 1.055, 2.4); };
  const double y = 0.2126 * linear(rgb[0] / 255.0) + 0.7152 * linear(rgb[1] / 255.0) + 0.0722 * linear(rgb[2] / 255.0);
  return y > 0.008856 ? 116 * std::cbrt(y) - 16 : 903.3 * y;
}

/// The frames of a GIF as RGB [frame, y, x, 3], by giflib's own reader.
struct Gif {
  at::Tensor frames;
  std::vector<int> delays;  ///< ms
  bool repeats = false;
};
Gif load_gif(const std::filesystem::path& path) {
  int error = 0;
  GifFileType* file = DGifOpenFileName(path.c_str(), &error);
  REQUIRE(file != nullptr);
  REQUIRE(DGifSlurp(file) == GIF_OK);
  Gif gif;
  gif.frames = at::empty({file->ImageCount, file->SHeight, file->SWidth, 3}, at::kByte);
  uint8_t* out = gif.frames.data_ptr<uint8_t>();
  for (int i = 0; i < file->ImageCount; ++i) {
    const SavedImage& image = file->SavedImages[i];
    for (int k = 0; k < file->SHeight * file->SWidth; ++k) {
      const GifColorType colour = file->SColorMap->Colors[image.RasterBits[k]];
      *out++ = colour.Red;
      *out++ = colour.Green;
      *out++ = colour.Blue;
    }
    GraphicsControlBlock control;
    REQUIRE(DGifSavedExtensionToGCB(file, i, &control) == GIF_OK);
    gif.delays.push_back(control.DelayTime * 10);
    for (int e = 0; e < image.ExtensionBlockCount; ++e) {
      const ExtensionBlock& block = image.ExtensionBlocks[e];
      if (block.Function == APPLICATION_EXT_FUNC_CODE && block.ByteCount == 11)
        gif.repeats = std::string(reinterpret_cast<char*>(block.Bytes), 11) == "NETSCAPE2.0";
    }
  }
  DGifCloseFile(file, &error);
  return gif;
}

at::Tensor decode_png(const std::string& bytes) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  REQUIRE(png_image_begin_read_from_memory(&image, bytes.data(), bytes.size()));
  REQUIRE((image.format & PNG_FORMAT_FLAG_COLOR) != 0);
  image.format = PNG_FORMAT_RGB;
  at::Tensor out = at::empty({image.height, image.width, 3}, at::kByte);
  REQUIRE(png_image_finish_read(&image, nullptr, out.data_ptr<uint8_t>(), 0, nullptr));
  return out;
}

int64_t colours_of(const at::Tensor& picture) {
  const at::Tensor wide = picture.to(at::kLong);
  const at::Tensor keys = wide.select(-1, 0) * 65536 + wide.select(-1, 1) * 256 + wide.select(-1, 2);
  return std::get<0>(at::_unique(keys)).numel();
}

/// How many pixels have just this colour.
int64_t count(const at::Tensor& picture, const Rgb& rgb) {
  const at::Tensor wanted = at::tensor({rgb[0], rgb[1], rgb[2]}, at::kByte);
  return (picture == wanted).all(-1).sum().item<int64_t>();
}

at::Tensor ramp(int64_t ny, int64_t nx) {
  return at::linspace(-1, 1, ny * nx, at::kDouble).view({ny, nx});
}

}  // namespace

TEST_CASE("the sequential map rises evenly in lightness; the diverging one is symmetric about white") {
  double before = lightness(colour(ColourMap::sequential, 0)), smallest = 100, largest = 0;
  const double first = before;
  for (int i = 1; i <= 20; ++i) {
    const double now = lightness(colour(ColourMap::sequential, i / 20.0));
    smallest = std::min(smallest, now - before);
    largest = std::max(largest, now - before);
    before = now;
  }
  REQUIRE(before - first >= 70);
  REQUIRE(smallest >= 0.6 * (before - first) / 20);
  REQUIRE(largest <= 1.4 * (before - first) / 20);
  for (int i = 0; i <= 10; ++i) {
    const double cold = lightness(colour(ColourMap::diverging, 0.5 - i / 20.0));
    const double warm = lightness(colour(ColourMap::diverging, 0.5 + i / 20.0));
    REQUIRE(std::abs(cold - warm) <= 8);
  }
  REQUIRE(lightness(colour(ColourMap::diverging, 0.5)) >= 95);
  REQUIRE(colour(ColourMap::diverging, 0)[2] > colour(ColourMap::diverging, 0)[0]);  // negative is blue
  REQUIRE(colour(ColourMap::sequential, -3) == colour(ColourMap::sequential, 0));
  REQUIRE(colour(ColourMap::sequential, std::numeric_limits<double>::infinity()) == colour(ColourMap::sequential, 1));
  REQUIRE(colour(ColourMap::sequential, std::nan("")) == Rgb{160, 160, 160});
  std::set<Rgb> levels;
  for (int i = 0; i <= 5000; ++i) levels.insert(colour(ColourMap::sequential, i / 5000.0));
  REQUIRE(levels.size() == kColourLevels);
}

TEST_CASE("a panel shows each value as a square of its colour, the first row at the top") {
  const at::Tensor values = at::tensor({0.0, 0.3, 0.6, 1.0}, at::kDouble).view({2, 2});
  PictureOptions options;
  options.panel_pixels = 40;
  const at::Tensor picture = draw_panels({{"", {{"", values, ColourMap::sequential, 0, 1}}}}, options);
  // The field begins below margin and label.
  const int64_t top = 12 + 14 + 6, left = 12;
  for (int64_t y = 0; y < 40; y += 13) {
    for (int64_t x = 0; x < 40; x += 13) {
      const Rgb expected = colour(ColourMap::sequential, values[y / 20][x / 20].item<double>());
      for (int64_t c = 0; c < 3; ++c)
        REQUIRE(picture[top + y][left + x][c].item<int>() == expected[static_cast<size_t>(c)]);
    }
  }
  // NaN is grey: one of four squares.
  at::Tensor holed = values.clone();
  holed[0][1] = std::nan("");
  REQUIRE(count(draw_panels({{"", {{"", holed}}}}, options), {160, 160, 160}) == 400);
  REQUIRE(count(picture, {160, 160, 160}) == 0);
  // Smooth: colours between those of the points appear.
  options.smooth = true;
  REQUIRE(colours_of(draw_panels({{"", {{"", values}}}}, options)) > colours_of(picture));
}

TEST_CASE("pictures of both maps with text stay within the 256 colours of a GIF, and survive it exactly") {
  const at::Tensor truth = ramp(20, 30).unsqueeze(0).repeat({3, 1, 1});
  const at::Tensor prediction = truth * at::tensor({1.0, 1.1, 1.3}, at::kDouble).view({3, 1, 1});
  std::vector<PanelRow> rows = comparison_rows(truth, prediction, {"t = 1", "t = 2", "t = 10"});
  for (PanelRow& row : rows) {
    row.panels[0].map = ColourMap::sequential;
    row.panels[0].values = row.panels[0].values * 3;
  }
  PictureOptions options;
  options.title = "ω für ν = 1e−3, α & β: fjord";
  options.smooth = true;
  const at::Tensor frames = draw_frames(rows, options);
  REQUIRE(frames.size(0) == 3);
  REQUIRE(colours_of(frames) <= 2 * kColourLevels + 17);
  REQUIRE(colours_of(frames) >= 150);
  const TemporaryFolder folder;
  save_gif(folder / "rollout.gif", frames, 125);
  const Gif gif = load_gif(folder / "rollout.gif");
  REQUIRE(gif.repeats);
  REQUIRE(gif.delays == std::vector<int>{130, 130, 130});
  REQUIRE(at::equal(gif.frames, frames));
  REQUIRE_FALSE(at::equal(gif.frames[0], frames[1]));
  REQUIRE((std::filesystem::status(folder / "rollout.gif").permissions() & std::filesystem::perms::owner_read) !=
          std::filesystem::perms::none);
}

TEST_CASE("a GIF of more than 256 colours is close to its frames; one of one colour is exact") {
  const at::Tensor y = at::arange(64).view({64, 1}).expand({64, 64}), x = at::arange(64).view({1, 64}).expand({64, 64});
  const at::Tensor rich = at::stack({y * 4, x * 4, (x + y) * 2}, -1).to(at::kByte).unsqueeze(0);
  const TemporaryFolder folder;
  save_gif(folder / "rich.gif", rich);
  const at::Tensor back = load_gif(folder / "rich.gif").frames;
  REQUIRE(colours_of(back) <= 256);
  REQUIRE((back.to(at::kDouble) - rich.to(at::kDouble)).abs().mean().item<double>() <= 8);
  const at::Tensor plain = at::full({2, 3, 5, 3}, 7, at::kByte);
  save_gif(folder / "plain.gif", plain);
  REQUIRE(at::equal(load_gif(folder / "plain.gif").frames, plain));
  REQUIRE_THROWS_AS(save_gif(folder / "x.gif", plain[0]), ShapeError);
  REQUIRE_THROWS_AS(save_gif(folder / "x.gif", plain.to(at::kFloat)), DtypeError);
  REQUIRE_THROWS_AS(save_gif(folder / "none/x.gif", plain), DataError);
}

TEST_CASE("colour PNG files hold every pixel, and load_png sees their grey") {
  const at::Tensor picture = draw_panels({{"row", {{"panel", ramp(7, 9), ColourMap::diverging, -1, 1}}}});
  REQUIRE(at::equal(decode_png(encode_png(picture)), picture));
  const TemporaryFolder folder;
  save_colour_png(folder / "picture.png", picture);
  REQUIRE(load_png(folder / "picture.png").sizes() == picture.sizes().slice(0, 2));
  REQUIRE_THROWS_AS(encode_png(picture[0]), ShapeError);
  REQUIRE_THROWS_AS(encode_png(picture.to(at::kInt)), DtypeError);
  REQUIRE_THROWS_AS(save_colour_png(folder / "none/picture.png", picture), DataError);
}

TEST_CASE("a comparison has one scale for truth and prediction and a symmetric one for errors") {
  const at::Tensor truth = at::stack({ramp(8, 8), 2 * ramp(8, 8)});
  const std::vector<PanelRow> rows = comparison_rows(truth, truth + 0.25, {"a", "b"});
  REQUIRE(rows.size() == 2);
  for (const PanelRow& row : rows) {
    REQUIRE(row.panels.size() == 3);
    for (const size_t i : {0, 1}) {
      REQUIRE(row.panels[i].map == ColourMap::diverging);
      REQUIRE((row.panels[i].low == -2 && row.panels[i].high == 2));
    }
    REQUIRE(std::abs(row.panels[2].high - 0.25) <= 1e-12);
    REQUIRE(row.panels[2].low == -row.panels[2].high);
  }
  REQUIRE(rows[1].title == "b");
  // Positive fields get the sequential map; constant ones and those that blew up still have limits.
  REQUIRE(panel_style(ramp(4, 4) + 3).map == ColourMap::sequential);
  REQUIRE(panel_style(ramp(4, 4) + 0.9).map == ColourMap::sequential);  // hardly any negative part
  for (const at::Tensor& odd : {at::zeros({3, 3}), at::full({3, 3}, 5), at::full({3, 3}, std::nan(""))})
    REQUIRE(panel_style(odd).low < panel_style(odd).high);
  const auto blown = comparison_rows(truth, at::full_like(truth, std::nan("")));
  REQUIRE(count(draw_panels(blown), {160, 160, 160}) == 4 * 224 * 224);  // prediction and error of both rows
  REQUIRE_THROWS_AS(comparison_rows(truth, truth[0]), ShapeError);
  REQUIRE_THROWS_AS(comparison_rows(truth, truth, {"one"}), ShapeError);
}

TEST_CASE("fields of any size and shape become panels of readable size") {
  for (const auto& [ny, nx] : {std::pair<int64_t, int64_t>{1, 1}, {16, 17}, {300, 500}, {17, 4096}, {900, 3}}) {
    CAPTURE(ny, nx);
    const at::Tensor picture = draw_panels({{"", {{"", ramp(ny, nx), ColourMap::diverging, -1, 1}}}});
    REQUIRE(std::max(picture.size(0), picture.size(1)) >= 200);
    REQUIRE(std::max(picture.size(0), picture.size(1)) <= 340);
  }
  // Averaging keeps what a stride would miss: stripes of one point become grey halves.
  const at::Tensor stripes = (at::arange(448) % 2).to(at::kDouble).expand({448, 448});
  const at::Tensor picture = draw_panels({{"", {{"", stripes}}}});
  REQUIRE(count(picture, colour(ColourMap::sequential, 0.5)) >= 224 * 224);
  REQUIRE_THROWS_AS(draw_panels({}), ShapeError);
  REQUIRE_THROWS_AS(draw_panels({{"", {{"label", at::zeros({3})}}}}), ShapeError);
  REQUIRE_THROWS_AS(draw_panels({{"", {{"label", at::zeros({3, 3}), ColourMap::sequential, 1, 1}}}}), ConfigError);
  REQUIRE_THROWS_AS(draw_frames({}), ShapeError);
}

TEST_CASE("text takes the room that it says, in any script of the font, and is cut at edges") {
  for (const char* text : {"truth", "ω − ν·Δω", "t = 10", "\xff broken"}) {
    CAPTURE(text);
    at::Tensor picture = at::full({30, 200, 3}, 255, at::kByte);
    draw_text(picture, text, 10, 20, 14);
    const at::Tensor columns = (picture < 255).any(-1).any(0).nonzero();
    REQUIRE(columns.numel() > 0);
    REQUIRE(columns.min().item<int64_t>() >= 9);
    REQUIRE(columns.max().item<int64_t>() <= 11 + text_width(text, 14));
    REQUIRE(columns.max().item<int64_t>() >= 10 + text_width(text, 14) - 6);
  }
  REQUIRE(text_width("", 14) == 0);
  REQUIRE(text_width("ω", 14) < text_width("ωω", 14));
  at::Tensor small = at::full({6, 6, 3}, 255, at::kByte);
  draw_text(small, "WWW", -5, 12, 14);
  REQUIRE((small < 255).any().item<bool>());
}
