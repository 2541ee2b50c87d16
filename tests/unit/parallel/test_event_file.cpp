#include "monarch/training/event_file.hpp"

#include <sys/resource.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <csignal>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <vector>

#include "monarch/core/error.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::test;
using namespace monarch::training;

namespace {

std::string content(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// CRC-32C bit by bit, straight from the polynomial.
uint32_t slow_crc(const std::string& bytes) {
  uint32_t crc = ~0u;
  for (const char c : bytes) {
    for (int bit = 0; bit < 8; ++bit) {
      const uint32_t in = static_cast<unsigned char>(c) >> bit & 1;
      const bool carry = (crc & 1) != in;
      crc = crc >> 1 ^ (carry ? 0x82F63B78u : 0);
    }
  }
  return ~crc;
}

uint32_t masked(const std::string& bytes) {
  const uint32_t crc = slow_crc(bytes);
  return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

template <class Number>
Number number_at(const std::string& bytes, size_t offset) {
  Number value{};
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

/// The records of a TFRecord file; nothing where a frame or checksum is wrong.
std::vector<std::string> records(const std::string& bytes) {
  std::vector<std::string> out;
  for (size_t at = 0; at < bytes.size();) {
    if (bytes.size() - at < 16) return {};
    const auto length = number_at<uint64_t>(bytes, at);
    if (number_at<uint32_t>(bytes, at + 8) != masked(bytes.substr(at, 8)) || bytes.size() - at - 16 < length) return {};
    out.push_back(bytes.substr(at + 12, length));
    if (number_at<uint32_t>(bytes, at + 12 + length) != masked(out.back())) return {};
    at += 16 + length;
  }
  return out;
}

}  // namespace

TEST_CASE("CRC-32C: the check value, and the bitwise definition") {
  REQUIRE(crc32c("123456789") == 0xE3069283u);
  REQUIRE(slow_crc("123456789") == 0xE3069283u);
  std::string bytes;
  for (int i = 0; i < 300; ++i) {
    REQUIRE(crc32c(bytes) == slow_crc(bytes));
    bytes += static_cast<char>(i * 37);
  }
}

TEST_CASE("event files are whole TFRecords after each flush, and begin with their version") {
  const TemporaryFolder folder;
  EventFile events(folder / "run/tensorboard");
  REQUIRE(events.path().filename().string().find("tfevents") != std::string::npos);
  REQUIRE(records(content(events.path())).size() == 2);
  for (int64_t step = 0; step < 300; ++step)
    events.scalar("train/loss", step, 1.0 / static_cast<double>(step + 1), 1e9);
  events.flush();
  const std::string bytes = content(events.path());
  const std::vector<std::string> found = records(bytes);
  REQUIRE(found.size() == 302);
  REQUIRE(found[0].find("brain.Event:2") != std::string::npos);
  // wall_time = 1 (fixed64), step = 2 (varint), summary = 5 { value = 1 { tag = 1, simple_value = 2 (fixed32) } }
  const std::string last = found.back();
  REQUIRE(last.substr(0, 1) == "\x09");
  REQUIRE(number_at<double>(last, 1) == 1e9);
  REQUIRE(last.substr(9, 3) == "\x10\xab\x02");  // 299
  REQUIRE(last.substr(12, 6) == "\x2a\x13\x0a\x11\x0a\x0a");
  REQUIRE(last.substr(18, 10) == "train/loss");
  REQUIRE(last[28] == '\x15');
  REQUIRE(number_at<float>(last, 29) == 1.0f / 300);
  REQUIRE(last.size() == 33);
  // The reader of this test rejects any changed byte and a cut file.
  for (const size_t at : {size_t{3}, size_t{9}, bytes.size() / 2, bytes.size() - 1}) {
    std::string wrong = bytes;
    wrong[at] = static_cast<char>(wrong[at] ^ 1);
    REQUIRE(records(wrong).empty());
  }
  REQUIRE(records(bytes.substr(0, bytes.size() - 1)).empty());
}

TEST_CASE("a folder that cannot be made and a full disk are data errors") {
  const TemporaryFolder folder;
  write_text(folder / "file", "");
  REQUIRE_THROWS_AS(EventFile(folder / "file"), DataError);
  // A limit on the size of files refuses writes as a full disk does.
  EventFile events(folder / "full");
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
  const rlimit small{4096, before.rlim_max};
  ::signal(SIGXFSZ, SIG_IGN);
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  const auto fill = [&] {
    for (int64_t step = 0; step < 1000; ++step) events.scalar("loss", step, 1);
    events.flush();
  };
  CHECK_THROWS_AS(fill(), DataError);
  ::setrlimit(RLIMIT_FSIZE, &before);
  EventFile other(folder / "full");
  REQUIRE_NOTHROW(other.flush());
}

TEST_CASE("the tensorboard package reads curves and pictures, and drops what a resumed run repeats") {
  const TemporaryFolder folder;
  const std::string png = "\x89PNG\r\n\x1a\n not decoded here", tag = "Bild/ω · t = 3";
  {
    EventFile first(folder / "run");
    for (int64_t step = 0; step < 20; ++step)
      first.scalar("loss", step, 100.0 + static_cast<double>(step), 1700000000.5);
    first.scalar("broken", 3, std::nan(""), 1700000001);
    first.image_png(tag, 7, png, 640, 480, 1700000002.25);
  }
  const auto read = [&] {
    const CommandResult result =
        run_command(std::string("'" MONARCH_PYTHON "' '" MONARCH_SOURCE_DIR "/tests/python/read_events.py' '") +
                    (folder / "run").string() + "'");
    if (result.exit_code == 77) skip(result.output);
    CAPTURE(result.errors);
    REQUIRE(result.exit_code == 0);
    return nlohmann::json::parse(result.output);
  };
  const nlohmann::json once = read();
  REQUIRE(once["file_version"] == 2.0);
  REQUIRE(once["scalars"]["loss"].size() == 20);
  REQUIRE(once["scalars"]["loss"][5] == nlohmann::json({1700000000.5, 5, 105.0}));
  REQUIRE(once["scalars"]["broken"][0] == nlohmann::json({1700000001.0, 3, "nan"}));
  REQUIRE(once["images"][tag].size() == 1);
  const nlohmann::json image = once["images"][tag][0];
  REQUIRE(image[0] == 1700000002.25);
  REQUIRE((image[1] == 7 && image[2] == 640 && image[3] == 480));
  std::string hex;
  for (const char c : png) {
    constexpr char kDigits[] = "0123456789abcdef";
    hex += kDigits[static_cast<unsigned char>(c) >> 4];
    hex += kDigits[c & 15];
  }
  REQUIRE(image[4] == hex);
  {
    EventFile resumed(folder / "run", 10);
    for (int64_t step = 10; step < 15; ++step) resumed.scalar("loss", step, -1, 1700000100);
  }
  const nlohmann::json twice = read();
  REQUIRE(twice["scalars"]["loss"].size() == 15);
  REQUIRE(twice["scalars"]["loss"][9][2] == 109.0);
  REQUIRE(twice["scalars"]["loss"][10][2] == -1.0);
}
