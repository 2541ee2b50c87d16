#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include "monarch/mri/resize.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::mri;

namespace {

data::ScanHeader header_of(int64_t encoded, double encoded_fov, int64_t recon, double recon_fov) {
  data::ScanHeader header;
  header.encoded = {{encoded, encoded, 1}, {encoded_fov, encoded_fov, 5}};
  header.recon = {{recon, recon, 1}, {recon_fov, recon_fov, 5}};
  return header;
}

}  // namespace

TEST_CASE("crop and pad keep the centre index and undo each other") {
  for (const int64_t small : {5, 6}) {
    for (const int64_t large : {8, 9, 13}) {
      at::Tensor x = at::zeros({small});
      x[small / 2] = 1;
      const at::Tensor padded = centre_crop_or_pad(x, 0, large);
      REQUIRE(padded[large / 2].item<float>() == 1);
      REQUIRE(padded.sum().item<float>() == 1);
      REQUIRE(at::equal(centre_crop_or_pad(padded, 0, small), x));
    }
  }
}

TEST_CASE("Fourier resampling keeps constants and interpolates band-limited images exactly") {
  for (const auto& [from, to] :
       std::vector<std::pair<int64_t, int64_t>>{{16, 24}, {15, 24}, {15, 21}, {16, 21}, {24, 16}, {21, 15}}) {
    INFO(from << " -> " << to);
    const at::Tensor constant = at::full({2, from}, 3.0, at::kComplexDouble);
    REQUIRE(test::relative_error(fourier_resample(constant, 1, to), at::full({2, to}, 3.0, at::kComplexDouble)) <=
            1e-12);
    const auto wave = [](int64_t n) {
      const at::Tensor position = (at::arange(n, at::kDouble) - n / 2) / static_cast<double>(n);
      return at::polar(at::ones({n}, at::kDouble), 2 * M_PI * 3 * position);
    };
    REQUIRE(test::relative_error(fourier_resample(wave(from), 0, to), wave(to)) <= 1e-12);
  }
}

TEST_CASE("the reconstructed matrix is reached by field of view first and interpolation second") {
  // 2x oversampled encoding: cropped. Larger field of view: padded. Larger matrix on the same field: interpolated.
  const at::Tensor image = at::randn({1, 16, 16}, at::kComplexFloat);
  REQUIRE(at::equal(resize_to_recon(image, header_of(16, 320, 8, 160)), image.narrow(1, 4, 8).narrow(2, 4, 8)));
  const at::Tensor padded = resize_to_recon(image, header_of(16, 160, 24, 240));
  REQUIRE(at::equal(padded.narrow(1, 4, 16).narrow(2, 4, 16), image));
  REQUIRE(padded.abs().sum().item<float>() == Approx(image.abs().sum().item<float>()));
  REQUIRE(resize_to_recon(image, header_of(16, 160, 24, 160)).sizes() == at::IntArrayRef({1, 24, 24}));
  REQUIRE(resize_to_recon(image, header_of(16, 320, 12, 160)).sizes() == at::IntArrayRef({1, 12, 12}));
}

TEST_CASE("broken fields of view leave the encoded extent alone") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const auto& [encoded, recon] :
       std::vector<std::pair<double, double>>{{0, 100}, {100, 0}, {nan, 100}, {1e-9, 300}, {-5, 10}}) {
    REQUIRE(covered_extent(header_of(16, encoded, 16, recon), 0) == 16);
  }
}

TEST_CASE("with readout along y the header's x is the image's y") {
  data::ScanHeader header = header_of(16, 320, 8, 160);
  header.readout = data::ReadoutAxis::y;
  header.encoded.matrix = {16, 10, 1};
  header.encoded.field_of_view_mm = {320, 200, 5};
  header.recon.matrix = {8, 10, 1};
  header.recon.field_of_view_mm = {160, 200, 5};
  REQUIRE(resize_to_recon(at::randn({1, 16, 10}, at::kComplexFloat), header).sizes() == at::IntArrayRef({1, 8, 10}));
}
