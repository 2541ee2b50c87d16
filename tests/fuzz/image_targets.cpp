// Fuzz targets of labelled images and of JPEG and PNG files.
#include <ATen/ATen.h>
#include <zlib.h>

#include <fstream>
#include <sstream>

#include "fuzz/image_seeds.hpp"
#include "fuzz/memory_file.hpp"
#include "fuzz/targets.hpp"
#include "monarch/core/error.hpp"
#include "monarch/data/images/decode.hpp"
#include "monarch/data/images/image_set.hpp"
#include "support/support.hpp"

namespace monarch::fuzz {
namespace {

/// Every image and label of a set that has been accepted.
void use(const data::ImageSet& set) {
  for (int64_t i = 0; i < set.size(); ++i) {
    if (set.label(i) < 0 || set.label(i) >= static_cast<int64_t>(set.classes().size())) __builtin_trap();
    if (set.image(i).numel() <= 0) __builtin_trap();
  }
}

void write(const std::filesystem::path& path, const uint8_t* bytes, size_t count) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes), static_cast<std::streamsize>(count));
}

std::string labels_of(int count) {
  std::string bytes("\0\0\x08\x01\0\0\0", 7);
  bytes += static_cast<char>(count);
  for (int i = 0; i < count; ++i) bytes += static_cast<char>(i % 10);
  return bytes;
}

std::string packed(const std::string& bytes) {
  const test::TemporaryFolder folder;
  gzFile file = gzopen((folder / "x.gz").c_str(), "wb");
  gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size()));
  gzclose(file);
  std::ostringstream out;
  out << std::ifstream(folder / "x.gz", std::ios::binary).rdbuf();
  return out.str();
}

}  // namespace

void idx(const uint8_t* bytes, size_t count) {
  static const test::TemporaryFolder folder;
  static const bool labels = [] {
    const std::string text = labels_of(3);
    write(folder / "a-labels-idx1-ubyte", reinterpret_cast<const uint8_t*>(text.data()), text.size());
    return true;
  }();
  write(folder / "a-images-idx3-ubyte", bytes, count);
  try {
    if (labels) use(*data::open_mnist(folder / "a-images-idx3-ubyte"));
  } catch (const DataError&) {
  }
}

void cifar(const uint8_t* bytes, size_t count) {
  const MemoryFile memory(bytes, count);
  for (const int64_t classes : {10, 100}) {
    try {
      use(*data::open_cifar({memory.path()}, classes));
    } catch (const DataError&) {
    }
  }
}

void digits(const uint8_t* bytes, size_t count) {
  const MemoryFile memory(bytes, count);
  try {
    use(*data::open_digits(memory.path()));
  } catch (const DataError&) {
  }
}

void picture(const uint8_t* bytes, size_t count) {
  const std::string_view text{reinterpret_cast<const char*>(bytes), count};
  for (const int64_t channels : {3, 1}) {
    try {
      const at::Tensor image =
          data::decode_image(text, "picture", channels, [&](data::Extent) { return channels == 3 ? 1.0 : 4.0; });
      if (image.size(0) != channels || image.numel() == 0) __builtin_trap();
    } catch (const DataError&) {
    }
  }
}

std::vector<std::string> idx_seeds() {
  std::string images("\0\0\x08\x03\0\0\0\x03\0\0\0\x04\0\0\0\x05", 16);
  images += std::string(60, '\x55');
  return {images, packed(images)};
}

std::vector<std::string> cifar_seeds() {
  return {std::string(3073, '\x05'), std::string(3074, '\x05'), std::string(3073 * 2, '\x02')};
}

std::vector<std::string> digits_seeds() {
  std::string row;
  for (int i = 0; i < 64; ++i) row += std::to_string(i % 17) + ",";
  return {row + "3\n" + row + "9\r\n", packed(row + "1\n")};
}

std::vector<std::string> picture_seeds() {
  std::vector<std::string> seeds;
  for (const auto* name : {"small.jpg", "cmyk.jpg", "turned.jpg", "grey.png", "transparent.png"}) {
    std::ostringstream out;
    out << std::ifstream(std::filesystem::path(MONARCH_SOURCE_DIR) / "tests/golden/images" / name, std::ios::binary)
               .rdbuf();
    seeds.push_back(out.str());
  }
  return seeds;
}

}  // namespace monarch::fuzz
