#include "monarch/data/hdf5_header.hpp"

#include <fmt/format.h>
#include <hdf5.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "monarch/core/error.hpp"
#include "monarch/data/hdf5_types.hpp"

namespace monarch::data::hdf5 {

namespace {

constexpr uint64_t most_blocks = 4096;
constexpr int deepest_type = 16;
/// Superblocks behind longer user blocks are not looked for.
constexpr uint64_t longest_user_block = 8192;
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
  /// A text with its zero, padded to a multiple.
  void text(uint64_t multiple) {
    const auto end = std::find(bytes_.begin(), bytes_.end(), std::byte{0});
    ok = ok && end != bytes_.end();
    if (ok) take((static_cast<uint64_t>(end - bytes_.begin()) + multiple) / multiple * multiple);
  }
  size_t left() const { return bytes_.size(); }
  bool ok = true;

 private:
  std::span<const std::byte> bytes_;
};

/// How many bytes addresses and lengths take in a file.
struct Widths {
  uint64_t address = 0, length = 0;
  bool sound() const { return address >= 2 && address <= 8 && length >= 2 && length <= 8; }
};

/// Takes a datatype message; returns the size of its elements.
uint64_t take_type(Front& front, int depth = 0) {
  const uint64_t first = front.number(1), bits = front.number(3), size = front.number(4);
  const uint64_t version = first >> 4, count = bits & 0xffff;
  const uint64_t multiple = version < 3 ? 8 : 1;
  front.ok = front.ok && version >= 1 && version <= 3 && size > 0 && depth <= deepest_type;
  switch (first & 15) {
    case H5T_INTEGER:
    case H5T_BITFIELD:
      front.take(4);
      break;
    case H5T_FLOAT:
      front.take(12);
      break;
    case H5T_TIME:
      front.take(2);
      break;
    case H5T_STRING:
    case H5T_REFERENCE:
      break;
    case H5T_OPAQUE:
      front.take(bits & 0xff);
      break;
    case H5T_COMPOUND: {
      size_t offset_bytes = 4;
      if (version == 3) {
        offset_bytes = 1;
        while (offset_bytes < 4 && size >> (8 * offset_bytes) != 0) ++offset_bytes;
      }
      for (uint64_t i = 0; i < count && front.ok; ++i) {
        front.text(multiple);
        front.take(offset_bytes + (version == 1 ? 28 : 0));
        take_type(front, depth + 1);
      }
      break;
    }
    case H5T_ENUM: {
      const uint64_t element = take_type(front, depth + 1);
      for (uint64_t i = 0; i < count && front.ok; ++i) front.text(multiple);
      front.ok = front.ok && element == size;
      if (front.ok) front.take(count * element);
      break;
    }
    case H5T_VLEN:
      take_type(front, depth + 1);
      break;
    case H5T_ARRAY: {
      const uint64_t rank = front.number(1);
      front.take((version < 3 ? 3 : 0) + rank * (version < 3 ? 8 : 4));
      take_type(front, depth + 1);
      break;
    }
    default:
      front.ok = false;
  }
  return size;
}

/// Number of elements that a dataspace message states.
double take_space(Front& front, size_t length_bytes) {
  const uint64_t version = front.number(1), rank = front.number(1), flags = front.number(1);
  front.ok = front.ok && (version == 1 || version == 2) && rank <= 32;
  front.take(version == 1 ? 5 : 1);
  double product = 1;
  for (uint64_t d = 0; d < rank && front.ok; ++d) product *= static_cast<double>(front.number(length_bytes));
  if (flags & 1) front.take(rank * length_bytes);  // largest extents
  return product;
}

bool is_sound_attribute(Front front, size_t length_bytes) {
  const uint64_t version = front.number(1), second = front.number(1), flags = version > 1 ? second : 0;
  const uint64_t name = front.number(2), type = front.number(2), space = front.number(2);
  if (version < 1 || version > 3 || name == 0) return false;
  if (version == 3) front.number(1);  // character set
  const auto padded = [&](uint64_t bytes) { return version == 1 ? (bytes + 7) / 8 * 8 : bytes; };
  const auto text = front.take(padded(name));
  if (!front.ok || std::memchr(text.data(), 0, name) == nullptr) return false;
  Front type_message(front.take(padded(type))), space_message(front.take(padded(space)));
  if (flags & 3) return front.ok;  // type or extents are kept elsewhere
  const auto element = static_cast<double>(take_type(type_message));
  const double count = take_space(space_message, length_bytes);
  return front.ok && type_message.ok && space_message.ok && element * count <= static_cast<double>(front.left());
}

bool is_sound_fill_value(Front front, bool old) {
  if (!old) {
    const uint64_t version = front.number(1);
    if (version == 3) {
      if ((front.number(1) & 0x20) == 0) return front.ok;
    } else {
      front.take(2);
      const bool defined = front.number(1) != 0;
      if (version == 2 && !defined) return front.ok;
    }
  }
  const uint64_t bytes = front.number(4);
  if (bytes != 0xffffffff) front.take(bytes);
  return front.ok;
}

bool are_sound_filters(Front front) {
  const uint64_t version = front.number(1), count = front.number(1);
  if (version == 1) front.take(6);
  for (uint64_t i = 0; i < count && front.ok; ++i) {
    const uint64_t id = front.number(2), name = version > 1 && id < 256 ? 0 : front.number(2);
    front.take(2);
    const uint64_t values = front.number(2);
    front.take(version == 1 ? (name + 7) / 8 * 8 : name);
    front.take(4 * (values + (version == 1 ? values % 2 : 0)));
  }
  return front.ok && (version == 1 || version == 2);
}

bool is_sound_layout(Front front, const Widths& widths) {
  const uint64_t version = front.number(1);
  uint64_t kind = 0, rank = 0;
  if (version < 3) {
    rank = front.number(1);
    kind = front.number(1);
    front.take(5);
  } else {
    kind = front.number(1);
    if (kind == H5D_COMPACT) front.take(front.number(2));
    if (version == 3 && kind == H5D_CHUNKED) rank = front.number(1);
  }
  if (version <= 3 && kind == H5D_CHUNKED) {
    front.take(widths.address);
    for (uint64_t d = 0; d < rank && front.ok; ++d) front.ok = front.number(4) > 0 && front.ok;
  }
  return front.ok;
}

/// A message that is kept elsewhere: in another object's header. Version 3 knows a heap as well, which needs a table
/// that files with these headers do not have, and which the library reads nevertheless.
bool is_sound_share(Front front) {
  const uint64_t version = front.number(1), kind = front.number(1);
  return front.ok && version >= 1 && version <= 3 && !(version == 3 && kind == 1);
}

bool is_sound_message(uint64_t type, std::span<const std::byte> message, const Widths& widths) {
  Front front(message);
  switch (type) {
    case 0x01:
      take_space(front, widths.length);
      return front.ok;
    case 0x03:
      take_type(front);
      return front.ok;
    case 0x04:
    case 0x05:
      return is_sound_fill_value(front, type == 0x04);
    case 0x08:
      return is_sound_layout(front, widths);
    case 0x0b:
      return are_sound_filters(front);
    case 0x0c:
      return is_sound_attribute(front, widths.length);
    default:
      return true;
  }
}

/// All messages of the object header at base + address.
void check_messages(const ReadBytes& read, uint64_t file_bytes, uint64_t base, uint64_t address, const Widths& widths,
                    const std::string& place) {
  const auto bad = [&] { fail<DataError>(fmt::format("{}: its description in the file is damaged", place), damaged); };
  std::byte prefix[16];
  if (!widths.sound() || address > file_bytes || base + address + sizeof prefix > file_bytes) bad();
  read(base + address, prefix);
  if (prefix[0] != std::byte{1}) return;  // "OHDR": version 2
  uint32_t header_bytes = 0;
  std::memcpy(&header_bytes, prefix + 8, 4);
  struct Range {
    uint64_t address, bytes;
  };
  std::vector<Range> blocks{{base + address + 16, header_bytes}};
  uint64_t total = 0;
  for (size_t b = 0; b < blocks.size(); ++b) {
    total += blocks[b].bytes;
    if (blocks.size() > most_blocks || total > file_bytes || blocks[b].address > file_bytes ||
        blocks[b].bytes > file_bytes - blocks[b].address)
      bad();
    std::vector<std::byte> bytes(blocks[b].bytes);
    read(blocks[b].address, bytes);
    for (Front front(bytes); front.left() >= 8;) {
      const uint64_t type = front.number(2), size = front.number(2), flags = front.number(1);
      front.take(3);
      const auto message = front.take(size);
      if (!front.ok) bad();
      if (type == 0x10) {  // the header goes on elsewhere
        Front next(message);
        const uint64_t place_of_next = next.number(widths.address), count = next.number(widths.length);
        if (!next.ok || place_of_next > file_bytes) bad();
        blocks.push_back({base + place_of_next, count});
      } else if (flags & 2 ? !is_sound_share(Front(message)) : !is_sound_message(type, message, widths)) {
        bad();
      }
    }
  }
}

}  // namespace

void check_superblock(const ReadBytes& read, uint64_t file_bytes, const std::string& name) {
  static constexpr char signature[] = "\x89HDF\r\n\x1a\n";
  std::vector<std::byte> start(std::min(file_bytes, longest_user_block));
  read(0, start);
  size_t at = 0;
  while (at + 8 <= start.size() && std::memcmp(start.data() + at, signature, 8) != 0) at = at ? 2 * at : 512;
  if (at + 8 > start.size()) return;
  Front front(std::span<const std::byte>(start).subspan(at + 8));
  const uint64_t version = front.number(1);
  Widths widths;
  if (version < 2) {
    front.take(4);
    widths.address = front.number(1);
    widths.length = front.number(1);
    front.take(9 + (version == 1 ? 4 : 0));
  } else {
    widths.address = front.number(1);
    widths.length = front.number(1);
    front.take(1);
  }
  front.ok = front.ok && widths.sound();
  if (front.ok) front.take((version < 2 ? 5 : 3) * widths.address);  // base, ends, driver, name of the root …
  const uint64_t root = front.ok ? front.number(widths.address) : 0;
  check<DataError>(
      front.ok && root < file_bytes - at,
      [&] { return fmt::format("{}: its first block puts the root group outside the file", name); }, damaged);
  check_messages(read, file_bytes, at, root, widths, name);
}

void check_header(const File& file, const std::string& path) {
  H5O_info_t info;
  if (H5Oget_info_by_name2(file.id(), path.empty() ? "/" : path.c_str(), &info, H5O_INFO_BASIC, H5P_DEFAULT) < 0)
    return;
  const Handle creation(H5Fget_create_plist(file.id()), close::properties);
  size_t address_bytes = 0, length_bytes = 0;
  H5Pget_sizes(creation.get(), &address_bytes, &length_bytes);
  const std::string place = file.place(path);
  check_messages([&](uint64_t at, std::span<std::byte> bytes) { file.read_raw(at, bytes, place); }, file.size_bytes(),
                 file.user_block_bytes(), info.addr, {address_bytes, length_bytes}, place);
}

}  // namespace monarch::data::hdf5
