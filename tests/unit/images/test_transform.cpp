// Resizing as Pillow, evaluation as timm, and training crops.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <numeric>

#include "catch2/catch.hpp"
#include "image_files.hpp"
#include "monarch/core/error.hpp"
#include "monarch/data/images/decode.hpp"
#include "monarch/data/images/image_data.hpp"
#include "monarch/data/images/transform.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::test;
using data::Extent;
using data::Interpolation;

namespace {

data::ImageSetPtr ramp_set(int64_t side) {
  at::Tensor pixels = at::arange(side * side).remainder(251).view({1, 1, side, side}).to(at::kByte);
  return data::make_image_set({"ramp", pixels.repeat({4, 1, 1, 1}), {0, 1, 2, 3}, {}});
}

data::ImageTransform make_transform(const std::string& text, const data::ImageSet& set) {
  const Config config = Config::parse(text);
  const auto options = data::TransformOptions::from_config(config, set.channels(), set.extent());
  config.finish();
  return {options, set.channels()};
}

}  // namespace

TEST_CASE("Resizing is Pillow's to one grey level, down and up") {
  const at::Tensor source = golden("source");
  for (const auto& [name, kind] : std::vector<std::pair<std::string, Interpolation>>{
           {"bicubic", Interpolation::bicubic}, {"bilinear", Interpolation::bilinear}})
    for (const Extent size : {Extent{13, 18}, Extent{9, 42}, Extent{47, 66}}) {
      const std::string key = "resize." + name + "." + std::to_string(size.height) + "x" + std::to_string(size.width);
      INFO(key);
      REQUIRE(largest_difference(data::resize(source, size, kind), golden(key)) <= 1);
      const at::Tensor planar = data::resize(source.contiguous(), size, kind);
      REQUIRE(largest_difference(planar, golden(key)) <= 1);
    }
  REQUIRE(largest_difference(data::resize(source, {13, 18}, Interpolation::bilinear), golden("resize.bicubic.13x18")) >
          1);
}

TEST_CASE("Evaluation keeps the middle: the shorter side becomes size / fraction") {
  const at::Tensor image = golden("source");                                       // 30 x 42
  const at::Tensor whole = data::resize(image, {32, 44}, Interpolation::bicubic);  // floor(28 / 0.875), 32 * 42 / 30
  const at::Tensor middle = data::resize_and_crop_centre(image, 28, 0.875, Interpolation::bicubic);
  REQUIRE(at::equal(middle, whole.narrow(1, 2, 28).narrow(2, 8, 28)));
  const at::Tensor square = image.narrow(2, 0, 30);
  REQUIRE(at::equal(data::resize_and_crop_centre(square, 30, 1, Interpolation::bicubic), square));
}

TEST_CASE("Normalised images have the mean taken off and the deviation divided out") {
  const auto set = ramp_set(6);
  const auto transform = make_transform("data.mean = [0.25]\ndata.deviation = [0.5]", *set);
  const at::Tensor image = transform(*set, 0, nullptr);
  REQUIRE(at::allclose(image, (set->image(0).to(at::kFloat) / 255 - 0.25) / 0.5));
  REQUIRE(at::allclose(transform.denormalise(image) * 255, set->image(0).to(at::kFloat), 1e-5, 1e-3));
}

TEST_CASE("Random parts lie within the image and have the area and shape asked for") {
  Rng rng(1, "parts");
  for (int i = 0; i < 500; ++i) {
    const Extent extent{40 + rng.below(100), 40 + rng.below(100)};
    const auto box = data::random_part(extent, {0.08, 1}, {0.75, 4.0 / 3}, rng);
    REQUIRE(box.top >= 0);
    REQUIRE(box.left >= 0);
    REQUIRE(box.top + box.height <= extent.height);
    REQUIRE(box.left + box.width <= extent.width);
    const double shape = static_cast<double>(box.width) / static_cast<double>(box.height);
    REQUIRE(shape >= 0.75 * 0.9);
    REQUIRE(shape <= 4.0 / 3 * 1.1);
  }
  // Nothing fits a strip: its middle is taken.
  const auto box = data::random_part({10, 1000}, {0.9, 1}, {0.75, 4.0 / 3}, rng);
  REQUIRE(box.height == 10);
  REQUIRE(box.width == 13);
  REQUIRE(box.left == 493);
}

TEST_CASE("Random changes follow from seed, epoch and image, not from the batch") {
  const auto set = ramp_set(32);
  const auto transform = make_transform(
      "data.augment = {crop = \"random-resized\", flip = 0.5, rand = \"rand-m9-mstd0.5-inc1\", erase = 0.5}", *set);
  data::BrokenImages broken(false);
  const auto load = [&](std::vector<int64_t> ids, const std::string& stream) {
    return data::load_batch(*set, ids, transform, broken, 7, stream).images;
  };
  const at::Tensor whole = load({0, 1, 2, 3}, "augment 0");
  REQUIRE(at::equal(load({2}, "augment 0")[0], whole[2]));
  REQUIRE(at::equal(load({3, 0}, "augment 0")[1], whole[0]));
  REQUIRE_FALSE(at::equal(load({2}, "augment 1")[0], whole[2]));
  REQUIRE_FALSE(at::equal(whole[1], whole[2]));
  REQUIRE(whole.isfinite().all().item<bool>());
}

TEST_CASE("Shifted crops move the picture by at most the padding") {
  const auto set = ramp_set(16);
  const auto transform = make_transform("data.augment = {crop = \"shift\", pad = 2}", *set);
  const at::Tensor plain = transform(*set, 0, nullptr);
  bool moved = false;
  for (int i = 0; i < 20; ++i) {
    Rng rng(static_cast<uint64_t>(i), "shift");
    const at::Tensor image = transform(*set, 0, &rng);
    bool found = false;
    for (int64_t dy = -2; dy <= 2; ++dy)
      for (int64_t dx = -2; dx <= 2; ++dx) {
        const at::Tensor a = image.narrow(1, std::max<int64_t>(dy, 0), 16 - std::abs(dy))
                                 .narrow(2, std::max<int64_t>(dx, 0), 16 - std::abs(dx));
        const at::Tensor b = plain.narrow(1, std::max<int64_t>(-dy, 0), 16 - std::abs(dy))
                                 .narrow(2, std::max<int64_t>(-dx, 0), 16 - std::abs(dx));
        if (at::equal(a, b)) found = true, moved = moved || dy != 0 || dx != 0;
      }
    REQUIRE(found);
  }
  REQUIRE(moved);
}

TEST_CASE("Erasing fills a rectangle of 2 to 33 % with noise of mean 0 and deviation 1") {
  double sum = 0, squares = 0, count = 0;
  for (uint64_t i = 0; i < 200; ++i) {
    Rng rng(i, "erase");
    at::Tensor image = at::full({1, 32, 32}, 100.0f);
    data::erase(image, rng);
    const at::Tensor noise = image.masked_select(image != 100.0f);
    const double part = static_cast<double>(noise.numel()) / 1024;
    REQUIRE(part >= 0.01);
    REQUIRE(part <= 0.36);
    sum += noise.sum().item<double>();
    squares += noise.square().sum().item<double>();
    count += static_cast<double>(noise.numel());
  }
  REQUIRE(std::abs(sum / count) <= 0.03);
  REQUIRE(std::abs(squares / count - 1) <= 0.03);
}

TEST_CASE("An image a hundred times as long as wide is refused by name before it is resized") {
  const auto set = ramp_set(8);
  const auto transform = make_transform("data.size = 4", *set);
  REQUIRE(transform.evaluate(at::zeros({1, 2, 200}, at::kByte), "long.png").size(2) == 4);
  REQUIRE_THROWS_WITH(transform.evaluate(at::zeros({1, 2, 201}, at::kByte), "long.png"),
                      Catch::Matchers::Contains("long.png: 201 x 2 pixels"));
}

TEST_CASE("Speed of reading, cropping and augmenting a folder of JPEG files", "[.speed]") {
  const TemporaryFolder folder;
  const int64_t copies = 64;
  std::filesystem::create_directories(folder / "photographs");
  for (int64_t i = 0; i < copies; ++i)
    std::filesystem::copy_file(data_file(i % 2 ? "images/china.jpg" : "images/flower.jpg"),
                               folder / ("photographs/" + std::to_string(i) + ".jpg"));
  const auto set = data::open_image_folder(folder.path());
  std::vector<int64_t> ids(static_cast<size_t>(copies));
  std::iota(ids.begin(), ids.end(), 0);
  data::BrokenImages broken(false);
  for (const std::string augment :
       {"crop = \"random-resized\", flip = 0.5",
        "crop = \"random-resized\", flip = 0.5, rand = \"rand-m9-mstd0.5-inc1\", erase = 0.25"}) {
    const auto transform = make_transform("data.augment = {" + augment + "}", *set);
    for (const std::string& stream : {std::string(), std::string("augment 0")}) {
      double best = 0;
      for (int repeat = 0; repeat < 3; ++repeat) {
        const auto start = std::chrono::steady_clock::now();
        data::load_batch(*set, ids, transform, broken, 1, stream);
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
        best = std::max(best, static_cast<double>(copies) / seconds.count());
      }
      WARN((stream.empty() ? "evaluation" : augment)
           << ": " << best << " images/s with " << at::get_num_threads() << " threads");
    }
  }
}

TEST_CASE("Options that make no sense are refused by key") {
  const auto set = ramp_set(8);
  for (const std::string bad :
       {"data.mean = [0.1, 0.2]", "data.deviation = [0.0]",
        "data.augment = {crop = \"random-resized\", scale = [0.5, 0.1]}",
        "data.augment = {rand = \"rand-m9-tweights\"}", "data.augment = {flip = 2}", "data.crop_fraction = 0.0"})
    REQUIRE_THROWS_AS(make_transform(bad, *set), ConfigError);
}
