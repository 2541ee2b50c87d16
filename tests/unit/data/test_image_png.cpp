#include <ATen/ATen.h>
#include <png.h>
#include <catch2/catch.hpp>

#include <cmath>
#include <fstream>
#include <limits>
#include <set>

#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/data/png.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::data;

namespace {

ImageSeries series_of(const at::Tensor& pixels) {
  ImageSeries series;
  series.pixels = pixels;
  series.index.resize(static_cast<size_t>(pixels.size(0)));
  series.orientation.resize(series.index.size());
  return series;
}

/// 8-bit grey values by libpng's own simplified reader.
at::Tensor read_by_libpng(const std::filesystem::path& path) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  REQUIRE(png_image_begin_read_from_file(&image, path.c_str()));
  REQUIRE((image.format & PNG_FORMAT_FLAG_COLOR) == 0);
  image.format = PNG_FORMAT_GRAY;
  at::Tensor out = at::empty({image.height, image.width}, at::kByte);
  REQUIRE(png_image_finish_read(&image, nullptr, out.data_ptr<uint8_t>(), 0, nullptr));
  return out;
}

}  // namespace

TEST_CASE("PNG has y = 0 on top and x = 0 on the left") {
  const test::TemporaryFolder folder;
  at::Tensor image = at::zeros({5, 9});
  image[0][8] = 1;  // top right
  image[3][0] = 0.5;
  save_png(folder / "a.png", image, {0, 1});
  const at::Tensor grey = read_by_libpng(folder / "a.png");
  REQUIRE(grey.sizes() == at::IntArrayRef({5, 9}));
  REQUIRE(grey[0][8].item<int>() == 255);
  REQUIRE(grey[3][0].item<int>() == 128);
  REQUIRE(grey.sum().item<int64_t>() == 255 + 128);
}

TEST_CASE("PNG keeps grey levels of 8 and 16 bits through a file") {
  const test::TemporaryFolder folder;
  const at::Tensor image = Rng(5, "png").normal({37, 23}, at::kComplexFloat);
  const Window window{0.1, 1.7};
  for (const int bits : {8, 16}) {
    save_png(folder / "a.png", image, window, bits);
    const at::Tensor grey = load_png(folder / "a.png");
    REQUIRE(at::equal(grey, grey_values(image, window, bits).to(at::kFloat)));
    const double top = bits == 8 ? 255 : 65535;
    const at::Tensor expected = ((image.abs() - 0.1) / 1.6).clamp(0, 1) * top;
    REQUIRE((grey - expected).abs().max().item<double>() <= 0.5 + 1e-2);
  }
  REQUIRE_THROWS_AS(save_png(folder / "b.png", image, window, 12), ConfigError);
  REQUIRE_THROWS_AS(save_png(folder / "b.png", image, {1, 1}), ConfigError);
}

TEST_CASE("the display window goes from 0 to the percentile of the whole series") {
  const at::Tensor ramp = at::arange(1001, at::kFloat).view({1, 1, 7, 143}).flip(3);
  const Window window = display_window(ramp);
  REQUIRE(window.lower == 0);
  REQUIRE(std::abs(window.upper - 995) <= 1e-3);
  REQUIRE(std::abs(display_window(ramp, 100).upper - 1000) <= 1e-3);
  REQUIRE(display_window(at::zeros({4, 4})).upper == 1);
  REQUIRE(display_window(at::full({4, 4}, 3.0f)).upper == 3);
  REQUIRE(display_window(at::complex(ramp, at::zeros_like(ramp))).upper == window.upper);
  at::Tensor sparse = at::zeros({100, 100});
  sparse[3][3] = 2;
  REQUIRE(display_window(sparse).upper == 2);
  sparse[0][0] = std::numeric_limits<float>::quiet_NaN();
  sparse[0][1] = std::numeric_limits<float>::infinity();
  REQUIRE(display_window(sparse).upper == 2);
  REQUIRE(grey_values(sparse, {0, 2})[0][0].item<int>() == 0);
  const at::Tensor large = at::rand({3, 1, 1500, 1501});
  REQUIRE(std::abs(display_window(large).upper - 0.995) <= 2e-3);
}

TEST_CASE("pictures are named by the counters that vary") {
  ImageSeries series = series_of(at::ones({4, 1, 4, 4}));
  for (int64_t i = 0; i < 4; ++i) series.index[static_cast<size_t>(i)] = {.slice = i % 2, .contrast = i / 2, .set = 3};
  std::vector<std::string> names;
  for (const Picture& p : pictures(series)) names.push_back(p.name);
  REQUIRE(names == std::vector<std::string>{"slice_0000_contrast_0000.png", "slice_0001_contrast_0000.png",
                                            "slice_0000_contrast_0001.png", "slice_0001_contrast_0001.png"});
  REQUIRE(pictures(series_of(at::ones({1, 1, 4, 4})))[0].name == "slice_0000.png");
  const auto volume = pictures(series_of(at::ones({1, 3, 4, 4})));
  REQUIRE(volume.size() == 3);
  REQUIRE(volume[2].name == "slice_0000_z_0002.png");
  REQUIRE(volume[2].z == 2);
  std::set<std::string> distinct;  // counters that repeat still give distinct names
  for (const Picture& p : pictures(series_of(at::ones({3, 2, 4, 4})))) distinct.insert(p.name);
  REQUIRE(distinct.size() == 6);
}

TEST_CASE("contact sheets hold every slice in order within their size") {
  at::Tensor pixels = at::zeros({7, 1, 20, 30});
  for (int64_t i = 0; i < 7; ++i) pixels[i].fill_(static_cast<float>(i + 1));
  const at::Tensor sheet = contact_sheet(series_of(pixels), {0, 7}, {.max_side = 2048, .gap = 4});
  const int64_t columns = (sheet.size(1) + 4) / 34;
  REQUIRE(columns * 34 - 4 == sheet.size(1));
  for (int64_t i = 0; i < 7; ++i)
    REQUIRE(sheet[i / columns * 24 + 10][i % columns * 34 + 15].item<int>() ==
            std::lround(255.0 * static_cast<double>(i + 1) / 7));
  REQUIRE(sheet[10][31].item<int>() == 0);  // the gap

  for (const int64_t slices : {1, 90, 400}) {
    const at::Tensor capped =
        contact_sheet(series_of(at::ones({slices, 1, 200, 300})), {0, 1}, {.max_side = 512, .gap = 2});
    REQUIRE(capped.size(0) <= 512);
    REQUIRE(capped.size(1) <= 512);
    REQUIRE(capped.max().item<int>() == 255);
  }
  const at::Tensor large = contact_sheet(series_of(at::ones({1, 1, 3000, 70})), {0, 1}, {.max_side = 512, .gap = 2});
  REQUIRE(large.size(0) <= 512);
}

TEST_CASE("PNG reading refuses damaged files") {
  const test::TemporaryFolder folder;
  save_png(folder / "whole.png", at::rand({20, 30}), {0, 1});
  std::ifstream in(folder / "whole.png", std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(in)), {});
  for (size_t cut = 1; cut + 13 < bytes.size(); cut += 17) {
    std::ofstream(folder / "cut.png", std::ios::binary | std::ios::trunc)
        .write(bytes.data(), static_cast<std::streamsize>(cut));
    REQUIRE_THROWS_AS(load_png(folder / "cut.png"), DataError);
  }
  REQUIRE_THROWS_AS(load_png(folder / "missing.png"), DataError);
  REQUIRE_THROWS_AS(save_png(folder / "no" / "a.png", at::ones({2, 2}), {0, 1}), DataError);
  if (std::filesystem::exists("/dev/full"))
    REQUIRE_THROWS_AS(save_png("/dev/full", at::rand({200, 200}), {0, 1}), DataError);
}
