#include "monarch/data/hdf5_block.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <hdf5.h>
#include <lzf.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace monarch::data::hdf5 {

namespace {

constexpr int lzf_filter = 32000;
constexpr uint64_t kept_bytes = uint64_t{64} << 20;
const char* const damaged = "the file may be damaged or truncated; compare its size with the original";

std::string filter_name(int id, const char* name) {
  switch (id) {
    case H5Z_FILTER_DEFLATE:
      return "gzip";
    case H5Z_FILTER_SHUFFLE:
      return "shuffle";
    case H5Z_FILTER_FLETCHER32:
      return "fletcher32";
    case H5Z_FILTER_SZIP:
      return "szip";
    case H5Z_FILTER_NBIT:
      return "nbit";
    case H5Z_FILTER_SCALEOFFSET:
      return "scaleoffset";
    case lzf_filter:
      return "lzf";
    default:
      return name && *name ? fmt::format("{} (filter {})", name, id) : fmt::format("filter {}", id);
  }
}

/// At most `capacity` bytes out of a zlib stream; empty where it is damaged or holds more.
std::vector<std::byte> inflate_all(const std::vector<std::byte>& in, size_t capacity) {
  std::vector<std::byte> out(capacity);
  uLongf length = capacity;
  if (uncompress(reinterpret_cast<Bytef*>(out.data()), &length, reinterpret_cast<const Bytef*>(in.data()), in.size()) !=
      Z_OK)
    return {};
  out.resize(length);
  return out;
}

std::vector<std::byte> unpack_lzf(const std::vector<std::byte>& in, size_t capacity) {
  std::vector<std::byte> out(capacity);
  if (in.empty() || in.size() > UINT32_MAX || capacity > UINT32_MAX) return {};
  out.resize(lzf_decompress(in.data(), static_cast<unsigned>(in.size()), out.data(), static_cast<unsigned>(capacity)));
  return out;
}

std::vector<std::byte> unshuffle(const std::vector<std::byte>& in, size_t element_bytes) {
  if (element_bytes <= 1) return in;
  std::vector<std::byte> out(in.size());
  const size_t count = in.size() / element_bytes;
  for (size_t b = 0; b < element_bytes; ++b)
    for (size_t i = 0; i < count; ++i) out[i * element_bytes + b] = in[b * count + i];
  std::copy(in.begin() + static_cast<ptrdiff_t>(count * element_bytes), in.end(),
            out.begin() + static_cast<ptrdiff_t>(count * element_bytes));
  return out;
}

}  // namespace

bool strip_fletcher32(std::vector<std::byte>& bytes) {
  if (bytes.size() < 4) return false;
  const size_t count = bytes.size() - 4;
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  uint32_t low = 0, high = 0;
  const auto fold = [](uint32_t sum) { return (sum & 0xffff) + (sum >> 16); };
  for (size_t i = 0; i < count; i += 2) {
    low += static_cast<uint32_t>(data[i] << 8 | (i + 1 < count ? data[i + 1] : 0));
    high += low;
    low = fold(low);
    high = fold(high);
  }
  low = fold(low);
  high = fold(high);
  uint32_t stored = 0;
  std::memcpy(&stored, data + count, 4);
  bytes.resize(count);
  // Sums modulo 65535 have two forms of zero; old big-endian writers swapped the bytes of each half.
  const auto same = [&](uint32_t sum) {
    return (sum & 0xffff) % 0xffff == low % 0xffff && (sum >> 16) % 0xffff == high % 0xffff;
  };
  return same(stored) || same((stored & 0x00ff00ff) << 8 | (stored >> 8 & 0x00ff00ff));
}

std::unique_lock<std::recursive_mutex> lock_library() {
  static std::recursive_mutex mutex;
  return std::unique_lock(mutex);
}

Block Block::all(const std::vector<int64_t>& shape) {
  return {std::vector<int64_t>(shape.size(), 0), shape, std::vector<int64_t>(shape.size(), 1)};
}

BlockReader::BlockReader(const File& file, const std::string& path)
    : place_(file.place(path)), file_bytes_(file.size_bytes()) {
  const auto lock = lock_library();
  info_ = file.info(path);
  dataset_ = file.dataset(path);
  type_ = Handle(H5Dget_type(dataset_.get()), close::type);
  memory_ = memory_type(type_.get(), info_, place_);
  const Handle creation(H5Dget_create_plist(dataset_.get()), close::properties);
  if (H5Pget_layout(creation.get()) != H5D_CHUNKED || info_.shape.empty()) {
    storage_ = H5Pget_layout(creation.get()) == H5D_COMPACT ? "compact" : "contiguous";
    return;
  }
  std::vector<hsize_t> extents(info_.shape.size());
  check<DataError>(
      H5Pget_chunk(creation.get(), static_cast<int>(extents.size()), extents.data()) ==
              static_cast<int>(extents.size()) &&
          std::all_of(extents.begin(), extents.end(), [](hsize_t extent) { return extent > 0; }),
      [&] { return fmt::format("{}: its chunks have no shape of rank {}", place_, info_.shape.size()); }, damaged);
  chunk_.assign(extents.begin(), extents.end());
  storage_ = fmt::format("chunked {}", fmt::join(chunk_, " × "));
  decode_here_ = true;
  const int filters = H5Pget_nfilters(creation.get());
  for (int i = 0; i < filters; ++i) {
    unsigned flags = 0, values[16] = {};
    size_t count = std::size(values);
    char text[64] = {};
    const auto id = H5Pget_filter2(creation.get(), static_cast<unsigned>(i), &flags, &count, values, sizeof text - 1,
                                   text, nullptr);
    const std::string name = filter_name(id, text);
    storage_ += ", " + name;
    const bool known =
        id == H5Z_FILTER_DEFLATE || id == H5Z_FILTER_SHUFFLE || id == H5Z_FILTER_FLETCHER32 || id == lzf_filter;
    check<DataError>(
        known || H5Zfilter_avail(id) > 0,
        [&] { return fmt::format("{}: is compressed with {}, which Monarch does not have", place_, name); },
        "pack it anew: h5repack -f GZIP=4 in.h5 out.h5");
    if (!known) decode_here_ = false;
    filters_.push_back({static_cast<int>(id), static_cast<unsigned>(i), values[0]});
  }
  const size_t element = H5Tget_size(memory_.type.get());
  fill_.assign(element, std::byte{0});
  H5D_fill_value_t defined = H5D_FILL_VALUE_UNDEFINED;
  if (H5Pfill_value_defined(creation.get(), &defined) >= 0 && defined == H5D_FILL_VALUE_USER_DEFINED)
    H5Pget_fill_value(creation.get(), memory_.type.get(), fill_.data());
}

at::Tensor BlockReader::read(const Block& block) const {
  const size_t rank = info_.shape.size();
  for (size_t d = 0; d < rank; ++d) {
    const int64_t last = block.first[d] + (block.count[d] - 1) * block.stride[d];
    check<DataError>(block.first[d] >= 0 && block.count[d] >= 0 && block.stride[d] >= 1 &&
                         (block.count[d] == 0 || last < info_.shape[d]),
                     [&] {
                       return fmt::format("{}: indices {} to {} of axis {} are outside shape {}", place_,
                                          block.first[d], last, d, shape_text(info_.shape));
                     });
  }
  const auto lock = lock_library();
  silence_library();
  at::Tensor result = at::empty(block.count, at::TensorOptions().dtype(memory_.scalar));
  if (result.numel() == 0) return result;
  if (decode_here_)
    read_chunks(block, result);
  else
    read_with_library(block, result);
  return result;
}

void BlockReader::read_with_library(const Block& block, at::Tensor& result) const {
  const Handle file_space(H5Dget_space(dataset_.get()), close::space);
  if (!block.count.empty()) {
    const std::vector<hsize_t> first(block.first.begin(), block.first.end());
    const std::vector<hsize_t> stride(block.stride.begin(), block.stride.end());
    const std::vector<hsize_t> count(block.count.begin(), block.count.end());
    H5Sselect_hyperslab(file_space.get(), H5S_SELECT_SET, first.data(), stride.data(), count.data(), nullptr);
  }
  const auto numel = static_cast<hsize_t>(result.numel());
  const Handle memory_space(H5Screate_simple(1, &numel, nullptr), close::space);
  check<DataError>(
      H5Dread(dataset_.get(), memory_.type.get(), memory_space.get(), file_space.get(), H5P_DEFAULT,
              result.data_ptr()) >= 0,
      [&] { return fmt::format("{}: cannot be read: {}", place_, library_reason()); }, damaged);
  if (memory_.scalar == at::kBool) {
    auto* flags = static_cast<uint8_t*>(result.data_ptr());
    for (int64_t i = 0; i < result.numel(); ++i) flags[i] = flags[i] != 0;
  }
}

void BlockReader::read_chunks(const Block& block, at::Tensor& result) const {
  const size_t rank = chunk_.size();
  std::vector<int64_t> low(rank), high(rank);  // chunk indices of the block
  for (size_t d = 0; d < rank; ++d) {
    low[d] = block.first[d] / chunk_[d];
    high[d] = (block.first[d] + (block.count[d] - 1) * block.stride[d]) / chunk_[d];
  }
  for (auto index = low;;) {
    std::vector<int64_t> origin(rank);
    int64_t number = 0;
    bool any = true;
    at::Tensor to = result;
    struct Piece {
      int64_t first, last;
    };
    std::vector<Piece> pieces(rank);
    for (size_t d = 0; d < rank; ++d) {
      origin[d] = index[d] * chunk_[d];
      number = number * ((info_.shape[d] + chunk_[d] - 1) / chunk_[d]) + index[d];
      // Positions i of the block with origin <= first + i stride < origin + chunk.
      const int64_t begin = std::max<int64_t>(0, (origin[d] - block.first[d] + block.stride[d] - 1) / block.stride[d]);
      const int64_t end = std::min(block.count[d], (origin[d] + chunk_[d] - 1 - block.first[d]) / block.stride[d] + 1);
      any = any && begin < end;
      pieces[d] = {begin, end};
    }
    if (any) {
      at::Tensor from = chunk(origin, number);
      for (size_t d = 0; d < rank; ++d) {
        const auto axis = static_cast<int64_t>(d);
        const auto& [begin, end] = pieces[d];
        const int64_t at = block.first[d] + begin * block.stride[d] - origin[d];
        to = to.slice(axis, begin, end);
        from = from.slice(axis, at, at + (end - begin - 1) * block.stride[d] + 1, block.stride[d]);
      }
      to.copy_(from);
    }
    size_t d = rank;
    while (d > 0 && index[d - 1] == high[d - 1]) {
      index[d - 1] = low[d - 1];
      --d;
    }
    if (d == 0) break;
    ++index[d - 1];
  }
}

at::Tensor BlockReader::chunk(const std::vector<int64_t>& origin, int64_t number) const {
  if (const auto found = recent_index_.find(number); found != recent_index_.end()) {
    recent_.splice(recent_.begin(), recent_, found->second);
    return found->second->second;
  }
  int64_t numel = 1;
  for (const int64_t extent : chunk_) numel *= extent;
  const size_t chunk_bytes = static_cast<size_t>(numel) * info_.element_bytes;
  const std::vector<hsize_t> offset(origin.begin(), origin.end());
  const auto where = [&] { return fmt::format("{}: the chunk at ({})", place_, fmt::join(origin, ", ")); };
  hsize_t stored = 0;
  if (H5Dget_chunk_storage_size(dataset_.get(), offset.data(), &stored) < 0) stored = 0;
  at::Tensor values;
  if (stored == 0) {  // never written
    values = at::empty(chunk_, at::TensorOptions().dtype(memory_.scalar));
    auto* to = static_cast<std::byte*>(values.data_ptr());
    for (int64_t i = 0; i < numel; ++i)
      std::memcpy(to + static_cast<size_t>(i) * fill_.size(), fill_.data(), fill_.size());
    return values;
  }
  check<DataError>(
      stored <= file_bytes_,
      [&] { return fmt::format("{} claims {} bytes, the whole file has {}", where(), stored, file_bytes_); }, damaged);
  std::vector<std::byte> bytes(stored);
  uint32_t skipped = 0;
  check<DataError>(
      H5Dread_chunk(dataset_.get(), H5P_DEFAULT, offset.data(), &skipped, bytes.data()) >= 0,
      [&] { return fmt::format("{} cannot be read: {}", where(), library_reason()); }, damaged);
  for (auto filter = filters_.rbegin(); filter != filters_.rend(); ++filter) {
    if (skipped >> filter->position & 1) continue;
    const size_t capacity = chunk_bytes + 4 * filter->position;  // checksums that follow
    if (filter->id == H5Z_FILTER_FLETCHER32) {
      check<DataError>(
          strip_fletcher32(bytes), [&] { return fmt::format("{} does not agree with its checksum", where()); },
          "the file was changed or copied incompletely; fetch it again");
    } else if (filter->id == H5Z_FILTER_SHUFFLE) {
      bytes = unshuffle(bytes, filter->element_bytes);
    } else {
      bytes = filter->id == lzf_filter ? unpack_lzf(bytes, capacity) : inflate_all(bytes, capacity);
      check<DataError>(
          !bytes.empty(),
          [&] {
            return fmt::format("{} is damaged: its {} data do not unpack to {} bytes", where(),
                               filter->id == lzf_filter ? "LZF" : "gzip", chunk_bytes);
          },
          damaged);
    }
  }
  check<DataError>(
      bytes.size() == chunk_bytes,
      [&] { return fmt::format("{} holds {} bytes, expected {}", where(), bytes.size(), chunk_bytes); }, damaged);
  values = converted(std::move(bytes), numel).view(chunk_);
  recent_.emplace_front(number, values);
  recent_index_[number] = recent_.begin();
  recent_bytes_ += values.nbytes();
  while (recent_bytes_ > kept_bytes && recent_.size() > 1) {
    recent_bytes_ -= recent_.back().second.nbytes();
    recent_index_.erase(recent_.back().first);
    recent_.pop_back();
  }
  return values;
}

at::Tensor BlockReader::converted(std::vector<std::byte> bytes, int64_t numel) const {
  const size_t element = H5Tget_size(memory_.type.get());
  if (H5Tequal(type_.get(), memory_.type.get()) <= 0) {
    bytes.resize(static_cast<size_t>(numel) * std::max(element, info_.element_bytes));
    std::vector<std::byte> background(info_.kind == Kind::complex ? bytes.size() : 0);
    check<DataError>(
        H5Tconvert(type_.get(), memory_.type.get(), static_cast<size_t>(numel), bytes.data(),
                   background.empty() ? nullptr : background.data(), H5P_DEFAULT) >= 0,
        [&] { return fmt::format("{}: its numbers cannot be converted: {}", place_, library_reason()); }, damaged);
  }
  at::Tensor values = at::empty({numel}, at::TensorOptions().dtype(memory_.scalar));
  std::memcpy(values.data_ptr(), bytes.data(), static_cast<size_t>(numel) * element);
  if (memory_.scalar == at::kBool) {
    auto* flags = static_cast<uint8_t*>(values.data_ptr());
    for (int64_t i = 0; i < numel; ++i) flags[i] = flags[i] != 0;
  }
  return values;
}

}  // namespace monarch::data::hdf5
