#include "monarch/data/hdf5.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <hdf5.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <numeric>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/hdf5_block.hpp"
#include "monarch/data/hdf5_heap.hpp"
#include "monarch/data/hdf5_types.hpp"
#include "monarch/data/input_file.hpp"

namespace monarch::data::hdf5 {

namespace {

/// Deflate packs at most about 1032 to 1; other filters less.
constexpr double largest_compression = 1100;

std::string damaged_hint() {
  return "the file may be damaged or truncated; compare its size with the original";
}

std::vector<int64_t> extents(hid_t space) {
  const int rank = H5Sget_simple_extent_ndims(space);
  std::vector<hsize_t> dims(static_cast<size_t>(std::max(rank, 0)));
  if (rank > 0) H5Sget_simple_extent_dims(space, dims.data(), nullptr);
  return {dims.begin(), dims.end()};
}

/// Product in floating point: extents of a damaged file overflow integers.
double product(const std::vector<int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), 1.0,
                         [](double a, int64_t b) { return a * static_cast<double>(static_cast<uint64_t>(b)); });
}

std::string trim_text(std::string text) {
  text.resize(std::min(text.size(), text.find('\0')));
  return text;
}

/// One string out of a dataset or attribute: `read(memory_type, buffer, transfer)` fetches it.
template <class Read>
std::optional<std::string> one_text(hid_t file_type, uint64_t file_bytes, Read read) {
  Handle type(H5Tcopy(H5T_C_S1), close::type);
  H5Tset_cset(type.get(), H5Tget_cset(file_type));
  if (H5Tis_variable_str(file_type) > 0) {
    H5Tset_size(type.get(), H5T_VARIABLE);
    VariableLengthMemory memory(file_bytes + 1024);
    char* text = nullptr;
    if (read(type.get(), &text, memory.transfer_properties()) < 0) return std::nullopt;
    return std::string(text ? text : "");
  }
  const size_t bytes = H5Tget_size(file_type);
  if (bytes == 0 || bytes > file_bytes + 1024) return std::nullopt;
  H5Tset_size(type.get(), bytes);
  H5Tset_strpad(type.get(), H5Tget_strpad(file_type));
  std::string text(bytes, '\0');
  if (read(type.get(), text.data(), static_cast<hid_t>(H5P_DEFAULT)) < 0) return std::nullopt;
  text = trim_text(std::move(text));
  if (H5Tget_strpad(file_type) == H5T_STR_SPACEPAD) text.resize(text.find_last_not_of(' ') + 1);
  return text;
}

}  // namespace

void silence_library() {
  // The library keeps this setting per thread.
  thread_local const bool silenced = H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr) >= 0;
  (void)silenced;
}

std::string library_reason() {
  std::string reason;
  const auto visit = [](unsigned depth, const H5E_error2_t* error, void* out) -> herr_t {
    if (depth == 0 && error->desc) *static_cast<std::string*>(out) = error->desc;
    return 0;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, visit, &reason);
  return reason;
}

Handle& Handle::operator=(Handle&& other) noexcept {
  if (this != &other) {
    reset();
    id_ = std::exchange(other.id_, -1);
    close_ = other.close_;
  }
  return *this;
}

void Handle::reset() {
  if (id_ >= 0 && close_) close_(id_);
  id_ = -1;
}

int64_t DatasetInfo::numel() const {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

VariableLengthMemory::VariableLengthMemory(uint64_t budget_bytes)
    : properties_(H5Pcreate(H5P_DATASET_XFER), close::properties), budget_bytes_(budget_bytes) {
  H5Pset_vlen_mem_manager(properties_.get(), &allocate, this, &release, this);
}

VariableLengthMemory::~VariableLengthMemory() {
  for (void* block : blocks_) std::free(block);
}

void* VariableLengthMemory::allocate(size_t bytes, void* self) {
  auto& memory = *static_cast<VariableLengthMemory*>(self);
  const size_t rounded = (bytes + 63) / 64 * 64;
  if (rounded < bytes || rounded > memory.budget_bytes_) return nullptr;
  memory.budget_bytes_ -= rounded;
  if (rounded > memory.free_bytes_) {
    const size_t block = std::max<size_t>(rounded, std::min<uint64_t>(memory.budget_bytes_ + rounded, 4 << 20));
    void* start = std::malloc(block);
    if (!start) return nullptr;
    memory.blocks_.push_back(start);
    memory.free_ = static_cast<char*>(start);
    memory.free_bytes_ = block;
  }
  void* result = memory.free_;
  memory.free_ += rounded;
  memory.free_bytes_ -= rounded;
  return result;
}

File::File(Handle handle, std::string name, uint64_t size_bytes)
    : handle_(std::move(handle)), name_(std::move(name)), size_bytes_(size_bytes) {
  const Handle creation(H5Fget_create_plist(id()), close::properties);
  hsize_t bytes = 0;
  if (H5Pget_userblock(creation.get(), &bytes) >= 0) user_block_bytes_ = bytes;
}

void File::read_raw(uint64_t offset, std::span<std::byte> bytes, const std::string& place) const {
  const auto ends = [&] {
    return fmt::format("{}: needs bytes {} to {}, the file ends at {}", place, offset, offset + bytes.size(),
                       size_bytes_);
  };
  check<DataError>(offset <= size_bytes_ && bytes.size() <= size_bytes_ - offset, ends, damaged_hint());
  if (memory_) {
    std::memcpy(bytes.data(), memory_->data() + offset, bytes.size());
    return;
  }
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t got =
        ::pread(*descriptor_, bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    check<DataError>(got > 0, ends, damaged_hint());
    done += static_cast<size_t>(got);
  }
}

File File::open(const std::filesystem::path& path) {
  silence_library();
  const uint64_t size = check_input_file(path);
  const Handle properties = access_properties();
  Handle handle(H5Fopen(path.c_str(), H5F_ACC_RDONLY, properties.get()), close::file);
  check<DataError>(
      bool(handle), [&] { return fmt::format("{}: cannot be opened as HDF5: {}", path.string(), library_reason()); },
      damaged_hint());
  File file(std::move(handle), path.string(), size);
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  check<DataError>(descriptor >= 0, [&] { return fmt::format("{}: cannot be opened", path.string()); });
  file.descriptor_ = std::shared_ptr<const int>(new int(descriptor), [](const int* opened) {
    ::close(*opened);
    delete opened;
  });
  return file;
}

File File::from_memory(std::span<const std::byte> bytes, const std::string& name) {
  silence_library();
  const Handle properties = access_properties();
  H5Pset_fapl_core(properties.get(), 1 << 16, false);
  check<DataError>(H5Pset_file_image(properties.get(), const_cast<std::byte*>(bytes.data()), bytes.size()) >= 0,
                   [&] { return fmt::format("{}: {} bytes are no HDF5 file", name, bytes.size()); });
  Handle handle(H5Fopen(name.c_str(), H5F_ACC_RDONLY, properties.get()), close::file);
  check<DataError>(
      bool(handle), [&] { return fmt::format("{}: cannot be opened as HDF5: {}", name, library_reason()); },
      damaged_hint());
  File file(std::move(handle), name, bytes.size());
  file.memory_ = std::make_shared<const std::vector<std::byte>>(bytes.begin(), bytes.end());
  return file;
}

std::string File::place(const std::string& path) const {
  return fmt::format("{}: {}", name_, path.empty() ? "/" : path);
}

std::vector<std::string> File::list(const std::string& group, bool want_groups) const {
  silence_library();
  struct Visit {
    std::vector<std::string> names;
    H5O_type_t wanted;
  } visit{{}, want_groups ? H5O_TYPE_GROUP : H5O_TYPE_DATASET};
  const Handle opened(H5Oopen(id(), group.empty() ? "/" : group.c_str(), H5P_DEFAULT), close::object);
  check<DataError>(bool(opened), [&] { return fmt::format("{}: no such group", place(group)); });
  const auto each = [](hid_t parent, const char* name, const H5L_info_t* link, void* state) -> herr_t {
    auto& found = *static_cast<Visit*>(state);
    if (link->type != H5L_TYPE_HARD) return 0;  // a link into another file must not be followed
    H5O_info_t object;
    if (H5Oget_info_by_name2(parent, name, &object, H5O_INFO_BASIC, H5P_DEFAULT) < 0) return 0;
    if (object.type == found.wanted) found.names.emplace_back(name);
    return 0;
  };
  check<DataError>(
      H5Literate(opened.get(), H5_INDEX_NAME, H5_ITER_INC, nullptr, each, &visit) >= 0,
      [&] { return fmt::format("{}: the list of its members cannot be read: {}", place(group), library_reason()); },
      damaged_hint());
  return visit.names;
}

std::vector<std::string> File::groups(const std::string& group) const {
  return list(group, true);
}
std::vector<std::string> File::datasets(const std::string& group) const {
  return list(group, false);
}

bool File::has_dataset(const std::string& path) const {
  const size_t slash = path.rfind('/');
  const std::string group = slash == std::string::npos ? "" : path.substr(0, slash);
  if (!group.empty() && H5Lexists(id(), group.c_str(), H5P_DEFAULT) <= 0) return false;
  const auto names = datasets(group);
  return std::find(names.begin(), names.end(), path.substr(slash == std::string::npos ? 0 : slash + 1)) != names.end();
}

Handle File::dataset(const std::string& path) const {
  silence_library();
  Handle opened(H5Dopen2(id(), path.c_str(), H5P_DEFAULT), close::dataset);
  check<DataError>(
      bool(opened), [&] { return fmt::format("{}: cannot be opened as a dataset: {}", place(path), library_reason()); },
      damaged_hint());
  const Handle space(H5Dget_space(opened.get()), close::space);
  const Handle type(H5Dget_type(opened.get()), close::type);
  const Handle properties(H5Dget_create_plist(opened.get()), close::properties);
  check<DataError>(
      space && type && properties, [&] { return fmt::format("{}: shape or type cannot be read", place(path)); },
      damaged_hint());
  check<DataError>(
      H5Pget_external_count(properties.get()) == 0 && H5Pget_layout(properties.get()) != H5D_VIRTUAL,
      [&] { return fmt::format("{}: its data lies in other files", place(path)); }, "copy it into one file (h5repack)");
  check<DataError>(
      is_sound(type.get()), [&] { return fmt::format("{}: the description of its elements is damaged", place(path)); },
      damaged_hint());
  const auto shape = extents(space.get());
  const double element = static_cast<double>(H5Tget_size(type.get()));
  const bool filtered = H5Pget_nfilters(properties.get()) > 0;
  const double held = static_cast<double>(size_bytes_) * (filtered ? largest_compression : 1) + 65536;
  check<DataError>(
      product(shape) * element <= held,
      [&] {
        return fmt::format("{}: claims shape {} = {}, but the whole file has {}", place(path), shape_text(shape),
                           bytes_text(product(shape) * element), bytes_text(static_cast<double>(size_bytes_)));
      },
      damaged_hint());
  if (H5Pget_layout(properties.get()) == H5D_CHUNKED && !shape.empty()) {
    std::vector<hsize_t> chunk(shape.size());
    H5Pget_chunk(properties.get(), static_cast<int>(chunk.size()), chunk.data());
    const double bytes = product({chunk.begin(), chunk.end()}) * element;
    // Writers make chunks larger than the data, but not without bound: the library allocates a whole chunk.
    check<DataError>(
        bytes <= std::max(held, 256.0 * 1024 * 1024),
        [&] {
          return fmt::format("{}: claims chunks of {}, but the whole file has {}", place(path), bytes_text(bytes),
                             bytes_text(static_cast<double>(size_bytes_)));
        },
        damaged_hint());
  }
  return opened;
}

DatasetInfo File::info(const std::string& path) const {
  const Handle opened = dataset(path);
  const Handle space(H5Dget_space(opened.get()), close::space);
  const Handle type(H5Dget_type(opened.get()), close::type);
  DatasetInfo info;
  info.shape = extents(space.get());
  describe_type(type.get(), info);
  return info;
}

std::string File::read_text(const std::string& path) const {
  const DatasetInfo found = info(path);
  check<DataError>(found.kind == Kind::text && found.numel() == 1, [&] {
    return fmt::format("{}: expected one text, found {} {}", place(path), shape_text(found.shape), found.type);
  });
  const Handle opened = dataset(path);
  const Handle type(H5Dget_type(opened.get()), close::type);
  if (H5Tis_variable_str(type.get()) > 0 && (memory_ || descriptor_)) {
    ReferenceReader references(*this, path, "");
    if (references.direct()) {
      GlobalHeap heap(*this);
      const auto bytes = heap.value(references.reference(0), 1, place(path));
      return trim_text(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
    }
  }
  const auto text = one_text(type.get(), size_bytes_, [&](hid_t memory, void* buffer, hid_t transfer) {
    return H5Dread(opened.get(), memory, H5S_ALL, H5S_ALL, transfer, buffer);
  });
  check<DataError>(
      text.has_value(), [&] { return fmt::format("{}: the text cannot be read: {}", place(path), library_reason()); },
      damaged_hint());
  return *text;
}

at::Tensor File::read(const std::string& path, std::optional<int64_t> first) const {
  const BlockReader reader(*this, path);
  const auto& shape = reader.info().shape;
  Block block = Block::all(shape);
  if (!first) return reader.read(block);
  check<DataError>(!shape.empty() && *first >= 0 && *first < shape[0], [&] {
    return fmt::format("{}: index {} is outside shape {}", place(path), *first, shape_text(shape));
  });
  block.first[0] = *first;
  block.count[0] = 1;
  return reader.read(block).squeeze(0);
}

std::optional<std::vector<double>> File::numbers_attribute(const std::string& object,
                                                           const std::string& attribute) const {
  constexpr hssize_t most = 65536;
  silence_library();
  const char* name = object.empty() ? "/" : object.c_str();
  const Handle opened(H5Aopen_by_name(id(), name, attribute.c_str(), H5P_DEFAULT, H5P_DEFAULT), close::attribute);
  if (!opened) return std::nullopt;
  const Handle type(H5Aget_type(opened.get()), close::type);
  if (!type || !is_sound(type.get())) return std::nullopt;
  const Handle space(H5Aget_space(opened.get()), close::space);
  const hssize_t count = H5Sget_simple_extent_npoints(space.get());
  if (count < 1 || count > most) return std::nullopt;
  switch (H5Tget_class(type.get())) {
    case H5T_INTEGER:
    case H5T_FLOAT: {
      std::vector<double> values(static_cast<size_t>(count));
      if (H5Aread(opened.get(), H5T_NATIVE_DOUBLE, values.data()) < 0) return std::nullopt;
      return values;
    }
    case H5T_ENUM: {  // h5py's booleans
      if (H5Tget_size(type.get()) != 1) return std::nullopt;
      std::vector<int8_t> bytes(static_cast<size_t>(count));
      if (H5Aread(opened.get(), type.get(), bytes.data()) < 0) return std::nullopt;
      return std::vector<double>(bytes.begin(), bytes.end());
    }
    default:
      return std::nullopt;
  }
}

std::optional<double> File::number_attribute(const std::string& object, const std::string& attribute) const {
  const auto values = numbers_attribute(object, attribute);
  if (!values || values->size() != 1) return std::nullopt;
  return values->front();
}

std::vector<std::string> File::attributes(const std::string& object) const {
  silence_library();
  std::vector<std::string> names;
  const auto each = [](hid_t, const char* name, const H5A_info_t*, void* out) -> herr_t {
    static_cast<std::vector<std::string>*>(out)->emplace_back(name);
    return 0;
  };
  hsize_t position = 0;
  H5Aiterate_by_name(id(), object.empty() ? "/" : object.c_str(), H5_INDEX_NAME, H5_ITER_INC, &position, each, &names,
                     H5P_DEFAULT);
  return names;
}

std::optional<std::string> File::text_attribute(const std::string& object, const std::string& attribute) const {
  silence_library();
  const char* name = object.empty() ? "/" : object.c_str();
  const Handle opened(H5Aopen_by_name(id(), name, attribute.c_str(), H5P_DEFAULT, H5P_DEFAULT), close::attribute);
  if (!opened) return std::nullopt;
  const Handle type(H5Aget_type(opened.get()), close::type);
  if (!type || !is_sound(type.get())) return std::nullopt;
  const Handle space(H5Aget_space(opened.get()), close::space);
  if (H5Tget_class(type.get()) != H5T_STRING || H5Sget_simple_extent_npoints(space.get()) != 1) return std::nullopt;
  if (H5Tis_variable_str(type.get()) > 0) return std::nullopt;
  return one_text(type.get(), size_bytes_,
                  [&](hid_t memory, void* buffer, hid_t) { return H5Aread(opened.get(), memory, buffer); });
}

bool has_signature(const std::filesystem::path& path) {
  static constexpr char signature[] = "\x89HDF\r\n\x1a\n";
  std::ifstream stream(path, std::ios::binary);
  char bytes[8];
  for (std::streamoff offset = 0; stream; offset = offset ? 2 * offset : 512) {
    stream.seekg(offset);
    if (!stream.read(bytes, sizeof bytes)) return false;
    if (std::memcmp(bytes, signature, sizeof bytes) == 0) return true;
  }
  return false;
}

}  // namespace monarch::data::hdf5
