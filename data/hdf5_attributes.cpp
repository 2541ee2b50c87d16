#include "monarch/data/hdf5_attributes.hpp"

#include <fmt/format.h>
#include <hdf5.h>

#include <cstring>
#include <span>
#include <vector>

#include "monarch/core/error.hpp"
#include "monarch/data/hdf5_types.hpp"

namespace monarch::data::hdf5 {

namespace {

constexpr uint16_t continuation_message = 0x10, attribute_message = 0x0c;
constexpr uint64_t most_blocks = 4096;
constexpr const char* damaged = "the file may be damaged or truncated; compare its size with the original";

/// Bytes that are taken from the front; `ok` turns false when they end.
class Front {
 public:
  explicit Front(std::span<const std::byte> bytes) : bytes_(bytes) {}
  uint64_t number(size_t width) {
    uint64_t value = 0;
    if (const auto raw = take(width); ok) std::memcpy(&value, raw.data(), width);
    return value;
  }
  std::span<const std::byte> take(uint64_t count) {
    ok = ok && count <= bytes_.size();
    if (!ok) return {};
    const auto front = bytes_.first(count);
    bytes_ = bytes_.subspan(count);
    return front;
  }
  size_t left() const { return bytes_.size(); }
  bool ok = true;

 private:
  std::span<const std::byte> bytes_;
};

/// Number of elements that a dataspace message states; nothing sound gives a negative number.
double points(std::span<const std::byte> message, size_t length_bytes) {
  Front front(message);
  const uint64_t version = front.number(1), rank = front.number(1), flags = front.number(1);
  if ((version != 1 && version != 2) || rank > 32) return -1;
  front.take(version == 1 ? 5 : 1);
  double product = 1;
  for (uint64_t d = 0; d < rank; ++d) product *= static_cast<double>(front.number(length_bytes));
  if (flags & 1) front.take(rank * length_bytes);  // largest extents
  return front.ok ? product : -1;
}

/// True when name, type, extents and values of an attribute lie inside its message.
bool is_sound_attribute(std::span<const std::byte> message, size_t length_bytes) {
  Front front(message);
  const uint64_t version = front.number(1), flags = front.number(1);
  const uint64_t name = front.number(2), type = front.number(2), space = front.number(2);
  if (version < 1 || version > 3 || name == 0) return false;
  if (version == 3) front.number(1);  // character set
  const auto padded = [&](uint64_t bytes) { return version == 1 ? (bytes + 7) / 8 * 8 : bytes; };
  const auto text = front.take(padded(name));
  if (!front.ok || std::memchr(text.data(), 0, name) == nullptr) return false;
  const auto type_message = front.take(padded(type)), space_message = front.take(padded(space));
  if (!front.ok) return false;
  if (flags & 3) return version > 1;  // type or extents are kept elsewhere
  Front description(type_message);
  description.take(4);
  const auto element = static_cast<double>(description.number(4));
  const double count = points(space_message, length_bytes);
  return description.ok && count >= 0 && element * count <= static_cast<double>(front.left());
}

}  // namespace

void check_attributes(const File& file, int64_t object, const std::string& place) {
  H5O_info_t info;
  if (H5Oget_info2(object, &info, H5O_INFO_BASIC) < 0) return;
  const Handle creation(H5Fget_create_plist(file.id()), close::properties);
  size_t address_bytes = 0, length_bytes = 0;
  H5Pget_sizes(creation.get(), &address_bytes, &length_bytes);
  const auto bad = [&] {
    fail<DataError>(fmt::format("{}: the description of its attributes is damaged", place), damaged);
  };
  if (address_bytes < 2 || address_bytes > 8 || length_bytes < 2 || length_bytes > 8) bad();
  const uint64_t base = file.user_block_bytes();
  std::byte prefix[16];
  file.read_raw(base + info.addr, prefix, place);
  if (prefix[0] != std::byte{1}) return;  // "OHDR": version 2
  uint32_t header_bytes = 0;
  std::memcpy(&header_bytes, prefix + 8, 4);
  struct Range {
    uint64_t address, bytes;
  };
  std::vector<Range> blocks{{base + info.addr + 16, header_bytes}};
  uint64_t total = 0;
  for (size_t b = 0; b < blocks.size(); ++b) {
    total += blocks[b].bytes;
    if (blocks.size() > most_blocks || total > file.size_bytes()) bad();
    std::vector<std::byte> bytes(blocks[b].bytes);
    file.read_raw(blocks[b].address, bytes, place);
    for (Front front(bytes); front.left() >= 8;) {
      const uint64_t type = front.number(2), size = front.number(2);
      const uint64_t flags = front.number(1);
      front.take(3);
      const auto message = front.take(size);
      if (!front.ok) bad();
      if (type == continuation_message) {
        Front next(message);
        const uint64_t address = next.number(address_bytes), count = next.number(length_bytes);
        if (!next.ok || address > file.size_bytes() || count > file.size_bytes()) bad();
        blocks.push_back({base + address, count});
      } else if (type == attribute_message && !(flags & 2) && !is_sound_attribute(message, length_bytes)) {
        bad();
      }
    }
  }
}

}  // namespace monarch::data::hdf5
