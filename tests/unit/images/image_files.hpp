#pragma once
// Files that tests of image data make or read.

#include <ATen/ATen.h>
#include <zlib.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "monarch/data/safetensors.hpp"

namespace monarch::test {

inline const std::filesystem::path golden_images = std::filesystem::path(MONARCH_SOURCE_DIR) / "tests/golden/images";

/// [channel, y, x]
inline at::Tensor golden(const std::string& name) {
  static const auto file = data::open_safetensors(golden_images / "images.safetensors");
  return file->load(name).permute({2, 0, 1});
}

inline int64_t largest_difference(const at::Tensor& a, const at::Tensor& b) {
  if (a.sizes() != b.sizes()) return 1000;
  return (a.to(at::kInt) - b.to(at::kInt)).abs().max().item<int64_t>();
}
inline double mean_difference(const at::Tensor& a, const at::Tensor& b) {
  if (a.sizes() != b.sizes()) return 1000;
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().mean().item<double>();
}

inline std::string big_endian(const std::vector<uint32_t>& numbers) {
  std::string bytes;
  for (const uint32_t n : numbers)
    for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(n >> shift);
  return bytes;
}

/// Bytes 0, 1, 2 … of an idx file of so many images, or labels 0, 1, 2, 0 …
inline std::string idx_images(uint32_t count, uint32_t height, uint32_t width) {
  std::string bytes = big_endian({0x803, count, height, width});
  for (uint32_t i = 0; i < count * height * width; ++i) bytes += static_cast<char>(i);
  return bytes;
}
inline std::string idx_labels(uint32_t count) {
  std::string bytes = big_endian({0x801, count});
  for (uint32_t i = 0; i < count; ++i) bytes += static_cast<char>(i % 3);
  return bytes;
}

inline void write_gzip(const std::filesystem::path& path, const std::string& bytes) {
  gzFile file = gzopen(path.c_str(), "wb");
  gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size()));
  gzclose(file);
}

inline std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  std::ostringstream out;
  out << stream.rdbuf();
  return out.str();
}

}  // namespace monarch::test
