// RandAugment's operations as Pillow and timm make them.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "catch2/catch.hpp"
#include "image_files.hpp"
#include "monarch/core/error.hpp"
#include "monarch/data/images/rand_augment.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::test;
using data::AugmentOp;
using data::Interpolation;
using data::RandAugment;

namespace {

const std::vector<std::string> op_names = {"auto_contrast", "equalize",     "invert",  "rotate",      "posterize",
                                           "solarize",      "solarize_add", "colour",  "contrast",    "brightness",
                                           "sharpness",     "shear_x",      "shear_y", "translate_x", "translate_y"};

AugmentOp op_of(const std::string& name) {
  const auto at = std::find(op_names.begin(), op_names.end(), name);
  REQUIRE(at != op_names.end());
  return static_cast<AugmentOp>(at - op_names.begin());
}

}  // namespace

TEST_CASE("Each operation gives Pillow's pixels") {
  const auto file = data::open_safetensors(golden_images / "images.safetensors");
  std::set<std::string> seen;
  for (const auto& info : file->tensors()) {
    if (info.name.substr(0, 3) != "op.") continue;
    const size_t first = info.name.find('.', 3), last = info.name.rfind('.');
    const std::string name = info.name.substr(3, first - 3);
    const double argument = std::stod(info.name.substr(first + 1, last - first - 1));
    const auto kind = info.name.substr(last + 1) == "bicubic" ? Interpolation::bicubic : Interpolation::bilinear;
    const bool histogram = name == "auto_contrast" || name == "equalize";
    INFO(info.name);
    const at::Tensor source = golden(histogram ? "dim" : "source"), before = source.clone();
    const at::Tensor result = data::apply_op(source, op_of(name), argument, kind, {124, 116, 104});
    REQUIRE(largest_difference(result, golden(info.name)) <= 1);
    REQUIRE(mean_difference(result, golden(info.name)) <= 0.02);
    REQUIRE(at::equal(source, before));
    seen.insert(name);
  }
  REQUIRE(seen.size() == 15);
  // The check can fail: another angle.
  const at::Tensor other = data::rotate(golden("source"), -27.5, Interpolation::bilinear, {124, 116, 104});
  REQUIRE(largest_difference(other, golden("op.rotate.-27.0.bilinear")) > 1);
}

TEST_CASE("Levels mean what they mean to timm") {
  const auto levels = nlohmann::json::parse(std::ifstream(golden_images / "levels.json"))["levels"];
  REQUIRE(levels.size() == 15 * 2 * 4 * 2);
  for (const auto& [key, value] : levels.items()) {
    INFO(key);
    std::istringstream words(key);
    std::string name;
    int increasing = 0, negate = 0;
    double level = 0;
    words >> name >> increasing >> level >> negate;
    REQUIRE(std::abs(data::op_argument(op_of(name), level, increasing, negate) - value.get<double>()) <= 1e-12);
  }
}

TEST_CASE("Strings of RandAugment are read as timm reads them") {
  const auto a = RandAugment::parse("rand-m9-mstd0.5-inc1");
  REQUIRE(a.level == 9);
  REQUIRE(a.layers == 2);
  REQUIRE(a.probability == 0.5);
  REQUIRE(a.deviation == 0.5);
  REQUIRE(a.increasing);
  const auto b = RandAugment::parse("rand-m15-n3-p0.7-mmax20");
  REQUIRE(b.level == 15);
  REQUIRE(b.layers == 3);
  REQUIRE(b.probability == 0.7);
  REQUIRE(b.most_level == 20);
  REQUIRE_FALSE(b.increasing);
  for (const std::string bad : {"", "random", "rand-", "rand-m", "rand-m9x", "rand-q3", "rand-m1.5", "rand-p2",
                                "rand-tweights", "rand-minf", "rand-n1000000"})
    REQUIRE_THROWS_AS(RandAugment::parse(bad), ConfigError);
}

TEST_CASE("RandAugment leaves probability 0 alone, keeps extents, and takes grey images") {
  const at::Tensor image = golden("source");
  for (uint64_t seed = 0; seed < 60; ++seed) {
    Rng rng(seed, "rand");
    REQUIRE(at::equal(RandAugment::parse("rand-m9-p0")(image, rng, {}, {0, 0, 0}), image));
    for (const at::Tensor& source : {image, image.narrow(0, 0, 1)}) {
      const at::Tensor result = RandAugment::parse("rand-m10-n4-p1-mstd2-inc1")(source, rng, {}, {0, 0, 0});
      REQUIRE(result.sizes() == source.sizes());
      REQUIRE(result.scalar_type() == at::kByte);
    }
  }
}
