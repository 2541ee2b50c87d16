#include "monarch/data/npy.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <charconv>
#include <cstring>
#include <fstream>
#include <numeric>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/array_scan.hpp"
#include "monarch/data/formats.hpp"
#include "monarch/data/input_file.hpp"
#include "monarch/data/npy_header.hpp"

namespace monarch::data {

namespace {

constexpr std::string_view magic = "\x93NUMPY";
constexpr size_t largest_header = 65536;
constexpr int64_t largest_rank = 32;

/// Reads the Python dictionary of the header, whose keys and value kinds are fixed by the format.
class HeaderText {
 public:
  HeaderText(std::string_view text, const std::string& name) : text_(text), name_(name) {}

  NpyHeader parse() {
    NpyHeader header;
    bool type = false, order = false, shape = false;
    expect('{');
    while (!accept('}')) {
      const std::string key = quoted();
      expect(':');
      if (key == "descr") {
        parse_type(header);
        type = true;
      } else if (key == "fortran_order") {
        header.fortran_order = boolean();
        order = true;
      } else if (key == "shape") {
        header.shape = tuple();
        shape = true;
      } else {
        bad(fmt::format("unknown key '{}'", key));
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    if (!type || !order || !shape) bad("expected the keys descr, fortran_order and shape");
    return header;
  }

 private:
  [[noreturn]] void bad(const std::string& what) const {
    fail<DataError>(fmt::format("{}: malformed .npy header: {}", name_, what), "save the array again with numpy.save");
  }
  void blanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t')) ++at_;
  }
  bool accept(char c) {
    blanks();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) bad(fmt::format("expected '{}' at byte {}", c, at_));
  }
  std::string quoted() {
    blanks();
    if (at_ >= text_.size() || (text_[at_] != '\'' && text_[at_] != '"'))
      bad(fmt::format("expected a quoted text at byte {}", at_));
    const char quote = text_[at_++];
    const size_t end = text_.find(quote, at_);
    if (end == std::string_view::npos || end - at_ > 64) bad("a text does not end");
    std::string result(text_.substr(at_, end - at_));
    at_ = end + 1;
    return result;
  }
  bool boolean() {
    blanks();
    for (const bool value : {true, false}) {
      const std::string_view word = value ? "True" : "False";
      if (text_.substr(at_, word.size()) != word) continue;
      at_ += word.size();
      return value;
    }
    bad("fortran_order is neither True nor False");
  }
  std::vector<int64_t> tuple() {
    std::vector<int64_t> result;
    expect('(');
    while (!accept(')')) {
      blanks();
      int64_t value = -1;
      const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
      if (error != std::errc() || value < 0) bad("an extent is not a whole number");
      at_ = static_cast<size_t>(end - text_.data());
      result.push_back(value);
      if (static_cast<int64_t>(result.size()) > largest_rank) bad("too many axes");
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return result;
  }
  void parse_type(NpyHeader& header) {
    blanks();
    if (at_ < text_.size() && text_[at_] == '[') bad("structured arrays are not supported, expected plain numbers");
    const std::string descr = quoted();
    if (descr.size() >= 2 && descr[0] == '>') {
      fail<DataError>(fmt::format("{}: holds big-endian numbers ({}), expected little-endian", name_, descr),
                      "convert it: numpy.save(path, a.astype(a.dtype.newbyteorder('<')))");
    }
    static constexpr std::string_view known[] = {"b1", "i1", "u1", "i2", "u2", "i4",
                                                 "u4", "i8", "f4", "f8", "c8", "c16"};
    const std::string_view type =
        std::string_view(descr).substr(descr.empty() || std::isalpha(static_cast<unsigned char>(descr[0])) ? 0 : 1);
    for (const std::string_view candidate : known) {
      if (type != candidate) continue;
      header.kind = candidate[0];
      header.element_bytes = static_cast<size_t>(std::atoi(std::string(candidate.substr(1)).c_str()));
      return;
    }
    fail<DataError>(fmt::format("{}: element type '{}' is not supported", name_, descr),
                    "save it as float32 or complex64");
  }

  std::string_view text_;
  const std::string& name_;
  size_t at_ = 0;
};

at::ScalarType scalar_type(const NpyHeader& header) {
  switch (header.kind) {
    case 'b':
      return at::kBool;
    case 'u':
      return header.element_bytes == 1 ? at::kByte : header.element_bytes == 2 ? at::kShort : at::kInt;
    case 'i':
      return header.element_bytes == 1   ? at::kChar
             : header.element_bytes == 2 ? at::kShort
             : header.element_bytes == 4 ? at::kInt
                                         : at::kLong;
    case 'f':
      return header.element_bytes == 4 ? at::kFloat : at::kDouble;
    default:
      return header.element_bytes == 8 ? at::kComplexFloat : at::kComplexDouble;
  }
}

std::string read_range(const std::filesystem::path& path, uint64_t offset, uint64_t count) {
  std::ifstream stream(path, std::ios::binary);
  stream.seekg(static_cast<std::streamoff>(offset));
  std::string bytes(count, '\0');
  stream.read(bytes.data(), static_cast<std::streamsize>(count));
  check<DataError>(
      static_cast<uint64_t>(stream.gcount()) == count,
      [&] { return fmt::format("{}: cannot read {} bytes at {}", path.string(), count, offset); },
      "the file changed while it was read, or the disk fails");
  return bytes;
}

at::Tensor in_c_order(const NpyHeader& header, const char* bytes) {
  if (!header.fortran_order) return npy_values(header, bytes, header.shape);
  const std::vector<int64_t> reversed(header.shape.rbegin(), header.shape.rend());
  at::Tensor values = npy_values(header, bytes, reversed);
  std::vector<int64_t> order(reversed.size());
  std::iota(order.rbegin(), order.rend(), int64_t{0});
  return values.permute(order).contiguous();
}

class NpyScan final : public ArrayScan {
 public:
  NpyScan(const std::filesystem::path& path, const ScanOptions& options)
      : ArrayScan(path.string(), options), path_(path) {
    const uint64_t size = check_input_file(path);
    npy_ = parse_npy_header(read_prefix(path, largest_header + 16), size, name_);
    const auto& shape = npy_.shape;
    check<DataError>(
        npy_.kind == 'c',
        [&] {
          return fmt::format("{}: expected complex k-space, found real numbers of shape {}", name_, shape_text(shape));
        },
        "an image can be compared (`monarch compare`), but not reconstructed");
    check<DataError>(shape.size() >= 2 && shape.size() <= 4 && npy_.numel() > 0, [&] {
      return fmt::format("{}: expected shape [y, x], [coil, y, x] or [slice, coil, y, x], found {}", name_,
                         shape_text(shape));
    });
    const int64_t rows = shape[shape.size() - 2], columns = shape.back();
    coils_ = shape.size() >= 3 ? shape[shape.size() - 3] : 1;
    const int64_t slices = shape.size() == 4 ? shape[0] : 1;
    for (int64_t slice = 0; slice < slices; ++slice) images_.push_back({.slice = slice});
    header_.format = "NumPy";
    header_.coils = coils_;
    header_.encoded.matrix = header_.recon.matrix = {columns, rows, 1};
  }

 protected:
  at::Tensor load(size_t image) const override {
    const int64_t rows = header_.encoded.matrix[1], columns = header_.encoded.matrix[0];
    const std::vector<int64_t> one{coils_, 1, rows, columns};
    const auto elements = static_cast<uint64_t>(coils_ * rows * columns);
    if (npy_.fortran_order) {  // one image is spread over the whole file
      const std::string bytes =
          read_range(path_, npy_.data_offset, static_cast<uint64_t>(npy_.numel()) * npy_.element_bytes);
      const at::Tensor all = in_c_order(npy_, bytes.data()).reshape({-1, coils_, 1, rows, columns});
      return all[static_cast<int64_t>(image)].to(at::kComplexFloat).clone();
    }
    const uint64_t bytes_each = elements * npy_.element_bytes;
    const std::string bytes = read_range(path_, npy_.data_offset + image * bytes_each, bytes_each);
    return npy_values(npy_, bytes.data(), one).to(at::kComplexFloat);
  }

 private:
  std::filesystem::path path_;
  NpyHeader npy_;
  int64_t coils_ = 1;
};

}  // namespace

int64_t NpyHeader::numel() const {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

NpyHeader parse_npy_header(std::string_view start, uint64_t file_bytes, const std::string& name) {
  check<DataError>(start.starts_with(magic) && start.size() >= 10,
                   [&] { return fmt::format("{}: is no .npy file", name); });
  const int version = static_cast<unsigned char>(start[6]);
  check<DataError>(version >= 1 && version <= 3,
                   [&] { return fmt::format("{}: .npy version {} is unknown (expected 1 to 3)", name, version); });
  const size_t prefix = version == 1 ? 10 : 12;
  check<DataError>(start.size() >= prefix, [&] { return fmt::format("{}: the .npy header is cut off", name); });
  uint32_t length = 0;
  std::memcpy(&length, start.data() + 8, version == 1 ? 2 : 4);
  check<DataError>(
      length <= largest_header && prefix + length <= start.size(),
      [&] { return fmt::format("{}: the .npy header claims {} bytes, the file has {}", name, length, file_bytes); },
      "the file is damaged or truncated");
  NpyHeader header = HeaderText(start.substr(prefix, length), name).parse();
  header.data_offset = prefix + length;
  double expected = static_cast<double>(header.element_bytes);
  for (const int64_t extent : header.shape) expected *= static_cast<double>(extent);
  const auto held = static_cast<double>(file_bytes - header.data_offset);
  // Exact while both are below 2^53; anything larger differs from the size of a real file.
  check<DataError>(
      expected == held,
      [&] {
        return fmt::format("{}: shape {} needs {:.0f} bytes of data, the file has {:.0f}", name,
                           shape_text(header.shape), expected, held);
      },
      "the file is damaged or truncated");
  // A zero extent beside absurd ones must not overflow products later.
  double others = 1;
  for (const int64_t extent : header.shape) others *= static_cast<double>(std::max<int64_t>(extent, 1));
  check<DataError>(
      others <= 0x1p53, [&] { return fmt::format("{}: absurd shape {}", name, shape_text(header.shape)); },
      "the file is damaged or truncated");
  return header;
}

at::Tensor npy_values(const NpyHeader& header, const char* bytes, std::vector<int64_t> shape) {
  at::Tensor values = at::empty(shape, scalar_type(header));
  if (values.numel() == 0) return values;
  std::memcpy(values.data_ptr(), bytes, values.nbytes());
  if (header.kind == 'b') {  // any non-zero byte is true; LibTorch wants exactly one
    auto* flags = static_cast<uint8_t*>(values.data_ptr());
    for (int64_t i = 0; i < values.numel(); ++i) flags[i] = flags[i] != 0;
  }
  if (header.kind == 'u' && header.element_bytes == 2) return values.to(at::kInt).bitwise_and(0xffff);
  if (header.kind == 'u' && header.element_bytes == 4) return values.to(at::kLong).bitwise_and(0xffffffffLL);
  return values;
}

at::Tensor parse_npy(std::string_view bytes, const std::string& name) {
  const NpyHeader header = parse_npy_header(bytes, bytes.size(), name);
  return in_c_order(header, bytes.data() + header.data_offset);
}

at::Tensor load_npy(const std::filesystem::path& path) {
  const uint64_t size = check_input_file(path);
  const NpyHeader header = parse_npy_header(read_prefix(path, largest_header + 16), size, path.string());
  const std::string bytes = read_range(path, header.data_offset, size - header.data_offset);
  return in_c_order(header, bytes.data());
}

void save_npy(const std::filesystem::path& path, const at::Tensor& tensor) {
  static const std::pair<at::ScalarType, const char*> types[] = {
      {at::kBool, "|b1"},  {at::kByte, "|u1"},   {at::kInt, "<i4"},          {at::kLong, "<i8"},
      {at::kFloat, "<f4"}, {at::kDouble, "<f8"}, {at::kComplexFloat, "<c8"}, {at::kComplexDouble, "<c16"}};
  const char* descr = nullptr;
  for (const auto& [type, text] : types) {
    if (tensor.scalar_type() == type) descr = text;
  }
  check<DtypeError>(descr != nullptr, [&] {
    return fmt::format("{}: .npy cannot store {}", path.string(), toString(tensor.scalar_type()));
  });
  const at::Tensor values = tensor.detach().cpu().contiguous().resolve_conj().resolve_neg();
  std::string extents;
  for (const int64_t extent : values.sizes()) extents += fmt::format("{}, ", extent);
  if (values.dim() > 1) extents.resize(extents.size() - 2);
  if (values.dim() == 1) extents.pop_back();
  std::string header = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", descr, extents);
  header.append(63 - (10 + header.size()) % 64, ' ');
  header += '\n';
  const auto length = static_cast<uint16_t>(header.size());
  std::ofstream stream(path, std::ios::binary | std::ios::trunc);
  stream << magic << '\x01' << '\0';
  stream.write(reinterpret_cast<const char*>(&length), 2);
  stream << header;
  stream.write(static_cast<const char*>(values.data_ptr()), static_cast<std::streamsize>(values.nbytes()));
  stream.close();
  check<DataError>(
      !stream.fail(), [&] { return fmt::format("{}: cannot be written", path.string()); },
      "is the disk full, or the folder read-only?");
}

std::unique_ptr<ScanSource> open_npy(const std::filesystem::path& path, const ScanOptions& options) {
  return std::make_unique<NpyScan>(path, options);
}

}  // namespace monarch::data
