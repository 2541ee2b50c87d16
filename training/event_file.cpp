#include "monarch/training/event_file.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "monarch/core/error.hpp"

namespace monarch::training {

namespace {

static_assert(std::endian::native == std::endian::little, "TFRecord is little-endian");

template <class Number>
std::string raw(Number value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

/// Protocol buffers' wire format: a key (field number and kind), then the value.
class Message {
 public:
  Message& varint(uint32_t field, uint64_t value) { return key(field, 0).number(value); }
  Message& fixed64(uint32_t field, double value) { return key(field, 1).append(raw(value)); }
  Message& fixed32(uint32_t field, float value) { return key(field, 5).append(raw(value)); }
  Message& bytes(uint32_t field, std::string_view value) { return key(field, 2).number(value.size()).append(value); }
  Message& message(uint32_t field, const Message& value) { return bytes(field, value.bytes_); }
  const std::string& text() const { return bytes_; }

 private:
  Message& key(uint32_t field, uint32_t kind) { return number(uint64_t{field} << 3 | kind); }
  Message& number(uint64_t value) {
    for (; value >= 128; value >>= 7) bytes_ += static_cast<char>(value | 128);
    bytes_ += static_cast<char>(value);
    return *this;
  }
  Message& append(std::string_view value) {
    bytes_ += value;
    return *this;
  }
  std::string bytes_;
};

// tensorflow/core/util/event.proto and framework/summary.proto.
namespace field {
constexpr uint32_t event_wall_time = 1, event_step = 2, event_file_version = 3, event_summary = 5,
                   event_session_log = 7;
constexpr uint32_t session_status = 1;
constexpr uint32_t summary_value = 1;
constexpr uint32_t value_tag = 1, value_simple = 2, value_image = 4;
constexpr uint32_t image_height = 1, image_width = 2, image_colours = 3, image_encoded = 4;
}  // namespace field

Message event(int64_t step, double wall_time) {
  Message message;
  message.fixed64(field::event_wall_time, wall_time).varint(field::event_step, static_cast<uint64_t>(step));
  return message;
}

std::string with_value(int64_t step, double wall_time, const Message& value) {
  Message summary;
  summary.message(field::summary_value, value);
  return event(step, wall_time).message(field::event_summary, summary).text();
}

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 && name[0] ? name.data() : "localhost";
}

/// A CRC of data that hold CRCs: rotated and shifted, as the format wants it.
uint32_t masked_crc(std::string_view bytes) {
  return std::rotr(crc32c(bytes), 15) + 0xa282ead8u;
}

}  // namespace

double wall_clock() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

uint32_t crc32c(std::string_view bytes) {
  static const std::array<uint32_t, 256> table = [] {
    std::array<uint32_t, 256> t{};
    for (uint32_t i = 0; i < 256; ++i) {
      t[i] = i;
      for (int bit = 0; bit < 8; ++bit) t[i] = t[i] >> 1 ^ (t[i] & 1 ? 0x82F63B78u : 0);
    }
    return t;
  }();
  uint32_t crc = 0xFFFFFFFFu;
  for (const char c : bytes) crc = crc >> 8 ^ table[(crc ^ static_cast<unsigned char>(c)) & 255];
  return ~crc;
}

EventFile::EventFile(const std::filesystem::path& folder, int64_t first_step) {
  static std::atomic<int> files{0};
  const double now = wall_clock();
  path_ = folder / fmt::format("events.out.tfevents.{:010}.{}.{}.{}", static_cast<int64_t>(now), host_name(),
                               ::getpid(), files++);
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  file_.reset(std::fopen(path_.c_str(), "wbx"));
  check<DataError>(file_ != nullptr,
                   [&] { return fmt::format("cannot write {}: {}", path_.string(), std::strerror(errno)); });
  record(event(0, now).bytes(field::event_file_version, "brain.Event:2").text());
  constexpr uint64_t kStart = 1;
  Message session;
  session.varint(field::session_status, kStart);
  record(event(first_step, now).message(field::event_session_log, session).text());
  flush();
}

EventFile::~EventFile() = default;

void EventFile::scalar(const std::string& tag, int64_t step, double value, double wall_time) {
  Message message;
  message.bytes(field::value_tag, tag).fixed32(field::value_simple, static_cast<float>(value));
  record(with_value(step, wall_time, message));
}

void EventFile::image_png(const std::string& tag, int64_t step, const std::string& png, int64_t width, int64_t height,
                          double wall_time) {
  constexpr uint64_t kRgb = 3;
  Message image;
  image.varint(field::image_height, static_cast<uint64_t>(height))
      .varint(field::image_width, static_cast<uint64_t>(width))
      .varint(field::image_colours, kRgb)
      .bytes(field::image_encoded, png);
  Message message;
  message.bytes(field::value_tag, tag).message(field::value_image, image);
  record(with_value(step, wall_time, message));
}

void EventFile::flush() {
  check<DataError>(std::fflush(file_.get()) == 0,
                   [&] { return fmt::format("cannot write {}: {}", path_.string(), std::strerror(errno)); });
}

void EventFile::record(std::string_view event) {
  const std::string length = raw(static_cast<uint64_t>(event.size()));
  const std::string frame = fmt::format("{}{}{}{}", length, raw(masked_crc(length)), event, raw(masked_crc(event)));
  check<DataError>(std::fwrite(frame.data(), 1, frame.size(), file_.get()) == frame.size(),
                   [&] { return fmt::format("cannot write {}: {}", path_.string(), std::strerror(errno)); });
}

}  // namespace monarch::training
