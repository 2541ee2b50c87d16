#include "monarch/data/mat5.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/checkpoint.hpp"

namespace monarch::data {

namespace {

constexpr uint64_t header_bytes = 128;
constexpr uint32_t mi_matrix = 14, mi_compressed = 15;
constexpr const char* damaged = "the file is damaged or truncated; compare its size with the original";
constexpr const char* class_names[] = {"",       "cell",   "struct", "object", "char",     "sparse",
                                       "double", "single", "int8",   "uint8",  "int16",    "uint16",
                                       "int32",  "uint32", "int64",  "uint64", "function", "opaque"};

size_t element_size(uint32_t type) {
  static constexpr size_t sizes[] = {0, 1, 1, 2, 2, 4, 4, 4, 0, 8, 0, 0, 8, 8, 0, 0, 1, 2, 4};
  return type < std::size(sizes) ? sizes[type] : 0;
}

/// The bytes of one variable, in order; zlib's stream undone where it is compressed.
class Bytes {
 public:
  Bytes(const InputFile& file, const MatVariable& variable, bool swap, std::string place)
      : file_(file),
        variable_(variable),
        swap_(swap),
        place_(std::move(place)),
        next_(variable.offset),
        left_(variable.bytes) {
    if (!variable.compressed) return;
    check<BackendError>(inflateInit(&stream_) == Z_OK, "zlib cannot start");
    open_ = true;
  }
  ~Bytes() {
    if (open_) inflateEnd(&stream_);
  }
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;

  [[noreturn]] void bad(const std::string& what) const {
    fail<DataError>(fmt::format("{}: {}", place_, what), damaged);
  }

  void read(void* to, uint64_t count) {
    position_ += count;
    if (!variable_.compressed) {
      if (count > left_) bad(fmt::format("needs {} bytes more than its element has", count - left_));
      file_.read(next_, to, count);
      next_ += count;
      left_ -= count;
      return;
    }
    auto* out = static_cast<Bytef*>(to);
    while (count > 0) {
      const auto piece = static_cast<uInt>(std::min<uint64_t>(count, 1u << 30));
      stream_.next_out = out;
      stream_.avail_out = piece;
      while (stream_.avail_out > 0) {
        if (!advance()) bad("its compressed data end too early");
      }
      out += piece;
      count -= piece;
    }
  }

  /// The most bytes that can still come: deflate packs at most about 1032 to 1.
  double most() const {
    return variable_.compressed ? 1032.0 * static_cast<double>(variable_.bytes) + 1024 : static_cast<double>(left_);
  }

  /// Checks zlib's checksum of a compressed variable, behind its last byte.
  void check_end() {
    if (!variable_.compressed) return;
    Bytef more[8];  // padding
    stream_.next_out = more;
    stream_.avail_out = sizeof more;
    while (advance()) {
      if (stream_.avail_out == 0) bad("its compressed data go on behind its numbers");
    }
  }

  struct Tag {
    uint32_t type = 0;
    uint64_t bytes = 0, padding = 0;
    bool small = false;
  };
  Tag tag() {
    const uint32_t word = number();
    if (word >> 16) {  // small element: the data lie in the tag
      if (word >> 16 > 4) bad("a small element claims more than 4 bytes");
      return {word & 0xffff, word >> 16, 4 - (word >> 16), true};
    }
    const uint64_t bytes = number();
    return {word, bytes, (8 - bytes % 8) % 8, false};
  }
  uint32_t number() {
    uint32_t value = 0;
    read(&value, sizeof value);
    return swap_ ? __builtin_bswap32(value) : value;
  }
  void skip(uint64_t count) {
    std::byte waste[8];
    // The last element of a variable may come without its padding.
    if (!variable_.compressed) count = std::min(count, left_);
    if (count > 0) read(waste, count);
  }
  /// The content of an element.
  std::vector<char> content(const Tag& tag, uint64_t largest) {
    if (tag.bytes > largest) bad(fmt::format("a part of its header claims {} bytes", tag.bytes));
    std::vector<char> bytes(tag.bytes);
    read(bytes.data(), tag.bytes);
    skip(tag.padding);
    return bytes;
  }

 private:
  /// One step of inflate; false at the end of the stream.
  bool advance() {
    if (ended_) return false;
    if (stream_.avail_in == 0 && left_ > 0) {
      const uint64_t count = std::min<uint64_t>(left_, sizeof in_);
      file_.read(next_, in_, count);
      next_ += count;
      left_ -= count;
      stream_.next_in = in_;
      stream_.avail_in = static_cast<uInt>(count);
    }
    const bool starved = stream_.avail_in == 0;
    const uInt room = stream_.avail_out;
    const int result = inflate(&stream_, Z_NO_FLUSH);
    if (result == Z_STREAM_END) {
      ended_ = true;
      return true;
    }
    if (result == Z_BUF_ERROR || (result == Z_OK && starved && room == stream_.avail_out))
      bad("its compressed data are cut off");
    if (result != Z_OK)
      bad(fmt::format("its compressed data are damaged: {}", stream_.msg ? stream_.msg : "zlib error"));
    return true;
  }

  const InputFile& file_;
  const MatVariable& variable_;
  bool swap_;
  std::string place_;
  uint64_t next_, left_, position_ = 0;
  z_stream stream_{};
  Bytef in_[65536];
  bool open_ = false, ended_ = false;
};

/// Reads up to the numbers, and fills name, shape and type.
void read_header(Bytes& bytes, MatVariable& variable, bool swap) {
  if (variable.compressed) {
    const auto outer = bytes.tag();
    if (outer.type != mi_matrix || outer.small) bytes.bad("a compressed element holds no variable");
    if (static_cast<double>(outer.bytes) > bytes.most()) bytes.bad(fmt::format("claims {} bytes", outer.bytes));
  }
  const auto flags = bytes.tag();
  if (flags.type != 6 || flags.bytes != 8) bytes.bad("a variable without flags");
  const uint32_t word = bytes.number();
  bytes.number();
  const uint32_t kind = word & 0xff;
  if (kind == 0 || kind >= std::size(class_names)) bytes.bad(fmt::format("unknown class {}", kind));
  variable.type = class_names[kind];
  variable.complex = word & 0x0800;
  if (word & 0x0200) variable.type = "logical";
  if (variable.type == "opaque") return;  // objects have a header of their own
  const auto dims = bytes.tag();
  if (dims.type != 5 || dims.bytes % 4 != 0 || dims.bytes < 8) bytes.bad("a variable without dimensions");
  const auto extents = bytes.content(dims, 4 * 64);
  for (size_t i = 0; i < extents.size(); i += 4) {
    uint32_t extent = 0;
    std::memcpy(&extent, extents.data() + i, 4);
    if (swap) extent = __builtin_bswap32(extent);
    variable.shape.push_back(static_cast<int32_t>(extent));
  }
  const auto name = bytes.tag();
  if (name.type != 1 && name.type != 2 && name.type != 16) bytes.bad("a variable without a name");
  const auto text = bytes.content(name, 4096);
  variable.name.assign(text.begin(), text.end());
  variable.name.resize(std::min(variable.name.size(), variable.name.find('\0')));
  if (!is_utf8(variable.name)) bytes.bad("a variable whose name is no text");
}

template <class From, class To>
void convert(const char* from, To* to, size_t count, bool swap) {
  for (size_t i = 0; i < count; ++i) {
    char raw[sizeof(From)];
    std::memcpy(raw, from + i * sizeof(From), sizeof raw);
    if (swap) std::reverse(raw, raw + sizeof raw);
    From value;
    std::memcpy(&value, raw, sizeof value);
    to[i] = static_cast<To>(value);
  }
}

template <class To>
void convert(uint32_t type, const char* from, To* to, size_t count, bool swap) {
  switch (type) {
    case 1:
      return convert<int8_t>(from, to, count, swap);
    case 2:
      return convert<uint8_t>(from, to, count, swap);
    case 3:
      return convert<int16_t>(from, to, count, swap);
    case 4:
      return convert<uint16_t>(from, to, count, swap);
    case 5:
      return convert<int32_t>(from, to, count, swap);
    case 6:
      return convert<uint32_t>(from, to, count, swap);
    case 7:
      return convert<float>(from, to, count, swap);
    case 9:
      return convert<double>(from, to, count, swap);
    case 12:
      return convert<int64_t>(from, to, count, swap);
    default:
      return convert<uint64_t>(from, to, count, swap);
  }
}

/// One numeric element, real or imaginary part, as a column.
at::Tensor read_numbers(Bytes& bytes, int64_t numel, at::ScalarType type, bool swap) {
  const auto tag = bytes.tag();
  const size_t size = tag.type <= 13 ? element_size(tag.type) : 0;
  if (size == 0) bytes.bad(fmt::format("its numbers are of unknown type {}", tag.type));
  if (tag.bytes != static_cast<uint64_t>(numel) * size)
    bytes.bad(fmt::format("has {} bytes of numbers, expected {} numbers of {}", tag.bytes, numel, size));
  if (static_cast<double>(tag.bytes) > bytes.most()) bytes.bad(fmt::format("claims {} bytes of numbers", tag.bytes));
  at::Tensor result = at::empty({numel}, type);
  constexpr uint64_t piece = 1 << 16;
  std::vector<char> raw(std::min<uint64_t>(static_cast<uint64_t>(numel), piece) * size);
  for (uint64_t done = 0; done < static_cast<uint64_t>(numel);) {
    const uint64_t count = std::min<uint64_t>(piece, static_cast<uint64_t>(numel) - done);
    bytes.read(raw.data(), count * size);
    if (type == at::kDouble)
      convert(tag.type, raw.data(), result.mutable_data_ptr<double>() + done, count, swap);
    else
      convert(tag.type, raw.data(), result.mutable_data_ptr<float>() + done, count, swap);
    done += count;
  }
  bytes.skip(tag.padding);
  return result;
}

}  // namespace

bool MatVariable::numeric() const {
  return type == "double" || type == "single" || type == "logical" || type.starts_with("int") ||
         type.starts_with("uint");
}

bool is_mat5(const std::string& start) {
  if (start.size() < header_bytes) return false;
  const std::string_view order = std::string_view(start).substr(126, 2);
  const int version = static_cast<unsigned char>(start[order == "IM" ? 125 : 124]);
  return (order == "IM" || order == "MI") && version == 1;
}

Mat5File::Mat5File(const std::filesystem::path& path) : name_(path.string()), file_(path) {
  check<DataError>(
      file_.size() >= header_bytes, [&] { return fmt::format("{}: is too short for MATLAB", name_); }, damaged);
  std::string start(header_bytes, '\0');
  file_.read(0, start.data(), header_bytes);
  check<DataError>(is_mat5(start), [&] { return fmt::format("{}: is no MATLAB file of level 5", name_); });
  swap_ = start[126] == 'M';
  for (uint64_t at = header_bytes; at < file_.size();) {
    uint32_t tag[2] = {};
    const auto where = [&] { return fmt::format("{}: the element at byte {}", name_, at); };
    check<DataError>(
        file_.size() - at >= sizeof tag, [&] { return where() + " is cut off"; }, damaged);
    file_.read(at, tag, sizeof tag);
    if (swap_) {
      for (auto& word : tag) word = __builtin_bswap32(word);
    }
    check<DataError>(
        tag[0] == mi_matrix || tag[0] == mi_compressed,
        [&] { return fmt::format("{} is of unknown type {}", where(), tag[0]); }, damaged);
    check<DataError>(
        tag[1] <= file_.size() - at - sizeof tag,
        [&] {
          return fmt::format("{} claims {} bytes, the file has {} behind it", where(), tag[1],
                             file_.size() - at - sizeof tag);
        },
        damaged);
    MatVariable variable;
    variable.compressed = tag[0] == mi_compressed;
    variable.offset = at + sizeof tag;
    variable.bytes = tag[1];
    at += sizeof tag + tag[1];
    if (variable.bytes == 0) continue;
    Bytes bytes(file_, variable, swap_, fmt::format("{}: the variable at byte {}", name_, variable.offset));
    read_header(bytes, variable, swap_);
    if (variable.name.empty()) continue;  // MATLAB's own data about objects
    checked_numel(variable.shape, fmt::format("{}: {}", name_, variable.name));
    const bool known = std::any_of(variables_.begin(), variables_.end(),
                                   [&](const MatVariable& other) { return other.name == variable.name; });
    check<DataError>(
        !known, [&] { return fmt::format("{}: holds two variables '{}'", name_, variable.name); },
        "MATLAB allows each name once; save the file anew");
    variables_.push_back(std::move(variable));
  }
}

at::Tensor Mat5File::load(const MatVariable& variable) const {
  const std::string place = fmt::format("{}: {}", name_, variable.name);
  check<DataError>(variable.numeric(),
                   [&] { return fmt::format("{}: expected numbers, found {}", place, variable.type); });
  Bytes bytes(file_, variable, swap_, place);
  MatVariable again = variable;
  again.shape.clear();
  read_header(bytes, again, swap_);
  const auto numel = static_cast<int64_t>(checked_numel(again.shape, place));
  const int64_t extent_product =
      std::accumulate(again.shape.begin(), again.shape.end(), int64_t{1}, std::multiplies<>());
  const auto type = variable.type == "double" ? at::kDouble : at::kFloat;
  std::vector<int64_t> strides(again.shape.size());
  int64_t stride = 1;
  for (size_t d = 0; d < strides.size(); ++d) {
    strides[d] = stride;
    stride *= std::max<int64_t>(again.shape[d], 1);
  }
  if (extent_product == 0) return at::empty(again.shape, variable.complex ? at::toComplexType(type) : type);
  at::Tensor values = read_numbers(bytes, numel, type, swap_);
  if (variable.complex) values = at::complex(values, read_numbers(bytes, numel, type, swap_));
  bytes.check_end();
  return values.as_strided(again.shape, strides);
}

std::string Mat5File::text(const MatVariable& variable) const {
  Bytes bytes(file_, variable, swap_, fmt::format("{}: {}", name_, variable.name));
  MatVariable again = variable;
  again.shape.clear();
  read_header(bytes, again, swap_);
  const auto tag = bytes.tag();
  const size_t size = element_size(tag.type);
  if (size == 0 || size > 4) return {};
  const auto raw = bytes.content(tag, 1 << 20);
  std::string text;
  for (size_t i = 0; i + size <= raw.size(); i += size) {
    uint32_t value[1] = {};
    convert(size == 1 ? 2 : size == 2 ? 4 : 6, raw.data() + i, value, 1, swap_);
    // Single bytes are UTF-8 already where MATLAB says so, and ASCII else.
    if (size == 1 || value[0] < 0x80) {
      text += static_cast<char>(value[0]);
    } else if (value[0] < 0x800) {
      text += static_cast<char>(0xc0 | value[0] >> 6);
      text += static_cast<char>(0x80 | (value[0] & 0x3f));
    } else {
      text += static_cast<char>(0xe0 | (value[0] >> 12 & 0x0f));
      text += static_cast<char>(0x80 | (value[0] >> 6 & 0x3f));
      text += static_cast<char>(0x80 | (value[0] & 0x3f));
    }
  }
  return is_utf8(text) ? text : std::string{};
}

}  // namespace monarch::data
