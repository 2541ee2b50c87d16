// JPEG and PNG files as Pillow reads them.
#include <ATen/ATen.h>

#include "catch2/catch.hpp"
#include "image_files.hpp"
#include "monarch/core/error.hpp"
#include "monarch/data/images/decode.hpp"
#include "monarch/data/images/resize.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::test;
using Catch::Matchers::Contains;

TEST_CASE("Images decode as in Pillow: JPEG, CMYK, EXIF orientation, grey and transparent PNG") {
  for (const std::string name : {"small.jpg", "cmyk.jpg", "turned.jpg", "grey.png", "transparent.png"}) {
    INFO(name);
    const at::Tensor image = data::load_image(golden_images / name);
    REQUIRE(image.scalar_type() == at::kByte);
    REQUIRE(largest_difference(image, golden("decoded." + name)) <= 2);
  }
  // The check can fail.
  REQUIRE(largest_difference(data::load_image(golden_images / "small.jpg").flip(2), golden("decoded.small.jpg")) > 2);
}

TEST_CASE("A grey image of a colour file is its luma") {
  const at::Tensor grey = data::load_image(golden_images / "small.jpg", 1);
  const at::Tensor rgb = golden("decoded.small.jpg").to(at::kDouble);
  REQUIRE(grey.size(0) == 1);
  // Not of each pixel: colours that the file has beyond 0 … 255 are cut in RGB.
  REQUIRE(mean_difference(grey[0], 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]) <= 1);
}

TEST_CASE("A reduced JPEG has an eighth of each side at least, and resembles the whole one resized") {
  const auto file = data_file("images/flower.jpg");
  const at::Tensor whole = data::load_image(file);
  const int64_t height = whole.size(1), width = whole.size(2);
  for (const auto& [most, divisor] : std::vector<std::pair<double, int64_t>>{{1.9, 1}, {2, 2}, {7.9, 4}, {100, 8}}) {
    const at::Tensor small = data::load_image(file, 3, [&](data::Extent extent) {
      REQUIRE(extent == data::Extent{height, width});
      return most;
    });
    REQUIRE(small.size(1) == (height + divisor - 1) / divisor);
    REQUIRE(small.size(2) == (width + divisor - 1) / divisor);
    const at::Tensor resized = data::resize(whole, {small.size(1), small.size(2)}, data::Interpolation::bilinear);
    REQUIRE(mean_difference(small, resized) <= 5);
  }
  // An image that stands on its side gives the upright extent.
  data::load_image(golden_images / "turned.jpg", 3, [](data::Extent extent) {
    REQUIRE(extent == data::Extent{42, 30});
    return 1.0;
  });
}

TEST_CASE("Damaged images are refused by name") {
  const std::string jpeg = bytes_of(golden_images / "small.jpg"), png = bytes_of(golden_images / "grey.png");
  const auto refused = [](const std::string& bytes) {
    try {
      data::decode_image(bytes, "broken.jpg");
    } catch (const DataError& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  REQUIRE(refused(jpeg) == "no error");
  REQUIRE(refused(png) == "no error");
  REQUIRE_THAT(refused(jpeg.substr(0, jpeg.size() / 2)), Contains("broken.jpg") && Contains("Premature end"));
  REQUIRE_THAT(refused(jpeg.substr(0, 20)), Contains("broken.jpg"));
  REQUIRE_THAT(refused(png.substr(0, png.size() / 2)), Contains("broken.jpg"));
  REQUIRE_THAT(refused("GIF89a....."), Contains("neither a JPEG's nor a PNG's"));
  std::string huge = jpeg;  // 65500 x 65500 in the header
  const size_t frame = huge.find("\xff\xc0");
  REQUIRE(frame != std::string::npos);
  huge.replace(frame + 5, 4, "\xff\xdc\xff\xdc");
  REQUIRE_THAT(refused(huge), Contains("65500 x 65500"));
}

TEST_CASE("EXIF's orientation is read in both byte orders, and damage means upright") {
  using namespace std::string_literals;
  const auto exif = [](const std::string& tiff) { return data::exif_orientation("Exif\0\0"s + tiff); };
  const std::string little = "II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0"s;
  const std::string big = "MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x08\0\0"s;
  REQUIRE(exif(little) == 6);
  REQUIRE(exif(big) == 8);
  for (size_t cut = 0; cut < little.size(); ++cut) REQUIRE(exif(little.substr(0, cut)) == 1);
  REQUIRE(data::exif_orientation("JFIF") == 1);
  REQUIRE(exif("II*\0\xff\xff\xff\xff"s) == 1);
}
