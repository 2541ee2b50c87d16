#include <ATen/ATen.h>
#include <fmt/format.h>
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include <cmath>
#include <fstream>
#include <limits>

#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/mri/metrics.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::mri;

namespace {

/// The integer hash of tests/golden/make_metrics.py.
double uniform(uint32_t index, uint32_t stream, uint32_t seed) {
  uint32_t h = index * 2654435761u + seed + 977u * stream;
  h ^= h >> 16;
  h *= 0x85EBCA6Bu;
  h ^= h >> 13;
  h *= 0xC2B2AE35u;
  h ^= h >> 16;
  return h / 4294967296.0;
}

struct GoldenCase {
  at::Tensor image, reference, complex_image, complex_reference;  // [slice, y, x]
};

GoldenCase golden_case(int64_t slices, int64_t ny, int64_t nx, uint32_t seed) {
  at::Tensor parts[4];
  for (at::Tensor& t : parts) t = at::empty({slices, ny, nx}, at::kFloat);
  for (int64_t s = 0; s < slices; ++s)
    for (int64_t y = 0; y < ny; ++y)
      for (int64_t x = 0; x < nx; ++x) {
        const int64_t k = (s * ny + y) * nx + x;
        const auto u = [&](uint32_t stream) { return uniform(static_cast<uint32_t>(k), stream, seed); };
        const int64_t dy = y - ny / 2, dx = x - nx / 2;
        const bool inside = (dy * dy * 4 + dx * dx) * 6 < nx * ny;
        const double reference = 0.2 * u(0) + (inside ? 1 + 0.25 * static_cast<double>(s) : 0);
        const double imaginary = 0.3 * u(2);
        const double values[4] = {std::abs(0.97 * reference + 0.1 * (u(1) - 0.5)), reference,
                                  imaginary + 0.05 * (u(3) - 0.5), imaginary};
        for (int i = 0; i < 4; ++i) parts[i].data_ptr<float>()[k] = static_cast<float>(values[i]);
      }
  return {parts[0], parts[1], at::complex(parts[0], parts[2]), at::complex(parts[1], parts[3])};
}

data::ImageSeries series_of(const at::Tensor& pixels, data::ReadoutAxis readout = data::ReadoutAxis::x) {
  data::ImageSeries series;
  series.pixels = pixels;
  series.index.resize(static_cast<size_t>(pixels.size(0)));
  series.orientation.resize(series.index.size());
  series.readout = readout;
  return series;
}

at::Tensor random_stack(std::vector<int64_t> shape, at::ScalarType dtype = at::kFloat) {
  return Rng(11, "metrics").normal(std::move(shape), dtype);
}

}  // namespace

TEST_CASE("metrics equal scikit-image and NumPy by each published definition") {
  std::ifstream file(std::string(MONARCH_SOURCE_DIR) + "/tests/golden/metrics.json");
  REQUIRE(file.good());
  const nlohmann::json golden = nlohmann::json::parse(file);
  const auto seed = golden["manifest"]["seed"].get<uint32_t>();
  const auto check_set = [](const MetricSet& set, const nlohmann::json& expected) {
    REQUIRE(set.metrics.size() == expected.size());
    for (const auto& [name, value] : expected.items()) {
      const double error = std::abs(set.value(name) / value.get<double>() - 1);
      INFO(set.convention << " " << name << ": " << set.value(name) << ", expected " << value);
      REQUIRE(error <= 1e-6);
    }
  };
  for (const nlohmann::json& entry : golden["cases"]) {
    const auto shape = entry["shape"].get<std::vector<int64_t>>();
    const GoldenCase c = golden_case(shape[0], shape[1], shape[2], seed);
    check_set(fastmri_metrics(c.image, c.reference), entry["fastMRI"]);
    check_set(meddlr_metrics(c.complex_image, c.complex_reference), entry["meddlr"]);
    check_set(bart_metrics(c.complex_image, c.complex_reference), entry["BART"]);
    REQUIRE(std::abs(nrmse(c.complex_image, c.complex_reference) / entry["BART"]["NRMSE"].get<double>() - 1) <= 1e-6);
  }
}

TEST_CASE("metrics of equal images are perfect and of unequal ones are not") {
  const at::Tensor g = random_stack({2, 16, 17}).abs();
  const MetricSet same = fastmri_metrics(g, g);
  REQUIRE(same.value("NMSE") == 0);
  REQUIRE(std::isinf(same.value("PSNR")));
  REQUIRE(std::abs(same.value("SSIM") - 1) <= 1e-12);
  REQUIRE(nrmse(g, g) == 0);
  const at::Tensor other = g + 0.3 * random_stack({2, 16, 17}).roll(5);
  REQUIRE(fastmri_metrics(other, g).value("SSIM") < 0.99);
  REQUIRE(nrmse(other, g) > 0.1);
}

TEST_CASE("metrics see a complex phase only where both images are complex") {
  const at::Tensor g = random_stack({1, 16, 16}, at::kComplexFloat);
  const at::Tensor turned = g * at::polar(at::ones({1}), at::full({1}, 0.5));
  REQUIRE(std::abs(nrmse(turned, g) - 2 * std::sin(0.25)) <= 1e-6);  // |exp(i a) - 1| = 2 sin(a/2)
  REQUIRE(nrmse(turned.abs(), g) <= 1e-6);
  REQUIRE(bart_metrics(turned, g).value("NRMSE_scaled") <= 1e-6);
  REQUIRE(meddlr_metrics(turned, g).value("PSNR_mag") > meddlr_metrics(turned, g).value("PSNR") + 40);
}

TEST_CASE("metrics refuse values that are not finite and name their place") {
  const at::Tensor g = random_stack({2, 12, 12}).abs();
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    at::Tensor broken = g.clone();
    broken[1][3][5] = bad;
    REQUIRE_THROWS_WITH(fastmri_metrics(broken, g), Catch::Contains("image") && Catch::Contains("slice 1, y 3, x 5"));
    REQUIRE_THROWS_WITH(meddlr_metrics(g, broken),
                        Catch::Contains("reference") && Catch::Contains("slice 1, y 3, x 5"));
    REQUIRE_THROWS_AS(bart_metrics(broken, g), DataError);
    REQUIRE_THROWS_AS(nrmse(g, at::complex(broken, g)), DataError);
  }
}

TEST_CASE("metrics refuse shapes and references that they are not defined for") {
  const at::Tensor g = random_stack({2, 12, 12}).abs();
  REQUIRE_THROWS_WITH(nrmse(g, g.slice(1, 0, 11)), Catch::Contains("[2, 12, 12]") && Catch::Contains("[2, 11, 12]"));
  REQUIRE_THROWS_AS(nrmse(g[0], g[0]), ShapeError);
  REQUIRE_THROWS_AS(nrmse(g.slice(0, 0, 0), g.slice(0, 0, 0)), ShapeError);
  REQUIRE_THROWS_WITH(fastmri_metrics(g, at::zeros_like(g)), Catch::Contains("zero everywhere"));
  REQUIRE_THROWS_WITH(fastmri_metrics(g, g).value("LPIPS"), Catch::Contains("NMSE") && Catch::Contains("SSIM"));
  REQUIRE_THROWS_AS(ssim_uniform(g, g, 0), ConfigError);
  REQUIRE_THROWS_AS(ssim_uniform(g, g, std::nan("")), ConfigError);
}

TEST_CASE("metrics leave out what small images and empty slices cannot give and say so") {
  const at::Tensor small = random_stack({1, 6, 20}).abs();
  const MetricSet fastmri = fastmri_metrics(small, small);
  REQUIRE(fastmri.metrics.size() == 2);
  REQUIRE(fastmri.notes.size() == 1);
  REQUIRE(meddlr_metrics(small, small).notes.size() == 1);

  at::Tensor g = random_stack({3, 16, 16}).abs();
  const at::Tensor image = g * 1.1;
  const double of_one = meddlr_metrics(image.slice(0, 0, 1), g.slice(0, 0, 1)).value("nRMSE");
  g[1].zero_();
  g[2].zero_();
  const MetricSet sparse = meddlr_metrics(image, g);
  REQUIRE(sparse.notes.size() == 1);
  REQUIRE(std::abs(sparse.value("nRMSE") - of_one) <= 1e-12);
}

TEST_CASE("metrics agree with the program bart where it is installed") {
  if (!test::has_program("bart")) test::skip("bart is not installed");
  const test::TemporaryFolder folder;
  const at::Tensor g = random_stack({1, 24, 20}, at::kComplexFloat);
  const at::Tensor image = g * 0.7 + 0.2 * g.roll({1, 2}, {1, 2});
  const auto write = [&](const std::string& name, const at::Tensor& t) {
    std::ofstream(folder / (name + ".hdr")) << "# Dimensions\n20 24 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n";
    std::ofstream(folder / (name + ".cfl"), std::ios::binary)
        .write(static_cast<const char*>(t.contiguous().const_data_ptr()), static_cast<std::streamsize>(t.nbytes()));
  };
  write("g", g);
  write("p", image);
  const MetricSet set = bart_metrics(image, g);
  for (const bool scaled : {false, true}) {
    const auto result =
        test::run_command(fmt::format("cd {} && bart nrmse {} g p", folder.path().string(), scaled ? "-s" : ""));
    REQUIRE(result.exit_code == 0);
    const size_t number = result.output.find("0.");  // -s may print the scale before
    REQUIRE(number != std::string::npos);
    const double bart = std::stod(result.output.substr(result.output.rfind("0.")));
    REQUIRE(std::abs(set.value(scaled ? "NRMSE_scaled" : "NRMSE") - bart) <= 2e-6);
  }
}

TEST_CASE("aligning transposes where readout axes differ") {
  const at::Tensor pixels = random_stack({3, 1, 12, 20});
  const auto aligned = align_for_comparison(series_of(pixels, data::ReadoutAxis::x),
                                            series_of(pixels.transpose(2, 3), data::ReadoutAxis::y));
  REQUIRE(aligned.image.sizes() == at::IntArrayRef({3, 20, 12}));
  REQUIRE(at::equal(aligned.image, aligned.reference));
  REQUIRE(aligned.notes.size() == 1);
  REQUIRE(align_for_comparison(series_of(pixels), series_of(pixels)).notes.empty());
}

TEST_CASE("aligning crops both images to the centre only when asked") {
  for (const auto& [large, small] : {std::pair<int64_t, int64_t>{20, 11}, {21, 12}, {20, 12}, {21, 11}}) {
    const at::Tensor wide = at::zeros({1, 1, large, large}), narrow = at::zeros({1, 1, small, large});
    wide[0][0][large / 2][large / 2] = 1;
    narrow[0][0][small / 2][large / 2] = 1;
    REQUIRE_THROWS_WITH(align_for_comparison(series_of(wide), series_of(narrow)), Catch::Contains("crop"));
    const auto aligned = align_for_comparison(series_of(wide), series_of(narrow), {.crop = true});
    REQUIRE(at::equal(aligned.image, aligned.reference));
    REQUIRE(aligned.image.size(1) == small);
  }
  REQUIRE_THROWS_WITH(
      align_for_comparison(series_of(at::ones({2, 1, 8, 8})), series_of(at::ones({3, 1, 8, 8})), {.crop = true}),
      Catch::Contains("2 slices") && Catch::Contains("3"));
}

TEST_CASE("aligning takes volumes and slices alike and fits a scale") {
  const at::Tensor volume = random_stack({1, 5, 12, 14}, at::kComplexFloat);
  const at::Tensor slices = volume.transpose(0, 1) * at::complex(at::full({1}, 0.0f), at::full({1}, 2.0f));
  const auto aligned = align_for_comparison(series_of(volume), series_of(slices), {.fit_scale = true});
  REQUIRE(nrmse(aligned.image, aligned.reference) <= 1e-6);
  REQUIRE_THAT(aligned.notes.back(), Catch::Contains("+2i"));
  const auto magnitudes = align_for_comparison(series_of(volume), series_of(slices.abs()));
  REQUIRE_FALSE(magnitudes.image.is_complex());
  REQUIRE(std::abs(nrmse(magnitudes.image, magnitudes.reference) - 0.5) <= 1e-6);
}

TEST_CASE("aligning matches slices by position where both files state it") {
  data::ImageSeries scan = series_of(random_stack({4, 1, 8, 9}));  // interleaved: 0 and 2 first
  const int64_t place[] = {0, 2, 1, 3};
  for (size_t i = 0; i < 4; ++i) {
    scan.index[i].slice = static_cast<int64_t>(i);
    scan.orientation[i].known = true;
    scan.orientation[i].centre_mm[2] = 5.0 * static_cast<double>(place[i]);
  }
  data::ImageSeries volume =
      series_of(at::stack({scan.pixels[0][0], scan.pixels[2][0], scan.pixels[1][0], scan.pixels[3][0]}).unsqueeze(0));
  volume.orientation[0].known = true;
  const auto aligned = align_for_comparison(scan, volume);
  REQUIRE(at::equal(aligned.image, aligned.reference));
  REQUIRE_THAT(aligned.notes.at(0), Catch::Contains("position"));
  volume.orientation[0].known = false;  // then the order in the files is all there is
  const auto unplaced = align_for_comparison(scan, volume);
  REQUIRE(at::equal(unplaced.image, scan.pixels.squeeze(1)));
  REQUIRE(unplaced.notes.empty());
}
