#include "monarch/data/safetensors.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>
#include <unordered_set>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/element_type.hpp"
#include "monarch/data/input_file.hpp"

namespace monarch::data {
namespace {

constexpr uint64_t largest_header = 100'000'000;  // the limit of the safetensors library
constexpr size_t largest_rank = 64;
constexpr const char* damaged = "the file is damaged, truncated or hostile";
static_assert(std::endian::native == std::endian::little);

/// Types that the format has and LibTorch has not: bits an element.
uint64_t packed_bits(std::string_view dtype) {
  if (dtype == "F4") return 4;
  if (dtype == "F6_E2M3" || dtype == "F6_E3M2") return 6;
  return 0;
}

/// Takes the header's JSON as it is parsed, so that nothing but what the format has is ever stored:
/// {"__metadata__": {text: text}, name: {"dtype": text, "shape": [numbers], "data_offsets": [begin, end]}}.
class HeaderReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  struct Entry {
    std::string name, dtype;
    std::vector<uint64_t> shape, offsets;
    bool has_dtype = false, has_shape = false, has_offsets = false;
  };
  explicit HeaderReader(const std::string& name) : file_(name) {}
  std::vector<Entry> entries;
  std::map<std::string, std::string> metadata;

  bool start_object(std::size_t) override {
    if (depth_ == 1 && !in_metadata_) entries.push_back({key_, {}, {}, {}});
    if (depth_ > 1 || numbers_) unexpected("an object");
    ++depth_;
    return true;
  }
  bool end_object() override {
    if (--depth_ != 1) return true;
    if (!in_metadata_) {
      const Entry& entry = entries.back();
      if (!entry.has_dtype || !entry.has_shape || !entry.has_offsets)
        bad(fmt::format("tensor '{}' lacks dtype, shape or data_offsets", entry.name));
    }
    in_metadata_ = false;
    return true;
  }
  bool key(std::string& key) override {
    key_ = key;
    if (depth_ == 1) {
      if (!names_.insert(key).second) bad(fmt::format("two entries are named '{}'", key));
      in_metadata_ = key == "__metadata__";
    }
    return true;
  }
  bool string(std::string& text) override {
    if (depth_ == 2 && in_metadata_) {
      if (!metadata.emplace(key_, text).second) bad(fmt::format("two entries of __metadata__ are named '{}'", key_));
    } else if (depth_ == 2 && key_ == "dtype" && !numbers_ && !entries.back().has_dtype) {
      entries.back().dtype = text;
      entries.back().has_dtype = true;
    } else {
      unexpected("a text");
    }
    return true;
  }
  bool start_array(std::size_t) override {
    if (depth_ != 2 || in_metadata_ || numbers_) unexpected("a list");
    Entry& entry = entries.back();
    bool* seen = key_ == "shape" ? &entry.has_shape : key_ == "data_offsets" ? &entry.has_offsets : nullptr;
    if (!seen || *seen) unexpected("a list");
    *seen = true;
    numbers_ = key_ == "shape" ? &entry.shape : &entry.offsets;
    return true;
  }
  bool end_array() override {
    if (key_ == "data_offsets" && numbers_->size() != 2)
      bad(fmt::format("tensor '{}' has {} data_offsets, expected 2", entries.back().name, numbers_->size()));
    numbers_ = nullptr;
    return true;
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (!numbers_) unexpected("a number");
    if (numbers_->size() >= largest_rank)
      bad(fmt::format("tensor '{}' has more than {} axes", entries.back().name, largest_rank));
    numbers_->push_back(value);
    return true;
  }
  bool number_integer(number_integer_t value) override { unexpected(fmt::format("the negative number {}", value)); }
  bool number_float(number_float_t, const std::string& text) override {
    unexpected(fmt::format("the number {:.40}", text));
  }
  bool boolean(bool) override { unexpected("a truth value"); }
  bool null() override { unexpected("null"); }
  bool binary(binary_t&) override { unexpected("bytes"); }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) override {
    bad(fmt::format("is no JSON: error at its byte {}", position));
  }

 private:
  [[noreturn]] void bad(const std::string& what) const {
    fail<DataError>(fmt::format("{}: the safetensors header: {}", file_, what), damaged);
  }
  [[noreturn]] void unexpected(const std::string& what) const {
    if (depth_ == 0) bad(fmt::format("expected an object, found {}", what));
    if (depth_ == 1) bad(fmt::format("entry '{}' is {}, expected an object", key_, what));
    if (in_metadata_) bad(fmt::format("'{}' in __metadata__ is {}, expected a text", key_, what));
    bad(fmt::format(
        "tensor '{}': '{}' has {}, expected one each of dtype (a text), shape and data_offsets (lists of numbers)",
        entries.back().name, key_, what));
  }

  const std::string& file_;
  std::string key_;
  int depth_ = 0;
  bool in_metadata_ = false;
  std::vector<uint64_t>* numbers_ = nullptr;
  std::unordered_set<std::string> names_;
};

/// Bytes that a tensor of this type and shape fills.
uint64_t bytes_of(const HeaderReader::Entry& entry, TensorInfo& info, const std::string& where) {
  const ElementType* known = element_type_by_safetensors(entry.dtype);
  const uint64_t bits = known ? 8 * c10::elementSize(known->type) : packed_bits(entry.dtype);
  check<DataError>(
      bits > 0, [&] { return fmt::format("{}: unknown dtype '{:.40}'", where, entry.dtype); },
      "expected BOOL, U8 to U64, I8 to I64, F16, BF16, F32, F64, C64 or F8_*");
  info.dtype = known ? std::string(known->name) : entry.dtype;
  if (known) info.type = known->type;
  for (const uint64_t extent : entry.shape) {
    check<DataError>(
        extent <= uint64_t{1} << 53,
        [&] { return fmt::format("{}: absurd shape with an extent of {}", where, extent); }, damaged);
    info.shape.push_back(static_cast<int64_t>(extent));
  }
  const uint64_t all = checked_numel(info.shape, where) * bits;  // below 2^53 * 2^7
  check<DataError>(
      all % 8 == 0,
      [&] { return fmt::format("{}: {} elements of {} bits do not fill whole bytes", where, all / bits, bits); },
      damaged);
  return all / 8;
}

class SafetensorsFile final : public Checkpoint {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path) : Checkpoint(path.string(), "safetensors"), file_(path) {
    check<DataError>(
        file_.size() >= 10,
        [&] { return fmt::format("{}: has {} bytes, expected a safetensors file", name(), file_.size()); }, damaged);
    uint64_t length = 0;
    file_.read(0, &length, sizeof length);
    check<DataError>(
        length <= largest_header && length <= file_.size() - 8,
        [&] {
          return fmt::format("{}: the safetensors header claims {} bytes, expected at most {}", name(), length,
                             std::min(largest_header, file_.size() - 8));
        },
        damaged);
    std::string json(length, '\0');
    file_.read(8, json.data(), length);
    SafetensorsHeader header = parse_safetensors_header(json, file_.size(), name());
    for (auto& info : header.tensors) add(std::move(info));
    offsets_ = std::move(header.offsets);
    metadata_ = std::move(header.metadata);
  }

 private:
  at::Tensor do_load(size_t index) const override {
    const TensorInfo& info = tensors()[index];
    at::Tensor tensor = at::empty(info.shape, *info.type);
    if (info.bytes == 0) return tensor;
    file_.read(offsets_[index], tensor.data_ptr(), info.bytes);
    if (info.type == at::kBool) {  // any byte but 0 is true; LibTorch wants exactly 1
      auto* flags = static_cast<uint8_t*>(tensor.data_ptr());
      for (uint64_t i = 0; i < info.bytes; ++i) flags[i] = flags[i] != 0;
    }
    return tensor;
  }

  InputFile file_;
  std::vector<uint64_t> offsets_;
};

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view json, uint64_t file_bytes, const std::string& name) {
  check<DataError>(
      json.starts_with('{'),
      [&] { return fmt::format("{}: the safetensors header does not start with a brace", name); }, damaged);
  HeaderReader reader(name);
  nlohmann::json::sax_parse(json.begin(), json.end(), &reader);
  const uint64_t start = 8 + json.size();
  const uint64_t held = file_bytes - start;
  auto& entries = reader.entries;
  std::stable_sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.offsets < b.offsets; });
  SafetensorsHeader header;
  uint64_t end = 0;
  const std::string* before = nullptr;
  for (const auto& entry : entries) {
    const std::string where = fmt::format("{}: tensor '{}'", name, entry.name);
    TensorInfo info;
    info.name = entry.name;
    info.bytes = bytes_of(entry, info, where);
    const uint64_t first = entry.offsets[0], last = entry.offsets[1];
    check<DataError>(
        first <= last && last <= held,
        [&] {
          return fmt::format("{}: its data_offsets are [{}, {}], the file has {} bytes of data", where, first, last,
                             held);
        },
        damaged);
    check<DataError>(
        last - first == info.bytes,
        [&] {
          return fmt::format("{}: {} of shape {} needs {} bytes, its data_offsets [{}, {}] hold {}", where, info.dtype,
                             shape_text(info.shape), info.bytes, first, last, last - first);
        },
        damaged);
    check<DataError>(
        first == end,
        [&] {
          return fmt::format("{}: its data start at {}, expected {}{}: {}", where, first, end,
                             before ? fmt::format(" where '{}' ends", *before) : "",
                             first < end ? "they overlap" : "a hole lies between");
        },
        damaged);
    end = last;
    before = &entry.name;
    header.tensors.push_back(std::move(info));
    header.offsets.push_back(start + first);
  }
  check<DataError>(
      end == held,
      [&] { return fmt::format("{}: its tensors fill {} bytes, the file has {} bytes of data", name, end, held); },
      damaged);
  header.metadata = std::move(reader.metadata);
  return header;
}

std::shared_ptr<const Checkpoint> open_safetensors(const std::filesystem::path& path) {
  return std::make_shared<SafetensorsFile>(path);
}

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorInfo> tensors,
                                     const std::map<std::string, std::string>& metadata)
    : name_(path.string()), folder_(folder_of(path)) {
  std::error_code error;
  check<DataError>(!path.filename().empty() && !std::filesystem::is_directory(path, error),
                   [&] { return fmt::format("{}: expected the name of a file to write, found a folder", name_); });
  // As the safetensors library does: larger elements first, so that every tensor is aligned to its elements.
  std::stable_sort(tensors.begin(), tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return c10::elementSize(a.type.value()) > c10::elementSize(b.type.value());
  });
  const auto quoted = [](const auto& value) {
    return nlohmann::json(value).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  };
  std::string json = "{";
  if (!metadata.empty()) json += "\"__metadata__\":" + quoted(metadata);
  uint64_t offset = 0;
  for (auto& info : tensors) {
    const ElementType* type = element_type_of(*info.type);
    check<DtypeError>(
        type && !type->safetensors.empty(),
        [&] {
          return fmt::format("{}: safetensors cannot store tensor '{}' of type {}", name_, info.name,
                             element_type_text(*info.type));
        },
        "convert it to another type");
    const uint64_t bytes = checked_numel(info.shape, name_) * c10::elementSize(*info.type);
    json += fmt::format("{}{}:{{\"dtype\":\"{}\",\"shape\":{},\"data_offsets\":[{},{}]}}", json.size() > 1 ? "," : "",
                        quoted(info.name), type->safetensors, quoted(info.shape), offset, offset + bytes);
    const std::string key = info.name;
    check<DataError>(key != "__metadata__" && slots_.emplace(key, Slot{std::move(info), offset}).second,
                     [&] { return fmt::format("{}: cannot hold two tensors named '{}'", name_, key); });
    offset += bytes;
  }
  json += '}';
  json.append((8 - json.size() % 8) % 8, ' ');
  const uint64_t length = json.size();
  check<DataError>(length <= largest_header, [&] {
    return fmt::format("{}: the header would have {} bytes, the format allows {}", name_, length, largest_header);
  });
  for (auto& [name, slot] : slots_) slot.offset += 8 + length;
  stream_.open(folder_.path(path.filename().string()), std::ios::binary | std::ios::trunc);
  stream_.write(reinterpret_cast<const char*>(&length), sizeof length);
  stream_ << json;
}

void SafetensorsWriter::write(const std::string& name, const at::Tensor& tensor) {
  const auto found = slots_.find(name);
  check<DataError>(found != slots_.end() && !found->second.written, [&] {
    return fmt::format("{}: tensor '{}' {}", name_, name,
                       found == slots_.end() ? "was not announced" : "is written twice");
  });
  Slot& slot = found->second;
  check<ShapeError>(tensor.sizes() == at::IntArrayRef(slot.info.shape), [&] {
    return fmt::format("{}: tensor '{}' was announced as {}, got {}", name_, name, shape_text(slot.info.shape),
                       shape_text(tensor.sizes()));
  });
  check<DtypeError>(tensor.scalar_type() == *slot.info.type, [&] {
    return fmt::format("{}: tensor '{}' was announced as {}, got {}", name_, name, element_type_text(*slot.info.type),
                       element_type_text(tensor.scalar_type()));
  });
  const at::Tensor values = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous();
  stream_.seekp(static_cast<std::streamoff>(slot.offset));
  if (values.numel() > 0)
    stream_.write(static_cast<const char*>(values.const_data_ptr()), static_cast<std::streamsize>(values.nbytes()));
  check<DataError>(
      !stream_.fail(), [&] { return fmt::format("{}: cannot be written", name_); }, "is the disk full?");
  slot.written = true;
}

void SafetensorsWriter::commit() {
  for (const auto& [name, slot] : slots_)
    check<DataError>(slot.written,
                     [&] { return fmt::format("{}: tensor '{}' was announced and not written", name_, name); });
  stream_.close();
  check<DataError>(
      !stream_.fail(), [&] { return fmt::format("{}: cannot be written", name_); }, "is the disk full?");
  folder_.commit();
}

void save_safetensors(const std::filesystem::path& path, const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                      const std::map<std::string, std::string>& metadata) {
  std::vector<TensorInfo> infos;
  for (const auto& [name, tensor] : tensors) {
    infos.push_back({.name = name, .dtype = {}, .type = tensor.scalar_type(), .shape = tensor.sizes().vec()});
  }
  SafetensorsWriter writer(path, std::move(infos), metadata);
  for (const auto& [name, tensor] : tensors) writer.write(name, tensor);
  writer.commit();
}

}  // namespace monarch::data
