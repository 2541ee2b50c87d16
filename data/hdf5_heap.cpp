#include "monarch/data/hdf5_heap.hpp"

#include <fmt/format.h>
#include <hdf5.h>

#include <algorithm>
#include <cstring>

#include "monarch/core/error.hpp"
#include "monarch/data/hdf5_types.hpp"

namespace monarch::data::hdf5 {

namespace {

constexpr size_t collection_header = 16;
constexpr size_t object_header = 16;
constexpr size_t smallest_collection = 4096;
constexpr size_t reference_bytes = 16;
constexpr size_t largest_chunk = size_t{64} << 20;
const char* const damaged = "the file may be damaged or truncated";

template <class T>
T load_value(const std::byte* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

}  // namespace

void GlobalHeap::load(const HeapReference& reference, size_t wanted_bytes, const std::string& place) {
  if (reference.address == loaded_address_) return;
  loaded_address_ = ~uint64_t{0};
  const uint64_t size = file_.size_bytes();
  check<DataError>(
      reference.address + collection_header <= size && reference.address < size,
      [&] {
        return fmt::format("{}: lies at byte {}, beyond the end of the file at {}", place, reference.address, size);
      },
      damaged);
  // One read takes a collection that holds just this value, which is how large values are stored.
  const uint64_t left = size - reference.address;
  const auto first =
      std::min<uint64_t>(left, std::max(smallest_collection, wanted_bytes + collection_header + 2 * object_header));
  collection_.resize(first);
  file_.read_raw(reference.address, collection_, place);
  const auto stated = load_value<uint64_t>(collection_.data() + 8);
  check<DataError>(
      std::memcmp(collection_.data(), "GCOL\x01", 5) == 0 && stated >= collection_header && stated <= left,
      [&] { return fmt::format("{}: no heap collection at byte {}", place, reference.address); }, damaged);
  if (stated > first) {
    collection_.resize(stated);
    file_.read_raw(reference.address + first, std::span(collection_).subspan(first), place);
  }
  collection_.resize(stated);
  loaded_address_ = reference.address;
}

std::span<const std::byte> GlobalHeap::value(const HeapReference& reference, size_t element_bytes,
                                             const std::string& place) {
  if (reference.length == 0) return {};
  const uint64_t bytes = uint64_t{reference.length} * element_bytes;
  check<DataError>(
      bytes <= file_.size_bytes(),
      [&] { return fmt::format("{}: claims {} bytes, the whole file has {}", place, bytes, file_.size_bytes()); },
      damaged);
  load(reference, bytes, place);
  for (size_t at = collection_header; at + object_header <= collection_.size();) {
    const auto index = load_value<uint16_t>(collection_.data() + at);
    const auto stored = load_value<uint64_t>(collection_.data() + at + 8);
    if (index == 0) break;  // free space up to the end
    const size_t begin = at + object_header;
    check<DataError>(
        stored <= collection_.size() - begin,
        [&] { return fmt::format("{}: the heap at byte {} is damaged", place, reference.address); }, damaged);
    if (index == reference.index) {
      check<DataError>(
          stored == bytes,
          [&] { return fmt::format("{}: the reference claims {} bytes, the heap holds {}", place, bytes, stored); },
          damaged);
      return std::span(collection_).subspan(begin, stored);
    }
    at = begin + (stored + 7) / 8 * 8;
  }
  fail<DataError>(fmt::format("{}: value {} is not in the heap at byte {}", place, reference.index, reference.address),
                  damaged);
}

ReferenceReader::ReferenceReader(const File& file, const std::string& path, const std::string& member)
    : file_(file), place_(file.place(path)), dataset_(file.dataset(path)) {
  const Handle type(H5Dget_type(dataset_.get()), close::type);
  const Handle creation(H5Dget_create_plist(dataset_.get()), close::properties);
  const Handle file_creation(H5Fget_create_plist(file.id()), close::properties);
  size_t address_bytes = 0, length_bytes = 0;
  H5Pget_sizes(file_creation.get(), &address_bytes, &length_bytes);
  // The library states sizes as in memory: that of a text is a pointer's, in the file it is a reference.
  element_bytes_ = member.empty() ? reference_bytes : H5Tget_size(type.get());
  if (!member.empty()) {
    const int index = H5Tget_member_index(type.get(), member.c_str());
    if (index < 0) return;
    member_offset_ = H5Tget_member_offset(type.get(), static_cast<unsigned>(index));
    const Handle inner(H5Tget_member_type(type.get(), static_cast<unsigned>(index)), close::type);
    if (H5Tget_size(inner.get()) != reference_bytes) return;
  }
  if (address_bytes != 8 || length_bytes != 8 || member_offset_ + reference_bytes > element_bytes_ ||
      H5Pget_nfilters(creation.get()) != 0 || file_.user_block_bytes() != 0) {
    return;
  }
  if (H5Pget_layout(creation.get()) == H5D_CHUNKED) {
    hsize_t chunk = 0;
    const Handle space(H5Dget_space(dataset_.get()), close::space);
    if (H5Sget_simple_extent_ndims(space.get()) != 1 || H5Pget_chunk(creation.get(), 1, &chunk) != 1 || chunk == 0 ||
        chunk > largest_chunk / element_bytes_) {
      return;
    }
    chunk_elements_ = chunk;
    // H5Dread_chunk copies as many bytes as the index states for a chunk, whatever the buffer: their sum must be right.
    const auto extent = static_cast<uint64_t>(H5Sget_simple_extent_npoints(space.get()));
    const uint64_t expected = (extent + chunk - 1) / chunk * chunk * element_bytes_;
    direct_ = H5Dget_storage_size(dataset_.get()) == expected;
  } else if (H5Pget_layout(creation.get()) == H5D_CONTIGUOUS) {
    const haddr_t address = H5Dget_offset(dataset_.get());
    if (address == HADDR_UNDEF) return;
    contiguous_address_ = address;
    direct_ = true;
  }
}

HeapReference ReferenceReader::reference(uint64_t i) {
  std::byte raw[reference_bytes];
  if (chunk_elements_ == 0) {
    const uint64_t at = contiguous_address_ + i * element_bytes_ + member_offset_;
    check<DataError>(
        at <= file_.size_bytes(), [&] { return fmt::format("{}[{}]: lies beyond the end of the file", place_, i); },
        damaged);
    file_.read_raw(at, raw, place_);
  } else {
    const uint64_t chunk = i / chunk_elements_;
    if (chunk != loaded_chunk_) {
      loaded_chunk_ = ~uint64_t{0};
      const hsize_t offset = chunk * chunk_elements_;
      uint32_t skipped_filters = 0;
      chunk_.resize(chunk_elements_ * element_bytes_);
      check<DataError>(
          H5Dread_chunk(dataset_.get(), H5P_DEFAULT, &offset, &skipped_filters, chunk_.data()) >= 0,
          [&] { return fmt::format("{}[{}]: cannot be read: {}", place_, i, library_reason()); }, damaged);
      loaded_chunk_ = chunk;
    }
    std::memcpy(raw, chunk_.data() + i % chunk_elements_ * element_bytes_ + member_offset_, reference_bytes);
  }
  HeapReference result;
  result.length = load_value<uint32_t>(raw);
  result.address = load_value<uint64_t>(raw + 4);
  result.index = load_value<uint32_t>(raw + 12);
  return result;
}

}  // namespace monarch::data::hdf5
