#pragma once
// Shared by the tests of scan readers.

#include <ATen/ATen.h>
#include <catch2/catch.hpp>

#include <fstream>
#include <sstream>
#include <string>

#include "monarch/core/error.hpp"
#include "monarch/data/scan.hpp"
#include "support/support.hpp"

namespace monarch::test {

/// The message of the DataError that `action` raises; "" (and a failed check) when it raises none.
template <class Action>
std::string data_error(Action action) {
  try {
    action();
  } catch (const DataError& error) {
    return error.what();
  }
  FAIL_CHECK("expected a DataError");
  return {};
}

inline bool same(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() && at::equal(a, b);
}

/// Root of the sum of squares over coils after a centred unitary inverse transform of y and x.
/// samples: [coil, z, y, x]; result: [z, y, x].
inline at::Tensor rss(const at::Tensor& samples) {
  const std::vector<int64_t> dims{-2, -1};
  const at::Tensor image =
      at::fft_fftshift(at::fft_ifft2(at::fft_ifftshift(samples, dims), c10::nullopt, dims, "ortho"), dims);
  return at::view_as_real(image).square().sum(-1).sum(0).sqrt();
}

/// Central part; the same index convention (floor(n / 2)) as k-space. image: [..., y, x].
inline at::Tensor centre_crop(const at::Tensor& image, int64_t ny, int64_t nx) {
  return image.narrow(-2, image.size(-2) / 2 - ny / 2, ny).narrow(-1, image.size(-1) / 2 - nx / 2, nx);
}

inline std::string file_bytes(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << stream.rdbuf();
  return bytes.str();
}

inline void write_bytes(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

/// Reads everything a scan offers.
inline void read_all(const data::ScanSource& scan) {
  for (size_t i = 0; i < std::min<size_t>(scan.images().size(), 4); ++i) scan.read(i);
  scan.noise();
  scan.summarise();
  scan.reference();
}

}  // namespace monarch::test
