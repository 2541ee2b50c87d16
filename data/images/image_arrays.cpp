// Formats that hold many small images in one file: MNIST's idx, CIFAR's records, the digits' table.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/images/image_set.hpp"
#include "monarch/data/input_file.hpp"

namespace monarch::data {
namespace {

namespace fs = std::filesystem;

/// A file read from its start; what gzip has packed is unpacked.
class ByteStream {
 public:
  explicit ByteStream(const fs::path& path) : name_(path.string()), file_size_(check_input_file(path)) {
    file_ = gzopen(path.c_str(), "rb");
    check<DataError>(file_ != nullptr, "cannot open " + name_);
  }
  ~ByteStream() { gzclose(file_); }
  ByteStream(const ByteStream&) = delete;
  ByteStream& operator=(const ByteStream&) = delete;

  /// The most bytes that the file can hold: deflate packs at most 1032:1.
  uint64_t most() { return gzdirect(file_) ? file_size_ : file_size_ * 1032; }
  /// Up to `count` bytes; fewer at the end.
  uint64_t read_some(void* to, uint64_t count) {
    uint64_t done = 0;
    while (done < count) {
      const auto part = static_cast<unsigned>(std::min<uint64_t>(count - done, 1 << 28));
      const int got = gzread(file_, static_cast<char*>(to) + done, part);
      int code = Z_OK;
      const char* message = gzerror(file_, &code);
      check<DataError>(got >= 0 && (code == Z_OK || code == Z_STREAM_END || code == Z_BUF_ERROR),
                       [&] { return fmt::format("{} is damaged: {}", name_, message); });
      if (got == 0) {
        check<DataError>(code != Z_BUF_ERROR, [&] { return name_ + " is damaged: it ends within compressed data"; });
        break;
      }
      done += static_cast<uint64_t>(got);
    }
    return done;
  }
  void read(void* to, uint64_t count) {
    const uint64_t got = read_some(to, count);
    check<DataError>(
        got == count, [&] { return fmt::format("{} ends {} bytes too early", name_, count - got); },
        "is the download complete?");
  }
  void expect_end() {
    char byte;
    check<DataError>(read_some(&byte, 1) == 0, [&] { return name_ + " holds more bytes than its header says"; });
  }

 private:
  std::string name_;
  uint64_t file_size_;
  gzFile file_ = nullptr;
};

/// The content of an idx file of bytes with so many axes.
at::Tensor read_idx(const fs::path& path, int axes) {
  ByteStream stream(path);
  uint8_t head[16];
  const auto number = [&](int k) {
    return int64_t{head[4 * k]} << 24 | head[4 * k + 1] << 16 | head[4 * k + 2] << 8 | head[4 * k + 3];
  };
  stream.read(head, 4);
  check<DataError>(
      number(0) == (0x0800 | axes),
      [&] {
        return fmt::format("{}: its first bytes are {:#010x}, expected {:#010x}", path.string(), number(0),
                           0x0800 | axes);
      },
      axes == 3 ? "name the file of images, such as train-images-idx3-ubyte.gz" : "is it the file of labels?");
  stream.read(head + 4, 4 * static_cast<uint64_t>(axes));
  std::vector<int64_t> shape;
  uint64_t count = 1;
  for (int a = 1; a <= axes; ++a) {
    shape.push_back(number(a));
    const auto extent = static_cast<uint64_t>(shape.back());
    check<DataError>(extent >= 1 && extent <= stream.most() && count <= stream.most() / extent, [&] {
      return fmt::format("{}: the header asks for {} values and more, the file cannot hold more than {}", path.string(),
                         shape_text(shape), stream.most());
    });
    count *= extent;
  }
  at::Tensor values = at::empty(shape, at::kByte);
  stream.read(values.data_ptr<uint8_t>(), count);
  stream.expect_end();
  return values;
}

std::vector<std::string> lines_of(const fs::path& path) {
  std::vector<std::string> lines;
  std::ifstream stream(path);
  for (std::string line; std::getline(stream, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (!line.empty()) lines.push_back(line);
  }
  return lines;
}

}  // namespace

ImageSetPtr open_mnist(const fs::path& images, const std::vector<std::string>& classes) {
  constexpr std::string_view from = "images-idx3", to = "labels-idx1";
  std::string name = images.filename();
  const size_t at = name.find(from);
  check<DataError>(at != std::string::npos, [&] {
    return fmt::format("{}: expected a name with \"{}\", so that the labels are found under \"{}\"", images.string(),
                       from, to);
  });
  name.replace(at, from.size(), to);
  const at::Tensor pixels = read_idx(images, 3), labels = read_idx(images.parent_path() / name, 1);
  const uint8_t* first = labels.const_data_ptr<uint8_t>();
  return make_image_set({images.filename(), pixels.unsqueeze(1), {first, first + labels.numel()}, classes});
}

ImageSetPtr open_cifar(const std::vector<fs::path>& files, int64_t classes) {
  check<ConfigError>(classes == 10 || classes == 100, "CIFAR has 10 or 100 classes");
  check<ConfigError>(!files.empty(), "CIFAR: no files are named");
  constexpr int64_t kPixels = 3 * 32 * 32;
  const int64_t labels = classes == 10 ? 1 : 2, record = labels + kPixels;
  std::vector<at::Tensor> parts;
  for (const fs::path& path : files) {
    const InputFile file(path);
    const auto size = static_cast<int64_t>(file.size());
    check<DataError>(
        size % record == 0,
        [&] {
          return fmt::format("{}: {} bytes, expected a multiple of {} (CIFAR-{}, binary)", path.string(), size, record,
                             classes);
        },
        "is it the binary version, and is the download complete?");
    parts.push_back(at::empty({size / record, record}, at::kByte));
    file.read(0, parts.back().data_ptr<uint8_t>(), file.size());
  }
  const at::Tensor all = at::cat(parts);
  const at::Tensor label = all.select(1, labels - 1).contiguous();
  const uint8_t* first = label.const_data_ptr<uint8_t>();
  std::vector<std::string> names =
      lines_of(files.front().parent_path() / (classes == 10 ? "batches.meta.txt" : "fine_label_names.txt"));
  if (static_cast<int64_t>(names.size()) != classes) {
    names.clear();
    for (int64_t c = 0; c < classes; ++c) names.push_back(std::to_string(c));
  }
  return make_image_set({files.front().filename(),
                         all.narrow(1, labels, kPixels).reshape({-1, 3, 32, 32}).contiguous(),
                         {first, first + label.numel()},
                         std::move(names)});
}

ImageSetPtr open_digits(const fs::path& file) {
  constexpr int64_t kSide = 8, kPixels = kSide * kSide, kMost = 16;
  ByteStream stream(file);
  std::string text;
  constexpr size_t kChunk = 1 << 20;
  constexpr size_t kLargest = size_t{256} << 20;
  for (uint64_t got = kChunk; got == kChunk;) {
    const size_t before = text.size();
    check<DataError>(before < kLargest,
                     [&] { return file.string() + ": larger than 256 MiB, expected a table of digits"; });
    text.resize(before + kChunk);
    got = stream.read_some(text.data() + before, kChunk);
    text.resize(before + got);
  }
  std::vector<uint8_t> pixels;
  ImageArray array{file.filename(), {}, {}, {}};
  int64_t line = 0;
  for (const char *at = text.data(), *const end = at + text.size(); at < end;) {
    ++line;
    const auto* stop = static_cast<const char*>(std::memchr(at, '\n', static_cast<size_t>(end - at)));
    if (!stop) stop = end;
    for (int64_t k = 0; k <= kPixels; ++k) {
      int64_t value = -1;
      const auto [next, error] = std::from_chars(at, stop, value);
      const int64_t most = k < kPixels ? kMost : 9;
      const bool last = k == kPixels;
      const bool ends = next == stop || (next + 1 == stop && *next == '\r');
      check<DataError>(
          error == std::errc() && value >= 0 && value <= most && (last ? ends : next < stop && *next == ','), [&] {
            return fmt::format("{}, line {}, number {}: expected {} from 0 to {}, then {}", file.string(), line, k + 1,
                               last ? "a label" : "a grey level", most, last ? "the line's end" : "a comma");
          });
      at = next + 1;
      if (last)
        array.labels.push_back(value);
      else
        pixels.push_back(static_cast<uint8_t>((value * 255 + kMost / 2) / kMost));
    }
    at = stop + 1;
  }
  check<DataError>(!pixels.empty(), [&] { return file.string() + ": no digits in it"; });
  for (int c = 0; c < 10; ++c) array.classes.push_back(std::to_string(c));
  array.pixels = at::empty({line, 1, kSide, kSide}, at::kByte);
  std::memcpy(array.pixels.data_ptr<uint8_t>(), pixels.data(), pixels.size());
  return make_image_set(std::move(array));
}

}  // namespace monarch::data
