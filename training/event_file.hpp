#pragma once
// Event files of TensorBoard: curves and pictures of a training run.

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace monarch::training {

/// Seconds since 1970, the time that events carry.
double wall_clock();

/// Writes `folder`/events.out.tfevents.<time>.<host>.<process>.<number>, a new file each time; `tensorboard --logdir`
/// reads all files of a folder as one run, in the order of their names. Records are framed as TFRecord (length, masked
/// CRC-32C, bytes, masked CRC-32C) and hold one message tensorflow.Event each; a reader takes what was flushed,
/// whatever becomes of the process. One thread at a time. Every function throws DataError where the disk refuses.
class EventFile {
 public:
  /// Makes the folder if needed. A resumed run names the first step that it repeats: TensorBoard then drops what
  /// earlier files hold from there on.
  explicit EventFile(const std::filesystem::path& folder, int64_t first_step = 0);
  ~EventFile();
  EventFile(const EventFile&) = delete;
  EventFile& operator=(const EventFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /// One point of the curve `tag` ("train/loss"; stored in float32, NaN allowed).
  void scalar(const std::string& tag, int64_t step, double value, double wall_time = wall_clock());
  /// A picture: `png` is the content of a PNG file (or GIF: the page animates it) of width × height pixels.
  void image_png(const std::string& tag, int64_t step, const std::string& png, int64_t width, int64_t height,
                 double wall_time = wall_clock());
  void flush();

 private:
  struct Closer {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  void record(std::string_view event);

  std::filesystem::path path_;
  std::unique_ptr<std::FILE, Closer> file_;
};

/// CRC-32C (Castagnoli, polynomial 0x1EDC6F41 reflected): "123456789" -> 0xE3069283.
uint32_t crc32c(std::string_view bytes);

}  // namespace monarch::training
